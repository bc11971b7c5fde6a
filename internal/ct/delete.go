package ct

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

const msgDelete = 2 // IPCTNL_MSG_CT_DELETE

// Delete deletes the entry that a dump of another Conn has just yielded, and tells whether it was still there.
// The kernel is given its tuple, its zone and its id, so that an entry that has come in its place stays.
func (c *Conn) Delete(ctx context.Context, e *Entry) (gone bool, err error) {
	req := c.request("delete conntrack entry", unix.NFNL_SUBSYS_CTNETLINK, msgDelete, e.Family)
	// A zone of one direction goes with the tuple of that direction.
	typ, tuple := uint16(AttrTupleOrig), &e.Original
	if e.Reply.HasZone {
		typ, tuple = AttrTupleReply, &e.Reply
	}
	req.Nest(typ, func() { tuple.append(req) })
	if e.Has(AttrZone) {
		req.BigUint16(AttrZone, e.Zone)
	}
	req.BigUint32(AttrID, e.ID)
	_, err = c.sock.Do(ctx, req, unix.NLM_F_ACK)
	if errors.Is(err, syscall.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, refusal(err)
	}
	return true, nil
}

// append is the inverse of decode.
func (t *Tuple) append(req *nlsock.Request) {
	req.Nest(tupleIP, func() {
		src, dst := uint16(ipV4Src), uint16(ipV4Dst)
		if t.Src.Is6() {
			src, dst = ipV6Src, ipV6Dst
		}
		req.Bytes(src, t.Src.AsSlice())
		req.Bytes(dst, t.Dst.AsSlice())
	})
	req.Nest(tupleProto, func() {
		req.Uint8(protoNum, t.Proto)
		switch {
		case t.HasPorts:
			req.BigUint16(protoSrcPort, t.SrcPort)
			req.BigUint16(protoDstPort, t.DstPort)
		case t.HasICMP && t.Proto == unix.IPPROTO_ICMPV6:
			t.appendICMP(req, protoICMPv6ID, protoICMPv6Type, protoICMPv6Code)
		case t.HasICMP:
			t.appendICMP(req, protoICMPID, protoICMPType, protoICMPCode)
		}
	})
	if t.HasZone {
		req.BigUint16(tupleZone, t.Zone)
	}
}

func (t *Tuple) appendICMP(req *nlsock.Request, id, typ, code uint16) {
	req.BigUint16(id, t.ICMPID)
	req.Uint8(typ, t.ICMPType)
	req.Uint8(code, t.ICMPCode)
}
