package nlsock

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// manyRoutes is far more than the datagrams that are received one after the other hold.
const manyRoutes = 40_000

// heldRoutes is more than the routes that are received and not taken: a datagram has some 550.
const heldRoutes = (aheadAtMost + 2) * 600

func dialIn(t *testing.T, ns *testhost.NetNS) *Conn {
	t.Helper()
	c, err := Dial(unix.NETLINK_ROUTE, ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// routeDump asks for the IPv4 routes of the table main.
func routeDump(c *Conn) *Request {
	req := c.Request("dump routes", unix.RTM_GETROUTE)
	header := [unix.SizeofRtMsg]byte{0: unix.AF_INET}
	req.Raw(header[:])
	req.Uint32(unix.RTA_TABLE, unix.RT_TABLE_MAIN)
	return req
}

// hostRoute is the destination of a host route as a number; false for another route.
func hostRoute(m Message) (uint32, bool) {
	if len(m.Data) < unix.SizeofRtMsg || m.Data[1] != 32 {
		return 0, false
	}
	for a := Attributes(m.Data[unix.SizeofRtMsg:]); a.Next(); {
		if a.Type() == unix.RTA_DST {
			return uint32(a.Bytes()[0])<<24 | uint32(a.Bytes()[1])<<16 | uint32(a.Bytes()[2])<<8 | uint32(a.Bytes()[3]), true
		}
	}
	return 0, false
}

// TestLongDumpIsWhole: what is received ahead of its being taken comes once, in order, and unchanged as
// long as it may be looked at.
func TestLongDumpIsWhole(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillRoutes(manyRoutes)
	c := dialIn(t, ns)
	for range 3 {
		next := uint32(16 << 24)
		for m, err := range c.Dump(t.Context(), routeDump(c)) {
			if err != nil {
				t.Fatal(err)
			}
			before, ok := hostRoute(m)
			if !ok {
				continue
			}
			if next%1000 == 0 {
				time.Sleep(time.Millisecond) // long enough for more to be received
			}
			if after, _ := hostRoute(m); before != next || after != next {
				t.Fatalf("route to %#x, a moment later %#x, where %#x was next", before, after, next)
			}
			next++
		}
		if next != 16<<24+manyRoutes {
			t.Fatalf("%d routes of %d", next-16<<24, manyRoutes)
		}
		if !c.Reusable() {
			t.Fatal("not reusable after a whole dump")
		}
	}
}

// TestLongDumpEndsAnywhere: by its taker, by a panic of the taker and by its context, at random places;
// nothing is left running.
func TestLongDumpEndsAnywhere(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillRoutes(manyRoutes)
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	before := runtime.NumGoroutine()
	for range 60 {
		c := dialIn(t, ns)
		stop := r.IntN(manyRoutes)
		ends[r.IntN(len(ends))](t, c, stop)
		if c.Reusable() && stop < manyRoutes-heldRoutes {
			t.Errorf("reusable after the end at route %d", stop)
		}
		c.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

var ends = []func(t *testing.T, c *Conn, at int){
	func(t *testing.T, c *Conn, at int) {
		i := 0
		for _, err := range c.Dump(t.Context(), routeDump(c)) {
			if err != nil {
				t.Errorf("before the stop at %d: %v", at, err)
			}
			if i++; i > at {
				return
			}
		}
	},
	func(t *testing.T, c *Conn, at int) {
		defer func() {
			if recover() != "enough" {
				t.Error("the taker's panic was lost")
			}
		}()
		i := 0
		for range c.Dump(t.Context(), routeDump(c)) {
			if i++; i > at {
				panic("enough")
			}
		}
	},
	func(t *testing.T, c *Conn, at int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		i, last := 0, error(nil)
		for _, err := range c.Dump(ctx, routeDump(c)) {
			last = err
			if i++; i == at+1 {
				cancel()
				for !c.cancelled.Load() { // a busy machine takes its time to tell
					time.Sleep(100 * time.Microsecond)
				}
			}
		}
		if at < manyRoutes-heldRoutes && !errors.Is(last, context.Canceled) {
			t.Errorf("cancelled at %d: %v after %d rows", at, last, i)
		}
	},
}
