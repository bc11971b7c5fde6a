package ruleset

import (
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Registers of 0 are none in all kinds below, but for the destination of a lookup: only verdicts are
// written there.

func bitwiseOf(v *nft.Bitwise) *registry.NftBitwise {
	return &registry.NftBitwise{
		Sreg:   int64(v.SReg),
		Dreg:   int64(v.DReg),
		Sreg2:  wire.NonZero(v.SReg2),
		Length: int64(v.Len),
		Op:     nft.BitwiseOp.Name(v.Op),
		Mask:   wire.Hex(v.Mask),
		Xor:    wire.Hex(v.Xor),
		Data:   wire.Hex(v.Data),
	}
}

func byteorderOf(v *nft.Byteorder) *registry.NftByteorder {
	return &registry.NftByteorder{
		Sreg:   int64(v.SReg),
		Dreg:   int64(v.DReg),
		Op:     nft.ByteorderOp.Name(v.Op),
		Length: int64(v.Len),
		Size:   int64(v.Size),
	}
}

func connlimitOf(v *nft.Connlimit) *registry.NftConnlimit {
	return &registry.NftConnlimit{Count: int64(v.Count), Invert: flag(v.Flags, 0)}
}

func counterOf(v *nft.Counter) *registry.NftCounter {
	return &registry.NftCounter{Packets: wire.Counter(v.Packets), Bytes: wire.Counter(v.Bytes)}
}

func ctOf(v *nft.Ct) *registry.NftCt {
	x := &registry.NftCt{Key: nft.CtKey.Name(v.Key), Dreg: wire.NonZero(v.DReg), Sreg: wire.NonZero(v.SReg)}
	if v.Direction.Set {
		x.Direction = registry.Some(nft.Direction.Name(uint32(v.Direction.Value)))
	}
	return x
}

func dynsetOf(v *nft.Dynset) *registry.NftDynset {
	x := &registry.NftDynset{
		Set:      v.Set,
		SetID:    optional(v.SetID),
		Op:       nft.DynsetOp.Name(v.Op),
		SregKey:  int64(v.SRegKey),
		SregData: wire.NonZero(v.SRegVal),
		TimeoutS: seconds(v.Timeout),
		Invert:   flag(v.Flags, 0),
	}
	for e := range v.Expressions() {
		x.Expressions = append(x.Expressions, statefulOf(e))
	}
	return x
}

// seconds is a number of milliseconds in seconds; absent for 0, which stands for none.
func seconds(ms uint64) registry.Opt[float64] { return wire.When(ms != 0, float64(ms)/1000) }

func exthdrOf(v *nft.Exthdr) *registry.NftExthdr {
	return &registry.NftExthdr{
		Op:         nft.ExthdrOp.Name(v.Op),
		HeaderType: int64(v.Type),
		Offset:     int64(v.Offset),
		Length:     int64(v.Len),
		Present:    flag(v.Flags, 0),
		Dreg:       wire.NonZero(v.DReg),
		Sreg:       wire.NonZero(v.SReg),
	}
}

func fibOf(v *nft.Fib) *registry.NftFib {
	return &registry.NftFib{
		Dreg:   int64(v.DReg),
		Result: nft.FibResult.Name(v.Result),
		Flags:  flagNames(nft.FibFlags, v.Flags),
	}
}

func fwdOf(v *nft.Fwd) *registry.NftFwd {
	return &registry.NftFwd{
		SregDevice:  int64(v.SRegDev),
		SregAddress: wire.NonZero(v.SRegAddr),
		Family:      wire.When(v.Family.Set, Family(v.Family.Value)),
	}
}

func hashOf(v *nft.Hash) *registry.NftHash {
	return &registry.NftHash{
		HashType: nft.HashType.Name(v.Type),
		Sreg:     wire.NonZero(v.SReg),
		Dreg:     int64(v.DReg),
		Length:   wire.NonZero(v.Len),
		Modulus:  int64(v.Modulus),
		Seed:     seedOf(v.Seed),
		Offset:   int64(v.Offset),
	}
}

func lastOf(v *nft.Last) *registry.NftLast {
	return &registry.NftLast{Set: v.Set, AgoS: wire.When(v.Set, float64(v.Msecs)/1000)}
}

func limitOf(v *nft.Limit) *registry.NftLimit {
	return &registry.NftLimit{
		Rate:      wire.Counter(v.Rate),
		UnitS:     wire.Counter(v.Unit),
		Burst:     int64(v.Burst),
		LimitType: nft.LimitType.Name(v.Type),
		Invert:    flag(v.Flags, 0),
	}
}

func logOf(v *nft.Log) *registry.NftLog {
	x := &registry.NftLog{
		Prefix:         registry.NonZero(v.Prefix),
		Group:          optional(v.Group),
		Snaplen:        optional(v.Snaplen),
		QueueThreshold: optional(v.QThreshold),
		Flags:          flagNames(nft.LogFlags, v.Flags),
	}
	if v.Level.Set {
		x.Level = registry.Some(nft.LogLevel.Name(v.Level.Value))
	}
	return x
}

func lookupOf(v *nft.Lookup) *registry.NftLookup {
	return &registry.NftLookup{
		Set:    v.Set,
		SetID:  optional(v.SetID),
		Sreg:   int64(v.SReg),
		Dreg:   optional(v.DReg),
		Invert: flag(v.Flags, 0),
	}
}

func masqOf(v *nft.Masq) *registry.NftMasq {
	return &registry.NftMasq{
		Flags:       flagNames(nft.MasqFlags, v.Flags),
		SregPortMin: wire.NonZero(v.RegPortMin),
		SregPortMax: wire.NonZero(v.RegPortMax),
	}
}

func metaOf(v *nft.Meta) *registry.NftMeta {
	return &registry.NftMeta{Key: nft.MetaKey.Name(v.Key), Dreg: wire.NonZero(v.DReg), Sreg: wire.NonZero(v.SReg)}
}

func natOf(v *nft.Nat) *registry.NftNat {
	return &registry.NftNat{
		NATType:        nft.NatType.Name(v.Type),
		Family:         Family(v.Family),
		SregAddressMin: wire.NonZero(v.RegAddrMin),
		SregAddressMax: wire.NonZero(v.RegAddrMax),
		SregPortMin:    wire.NonZero(v.RegPortMin),
		SregPortMax:    wire.NonZero(v.RegPortMax),
		Flags:          flagNames(nft.NatFlags, v.Flags),
	}
}

func numgenOf(v *nft.Numgen) *registry.NftNumgen {
	return &registry.NftNumgen{
		Dreg:      int64(v.DReg),
		Modulus:   int64(v.Modulus),
		Generator: nft.NumgenType.Name(v.Type),
		Offset:    int64(v.Offset),
	}
}

func objrefOf(v *nft.Objref) *registry.NftObjref {
	x := &registry.NftObjref{
		Object: registry.NonZero(v.Name),
		Sreg:   wire.NonZero(v.SReg),
		Set:    registry.NonZero(v.Set),
		SetID:  optional(v.SetID),
	}
	if v.Type.Set {
		x.ObjectType = registry.Some(nft.ObjectType.Name(v.Type.Value))
	}
	return x
}

func osfOf(v *nft.Osf) *registry.NftOsf {
	return &registry.NftOsf{Dreg: int64(v.DReg), TTL: int64(v.TTL), Version: wire.When(v.Flags.Set, flag(v.Flags.Value, 0))}
}

func payloadOf(v *nft.Payload) *registry.NftPayload {
	x := &registry.NftPayload{
		Base:           nft.PayloadBase.Name(v.Base),
		Offset:         int64(v.Offset),
		Length:         int64(v.Len),
		Dreg:           wire.NonZero(v.DReg),
		Sreg:           wire.NonZero(v.SReg),
		ChecksumOffset: optional(v.CsumOffset),
		ChecksumFlags:  flagNames(nft.ChecksumFlags, v.CsumFlags),
	}
	if v.CsumType.Set {
		x.ChecksumType = registry.Some(nft.ChecksumType.Name(v.CsumType.Value))
	}
	return x
}

func queueOf(v *nft.Queue) *registry.NftQueue {
	return &registry.NftQueue{
		Number:     optional(v.Num),
		Total:      optional(v.Total),
		Flags:      flagNames(nft.QueueFlags, v.Flags),
		SregNumber: wire.NonZero(v.SRegNum),
	}
}

func quotaOf(v *nft.Quota) *registry.NftQuota {
	return &registry.NftQuota{Bytes: wire.Counter(v.Bytes), Consumed: wire.Counter(v.Consumed), Invert: flag(v.Flags, 0), Depleted: flag(v.Flags, 1)}
}

func redirOf(v *nft.Redir) *registry.NftRedir {
	return &registry.NftRedir{
		SregPortMin: wire.NonZero(v.RegPortMin),
		SregPortMax: wire.NonZero(v.RegPortMax),
		Flags:       flagNames(nft.NatFlags, v.Flags),
	}
}

func rejectOf(v *nft.Reject) *registry.NftReject {
	return &registry.NftReject{RejectType: nft.RejectType.Name(v.Type), IcmpCode: optional(v.Code)}
}

func socketOf(v *nft.Socket) *registry.NftSocket {
	return &registry.NftSocket{Dreg: int64(v.DReg), Key: nft.SocketKey.Name(v.Key), Level: optional(v.Level)}
}

func synproxyOf(v *nft.Synproxy) *registry.NftSynproxy {
	return &registry.NftSynproxy{Mss: int64(v.MSS), WindowScale: int64(v.WScale), Flags: flagNames(nft.SynproxyFlags, v.Flags)}
}

func tproxyOf(v *nft.Tproxy) *registry.NftTproxy {
	return &registry.NftTproxy{Family: Family(v.Family), SregAddress: wire.NonZero(v.RegAddr), SregPort: wire.NonZero(v.RegPort)}
}

func tunnelKeyOf(v *nft.TunnelKey) *registry.NftTunnel {
	x := &registry.NftTunnel{Dreg: int64(v.DReg), Key: nft.TunnelKeyName.Name(v.Key)}
	if v.Mode.Set {
		x.Mode = registry.Some(nft.TunnelMode.Name(v.Mode.Value))
	}
	return x
}

func xfrmOf(v *nft.Xfrm) *registry.NftXfrm {
	return &registry.NftXfrm{
		Dreg:      int64(v.DReg),
		Key:       nft.XfrmKey.Name(v.Key),
		Direction: nft.XfrmDir.Name(uint32(v.Dir)),
		Number:    int64(v.Num),
	}
}
