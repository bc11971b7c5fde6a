package ct

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

func (t *Tuple) decode(a *nlsock.Attrs) error {
	*t = Tuple{}
	n := a.Nested()
	for n.Next() {
		var err error
		switch n.Type() {
		case tupleIP:
			err = t.addresses(&n)
		case tupleProto:
			err = t.protocol(&n)
		case tupleZone:
			t.Zone, t.HasZone = n.BigUint16(), true
		}
		if err != nil {
			return err
		}
	}
	return n.Err()
}

func (t *Tuple) addresses(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		addr, _ := netip.AddrFromSlice(n.Bytes())
		switch n.Type() {
		case ipV4Src, ipV6Src:
			t.Src = addr
		case ipV4Dst, ipV6Dst:
			t.Dst = addr
		}
	}
	return n.Err()
}

func (t *Tuple) protocol(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case protoNum:
			t.Proto = n.Uint8()
		case protoSrcPort:
			t.SrcPort, t.HasPorts = n.BigUint16(), true
		case protoDstPort:
			t.DstPort, t.HasPorts = n.BigUint16(), true
		case protoICMPID, protoICMPv6ID:
			t.ICMPID, t.HasICMP = n.BigUint16(), true
		case protoICMPType, protoICMPv6Type:
			t.ICMPType, t.HasICMP = n.Uint8(), true
		case protoICMPCode, protoICMPv6Code:
			t.ICMPCode, t.HasICMP = n.Uint8(), true
		}
	}
	return n.Err()
}

func (i *Info) decode(a *nlsock.Attrs) error {
	*i = Info{}
	n := a.Nested()
	for n.Next() {
		var err error
		switch n.Type() {
		case infoTCP:
			i.Proto = unix.IPPROTO_TCP
			err = i.tcp(&n)
		case infoSCTP:
			i.Proto = unix.IPPROTO_SCTP
			err = i.sctp(&n)
		case infoDCCP:
			i.Proto = unix.IPPROTO_DCCP
			err = i.dccp(&n)
		}
		if err != nil {
			return err
		}
	}
	return n.Err()
}

func (i *Info) tcp(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case tcpState:
			i.State = n.Uint8()
		case tcpWScaleOrig:
			i.WScaleOrig = n.Uint8()
		case tcpWScaleReply:
			i.WScaleReply = n.Uint8()
		case tcpFlagsOrig:
			i.FlagsOrig = n.Uint8() // struct nf_ct_tcp_flags: flags, then the mask of a request
		case tcpFlagsReply:
			i.FlagsReply = n.Uint8()
		}
	}
	return n.Err()
}

func (i *Info) sctp(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case sctpState:
			i.State = n.Uint8()
		case sctpVTagOrig:
			i.VTagOrig = n.BigUint32()
		case sctpVTagReply:
			i.VTagReply = n.BigUint32()
		}
	}
	return n.Err()
}

func (i *Info) dccp(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case dccpState:
			i.State = n.Uint8()
		case dccpRole:
			i.Role = n.Uint8()
		case dccpHandshakeSeq:
			i.HandshakeSeq = n.BigUint64()
		}
	}
	return n.Err()
}

func (c *Counters) decode(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case countersPackets:
			c.Packets = n.BigUint64()
		case countersBytes:
			c.Bytes = n.BigUint64()
		case counters32Packets:
			c.Packets = uint64(n.BigUint32())
		case counters32Bytes:
			c.Bytes = uint64(n.BigUint32())
		}
	}
	return n.Err()
}

func (s *SeqAdj) decode(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case seqAdjPosition:
			s.Position = n.BigUint32()
		case seqAdjBefore:
			s.Before = int32(n.BigUint32())
		case seqAdjAfter:
			s.After = int32(n.BigUint32())
		}
	}
	return n.Err()
}

func (s *Synproxy) decode(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case synproxyISN:
			s.ISN = n.BigUint32()
		case synproxyITS:
			s.ITS = n.BigUint32()
		case synproxyTSOff:
			s.TSOff = n.BigUint32()
		}
	}
	return n.Err()
}

func (e *Entry) timestamps(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case timestampStart:
			e.Start = n.BigUint64()
		case timestampStop:
			e.Stop = n.BigUint64()
		}
	}
	return n.Err()
}
