package nlsock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// listenBuffer is what the kernel may keep of notifications that were not received yet. It asks for more than
// net.core.rmem_max where the process may (SO_RCVBUFFORCE, socket(7)).
const listenBuffer = 4 << 20

// listenPause is how long a listener leaves the socket alone after it has taken all that was there. Changes come in
// bursts, and to be woken for each of a thousand costs those who make them more than a hundredth of a second costs
// whoever waits for the news. In that time the buffer takes tens of thousands.
const listenPause = 10 * time.Millisecond

// listenBurst is how many datagrams are taken before what they say is passed on: changes may never end.
const listenBurst = 4096

// Listener hears of changes. Notifications have no meaning beyond that something is no longer as it was: what
// there is must be read anew, also because the kernel drops what does not fit the socket's buffer.
type Listener struct {
	// Events has a value after each change that was wanted; several that come close together may be one. It
	// is closed when the context has ended or the socket has failed.
	Events <-chan struct{}

	overruns atomic.Int64
	dropping bool // the kernel dropped some, and goes on to until it was seen that it keeps none; hear's own
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
	raw, err := conn.SyscallConn()
	if err == nil {
		err = conn.SetReadBuffer(listenBuffer)
	}
	if err != nil {
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
		l.hear(ctx, raw, events, wants)
	}()
	return l, nil
}

// hear receives until ctx ends or the socket fails.
func (l *Listener) hear(ctx context.Context, raw syscall.RawConn, events chan<- struct{}, wants func(Message) bool) {
	buf := make([]byte, bufferSize)
	for {
		var heard, told bool
		var err error
		wait := raw.Read(func(fd uintptr) bool {
			heard, told, err = l.take(fd, buf, wants)
			return heard || err != nil
		})
		if wait != nil || err != nil {
			return
		}
		if told {
			select {
			case events <- struct{}{}:
			default: // one waits to be taken, and stands for this one too
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenPause):
		}
	}
}

// take receives what is there, as far as it is not more than a burst, and tells whether it was anything, and anything
// that matters. Once the kernel has dropped a notification it drops all that come, without a further word, until
// the last that it kept was received (netlink_overrun in net/netlink/af_netlink.c); so what was read anew before then
// may be out of date.
func (l *Listener) take(fd uintptr, buf []byte, wants func(Message) bool) (heard, told bool, err error) {
	for range listenBurst {
		n, err := recvInto(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			heard, told = heard || l.dropping, told || l.dropping
			l.dropping = false
			return heard, told, nil
		case errors.Is(err, unix.ENOBUFS):
			l.overruns.Add(1)
			l.dropping = true
		case err != nil:
			return heard, told, err
		default:
			told = matters(buf[:min(n, len(buf))], n > len(buf), wants) || told
		}
		heard = true
	}
	return heard, told || l.dropping, nil
}

// matters looks at every message of a datagram, whatever the others are: wants may keep something of each. What cannot
// be read matters.
func matters(b []byte, cut bool, wants func(Message) bool) bool {
	some := cut || wants == nil
	for len(b) >= headerSize {
		size := int(native.Uint32(b))
		if size < headerSize || size > len(b) {
			return true
		}
		if wants != nil && wants(Message{Type: native.Uint16(b[4:]), Flags: native.Uint16(b[6:]), Data: b[headerSize:size:size]}) {
			some = true
		}
		b = b[min(align(size), len(b)):]
	}
	return some
}
