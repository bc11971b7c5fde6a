package nft

// The kinds here keep a state; all but Last are kinds of objects too.

// Counter is the kind counter.
type Counter struct{ Bytes, Packets uint64 }

func (x *Counter) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Bytes = w.BigUint64()
	case 2:
		x.Packets = w.BigUint64()
	case 3: // NFTA_COUNTER_PAD
	default:
		return false
	}
	return true
}

// Quota is the kind quota.
type Quota struct {
	Bytes    uint64
	Flags    uint32 // bit 0: matches above it, bit 1: it is used up
	Consumed uint64
}

func (x *Quota) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Bytes = w.BigUint64()
	case 2:
		x.Flags = w.BigUint32()
	case 3: // NFTA_QUOTA_PAD
	case 4:
		x.Consumed = w.BigUint64()
	default:
		return false
	}
	return true
}

// Limit is the kind limit.
type Limit struct {
	Rate  uint64
	Unit  uint64 // seconds
	Burst uint32
	Type  uint32 // 0 packets, 1 bytes
	Flags uint32 // bit 0: matches above it
}

func (x *Limit) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Rate = w.BigUint64()
	case 2:
		x.Unit = w.BigUint64()
	case 3:
		x.Burst = w.BigUint32()
	case 4:
		x.Type = w.BigUint32()
	case 5:
		x.Flags = w.BigUint32()
	case 6: // NFTA_LIMIT_PAD
	default:
		return false
	}
	return true
}

// Connlimit is the kind connlimit.
type Connlimit struct {
	Count uint32
	Flags uint32 // bit 0: matches above it
}

func (x *Connlimit) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Count = w.BigUint32()
	case 2:
		x.Flags = w.BigUint32()
	default:
		return false
	}
	return true
}

// Last is the kind last: when it last matched.
type Last struct {
	Set   bool
	Msecs uint64 // since then
}

func (x *Last) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Set = w.BigUint32() != 0
	case 2:
		x.Msecs = w.BigUint64()
	case 3: // NFTA_LAST_PAD
	default:
		return false
	}
	return true
}

// Synproxy is the kind synproxy.
type Synproxy struct {
	MSS    uint16
	WScale uint8
	Flags  uint32 // see SynproxyFlags
}

func (x *Synproxy) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.MSS = w.BigUint16()
	case 2:
		x.WScale = w.Uint8()
	case 3:
		x.Flags = w.BigUint32()
	default:
		return false
	}
	return true
}
