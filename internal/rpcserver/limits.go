package rpcserver

import (
	"cmp"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geomind/my_os_server/internal/identity"
)

// Limits bound what callers may take of the daemon at a time. A field that is 0 has the default that
// stands beside it. Of each total a quarter is kept for root and the daemon's own uid. A Backend with lanes has
// so many calls and streams in each.
type Limits struct {
	Conns         int // connections: 1024
	ConnsPerUID   int // of one user: 64
	Calls         int // calls that run: 512
	CallsPerUID   int // of one user: 16
	Streams       int // results too large to be gathered first, on their way to the caller: 64
	StreamsPerUID int // of one user: 4
	Bodies        int // bytes of request bodies larger than 64 KiB: 64 MiB
	BodiesPerUID  int // of one user: 16 MiB
	BodyBytes     int // bytes of one request body: 4 MiB
	HeaderBytes   int // bytes of a request line and its headers: 16 KiB
	BatchCalls    int // calls in one batch: 1000
	MemberBytes   int // bytes of one call's result in a batch: 4 MiB

	RemoteCallsPerSecond int // of one caller from elsewhere: 500
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&l.Conns, 1024}, {&l.ConnsPerUID, 64},
		{&l.Calls, 512}, {&l.CallsPerUID, 16},
		{&l.Streams, 64}, {&l.StreamsPerUID, 4},
		{&l.Bodies, 64 << 20}, {&l.BodiesPerUID, 16 << 20},
		{&l.BodyBytes, 4 << 20}, {&l.HeaderBytes, 16 << 10},
		{&l.BatchCalls, 1000}, {&l.MemberBytes, 4 << 20},
		{&l.RemoteCallsPerSecond, 500},
	} {
		*d.field = cmp.Or(*d.field, d.value)
	}
	return l
}

// Deadlines bound how long things may take. A field that is 0 has the default that stands beside it.
type Deadlines struct {
	Read   time.Duration // a call that changes nothing, its answer's last byte included: 30 s
	Write  time.Duration // any other call: 120 s
	Header time.Duration // from the first byte of a request to the end of its headers: 5 s
	Idle   time.Duration // between two requests of a connection: 120 s
	Stall  time.Duration // a client that takes nothing of an answer for so long is cut: 10 s
	Drain  time.Duration // reads that still run so long after the end was asked for are cancelled: 10 s
	Grace  time.Duration // what a handler gets to come back once its context is done: 50 ms
}

func (d Deadlines) withDefaults() Deadlines {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&d.Read, 30 * time.Second}, {&d.Write, 120 * time.Second},
		{&d.Header, 5 * time.Second}, {&d.Idle, 120 * time.Second},
		{&d.Stall, 10 * time.Second}, {&d.Drain, 10 * time.Second}, {&d.Grace, 50 * time.Millisecond},
	} {
		*f.field = cmp.Or(*f.field, f.value)
	}
	return d
}

// gauge counts how much of something is taken.
type gauge struct{ n atomic.Int64 }

// take takes n where that leaves no more than most taken, and tells whether it did.
func (g *gauge) take(n, most int64) bool {
	for {
		taken := g.n.Load()
		if taken+n > most {
			return false
		}
		if g.n.CompareAndSwap(taken, taken+n) {
			return true
		}
	}
}

func (g *gauge) give(n int64) { g.n.Add(-n) }

// resource is something that there is only so much of: for one user, and for all together.
type resource struct {
	name         string
	perUID, most int64
	taken        gauge
}

// limitError says which limit was reached.
type limitError struct {
	limit   string
	maximum int64
}

func (e *limitError) Error() string {
	if e.limit == callsPerSecond {
		return fmt.Sprintf("calls: no more than %d a second", e.maximum)
	}
	return fmt.Sprintf("%s: no more than %d at a time", e.limit, e.maximum)
}

// take takes n of the resource, for the user whose own count is mine.
func (r *resource) take(mine *gauge, n int64, privileged bool) *limitError {
	if !mine.take(n, r.perUID) {
		return &limitError{r.name, r.perUID}
	}
	most := r.most
	if !privileged {
		most -= most / 4
	}
	if !r.taken.take(n, most) {
		mine.give(n)
		return &limitError{r.name + "_total", most}
	}
	return nil
}

func (r *resource) give(mine *gauge, n int64) {
	r.taken.give(n)
	mine.give(n)
}

// maxLanes is the largest number of lanes that a Backend may have.
const maxLanes = 4

// laned is a resource that each lane has its own of.
type laned [maxLanes]resource

func (l *laned) limit(name string, perUID, most int) {
	for i := range l {
		l[i].name, l[i].perUID, l[i].most = name, int64(perUID), int64(most)
	}
}

// taken is how much is taken of it in all lanes.
func (l *laned) taken() (n int64) {
	for i := range l {
		n += l[i].taken.n.Load()
	}
	return n
}

// share is what one user has taken. Users of the host are told apart by their uid, remote callers by
// their address: whoever shares an address shares its limits.
type share struct {
	key        shareKey
	privileged bool // root or the daemon's own uid

	conns, bodies  gauge
	calls, streams [maxLanes]gauge // by lane
	pace           pace            // of a caller from elsewhere
}

type shareKey struct {
	local, hasUID bool
	uid           uint32
	addr          netip.Addr
}

// idle tells whether nothing is taken.
func (s *share) idle() bool {
	n := s.conns.n.Load() + s.bodies.n.Load()
	for i := range maxLanes {
		n += s.calls[i].n.Load() + s.streams[i].n.Load()
	}
	return n == 0
}

// ledger keeps the shares of everyone who is connected or has a call that still runs.
type ledger struct {
	daemonUID      uint32
	conns, bodies  resource
	calls, streams laned

	remotePace int // calls a second of one caller from elsewhere

	mu     sync.Mutex
	shares map[shareKey]*share
}

func newLedger(l Limits, daemonUID uint32) *ledger {
	books := &ledger{
		daemonUID: daemonUID,
		conns:     resource{name: "connections", perUID: int64(l.ConnsPerUID), most: int64(l.Conns)},
		bodies:    resource{name: "body_bytes", perUID: int64(l.BodiesPerUID), most: int64(l.Bodies)},

		remotePace: l.RemoteCallsPerSecond,

		shares: map[shareKey]*share{},
	}
	books.calls.limit("calls", l.CallsPerUID, l.Calls)
	books.streams.limit("streams", l.StreamsPerUID, l.Streams)
	return books
}

// enter takes a connection for the peer and returns its share, to be given to leave at the end.
func (l *ledger) enter(peer *identity.Peer, addr netip.Addr) (*share, *limitError) {
	key := shareKey{local: peer.Local, hasUID: peer.HasUID, uid: peer.UID, addr: addr}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shares[key]
	if s == nil {
		s = &share{key: key, privileged: peer.HasUID && (peer.UID == 0 || peer.UID == l.daemonUID)}
	}
	if err := l.conns.take(&s.conns, 1, s.privileged); err != nil {
		return nil, err
	}
	l.shares[key] = s
	return s, nil
}

// leave gives a connection back.
func (l *ledger) leave(s *share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns.give(&s.conns, 1)
	l.forget(s)
}

// settle gives back the call of a handler that came back after nobody waited for it any more. Its
// connection may be gone by then.
func (l *ledger) settle(s *share, lane int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[lane].give(&s.calls[lane], 1)
	l.forget(s)
}

// tidy is called when what was taken under a share has been given back after its connection.
func (l *ledger) tidy(s *share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(s)
}

// forget drops a share of which nothing is taken, once its pace is a full one's again: who comes back must not
// begin anew. l.mu is held.
func (l *ledger) forget(s *share) {
	switch {
	case !s.idle() || l.shares[s.key] != s:
	case s.pace.full(l.remotePace, time.Now()):
		delete(l.shares, s.key)
	default:
		time.AfterFunc(time.Second, func() { l.tidy(s) })
	}
}
