package ruleset

import (
	"encoding/hex"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// expressionDecoder fills the member of an expression's kind. It reports false where not all of it has
// a field there.
type expressionDecoder func(x *registry.NftExpression, data []byte) (complete bool, err error)

// kind makes the decoder of one kind.
func kind[T any, K nft.Kind[T]](set func(x *registry.NftExpression, v *T)) expressionDecoder {
	return func(x *registry.NftExpression, data []byte) (bool, error) {
		var v T
		complete, err := nft.Decode[T, K](data, &v)
		if err == nil {
			set(x, &v)
		}
		return complete, err
	}
}

// expressionKinds decode every kind of expression that the kernel has (net/netfilter/nft_*.c). What
// depends on the table's family is filled in afterwards.
var expressionKinds = map[string]expressionDecoder{
	"bitwise":   kind(func(x *registry.NftExpression, v *nft.Bitwise) { x.Bitwise = bitwiseOf(v) }),
	"byteorder": kind(func(x *registry.NftExpression, v *nft.Byteorder) { x.Byteorder = byteorderOf(v) }),
	"cmp": kind(func(x *registry.NftExpression, v *nft.Cmp) {
		x.Cmp = &registry.NftCmp{Sreg: int64(v.SReg), Op: nft.CmpOp.Name(v.Op), Data: hex.EncodeToString(v.Data)}
	}),
	"connlimit": kind(func(x *registry.NftExpression, v *nft.Connlimit) { x.Connlimit = connlimitOf(v) }),
	"counter":   kind(func(x *registry.NftExpression, v *nft.Counter) { x.Counter = counterOf(v) }),
	"ct":        kind(func(x *registry.NftExpression, v *nft.Ct) { x.Ct = ctOf(v) }),
	"dup": kind(func(x *registry.NftExpression, v *nft.Dup) {
		x.Dup = &registry.NftDup{SregAddress: wire.NonZero(v.SRegAddr), SregDevice: wire.NonZero(v.SRegDev)}
	}),
	"dynset": kind(func(x *registry.NftExpression, v *nft.Dynset) { x.Dynset = dynsetOf(v) }),
	"exthdr": kind(func(x *registry.NftExpression, v *nft.Exthdr) { x.Exthdr = exthdrOf(v) }),
	"fib":    kind(func(x *registry.NftExpression, v *nft.Fib) { x.Fib = fibOf(v) }),
	"flow_offload": kind(func(x *registry.NftExpression, v *nft.FlowOffload) {
		x.FlowOffload = &registry.NftFlowOffload{Flowtable: v.Table}
	}),
	"fwd":  kind(func(x *registry.NftExpression, v *nft.Fwd) { x.Fwd = fwdOf(v) }),
	"hash": kind(func(x *registry.NftExpression, v *nft.Hash) { x.Hash = hashOf(v) }),
	"immediate": kind(func(x *registry.NftExpression, v *nft.Immediate) {
		x.Immediate = &registry.NftImmediate{Dreg: int64(v.DReg), Data: wire.Hex(v.Data), Verdict: verdictOf(v.Verdict)}
	}),
	"inner":  kind(func(x *registry.NftExpression, v *nft.Inner) { x.Inner = innerOf(v) }),
	"last":   kind(func(x *registry.NftExpression, v *nft.Last) { x.Last = lastOf(v) }),
	"limit":  kind(func(x *registry.NftExpression, v *nft.Limit) { x.Limit = limitOf(v) }),
	"log":    kind(func(x *registry.NftExpression, v *nft.Log) { x.Log = logOf(v) }),
	"lookup": kind(func(x *registry.NftExpression, v *nft.Lookup) { x.Lookup = lookupOf(v) }),
	"masq":   kind(func(x *registry.NftExpression, v *nft.Masq) { x.Masq = masqOf(v) }),
	"match": kind(func(x *registry.NftExpression, v *nft.Xt) {
		x.Match = &registry.NftXtMatch{Name: v.Name, Revision: int64(v.Rev), Info: wire.Hex(v.Info)}
	}),
	"meta":    kind(func(x *registry.NftExpression, v *nft.Meta) { x.Meta = metaOf(v) }),
	"nat":     kind(func(x *registry.NftExpression, v *nft.Nat) { x.NAT = natOf(v) }),
	"notrack": func(_ *registry.NftExpression, data []byte) (bool, error) { return len(data) == 0, nil },
	"numgen":  kind(func(x *registry.NftExpression, v *nft.Numgen) { x.Numgen = numgenOf(v) }),
	"objref":  kind(func(x *registry.NftExpression, v *nft.Objref) { x.Objref = objrefOf(v) }),
	"osf":     kind(func(x *registry.NftExpression, v *nft.Osf) { x.Osf = osfOf(v) }),
	"payload": kind(func(x *registry.NftExpression, v *nft.Payload) { x.Payload = payloadOf(v) }),
	"queue":   kind(func(x *registry.NftExpression, v *nft.Queue) { x.Queue = queueOf(v) }),
	"quota":   kind(func(x *registry.NftExpression, v *nft.Quota) { x.Quota = quotaOf(v) }),
	"range": kind(func(x *registry.NftExpression, v *nft.Range) {
		x.Range = &registry.NftRange{Sreg: int64(v.SReg), Op: nft.CmpOp.Name(v.Op), From: hex.EncodeToString(v.From), To: hex.EncodeToString(v.To)}
	}),
	"redir":  kind(func(x *registry.NftExpression, v *nft.Redir) { x.Redir = redirOf(v) }),
	"reject": kind(func(x *registry.NftExpression, v *nft.Reject) { x.Reject = rejectOf(v) }),
	"rt": kind(func(x *registry.NftExpression, v *nft.Rt) {
		x.Rt = &registry.NftRt{Dreg: int64(v.DReg), Key: nft.RtKey.Name(v.Key)}
	}),
	"socket":   kind(func(x *registry.NftExpression, v *nft.Socket) { x.Socket = socketOf(v) }),
	"synproxy": kind(func(x *registry.NftExpression, v *nft.Synproxy) { x.Synproxy = synproxyOf(v) }),
	"target": kind(func(x *registry.NftExpression, v *nft.Xt) {
		x.Target = &registry.NftXtTarget{Name: v.Name, Revision: int64(v.Rev), Info: wire.Hex(v.Info)}
	}),
	"tproxy": kind(func(x *registry.NftExpression, v *nft.Tproxy) { x.Tproxy = tproxyOf(v) }),
	"tunnel": kind(func(x *registry.NftExpression, v *nft.TunnelKey) { x.Tunnel = tunnelKeyOf(v) }),
	"xfrm":   kind(func(x *registry.NftExpression, v *nft.Xfrm) { x.Xfrm = xfrmOf(v) }),
}

// expressionOf decodes one expression of a rule in a table of a family.
func expressionOf(family uint8, e nft.Expression) registry.NftExpression {
	x := decodeKind(expressionKinds, e)
	if x.Payload != nil {
		x.Payload.Field = payloadField(family, e)
	}
	return x
}

// decodeKind decodes an expression of one of some kinds. What is not all decoded, or is of another kind,
// stands as it came.
func decodeKind(known map[string]expressionDecoder, e nft.Expression) registry.NftExpression {
	x := registry.NftExpression{Type: e.Name}
	complete := false
	if decode, ok := known[e.Name]; ok {
		var err error
		complete, err = decode(&x, e.Data)
		complete = complete && err == nil
	}
	if !complete {
		x.Raw = wire.Hex(e.Data)
	}
	return x
}

func payloadField(family uint8, e nft.Expression) registry.Opt[string] {
	var p nft.Payload
	_, _ = nft.Decode(e.Data, &p) // it has been decoded before
	return registry.NonZero(p.Field(family))
}

// statefulKinds decode what a set or an element may have.
var statefulKinds = map[string]expressionDecoder{
	"counter":   kind(func(x *registry.NftExpression, v *nft.Counter) { x.Counter = counterOf(v) }),
	"limit":     kind(func(x *registry.NftExpression, v *nft.Limit) { x.Limit = limitOf(v) }),
	"quota":     kind(func(x *registry.NftExpression, v *nft.Quota) { x.Quota = quotaOf(v) }),
	"connlimit": kind(func(x *registry.NftExpression, v *nft.Connlimit) { x.Connlimit = connlimitOf(v) }),
	"last":      kind(func(x *registry.NftExpression, v *nft.Last) { x.Last = lastOf(v) }),
}

// statefulOf decodes an expression of a set or an element.
func statefulOf(e nft.Expression) registry.NftStateful {
	x := decodeKind(statefulKinds, e)
	return registry.NftStateful{
		Type:      x.Type,
		Counter:   x.Counter,
		Limit:     x.Limit,
		Quota:     x.Quota,
		Connlimit: x.Connlimit,
		Last:      x.Last,
		Raw:       x.Raw,
	}
}

// innerKinds decode what may look into a tunnel.
var innerKinds = map[string]expressionDecoder{
	"payload": kind(func(x *registry.NftExpression, v *nft.Payload) { x.Payload = payloadOf(v) }),
	"meta":    kind(func(x *registry.NftExpression, v *nft.Meta) { x.Meta = metaOf(v) }),
}

func innerOf(v *nft.Inner) *registry.NftInner {
	inside := decodeKind(innerKinds, v.Expr)
	return &registry.NftInner{
		Number:         int64(v.Num),
		InnerType:      int64(v.Type),
		Flags:          flagNames(nft.InnerFlags, v.Flags),
		HeaderSize:     int64(v.HdrSize),
		ExpressionType: registry.NonZero(v.Expr.Name),
		Payload:        inside.Payload,
		Meta:           inside.Meta,
		Raw:            inside.Raw,
	}
}

func verdictOf(v nft.Opt[nft.Verdict]) *registry.NftVerdict {
	if !v.Set {
		return nil
	}
	queue, queued := v.Value.Queue()
	return &registry.NftVerdict{
		Code:  v.Value.Name(),
		Chain: registry.NonZero(v.Value.Chain),
		Queue: wire.Number(queued, queue),
	}
}

// optional is a number that an attribute has given.
func optional[N wire.Integer](v nft.Opt[N]) registry.Opt[int64] { return wire.Number(v.Set, v.Value) }

// flag tells whether a bit of a mask is set.
func flag[N wire.Integer](mask N, bit int) bool { return mask&(1<<bit) != 0 }

// flagNames are the names of the bits that are set; nil where none is.
func flagNames[N wire.Integer](f nft.Flags, mask N) []string { return f.Append(nil, uint32(mask)) }

// Family is the name of a table's, an address' or a translation's family.
func Family[N wire.Integer](family N) string { return nft.Family.Name(uint32(family)) }

// seedOf is a seed as eight digits.
func seedOf(seed nft.Opt[uint32]) registry.Opt[string] {
	return wire.When(seed.Set, wire.Hex32(seed.Value))
}
