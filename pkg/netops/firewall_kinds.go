package netops

import (
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Registers of 0 are none in all kinds below, but for the destination of a lookup: only verdicts are
// written there.

func nftBitwise(v *nft.Bitwise) *registry.NftBitwise {
	return &registry.NftBitwise{
		Sreg:   int64(v.SReg),
		Dreg:   int64(v.DReg),
		Sreg2:  nonZero(v.SReg2),
		Length: int64(v.Len),
		Op:     nft.BitwiseOp.Name(v.Op),
		Mask:   hexText(v.Mask),
		Xor:    hexText(v.Xor),
		Data:   hexText(v.Data),
	}
}

func nftByteorder(v *nft.Byteorder) *registry.NftByteorder {
	return &registry.NftByteorder{
		Sreg:   int64(v.SReg),
		Dreg:   int64(v.DReg),
		Op:     nft.ByteorderOp.Name(v.Op),
		Length: int64(v.Len),
		Size:   int64(v.Size),
	}
}

func nftConnlimit(v *nft.Connlimit) *registry.NftConnlimit {
	return &registry.NftConnlimit{Count: int64(v.Count), Invert: flag(v.Flags, 0)}
}

func nftCounter(v *nft.Counter) *registry.NftCounter {
	return &registry.NftCounter{Packets: counter(v.Packets), Bytes: counter(v.Bytes)}
}

func nftCt(v *nft.Ct) *registry.NftCt {
	x := &registry.NftCt{Key: nft.CtKey.Name(v.Key), Dreg: nonZero(v.DReg), Sreg: nonZero(v.SReg)}
	if v.Direction.Set {
		x.Direction = registry.Some(nft.Direction.Name(uint32(v.Direction.Value)))
	}
	return x
}

func nftDynset(v *nft.Dynset) *registry.NftDynset {
	x := &registry.NftDynset{
		Set:      v.Set,
		SetID:    optional(v.SetID),
		Op:       nft.DynsetOp.Name(v.Op),
		SregKey:  int64(v.SRegKey),
		SregData: nonZero(v.SRegVal),
		TimeoutS: nftSeconds(v.Timeout),
		Invert:   flag(v.Flags, 0),
	}
	for e := range v.Expressions() {
		x.Expressions = append(x.Expressions, nftStateful(e))
	}
	return x
}

// nftSeconds is a number of milliseconds in seconds; absent for 0, which stands for none.
func nftSeconds(ms uint64) registry.Opt[float64] { return when(ms != 0, float64(ms)/1000) }

func nftExthdr(v *nft.Exthdr) *registry.NftExthdr {
	return &registry.NftExthdr{
		Op:         nft.ExthdrOp.Name(v.Op),
		HeaderType: int64(v.Type),
		Offset:     int64(v.Offset),
		Length:     int64(v.Len),
		Present:    flag(v.Flags, 0),
		Dreg:       nonZero(v.DReg),
		Sreg:       nonZero(v.SReg),
	}
}

func nftFib(v *nft.Fib) *registry.NftFib {
	return &registry.NftFib{
		Dreg:   int64(v.DReg),
		Result: nft.FibResult.Name(v.Result),
		Flags:  flagNames(nft.FibFlags, v.Flags),
	}
}

func nftFwd(v *nft.Fwd) *registry.NftFwd {
	return &registry.NftFwd{
		SregDevice:  int64(v.SRegDev),
		SregAddress: nonZero(v.SRegAddr),
		Family:      when(v.Family.Set, nftFamily(v.Family.Value)),
	}
}

func nftHash(v *nft.Hash) *registry.NftHash {
	return &registry.NftHash{
		HashType: nft.HashType.Name(v.Type),
		Sreg:     nonZero(v.SReg),
		Dreg:     int64(v.DReg),
		Length:   nonZero(v.Len),
		Modulus:  int64(v.Modulus),
		Seed:     nftSeed(v.Seed),
		Offset:   int64(v.Offset),
	}
}

func nftLast(v *nft.Last) *registry.NftLast {
	return &registry.NftLast{Set: v.Set, AgoS: when(v.Set, float64(v.Msecs)/1000)}
}

func nftLimit(v *nft.Limit) *registry.NftLimit {
	return &registry.NftLimit{
		Rate:      counter(v.Rate),
		UnitS:     counter(v.Unit),
		Burst:     int64(v.Burst),
		LimitType: nft.LimitType.Name(v.Type),
		Invert:    flag(v.Flags, 0),
	}
}

func nftLog(v *nft.Log) *registry.NftLog {
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

func nftLookup(v *nft.Lookup) *registry.NftLookup {
	return &registry.NftLookup{
		Set:    v.Set,
		SetID:  optional(v.SetID),
		Sreg:   int64(v.SReg),
		Dreg:   optional(v.DReg),
		Invert: flag(v.Flags, 0),
	}
}

func nftMasq(v *nft.Masq) *registry.NftMasq {
	return &registry.NftMasq{
		Flags:       flagNames(nft.MasqFlags, v.Flags),
		SregPortMin: nonZero(v.RegPortMin),
		SregPortMax: nonZero(v.RegPortMax),
	}
}

func nftMeta(v *nft.Meta) *registry.NftMeta {
	return &registry.NftMeta{Key: nft.MetaKey.Name(v.Key), Dreg: nonZero(v.DReg), Sreg: nonZero(v.SReg)}
}

func nftNat(v *nft.Nat) *registry.NftNat {
	return &registry.NftNat{
		NATType:        nft.NatType.Name(v.Type),
		Family:         nftFamily(v.Family),
		SregAddressMin: nonZero(v.RegAddrMin),
		SregAddressMax: nonZero(v.RegAddrMax),
		SregPortMin:    nonZero(v.RegPortMin),
		SregPortMax:    nonZero(v.RegPortMax),
		Flags:          flagNames(nft.NatFlags, v.Flags),
	}
}

func nftNumgen(v *nft.Numgen) *registry.NftNumgen {
	return &registry.NftNumgen{
		Dreg:      int64(v.DReg),
		Modulus:   int64(v.Modulus),
		Generator: nft.NumgenType.Name(v.Type),
		Offset:    int64(v.Offset),
	}
}

func nftObjref(v *nft.Objref) *registry.NftObjref {
	x := &registry.NftObjref{
		Object: registry.NonZero(v.Name),
		Sreg:   nonZero(v.SReg),
		Set:    registry.NonZero(v.Set),
		SetID:  optional(v.SetID),
	}
	if v.Type.Set {
		x.ObjectType = registry.Some(nft.ObjectType.Name(v.Type.Value))
	}
	return x
}

func nftOsf(v *nft.Osf) *registry.NftOsf {
	return &registry.NftOsf{Dreg: int64(v.DReg), TTL: int64(v.TTL), Version: when(v.Flags.Set, flag(v.Flags.Value, 0))}
}

func nftPayload(v *nft.Payload) *registry.NftPayload {
	x := &registry.NftPayload{
		Base:           nft.PayloadBase.Name(v.Base),
		Offset:         int64(v.Offset),
		Length:         int64(v.Len),
		Dreg:           nonZero(v.DReg),
		Sreg:           nonZero(v.SReg),
		ChecksumOffset: optional(v.CsumOffset),
		ChecksumFlags:  flagNames(nft.ChecksumFlags, v.CsumFlags),
	}
	if v.CsumType.Set {
		x.ChecksumType = registry.Some(nft.ChecksumType.Name(v.CsumType.Value))
	}
	return x
}

func nftQueue(v *nft.Queue) *registry.NftQueue {
	return &registry.NftQueue{
		Number:     optional(v.Num),
		Total:      optional(v.Total),
		Flags:      flagNames(nft.QueueFlags, v.Flags),
		SregNumber: nonZero(v.SRegNum),
	}
}

func nftQuota(v *nft.Quota) *registry.NftQuota {
	return &registry.NftQuota{Bytes: counter(v.Bytes), Consumed: counter(v.Consumed), Invert: flag(v.Flags, 0), Depleted: flag(v.Flags, 1)}
}

func nftRedir(v *nft.Redir) *registry.NftRedir {
	return &registry.NftRedir{
		SregPortMin: nonZero(v.RegPortMin),
		SregPortMax: nonZero(v.RegPortMax),
		Flags:       flagNames(nft.NatFlags, v.Flags),
	}
}

func nftReject(v *nft.Reject) *registry.NftReject {
	return &registry.NftReject{RejectType: nft.RejectType.Name(v.Type), IcmpCode: optional(v.Code)}
}

func nftSocket(v *nft.Socket) *registry.NftSocket {
	return &registry.NftSocket{Dreg: int64(v.DReg), Key: nft.SocketKey.Name(v.Key), Level: optional(v.Level)}
}

func nftSynproxy(v *nft.Synproxy) *registry.NftSynproxy {
	return &registry.NftSynproxy{Mss: int64(v.MSS), WindowScale: int64(v.WScale), Flags: flagNames(nft.SynproxyFlags, v.Flags)}
}

func nftTproxy(v *nft.Tproxy) *registry.NftTproxy {
	return &registry.NftTproxy{Family: nftFamily(v.Family), SregAddress: nonZero(v.RegAddr), SregPort: nonZero(v.RegPort)}
}

func nftTunnelKey(v *nft.TunnelKey) *registry.NftTunnel {
	x := &registry.NftTunnel{Dreg: int64(v.DReg), Key: nft.TunnelKeyName.Name(v.Key)}
	if v.Mode.Set {
		x.Mode = registry.Some(nft.TunnelMode.Name(v.Mode.Value))
	}
	return x
}

func nftXfrm(v *nft.Xfrm) *registry.NftXfrm {
	return &registry.NftXfrm{
		Dreg:      int64(v.DReg),
		Key:       nft.XfrmKey.Name(v.Key),
		Direction: nft.XfrmDir.Name(uint32(v.Dir)),
		Number:    int64(v.Num),
	}
}
