package nlsock

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Batch is several requests that the kernel takes as one (nfnetlink): all of them happen or none. They are put
// one behind the other and go out in one datagram. A Batch is used once.
type Batch struct {
	conn *Conn
	req  Request // the messages so far; its appenders work on the last one
	ops  []string
	at   []int // where each message begins
}

// Batch begins a batch on the socket. A request that was begun on it is gone.
func (c *Conn) Batch() *Batch {
	return &Batch{conn: c, req: Request{b: c.req.b[:0]}}
}

// Add begins the next message, whose header and attributes are then appended to the Request that it returns, up
// to the next Add. op names it in errors.
func (b *Batch) Add(op string, typ, flags uint16) *Request {
	b.close()
	b.at = append(b.at, len(b.req.b))
	b.ops = append(b.ops, op)
	b.req.op = op
	b.req.b = append(b.req.b, make([]byte, headerSize)...)
	header := b.req.b[len(b.req.b)-headerSize:]
	native.PutUint16(header[4:], typ)
	native.PutUint16(header[6:], flags|unix.NLM_F_REQUEST)
	return &b.req
}

// close writes the length of the last message.
func (b *Batch) close() {
	if n := len(b.at); n > 0 {
		native.PutUint32(b.req.b[b.at[n-1]:], uint32(len(b.req.b)-b.at[n-1]))
	}
}

// Len is how many messages there are.
func (b *Batch) Len() int { return len(b.at) }

// Size is how many bytes they have.
func (b *Batch) Size() int { return len(b.req.b) }

// Commit sends the batch and waits for the acknowledgement of its message ack, counted from 0, which the kernel
// gives when all is done or nothing. The error is the first refusal, an [*OpError] that names the message
// refused. What else the kernel answers is handed to take, which may be nil: with NLM_F_ECHO the objects made.
func (b *Batch) Commit(ctx context.Context, ack int, take func(Message)) error {
	c := b.conn
	if err := ctx.Err(); err != nil {
		return &OpError{Op: b.ops[ack], Err: err}
	}
	if c.inUse {
		return &OpError{Op: b.ops[ack], Err: errInUse}
	}
	v := verdict{batch: b, first: c.seq + 1, ack: c.seq + 1 + uint32(ack), take: take}
	b.number(v.first, ack)
	c.seq += uint32(len(b.at))
	if err := c.roomToSend(len(c.req.b)); err != nil {
		return &OpError{Op: b.ops[ack], Err: err}
	}
	end, err := c.sendPrepared(ctx, b.ops[ack])
	if err != nil {
		return err
	}
	err = v.read(c)
	undisturbed := end()
	c.inUse = !v.done || !undisturbed
	if err = cmp.Or(err, v.refused); err != nil {
		return c.wrap(ctx, b.ops[ack], err)
	}
	return nil
}

// number makes the messages what the socket sends next.
func (b *Batch) number(first uint32, ack int) {
	b.close()
	for i, at := range b.at {
		native.PutUint32(b.req.b[at+8:], first+uint32(i))
	}
	flags := b.req.b[b.at[ack]+6:]
	native.PutUint16(flags, native.Uint16(flags)|unix.NLM_F_ACK)
	b.conn.req = b.req
}

// verdict is what the kernel makes of a batch.
type verdict struct {
	batch      *Batch
	first, ack uint32
	take       func(Message)
	refused    error // the first refusal
	done       bool
}

// read receives until the acknowledgement is there. A batch that the kernel cannot even begin is answered with
// the sequence number of its first message and nothing more.
func (v *verdict) read(c *Conn) error {
	for !v.done {
		b, err := c.receive()
		if err != nil {
			return err
		}
		for len(b) > 0 {
			if len(b) < headerSize {
				return ErrMalformed
			}
			size := int(native.Uint32(b))
			if size < headerSize || size > len(b) {
				return ErrMalformed
			}
			v.message(native.Uint32(b[8:]), Message{Type: native.Uint16(b[4:]), Flags: native.Uint16(b[6:]), Data: b[headerSize:size:size]})
			b = b[min(align(size), len(b)):]
		}
	}
	return nil
}

func (v *verdict) message(seq uint32, m Message) {
	i := seq - v.first
	if i >= uint32(len(v.batch.at)) {
		return // a notification's
	}
	if m.Type != unix.NLMSG_ERROR {
		if v.take != nil {
			v.take(m)
		}
		return
	}
	err := errorOf(m)
	var told *OpError
	if errors.As(err, &told) {
		told.Op = v.batch.ops[i]
	}
	if v.refused == nil {
		v.refused = err
	}
	v.done = v.done || seq == v.ack || seq == v.first && err != nil
}

// sendBuffer is what a socket has room for without asking (net.core.wmem_default, mostly 208 KiB), with room
// for what the kernel adds.
const sendBuffer = 64 << 10

// roomToSend makes room for a datagram of n bytes.
func (c *Conn) roomToSend(n int) error {
	if n <= sendBuffer {
		return nil
	}
	var err error
	control := c.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*n)
		if err != nil { // without the capability, as much as the host lets anyone have
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 2*n)
		}
	})
	if err = errors.Join(control, err); err != nil {
		return fmt.Errorf("room for a batch of %d bytes: %w", n, err)
	}
	return nil
}
