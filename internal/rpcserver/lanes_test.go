package rpcserver

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

// twoLanes is a backend whose methods of vol go another lane than the rest.
type twoLanes struct{ backend }

func (twoLanes) Lanes() int { return 2 }

func (twoLanes) Lane(m *registry.Method) int {
	if m.Namespace() == "vol" {
		return 1
	}
	return 0
}

// TestLanesTakeNothingOfEachOther fills one lane with calls and with streams that hang; in the other both go
// on as if nothing were.
func TestLanesTakeNothingOfEachOther(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, Options{Limits: Limits{CallsPerUID: 2, StreamsPerUID: 1}, Backend: twoLanes{func(_ context.Context, m *registry.Method, _ any, _ []byte, out *registry.Out) error {
		switch {
		case m.Stream:
			out.Buf = append(out.Buf, '"')
			out.Buf = append(out.Buf, strings.Repeat("x", 2*registry.FlushSize)...)
			if err := out.Spill(); err != nil {
				return err
			}
			out.Buf = append(out.Buf, '"')
		default:
			out.Buf = append(out.Buf, `{}`...)
		}
		if m.Namespace() == "net" {
			<-release
		}
		return nil
	}}})
	stuck := []*client{s.dial(t), s.dial(t)}
	stuck[0].post(t, request("net.routes", ""))
	stuck[1].post(t, request("net.status", ""))
	eventually(t, "the first lane is full", func() bool { return s.ledger.calls.taken() == 2 && s.ledger.streams.taken() == 1 })
	c := s.dial(t)
	if got := c.call(t, request("net.status", "")); !strings.Contains(got, `"limit":"calls"`) {
		t.Errorf("a third call in the full lane: %s", got)
	}
	if got := c.call(t, request("vol.inventory", "")); !strings.Contains(got, `"result":{}`) {
		t.Errorf("a call in the other lane: %s", got)
	}
	if got := c.call(t, request("vol.list_disks", "")); !strings.Contains(got, `"result":"xxx`) {
		t.Errorf("a stream in the other lane: %.200s", got)
	}
	close(release)
	for _, c := range stuck {
		if _, _, err := c.answer(t); err != nil {
			t.Error(err)
		}
	}
}

type manyLanes struct{ twoLanes }

func (manyLanes) Lanes() int { return maxLanes + 1 }

func TestTooManyLanes(t *testing.T) {
	if _, err := New(Options{Backend: manyLanes{}}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(maxLanes+1)) {
		t.Errorf("%v", err)
	}
}
