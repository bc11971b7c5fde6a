package ct

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestDeleteTakesTheEntryAndNoOther: an id that is not the entry's leaves it alone, and of entries of all
// protocols and zones each goes alone.
func TestDeleteTakesTheEntryAndNoOther(t *testing.T) {
	w := newNetwork(t, testhost.Seed(t))
	defer w.hangUp()
	w.settings()
	w.rules()
	for range 100 {
		w.traffic()
	}
	conn, err := Dial(w.a.FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	all := collectEntries(t, conn, Filter{})
	seen := map[uint8]int{}
	for i := range all {
		other := all[i]
		other.ID++
		if gone, err := conn.Delete(t.Context(), &other); gone || err != nil {
			t.Fatalf("another id of %+v: %v, %v", other, gone, err)
		}
		gone, err := conn.Delete(t.Context(), &all[i])
		if err != nil {
			t.Fatalf("%+v: %v", all[i], err)
		}
		if gone {
			seen[all[i].Original.Proto]++
		}
		if again, err := conn.Delete(t.Context(), &all[i]); again || err != nil {
			t.Fatalf("a second time: %v, %v", again, err)
		}
	}
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6} {
		if seen[proto] == 0 {
			t.Errorf("none of protocol %d among %v", proto, seen)
		}
	}
	t.Log(seen)
}

func TestDeleteWithoutPrivilege(t *testing.T) {
	ns := testhost.NewNetNS(t)
	conn, err := Dial(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	testhost.WithoutCapabilities(t, func() {
		_, err := conn.Delete(t.Context(), &Entry{Family: unix.AF_INET})
		if !errors.Is(err, syscall.EPERM) {
			t.Errorf("%v", err)
		}
	})
}
