package rtnl

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

func BenchmarkRoutes(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillRoutes(100_000)
	c, err := Dial(ns.FD())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
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
