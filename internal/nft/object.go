package nft

import (
	"context"
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Object is a stateful object (NFT_MSG_NEWOBJ). Data is for [Decode], into the struct of its type.
type Object struct {
	Family      uint8
	Table, Name string
	Handle      uint64
	Type        uint32 // Object*
	Use         uint32 // rules and elements that use it
	Data        []byte
	UserData    []byte
}

// Types of objects (NFT_OBJECT_*), with the struct of their data.
const (
	ObjectCounter       = 1  // Counter
	ObjectQuota         = 2  // Quota
	ObjectCtHelper      = 3  // CtHelper
	ObjectLimit         = 4  // Limit
	ObjectConnlimit     = 5  // Connlimit
	ObjectTunnel        = 6  // Tunnel
	ObjectCtTimeout     = 7  // CtTimeout
	ObjectSecmark       = 8  // Secmark
	ObjectCtExpectation = 9  // CtExpectation
	ObjectSynproxy      = 10 // Synproxy
)

// enum nft_object_attributes.
const (
	objectTable = iota + 1
	objectName
	objectType
	objectData
	objectUse
	objectHandle
	_
	objectUserData
)

// Objects yields the stateful objects of each table.
func (c *Conn) Objects(ctx context.Context, f Filter) iter.Seq2[*Object, error] {
	return dump(ctx, c, "dump objects", unix.NFT_MSG_GETOBJ, unix.NFT_MSG_NEWOBJ, objectTable, f, &c.object)
}

func (o *Object) place() (uint8, string) { return o.Family, o.Table }

func (o *Object) decode(family uint8, a nlsock.Attrs) error {
	*o = Object{Family: family, Table: o.Table}
	for a.Next() {
		switch a.Type() {
		case objectTable:
			nlsock.Reuse(&o.Table, a.Bytes())
		case objectName:
			o.Name = a.String()
		case objectType:
			o.Type = a.BigUint32()
		case objectData:
			o.Data = a.Bytes()
		case objectUse:
			o.Use = a.BigUint32()
		case objectHandle:
			o.Handle = a.BigUint64()
		case objectUserData:
			o.UserData = a.Bytes()
		}
	}
	return a.Err()
}

// CtHelper is the data of a helper.
type CtHelper struct {
	Name    string
	L3Proto uint16 // unix.NFPROTO_*; 0: any
	L4Proto uint8
}

func (x *CtHelper) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Name = w.String()
	case 2:
		x.L3Proto = w.BigUint16()
	case 3:
		x.L4Proto = w.Uint8()
	default:
		return false
	}
	return true
}

// CtTimeout is the data of a timeout policy.
type CtTimeout struct {
	L3Proto uint16
	L4Proto uint8

	timeouts []byte
}

func (x *CtTimeout) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.L3Proto = w.BigUint16()
	case 2:
		x.L4Proto = w.Uint8()
	case 3:
		x.timeouts = w.Bytes()
		for n := w.Nested(); ; {
			if !n.Next() {
				w.fail(n.Err())
				break
			}
			n.BigUint32()
		}
	default:
		return false
	}
	return true
}

// Timeouts yields the states that the policy names and their seconds.
func (x *CtTimeout) Timeouts() iter.Seq2[string, uint32] {
	return func(yield func(string, uint32) bool) {
		for n := nlsock.Attributes(x.timeouts); n.Next(); {
			if !yield(timeoutName(x.L4Proto, n.Type()), n.BigUint32()) {
				return
			}
		}
	}
}

// CtExpectation is the data of an expectation.
type CtExpectation struct {
	L3Proto uint16
	L4Proto uint8
	DPort   uint16
	Timeout uint32 // milliseconds
	Size    uint8
}

func (x *CtExpectation) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.L3Proto = w.BigUint16()
	case 2:
		x.L4Proto = w.Uint8()
	case 3:
		x.DPort = w.BigUint16()
	case 4:
		x.Timeout = w.Uint32() // the host's order, unlike its neighbours
	case 5:
		x.Size = w.Uint8()
	default:
		return false
	}
	return true
}

// Secmark is the data of a security mark.
type Secmark struct{ Context string }

func (x *Secmark) attribute(w *walk) bool {
	if w.Type() != 1 {
		return false
	}
	x.Context = w.String()
	return true
}

// Tunnel is the data of tunnel metadata.
type Tunnel struct {
	ID               uint32
	Src, Dst         netip.Addr
	FlowLabel        Opt[uint32] // IPv6
	Flags            uint32      // see TunnelFlags
	TOS, TTL         Opt[uint8]
	SrcPort, DstPort Opt[uint16]
	Options          TunnelOptions
}

// TunnelOptions are those of one kind of tunnel.
type TunnelOptions struct {
	Kind          string // vxlan, erspan, geneve; "" where there are none
	VxlanGBP      uint32
	ErspanVersion uint32
	ErspanIndex   uint32 // version 1
	ErspanDir     uint8  // version 2
	ErspanHwID    uint8  // version 2
	Geneve        [][]byte
}

func (x *Tunnel) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.ID = w.BigUint32()
	case 2, 3:
		x.addresses(w)
	case 4:
		x.Flags = w.BigUint32()
	case 5:
		x.TOS = some(w.Uint8())
	case 6:
		x.TTL = some(w.Uint8())
	case 7:
		x.SrcPort = some(w.BigUint16())
	case 8:
		x.DstPort = some(w.BigUint16())
	case 9:
		return x.Options.decode(w)
	default:
		return false
	}
	return true
}

// addresses reads NFTA_TUNNEL_KEY_IP or NFTA_TUNNEL_KEY_IP6: src, dst, and the flow label of the latter.
func (x *Tunnel) addresses(w *walk) {
	n := w.Nested()
	for n.Next() {
		addr, _ := netip.AddrFromSlice(n.Bytes())
		switch n.Type() {
		case 1:
			x.Src = addr
		case 2:
			x.Dst = addr
		case 3:
			x.FlowLabel = some(n.BigUint32())
		}
	}
	w.fail(n.Err())
}

// decode reads NFTA_TUNNEL_KEY_OPTS: one of vxlan and erspan, or one geneve an option.
func (o *TunnelOptions) decode(w *walk) bool {
	n := w.Nested()
	for n.Next() {
		switch n.Type() {
		case 1:
			o.Kind = "vxlan"
			o.vxlan(w, n.Nested())
		case 2:
			o.Kind = "erspan"
			o.erspan(w, n.Nested())
		case 3:
			o.Kind = "geneve"
			o.geneve(w, n.Nested())
		default:
			return false
		}
	}
	w.fail(n.Err())
	return true
}

func (o *TunnelOptions) vxlan(w *walk, a nlsock.Attrs) {
	for a.Next() {
		if a.Type() == 1 {
			o.VxlanGBP = a.BigUint32()
		}
	}
	w.fail(a.Err())
}

func (o *TunnelOptions) erspan(w *walk, a nlsock.Attrs) {
	for a.Next() {
		switch a.Type() {
		case 1:
			o.ErspanVersion = a.BigUint32()
		case 2:
			o.ErspanIndex = a.BigUint32()
		case 3:
			o.ErspanHwID = a.Uint8()
		case 4:
			o.ErspanDir = a.Uint8()
		}
	}
	w.fail(a.Err())
}

// geneve appends one option: class u16 in network order, type u8, data.
func (o *TunnelOptions) geneve(w *walk, a nlsock.Attrs) {
	var class uint16
	var typ uint8
	var data []byte
	for a.Next() {
		switch a.Type() {
		case 1:
			class = a.BigUint16()
		case 2:
			typ = a.Uint8()
		case 3:
			data = a.Bytes()
		}
	}
	w.fail(a.Err())
	option := append(binary.BigEndian.AppendUint16(nil, class), typ)
	o.Geneve = append(o.Geneve, append(option, data...))
}
