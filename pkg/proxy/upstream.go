package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/unixsock"
	"github.com/geomind/my_os_server/pkg/registry"
)

// upstream is one daemon that calls are passed on to, and what is known of it.
type upstream struct {
	Upstream
	uids []uint32
	log  zerolog.Logger

	ids    atomic.Uint64 // of requests
	pool   pool
	alone  func() bool // pool.alone, made once
	access access

	found   atomic.Pointer[string] // the socket where it was last reached
	retries atomic.Uint64
	silent  atomic.Int64 // calls in a row whose time was up before an answer began
	ended   [len(outcomes)]atomic.Uint64
}

func newUpstream(u Upstream, uids []uint32, log zerolog.Logger) *upstream {
	up := &upstream{Upstream: u, uids: uids, log: log.With().Str("upstream", u.Prefix).Logger()}
	up.alone = up.pool.alone
	return up
}

// exchange is what one call needs besides its connection. It is kept for the next one.
type exchange struct {
	id       uint64
	idText   []byte
	request  []byte
	text     []byte // of an answer, as far as it is looked at as a whole
	answered bool   // a byte of an answer has come
}

var exchanges = sync.Pool{New: func() any { return &exchange{} }}

// keptSize is the largest buffer that is kept for the next call.
const keptSize = wholeSize + 16<<10

func (x *exchange) giveBack() {
	if cap(x.request) > keptSize {
		x.request = nil
	}
	if cap(x.text) > keptSize {
		x.text = nil
	}
	exchanges.Put(x)
}

// call passes a call on and its result back.
func (u *upstream) call(ctx context.Context, m *registry.Method, params []byte, out *registry.Out) error {
	x := exchanges.Get().(*exchange)
	defer x.giveBack()
	x.id, x.answered = u.ids.Add(1), false
	x.idText = fmt.Appendf(x.idText[:0], "%d", x.id)
	x.request = u.appendRequest(ctx, x.request[:0], x.id, m, params)
	c, down := u.connect(ctx)
	if down != nil {
		u.count(outcomeDown)
		return notSent(m, down)
	}
	again := c.used && m.Effect == registry.EffectRead
	err := u.exchange(ctx, c, x, out)
	if again && !x.answered && hungUp(err) && ctx.Err() == nil {
		u.retries.Add(1)
		if c, down = u.dial(ctx); down != nil {
			u.count(outcomeDown)
			return down
		}
		err = u.exchange(ctx, c, x, out)
	}
	return u.conclude(ctx, m, c, x, err)
}

// exchange sends the request and takes the answer.
func (u *upstream) exchange(ctx context.Context, c *conn, x *exchange, out *registry.Out) error {
	c.begin(ctx, u.alone)
	last, err := x.run(c, out)
	if c.finish() && reusable(err) && !last {
		c.used = true
		u.pool.keep(c)
	} else {
		u.pool.drop(c)
	}
	return err
}

// reusable tells whether a call that ended so has left its connection ready for the next one. Only an upstream's
// own error has.
func reusable(err error) bool { return err == nil || isAnswer(err) }

// run sends the request and passes the answer on. last says that the connection ends with it.
func (x *exchange) run(c *conn, out *registry.Out) (last bool, err error) {
	if err := c.send(x.request); err != nil {
		return true, err
	}
	if c.alone() {
		c.wait() // nothing can have come yet
	}
	h, err := c.readHead()
	x.answered = c.end > 0 || err == nil
	if err != nil {
		return true, err
	}
	b := c.body(h)
	text, whole, err := x.gather(&b)
	if err != nil {
		return true, err
	}
	if whole {
		result, err := readWhole(text, x.idText)
		if err != nil {
			return h.last, err
		}
		out.Buf = append(out.Buf, result...)
		return h.last, out.Spill()
	}
	s := stream{part: shortPart}
	if err := s.begin(text, x.idText, &b, out); err != nil {
		return true, err
	}
	return h.last, s.copy(&b, x.idText, out)
}

// gather reads a body as far as it is looked at before anything is passed on, and tells whether that is all. Of one
// that is known to be long that is no more than what stands before the result.
func (x *exchange) gather(b *body) (text []byte, whole bool, err error) {
	if text, ok := b.inBuffer(); ok {
		return text, true, nil
	}
	most := wholeSize
	if !b.chunked && b.left > wholeSize {
		most = beginSize
	}
	x.text = slices.Grow(x.text[:0], most)
	for len(x.text) < most {
		n, err := b.Read(x.text[len(x.text):most])
		x.text = x.text[:len(x.text)+n]
		if errors.Is(err, io.EOF) {
			return x.text, true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return x.text, b.ended, nil
}

// connect returns a connection to the upstream, a kept one where there is one.
func (u *upstream) connect(ctx context.Context) (*conn, *registry.UpstreamUnavailableError) {
	if c := u.pool.take(); c != nil {
		return c, nil
	}
	return u.dial(ctx)
}

// dial makes a new connection. Where that failed a moment ago it is not tried again.
func (u *upstream) dial(ctx context.Context) (*conn, *registry.UpstreamUnavailableError) {
	if err := u.access.closed(); err != nil {
		return nil, err
	}
	c, err := u.reach(ctx)
	if err == nil {
		u.found.Store(&c.path)
	}
	news := u.access.note(err)
	switch {
	case err != nil && news:
		u.log.Warn().Err(err).Msg("upstream cannot be reached; its methods answer upstream_unavailable until it can")
	case news:
		u.log.Info().Str("socket", c.path).Msg("upstream is there")
	}
	if err != nil {
		return nil, err
	}
	u.pool.add()
	return c, nil
}

// reach connects to the first socket that somebody answers on who is trusted. The error is about the first one
// at which there is anything, or about the first of all.
func (u *upstream) reach(ctx context.Context) (*conn, *registry.UpstreamUnavailableError) {
	path, why := u.Sockets[0], error(nil)
	for _, socket := range u.Sockets {
		c, err := u.reachAt(ctx, socket)
		if err == nil {
			return c, nil
		}
		if why == nil || errors.Is(why, syscall.ENOENT) && !errors.Is(err, syscall.ENOENT) {
			path, why = socket, err
		}
	}
	return nil, u.unavailable(path, connectCause(why))
}

func (u *upstream) reachAt(ctx context.Context, path string) (*conn, error) {
	raw, err := unixsock.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	peer, err := unixsock.PeerOf(raw)
	if err == nil && !u.trusts(peer.UID) {
		err = fault("it runs as user %d, which upstream_uids does not name", peer.UID)
	}
	var c *conn
	if err == nil {
		c, err = newConn(raw, path)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// trusts tells whether an upstream may run as that user. Who could put a socket there as somebody else would get
// to see, and answer, everybody's calls.
func (u *upstream) trusts(uid uint32) bool {
	return uid == 0 || uid == uint32(os.Geteuid()) || slices.Contains(u.uids, uid)
}

// connectCause says in words why nobody could be reached.
func connectCause(err error) string {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return "there is no such socket"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens on the socket"
	case errors.Is(err, syscall.EAGAIN):
		return "it takes no more connections"
	}
	text := err.Error()
	if i := strings.LastIndex(text, "connect: "); i >= 0 {
		text = text[i+len("connect: "):]
	}
	return text
}
