package nlsock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
)

// listenBuffer is what the kernel may keep of notifications that were not received yet. It asks for more than
// net.core.rmem_max where the process may (SO_RCVBUFFORCE, socket(7)).
const listenBuffer = 4 << 20

// Listener hears of changes. Notifications have no meaning beyond that something is no longer as it was: what
// there is must be read anew, also because the kernel drops what does not fit the socket's buffer.
type Listener struct {
	// Events has a value after each change that was wanted; several that come close together may be one. It
	// is closed when the context has ended or the socket has failed.
	Events <-chan struct{}

	overruns atomic.Int64
}

// Overruns is how often the kernel dropped notifications, each of which is an event too.
func (l *Listener) Overruns() int64 { return l.overruns.Load() }

// Listen joins multicast groups of a netlink protocol in a network namespace (see [Dial]) until ctx ends.
// wants tells of each notification whether it matters; it is called on a goroutine of the listener's, and the
// message holds until it returns. nil wants all.
func Listen(ctx context.Context, protocol, netns int, groups []uint32, wants func(Message) bool) (*Listener, error) {
	conn, err := netlink.Dial(protocol, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := conn.SetReadBuffer(listenBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("size netlink socket: %w", err), conn.Close())
	}
	for _, group := range groups {
		if err := conn.JoinGroup(group); err != nil {
			return nil, errors.Join(fmt.Errorf("join netlink group %d: %w", group, err), conn.Close())
		}
	}
	events := make(chan struct{}, 1)
	l := &Listener{Events: events}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	go func() {
		defer close(events)
		defer conn.Close()
		defer stop()
		for ctx.Err() == nil {
			heard, err := conn.Receive()
			overrun := errors.Is(err, syscall.ENOBUFS)
			if err != nil && !overrun {
				return
			}
			if overrun {
				l.overruns.Add(1)
			}
			if overrun || matters(heard, wants) {
				select {
				case events <- struct{}{}:
				default: // one waits to be taken, and stands for this one too
				}
			}
		}
	}()
	return l, nil
}

func matters(heard []netlink.Message, wants func(Message) bool) bool {
	for _, m := range heard {
		if wants == nil || wants(Message{Type: uint16(m.Header.Type), Flags: uint16(m.Header.Flags), Data: m.Data}) {
			return true
		}
	}
	return false
}
