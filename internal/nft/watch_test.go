package nft

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestWatchHearsOfOneTable: each kind of change, and none of another table's.
func TestWatchHearsOfOneTable(t *testing.T) {
	testhost.Tool(t, "nft", "nftables")
	ns := testhost.NewNetNS(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := Watch(ctx, ns.FD(), In{Family: unix.NFPROTO_INET, Table: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		command string
		wanted  bool
	}{
		{"add table inet mine", true}, {"add table inet other", false}, {"add table ip mine", false},
		{"add chain inet mine c { type filter hook input priority 0; }", true}, {"add rule inet mine c accept", true},
		{"add set inet mine s { type ipv4_addr; }", true}, {"add element inet mine s { 10.0.0.1 }", true},
		{"add chain inet other c", false}, {"add rule inet other c accept", false}, {"add chain ip mine c", false},
		{"delete element inet mine s { 10.0.0.1 }", true}, {"flush chain inet mine c", true}, {"flush ruleset", true},
		{"add table inet other", false},
	} {
		ns.Run("nft", test.command)
		wait := 150 * time.Millisecond
		if test.wanted {
			wait = 20 * time.Second
		}
		select {
		case _, ok := <-l.Events:
			if !ok || !test.wanted {
				t.Errorf("%s: an event (%v)", test.command, ok)
			}
		case <-time.After(wait):
			if test.wanted {
				t.Errorf("%s: nothing is heard", test.command)
			}
		}
		for range len(l.Events) { // a command may be several changes
			<-l.Events
		}
		time.Sleep(20 * time.Millisecond)
		for range len(l.Events) {
			<-l.Events
		}
	}
	cancel()
	for range l.Events { // it ends
	}
}

func FuzzConcerns(f *testing.F) {
	f.Add([]byte{unix.NFPROTO_INET, 0, 0, 1, 9, 0, 1, 0, 'm', 'i', 'n', 'e', 0, 0, 0, 0})
	f.Add([]byte{unix.NFPROTO_INET, 0, 0, 1, 5, 0, 1, 0, 'm'})
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if concerns(b, In{Family: unix.NFPROTO_INET, Table: "mine"}) && len(b) >= headerSize && b[0] != unix.NFPROTO_INET {
			t.Fatal("another family")
		}
	})
}
