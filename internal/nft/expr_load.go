package nft

// The kinds here read what a packet is and what the host knows of it; some of them write it too.

// Payload is the kind payload: bytes of the packet.
type Payload struct {
	DReg       Register
	Base       uint32 // see PayloadBase
	Offset     uint32
	Len        uint32
	SReg       Register // of a write, as the rest is
	CsumType   Opt[uint32]
	CsumOffset Opt[uint32]
	CsumFlags  uint32
}

func (x *Payload) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Base = w.BigUint32()
	case 3:
		x.Offset = w.BigUint32()
	case 4:
		x.Len = w.BigUint32()
	case 5:
		x.SReg = w.register()
	case 6:
		x.CsumType = some(w.BigUint32())
	case 7:
		x.CsumOffset = some(w.BigUint32())
	case 8:
		x.CsumFlags = w.BigUint32()
	default:
		return false
	}
	return true
}

// Exthdr is the kind exthdr: an extension header, an option or a chunk.
type Exthdr struct {
	DReg   Register
	Type   uint8
	Offset uint32
	Len    uint32
	Flags  uint32 // bit 0: only whether it is there
	Op     uint32 // see ExthdrOp
	SReg   Register
}

func (x *Exthdr) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Type = w.Uint8()
	case 3:
		x.Offset = w.BigUint32()
	case 4:
		x.Len = w.BigUint32()
	case 5:
		x.Flags = w.BigUint32()
	case 6:
		x.Op = w.BigUint32()
	case 7:
		x.SReg = w.register()
	default:
		return false
	}
	return true
}

// Meta is the kind meta: what the host knows of the packet.
type Meta struct {
	DReg Register
	Key  uint32 // see MetaKey
	SReg Register
}

func (x *Meta) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Key = w.BigUint32()
	case 3:
		x.SReg = w.register()
	default:
		return false
	}
	return true
}

// Ct is the kind ct: what connection tracking knows of the packet.
type Ct struct {
	DReg      Register
	Key       uint32 // see CtKey
	Direction Opt[uint8]
	SReg      Register
}

func (x *Ct) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Key = w.BigUint32()
	case 3:
		x.Direction = some(w.Uint8())
	case 4:
		x.SReg = w.register()
	default:
		return false
	}
	return true
}

// Rt is the kind rt: the packet's route.
type Rt struct {
	DReg Register
	Key  uint32 // see RtKey
}

func (x *Rt) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Key = w.BigUint32()
	default:
		return false
	}
	return true
}

// Socket is the kind socket: the packet's socket.
type Socket struct {
	Key   uint32 // see SocketKey
	DReg  Register
	Level Opt[uint32]
}

func (x *Socket) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Key = w.BigUint32()
	case 2:
		x.DReg = w.register()
	case 3:
		x.Level = some(w.BigUint32())
	default:
		return false
	}
	return true
}

// Fib is the kind fib: a look-up in the routing tables.
type Fib struct {
	DReg   Register
	Result uint32 // see FibResult
	Flags  uint32 // see FibFlags
}

func (x *Fib) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Result = w.BigUint32()
	case 3:
		x.Flags = w.BigUint32()
	default:
		return false
	}
	return true
}

// Osf is the kind osf: the sender's operating system by the shape of its SYN.
type Osf struct {
	DReg  Register
	TTL   uint8
	Flags Opt[uint32] // bit 0: the version too
}

func (x *Osf) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.TTL = w.Uint8()
	case 3:
		x.Flags = some(w.BigUint32())
	default:
		return false
	}
	return true
}

// TunnelKey is the kind tunnel: tunnel data of the packet.
type TunnelKey struct {
	Key  uint32 // 0 path, 1 id
	DReg Register
	Mode Opt[uint32] // 0 none, 1 rx, 2 tx
}

func (x *TunnelKey) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Key = w.BigUint32()
	case 2:
		x.DReg = w.register()
	case 3:
		x.Mode = some(w.BigUint32())
	default:
		return false
	}
	return true
}

// Xfrm is the kind xfrm: IPsec data of the packet.
type Xfrm struct {
	DReg Register
	Key  uint32 // see XfrmKey
	Dir  uint8  // XFRM_POLICY_IN 0, XFRM_POLICY_OUT 1
	Num  uint32
}

func (x *Xfrm) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Key = w.BigUint32()
	case 3:
		x.Dir = w.Uint8()
	case 4:
		x.Num = w.BigUint32()
	default:
		return false
	}
	return true
}

// Inner is the kind inner: an expression that looks into the packet inside a tunnel.
type Inner struct {
	Num     uint32
	Type    uint32
	Flags   uint32 // see InnerFlags
	HdrSize uint32
	Expr    Expression // payload or meta
}

func (x *Inner) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Num = w.BigUint32()
	case 2:
		x.Type = w.BigUint32()
	case 3:
		x.Flags = w.BigUint32()
	case 4:
		x.HdrSize = w.BigUint32()
	case 5:
		var err error
		x.Expr, err = expression(w.Bytes())
		w.fail(err)
	default:
		return false
	}
	return true
}

// Xt is the kinds match and target: an extension of xtables, in its own structure.
type Xt struct {
	Name string
	Rev  uint32
	Info []byte
}

func (x *Xt) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Name = w.String()
	case 2:
		x.Rev = w.BigUint32()
	case 3:
		x.Info = w.Bytes()
	default:
		return false
	}
	return true
}
