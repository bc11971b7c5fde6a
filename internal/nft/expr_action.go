package nft

// The kinds here do something with the packet.

// Log is the kind log.
type Log struct {
	Group      Opt[uint16]
	Prefix     string
	Snaplen    Opt[uint32]
	QThreshold Opt[uint16]
	Level      Opt[uint32] // see LogLevel
	Flags      uint32      // see LogFlags
}

func (x *Log) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Group = some(w.BigUint16())
	case 2:
		x.Prefix = w.String()
	case 3:
		x.Snaplen = some(w.BigUint32())
	case 4:
		x.QThreshold = some(w.BigUint16())
	case 5:
		x.Level = some(w.BigUint32())
	case 6:
		x.Flags = w.BigUint32()
	default:
		return false
	}
	return true
}

// Reject is the kind reject.
type Reject struct {
	Type uint32 // see RejectType
	Code Opt[uint8]
}

func (x *Reject) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Type = w.BigUint32()
	case 2:
		x.Code = some(w.Uint8())
	default:
		return false
	}
	return true
}

// Nat is the kind nat.
type Nat struct {
	Type                   uint32 // 0 snat, 1 dnat
	Family                 uint32
	RegAddrMin             Register
	RegAddrMax             Register
	RegPortMin, RegPortMax Register
	Flags                  uint32 // see NatFlags
}

func (x *Nat) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Type = w.BigUint32()
	case 2:
		x.Family = w.BigUint32()
	case 3:
		x.RegAddrMin = w.register()
	case 4:
		x.RegAddrMax = w.register()
	case 5:
		x.RegPortMin = w.register()
	case 6:
		x.RegPortMax = w.register()
	case 7:
		x.Flags = w.BigUint32()
	default:
		return false
	}
	return true
}

// Masq is the kind masq.
type Masq struct {
	Flags                  uint32 // see MasqFlags
	RegPortMin, RegPortMax Register
}

func (x *Masq) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Flags = w.BigUint32()
	case 2:
		x.RegPortMin = w.register()
	case 3:
		x.RegPortMax = w.register()
	default:
		return false
	}
	return true
}

// Redir is the kind redir.
type Redir struct {
	RegPortMin, RegPortMax Register
	Flags                  uint32 // see NatFlags
}

func (x *Redir) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.RegPortMin = w.register()
	case 2:
		x.RegPortMax = w.register()
	case 3:
		x.Flags = w.BigUint32()
	default:
		return false
	}
	return true
}

// Tproxy is the kind tproxy.
type Tproxy struct {
	Family           uint32 // 0: both
	RegAddr, RegPort Register
}

func (x *Tproxy) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Family = w.BigUint32()
	case 2:
		x.RegAddr = w.register()
	case 3:
		x.RegPort = w.register()
	default:
		return false
	}
	return true
}

// Queue is the kind queue.
type Queue struct {
	Num, Total Opt[uint16]
	Flags      uint16 // see QueueFlags
	SRegNum    Register
}

func (x *Queue) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Num = some(w.BigUint16())
	case 2:
		x.Total = some(w.BigUint16())
	case 3:
		x.Flags = w.BigUint16()
	case 4:
		x.SRegNum = w.register()
	default:
		return false
	}
	return true
}

// Dup is the kind dup: a copy of the packet for another.
type Dup struct{ SRegAddr, SRegDev Register }

func (x *Dup) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.SRegAddr = w.register()
	case 2:
		x.SRegDev = w.register()
	default:
		return false
	}
	return true
}

// Fwd is the kind fwd: out by another device.
type Fwd struct {
	SRegDev, SRegAddr Register
	Family            Opt[uint32]
}

func (x *Fwd) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.SRegDev = w.register()
	case 2:
		x.SRegAddr = w.register()
	case 3:
		x.Family = some(w.BigUint32())
	default:
		return false
	}
	return true
}

// FlowOffload is the kind flow_offload.
type FlowOffload struct{ Table string }

func (x *FlowOffload) attribute(w *walk) bool {
	if w.Type() != 1 {
		return false
	}
	x.Table = w.String()
	return true
}
