package nft

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// liveConn is a socket on a host with a ruleset; add changes it.
func liveConn(t testing.TB, rules string) (conn *Conn, add func(string)) {
	t.Helper()
	testhost.Tool(t, "nft", "nftables")
	ns := testhost.NewNetNS(t)
	add = func(rules string) {
		t.Helper()
		if _, err := ns.Try(rules, "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	add(rules)
	conn, err := Dial(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, add
}

func TestGenerationCounts(t *testing.T) {
	conn, add := liveConn(t, "add table ip a\n")
	before, err := conn.Generation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same, err := conn.Generation(t.Context())
	if err != nil || same != before {
		t.Errorf("%d, then %d without a change, %v", before, same, err)
	}
	add("add table ip b\n")
	if after, err := conn.Generation(t.Context()); err != nil || after != before+1 {
		t.Errorf("%d, then %d after one change, %v", before, after, err)
	}
}

// What is not there is empty, for every dump, and does not spoil the socket.
func TestNothingThere(t *testing.T) {
	conn, _ := liveConn(t, "add table ip a\n")
	for _, f := range []Filter{{Family: unix.NFPROTO_IPV4, Table: "none"}, {Table: "none"}, {Family: unix.NFPROTO_INET}} {
		n := 0
		count := func(err error) {
			if err != nil {
				t.Errorf("%+v: %v", f, err)
			}
			n++
		}
		for _, err := range conn.Tables(t.Context(), f) {
			count(err)
		}
		for _, err := range conn.Chains(t.Context(), f) {
			count(err)
		}
		for _, err := range conn.Flowtables(t.Context(), f) {
			count(err)
		}
		for _, err := range conn.Objects(t.Context(), f) {
			count(err)
		}
		for _, err := range conn.Sets(t.Context(), f) {
			count(err)
		}
		for _, err := range conn.Rules(t.Context(), f) {
			count(err)
		}
		for _, err := range conn.Elements(t.Context(), Ref{Family: unix.NFPROTO_IPV4, Table: "a", Name: "gone"}) {
			count(err)
		}
		if n != 0 || !conn.Reusable() {
			t.Errorf("%+v: %d rows, reusable %v", f, n, conn.Reusable())
		}
	}
}

// A set that takes many messages comes whole: every second address, as intervals of one.
func TestManyElements(t *testing.T) {
	const elements = 20_000
	var rules strings.Builder
	rules.WriteString("table ip a {\nset s {\ntype ipv4_addr\nflags interval\nelements = { ")
	for i := range elements {
		fmt.Fprintf(&rules, "10.0.%d.%d,", i*2>>8&255, i*2&254)
		if i*2>>8&255 == 255 && i*2&254 == 254 {
			break
		}
	}
	rules.WriteString(" 11.0.0.0/8 }\n}\n}\n")
	want := strings.Count(rules.String(), ",") + 1
	conn, _ := liveConn(t, rules.String())
	var set Ref
	for s, err := range conn.Sets(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		set = s.Ref()
	}
	seen := map[string]bool{}
	for e, err := range conn.Elements(t.Context(), set) {
		if err != nil {
			t.Fatal(err)
		}
		if (e.KeyEnd != nil) != (e.Key[0] == 11) {
			t.Fatalf("%v to %v", e.Key, e.KeyEnd)
		}
		seen[string(e.Key)] = true
	}
	if len(seen) != want {
		t.Errorf("%d elements of %d", len(seen), want)
	}
}

func TestRefusals(t *testing.T) {
	testhost.Root(t)
	var err error
	testhost.WithoutCapabilities(t, func() {
		var own *Conn
		if own, err = Dial(0); err == nil {
			defer own.Close()
			_, err = own.Generation(t.Context())
		}
	})
	var refused *OpError
	if !errors.As(err, &refused) || refused.Capability() != "CAP_NET_ADMIN" {
		t.Errorf("%v", err)
	}
	if err := refusal(&OpError{Op: "x", Err: syscall.EINVAL}); !errors.Is(err, ErrNoTables) {
		t.Error(err)
	}
}

func BenchmarkRules(b *testing.B) {
	var rules strings.Builder
	rules.WriteString("table ip a {\nchain c {\n")
	const n = 10_000
	for i := range n {
		fmt.Fprintf(&rules, "ip saddr 10.%d.%d.%d tcp dport %d counter accept\n", i>>16, i>>8&255, i&255, 1+i)
	}
	rules.WriteString("}\n}\n")
	conn, _ := liveConn(b, rules.String())
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		for r, err := range conn.Rules(b.Context(), Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
			for range r.Expressions() {
			}
			got++
		}
		if got != n {
			b.Fatal(got)
		}
	}
}
