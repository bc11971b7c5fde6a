package rtnl

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

func dial(t testing.TB, ns *testhost.NetNS) *Conn {
	t.Helper()
	c, err := Dial(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func linkNames(t *testing.T, c *Conn, f LinkFilter) []string {
	t.Helper()
	var names []string
	for l, err := range c.Links(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, l.Name)
	}
	return names
}

func TestLinks(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.IP("link add br0 type bridge", "link add br1 type bridge", "link add v0 type veth peer name v1",
		"link set v0 master br0", "link set v1 master br1", "link set br0 up", "link property add dev v0 altname an-alternative-name-of-v0")
	c := dial(t, ns)
	index, err := c.LinkIndex("br1")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		filter LinkFilter
		want   []string
	}{
		"all":              {LinkFilter{}, []string{"lo", "br0", "br1", "v1", "v0"}},
		"a kind":           {LinkFilter{Kind: "bridge"}, []string{"br0", "br1"}},
		"a kind unknown":   {LinkFilter{Kind: "nosuchkind"}, nil},
		"a master":         {LinkFilter{Master: index}, []string{"v1"}},
		"a master, a kind": {LinkFilter{Master: index, Kind: "bridge"}, nil},
	} {
		if diff := cmp.Diff(test.want, linkNames(t, c, test.filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"v0", "an-alternative-name-of-v0"} {
		l, err := c.LinkByName(t.Context(), name)
		if err != nil || l.Name != "v0" || l.NumStats == 0 {
			t.Errorf("link %s: %+v, %v", name, l, err)
		}
	}
	if _, err := c.LinkByName(t.Context(), "nobody"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("link nobody: %v, want ENODEV", err)
	}
	if !c.Reusable() {
		t.Error("not reusable")
	}
}

// TestLater: the name that a dump has told of another interface already is the one that asking for it gives.
func TestLater(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillLinks(200)
	c, asked := dial(t, ns), dial(t, ns)
	told, first := 0, 0
	for l, err := range c.Links(t.Context(), LinkFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Link > l.Index {
			first++
		}
		name, ok := l.Later(l.Link)
		if !ok {
			continue
		}
		told++
		if want, err := asked.LinkName(l.Link); name != want || l.Link <= l.Index || err != nil {
			t.Errorf("%d on %d: %q was told, and it is %q, %v", l.Index, l.Link, name, want, err)
		}
		for _, index := range []int{0, -1, l.Index, 1 << 30} {
			if name, ok := l.Later(index); ok {
				t.Errorf("behind %d there is %q with index %d", l.Index, name, index)
			}
		}
	}
	if first != 100 || told < first/2 {
		t.Errorf("%d pairs, of %d the other name had come", first, told)
	}
	l, err := asked.LinkByName(t.Context(), "p1")
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := l.Later(l.Link); ok {
		t.Errorf("%q was told by an answer of one link", name)
	}
}

func TestDevice(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.IP("link add br0 type bridge", "link add v0 type veth peer name v1", "link set v0 up", "link set v1 up",
		"link property add dev v0 altname short")
	c := dial(t, ns)
	for _, name := range []string{"lo", "br0", "v0", "v1"} {
		index, err := c.LinkIndex(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.LinkName(index); got != name || err != nil {
			t.Errorf("%s has index %d, which is %q, %v", name, index, got, err)
		}
	}
	if a, b := must(c.LinkIndex("short")), must(c.LinkIndex("v0")); a != b {
		t.Errorf("by its other name %d, want %d", a, b)
	}
	if s, err := c.LinkSettings("v0"); err != nil || s != (LinkSettings{Mbps: 10000, Duplex: DuplexFull}) {
		t.Errorf("settings of a veth: %+v, %v", s, err)
	}
	if s, err := c.LinkSettings("lo"); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("settings of lo: %+v, %v", s, err)
	}
	for name, flag := range map[string]bool{"v0": true, "br0": false} {
		if flags, err := c.LinkFlags(name); err != nil || (flags&unix.IFF_UP != 0) != flag {
			t.Errorf("flags of %s: %x, %v", name, flags, err)
		}
	}
	for _, name := range []string{"nobody", strings.Repeat("x", 15), strings.Repeat("x", 16)} {
		if i, err := c.LinkIndex(name); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("index of %s: %d, %v", name, i, err)
		}
	}
	if name, err := c.LinkName(12345); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("name of 12345: %q, %v", name, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAddresses(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.IP("link add br0 type bridge", "addr add 10.0.0.1/24 dev br0", "addr add 2001:db8::1/64 dev br0", "addr add 10.1.0.1 peer 10.1.0.2/30 dev br0")
	c := dial(t, ns)
	index := must(c.LinkIndex("br0"))
	list := func(f AddressFilter) (out []string) {
		for a, err := range c.Addresses(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s %s/%d", a.Local, a.Peer, a.PrefixLen))
		}
		return out
	}
	br0 := []string{"10.0.0.1 invalid IP/24", "10.1.0.1 10.1.0.2/30", "2001:db8::1 invalid IP/64"}
	for name, test := range map[string]struct {
		filter AddressFilter
		want   []string
	}{
		"of one":      {AddressFilter{Index: index}, br0},
		"of one, v6":  {AddressFilter{Index: index, Family: unix.AF_INET6}, br0[2:]},
		"of all, v4":  {AddressFilter{Family: unix.AF_INET}, append([]string{"127.0.0.1 invalid IP/8"}, br0[:2]...)},
		"of all":      {AddressFilter{}, append(append([]string{"127.0.0.1 invalid IP/8"}, br0[:2]...), "::1 invalid IP/128", br0[2])},
		"no such one": {AddressFilter{Index: index, Family: unix.AF_INET6}, br0[2:]},
	} {
		if diff := cmp.Diff(test.want, list(test.filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, err := range c.Addresses(t.Context(), AddressFilter{Index: 12345}) {
		if !errors.Is(err, syscall.ENODEV) {
			t.Errorf("of no interface: %v", err)
		}
	}
}

// TestRoutesComeByAddress holds the kernel to what RouteFilter.passed relies on: the IPv4 routes of a
// table come by rising address.
func TestRoutesComeByAddress(t *testing.T) {
	ns := testhost.NewNetNS(t)
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	ns.IP("link add br0 type bridge", "link set br0 up", "addr add 10.0.0.1/24 dev br0")
	var add strings.Builder
	for range 2000 {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(rng.UintN(224)), byte(rng.UintN(4)), byte(rng.UintN(4)), 0}), rng.IntN(33)).Masked()
		fmt.Fprintf(&add, "route add %s dev br0 metric %d table %d\n", prefix, rng.IntN(3), 254+300*rng.IntN(2))
	}
	_, _ = ns.Try(add.String(), "ip", "-force", "-batch", "-")
	c := dial(t, ns)
	for _, table := range []uint32{254, 554} {
		rows, last := 0, netip.IPv4Unspecified()
		for r, err := range c.Routes(t.Context(), RouteFilter{Family: unix.AF_INET, Table: table}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Dst.Addr().Less(last) {
				t.Fatalf("table %d: %s after %s", table, r.Dst, last)
			}
			last = r.Dst.Addr()
			rows++
		}
		if rows < 200 {
			t.Fatalf("table %d has %d routes only", table, rows)
		}
	}
}

func TestRoutesToOneDestination(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillRoutes(20_000)
	ns.IP("route add default via 10.255.255.9 dev fill", "route add default via 10.255.255.8 dev fill metric 5",
		"route add 16.0.1.0/24 dev fill", "route add 16.0.1.0/25 dev fill")
	c := dial(t, ns)
	for dst, want := range map[string]int{"0.0.0.0/0": 2, "16.0.1.0/24": 1, "16.0.1.0/32": 1, "16.0.1.0/31": 0, "99.0.0.0/8": 0} {
		for _, table := range []uint32{0, 254} {
			if !c.Reusable() {
				c = dial(t, ns)
			}
			rows := 0
			f := RouteFilter{Family: unix.AF_INET, Table: table, Dst: netip.MustParsePrefix(dst)}
			for r, err := range c.Routes(t.Context(), f) {
				if err != nil || r.Dst != f.Dst {
					t.Fatalf("%s: %v, %v", dst, r, err)
				}
				rows++
			}
			if rows != want {
				t.Errorf("%s in table %d: %d routes, want %d", dst, table, rows, want)
			}
		}
	}
}

func TestRoutesOfNoTable(t *testing.T) {
	ns := testhost.NewNetNS(t)
	c := dial(t, ns)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for r, err := range c.Routes(t.Context(), RouteFilter{Family: family, Table: 777}) {
			t.Errorf("family %d: %v, %v", family, r, err)
		}
	}
	if !c.Reusable() {
		t.Error("not reusable after a table that is not there")
	}
}

// TestLongDump: what an early stop and an end of the context leave of a dump that the kernel is far
// from having told.
func TestLongDump(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillRoutes(50_000)
	t.Run("early stop", func(t *testing.T) {
		c := dial(t, ns)
		for _, err := range c.Routes(t.Context(), RouteFilter{Family: unix.AF_INET}) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if c.Reusable() {
			t.Error("reusable with thousands of unread routes")
		}
	})
	for name, arm := range map[string]func() (context.Context, context.CancelFunc){
		"cancel": func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) },
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 2*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, ns)
			ctx, cancel := arm()
			defer cancel()
			rows, last := 0, error(nil)
			for _, err := range c.Routes(ctx, RouteFilter{Family: unix.AF_INET}) {
				if rows++; rows == 100 {
					if name == "cancel" {
						cancel()
					}
					<-ctx.Done()
				}
				last = err
			}
			if !errors.Is(last, ctx.Err()) || ctx.Err() == nil || rows >= 50_000 {
				t.Errorf("%d rows, then %v, want %v", rows, last, ctx.Err())
			}
			if c.Reusable() {
				t.Error("reusable")
			}
		})
	}
}

// TestInterrupted changes links until the kernel flags a dump of them.
func TestInterrupted(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillLinks(400)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			_, _ = ns.TryIP("link add x type bridge", "link set x up", "link del x", "link add y type bridge", "link del y")
		}
	}()
	defer func() { <-done }()
	c := dial(t, ns)
	for {
		for l, err := range c.Links(t.Context(), LinkFilter{}) {
			if errors.Is(err, ErrInterrupted) {
				if !c.Reusable() {
					t.Error("not reusable after an interrupted dump, which was read to its end")
				}
				return
			}
			if err != nil || l.Name == "" {
				t.Fatalf("%+v, %v", l, err)
			}
		}
		select {
		case <-done:
			t.Fatal("no dump was flagged")
		default:
		}
	}
}

func BenchmarkRoutes(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillRoutes(100_000)
	c := dial(b, ns)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range c.Routes(b.Context(), RouteFilter{Family: unix.AF_INET}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n < 100_000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkOneLink(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillLinks(2000)
	c := dial(b, ns)
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.LinkByName(b.Context(), "p1000"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("name", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.LinkName(1000); err != nil {
				b.Fatal(err)
			}
		}
	})
}
