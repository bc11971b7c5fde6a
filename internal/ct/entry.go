package ct

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Entry is one tracked connection (IPCTNL_MSG_CT_NEW). Slices hold until the next row. A number whose
// attribute the message lacked is 0: see [Entry.Has].
type Entry struct {
	Family uint8 // AF_INET or AF_INET6

	Original, Reply Tuple
	Master          Tuple // of the connection that expected this one

	Status  uint32 // IPS_* bits (nf_conntrack_common.h)
	Timeout uint32 // seconds
	Mark    uint32
	Use     uint32 // references
	ID      uint32
	Zone    uint16 // of both directions; a zone of one direction stands in its tuple

	Info Info

	CountersOrig, CountersReply Counters
	SeqAdjOrig, SeqAdjReply     SeqAdj
	Start, Stop                 uint64 // nanoseconds since 1970; Stop is 0 while it lasts
	Synproxy                    Synproxy

	Labels []byte // a bitmap in the host's longs
	Helper string
	SecCtx string

	attrs uint32
}

// Has tells whether the message had an attribute, one of Attr*.
func (e *Entry) Has(attr uint16) bool { return attr < 32 && e.attrs&(1<<attr) != 0 }

// ZoneID is the one zone that the entry was made in, whether it holds for both directions or for one.
func (e *Entry) ZoneID() uint16 {
	switch {
	case e.Original.HasZone:
		return e.Original.Zone
	case e.Reply.HasZone:
		return e.Reply.Zone
	}
	return e.Zone
}

// Tuple is what identifies packets of one direction.
type Tuple struct {
	Src, Dst netip.Addr
	Proto    uint8 // IP protocol

	// HasPorts: the protocol has ports; for GRE they are the keys of the calls.
	SrcPort, DstPort uint16
	// HasICMP: ICMP or ICMPv6.
	ICMPID             uint16
	ICMPType, ICMPCode uint8
	// HasZone: the zone holds for this direction alone.
	Zone uint16

	HasPorts, HasICMP, HasZone bool
}

// Info is what the tracker of a protocol keeps (CTA_PROTOINFO). Which of the fields mean something is
// for Proto to say: IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_DCCP, or 0 where there is nothing.
type Info struct {
	Proto uint8
	State uint8 // see StateName

	WScaleOrig, WScaleReply uint8 // TCP
	FlagsOrig, FlagsReply   uint8 // TCP: IP_CT_TCP_FLAG_*

	VTagOrig, VTagReply uint32 // SCTP

	Role         uint8  // DCCP: 0 the original sender is the client, 1 the server
	HandshakeSeq uint64 // DCCP
}

// Counters of one direction, where accounting is on (nf_conntrack_acct).
type Counters struct{ Packets, Bytes uint64 }

// SeqAdj is the shift of TCP sequence numbers in one direction.
type SeqAdj struct {
	Position      uint32 // from this sequence number on After holds, before it Before
	Before, After int32
}

// Synproxy is the state of a connection whose handshake a SYN proxy made.
type Synproxy struct{ ISN, ITS, TSOff uint32 }

// Entries yields the entries that f wants. A kernel without connection tracking is ErrNoConntrack.
func (c *Conn) Entries(ctx context.Context, f Filter) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		err := c.dump(ctx, &f, true, yield)
		if f.needsHelp() && (errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP)) {
			// A kernel without marks or zones, or with another idea of filters: take all, compare here.
			err = c.dump(ctx, &f, false, yield)
		}
		if err != nil {
			yield(nil, refusal(err))
		}
	}
}

// dump yields rows, and returns the error that ended them, nil where the consumer did. The kernel
// refuses a request before its first row.
func (c *Conn) dump(ctx context.Context, f *Filter, push bool, yield func(*Entry, error) bool) error {
	req := c.request("dump conntrack", unix.NFNL_SUBSYS_CTNETLINK, msgGet, f.family())
	if push {
		f.push(req)
	}
	for m, err := range c.sock.Dump(ctx, req) {
		if err != nil {
			return err
		}
		if m.Type != unix.NFNL_SUBSYS_CTNETLINK<<8|msgNew {
			continue
		}
		if err := c.entry.decode(m.Data); err != nil {
			return req.Fail(err)
		}
		if f.wants(&c.entry) && !yield(&c.entry, nil) {
			return nil
		}
	}
	return nil
}

// decode reads struct nfgenmsg and the attributes behind it.
func (e *Entry) decode(b []byte) error {
	if len(b) < headerSize {
		return ErrMalformed
	}
	*e = Entry{Family: b[0], Helper: e.Helper, SecCtx: e.SecCtx}
	a := nlsock.Attributes(b[headerSize:])
	for a.Next() {
		if a.Type() < 32 {
			e.attrs |= 1 << a.Type()
		}
		if err := e.attribute(&a); err != nil {
			return err
		}
	}
	if !e.Has(AttrHelp) {
		e.Helper = ""
	}
	if !e.Has(AttrSecCtx) {
		e.SecCtx = ""
	}
	if err := a.Err(); err != nil {
		return err
	}
	return e.check()
}

// check wants the two tuples of the message's family, without which it is no entry.
func (e *Entry) check() error {
	ok := e.Original.is(e.Family) && e.Reply.is(e.Family)
	if e.Has(AttrTupleMaster) {
		ok = ok && e.Master.is(e.Family)
	}
	if !ok {
		return ErrMalformed
	}
	return nil
}

func (t *Tuple) is(family uint8) bool {
	switch family {
	case unix.AF_INET:
		return t.Src.Is4() && t.Dst.Is4()
	case unix.AF_INET6:
		return t.Src.Is6() && t.Dst.Is6()
	}
	return false
}

func (e *Entry) attribute(a *nlsock.Attrs) error {
	switch a.Type() {
	case AttrTupleOrig:
		return e.Original.decode(a)
	case AttrTupleReply:
		return e.Reply.decode(a)
	case AttrTupleMaster:
		return e.Master.decode(a)
	case AttrStatus:
		e.Status = a.BigUint32()
	case AttrTimeout:
		e.Timeout = a.BigUint32()
	case AttrMark:
		e.Mark = a.BigUint32()
	case AttrUse:
		e.Use = a.BigUint32()
	case AttrID:
		e.ID = a.BigUint32()
	case AttrZone:
		e.Zone = a.BigUint16()
	case AttrLabels:
		e.Labels = a.Bytes()
	default:
		return e.nested(a)
	}
	return nil
}

func (e *Entry) nested(a *nlsock.Attrs) error {
	switch a.Type() {
	case AttrProtoInfo:
		return e.Info.decode(a)
	case AttrCountersOrig:
		return e.CountersOrig.decode(a)
	case AttrCountersReply:
		return e.CountersReply.decode(a)
	case AttrSeqAdjOrig:
		return e.SeqAdjOrig.decode(a)
	case AttrSeqAdjReply:
		return e.SeqAdjReply.decode(a)
	case AttrSynproxy:
		return e.Synproxy.decode(a)
	case AttrTimestamp:
		return e.timestamps(a)
	case AttrHelp:
		return name(&e.Helper, a, helpName)
	case AttrSecCtx:
		return name(&e.SecCtx, a, secCtxName)
	}
	return nil
}

// name reads the one text that nests in a.
func name(to *string, a *nlsock.Attrs, typ uint16) error {
	n := a.Nested()
	for n.Next() {
		if n.Type() == typ {
			nlsock.Reuse(to, n.Bytes())
		}
	}
	return n.Err()
}
