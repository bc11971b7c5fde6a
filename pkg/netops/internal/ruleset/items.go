package ruleset

import (
	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// maker makes items of net.firewall out of the kernel's, in memory that each next one uses again.
type maker struct {
	texts map[nft.RuleRef]string // of foreign rules, where they were asked for

	expressions []registry.NftExpression
}

// IsOwn tells whether a table is the daemon's own.
func IsOwn(family uint8, table string) bool {
	return family == OwnFamily && table == OwnTable
}

// userData is the comment in it, and the whole where it has more than that.
func userData(data []byte, record uint8) (comment, rest registry.Opt[string]) {
	u := nft.UserData(data)
	comment = registry.NonZero(u.Comment(record))
	if !u.IsComment(record) {
		rest = wire.Hex(data)
	}
	return comment, rest
}

func (b *maker) table(t *nft.Table) *registry.NftTable {
	row := &registry.NftTable{
		Family:      registry.NftFamily(Family(t.Family)),
		Name:        t.Name,
		Handle:      wire.Counter(t.Handle),
		Flags:       flagNames(nft.TableFlags, t.Flags),
		Use:         wire.Number(true, t.Use),
		OwnerPortID: wire.NonZero(t.Owner),
		Managed:     IsOwn(t.Family, t.Name),
	}
	row.Comment, row.UserData = userData(t.UserData, nft.UserComment)
	return row
}

func (b *maker) chain(c *nft.Chain) *registry.NftChain {
	row := &registry.NftChain{
		Family:   registry.NftFamily(Family(c.Family)),
		Table:    c.Table,
		Name:     c.Name,
		Handle:   wire.Counter(c.Handle),
		Type:     registry.NonZero(c.Type),
		Hook:     wire.When(c.Base, nft.HookName(c.Family, c.Hook)),
		Priority: wire.Number(c.Base, c.Priority),
		Devices:  c.Devices,
		Flags:    flagNames(nft.ChainFlags, c.Flags),
		Use:      wire.Number(true, c.Use),
		Packets:  wire.When(c.Counters.Set, wire.Counter(c.Counters.Value.Packets)),
		Bytes:    wire.When(c.Counters.Set, wire.Counter(c.Counters.Value.Bytes)),
		Managed:  IsOwn(c.Family, c.Table),
	}
	if c.Policy.Set {
		row.Policy = registry.Some(nft.Policy.Name(c.Policy.Value))
	}
	if len(row.Devices) == 0 {
		row.Devices = nil
	}
	row.Comment, row.UserData = userData(c.UserData, nft.UserComment)
	return row
}

func (b *maker) flowtable(t *nft.Flowtable) *registry.NftFlowtable {
	return &registry.NftFlowtable{
		Family:   registry.NftFamily(Family(t.Family)),
		Table:    t.Table,
		Name:     t.Name,
		Handle:   wire.Counter(t.Handle),
		Hook:     nft.FlowtableHook.Name(t.Hook),
		Priority: int64(t.Priority),
		Devices:  t.Devices,
		Flags:    flagNames(nft.FlowtableFlags, t.Flags),
		Use:      wire.Number(true, t.Use),
		Managed:  IsOwn(t.Family, t.Table),
	}
}

func (b *maker) setOf(s *nft.Set) *registry.NftSet {
	isMap := s.Flags&(nft.SetMap|nft.SetObject) != 0
	row := &registry.NftSet{
		Family:      registry.NftFamily(Family(s.Family)),
		Table:       s.Table,
		Name:        s.Name,
		Handle:      wire.Counter(s.Handle),
		Flags:       flagNames(nft.SetFlags, s.Flags),
		Map:         isMap,
		KeyType:     nft.TypeName(s.KeyType),
		KeyTypeID:   wire.Number(true, s.KeyType),
		KeyLength:   int64(s.KeyLen),
		Size:        wire.NonZero(s.Size),
		Count:       optional(s.Count),
		Backend:     registry.NonZero(s.Backend),
		TimeoutS:    seconds(s.Timeout),
		GcIntervalS: seconds(uint64(s.GCInterval)),
		Managed:     IsOwn(s.Family, s.Table),
	}
	for _, n := range s.FieldLens {
		row.FieldLengths = append(row.FieldLengths, int64(n))
	}
	if s.Flags&nft.SetMap != 0 {
		row.DataType = registry.Some(nft.TypeName(s.DataType))
		row.DataTypeID = wire.Number(true, s.DataType)
		row.DataLength = wire.Number(s.DataType != nft.DataVerdict, s.DataLen)
	}
	if s.Flags&nft.SetObject != 0 {
		row.ObjectType = registry.Some(nft.ObjectType.Name(s.ObjectType))
	}
	if s.Policy.Set {
		row.Policy = registry.Some(nft.SetPolicy.Name(s.Policy.Value))
	}
	for e := range s.Expressions() {
		row.Expressions = append(row.Expressions, statefulOf(e))
	}
	row.Comment, row.UserData = userData(s.UserData, nft.UserSetComment)
	row.AutoMerge = wire.True(nft.UserData(s.UserData).Merges())
	return row
}

func (b *maker) rule(r *nft.Rule) *registry.NftRule {
	row := &registry.NftRule{
		Family:         registry.NftFamily(Family(r.Family)),
		Table:          r.Table,
		Chain:          r.Chain,
		Handle:         wire.Counter(r.Handle),
		Position:       wire.When(r.Position.Set, wire.Counter(r.Position.Value)),
		CompatProtocol: optional(r.CompatProto),
		CompatInvert:   wire.True(r.CompatFlags&nft.CompatInvert != 0),
		Managed:        IsOwn(r.Family, r.Table),
	}
	b.expressions = b.expressions[:0]
	for e := range r.Expressions() {
		x := expressionOf(r.Family, e)
		if x.Counter != nil && !row.Packets.IsSet() {
			row.Packets, row.Bytes = registry.Some(x.Counter.Packets), registry.Some(x.Counter.Bytes)
		}
		b.expressions = append(b.expressions, x)
	}
	row.Expressions = b.expressions
	row.Comment, row.UserData = userData(r.UserData, nft.UserComment)
	row.Text = registry.NonZero(b.texts[nft.RuleRef{Family: string(row.Family), Table: r.Table, Handle: r.Handle}])
	return row
}

func (b *maker) object(o *nft.Object) *registry.NftObject {
	row := &registry.NftObject{
		Family:  registry.NftFamily(Family(o.Family)),
		Table:   o.Table,
		Name:    o.Name,
		Handle:  wire.Counter(o.Handle),
		Type:    nft.ObjectType.Name(o.Type),
		Use:     wire.Number(true, o.Use),
		Managed: IsOwn(o.Family, o.Table),
	}
	complete := false
	if decode, ok := objectTypes[o.Type]; ok {
		var err error
		complete, err = decode(row, o.Data)
		complete = complete && err == nil
	}
	if !complete {
		row.Raw = wire.Hex(o.Data)
	}
	row.Comment, row.UserData = userData(o.UserData, nft.UserComment)
	return row
}

// objectTypes decode the data of each type of object.
var objectTypes = map[uint32]func(row *registry.NftObject, data []byte) (complete bool, err error){
	nft.ObjectCounter:       ofObject(func(row *registry.NftObject, v *nft.Counter) { row.Counter = counterOf(v) }),
	nft.ObjectQuota:         ofObject(func(row *registry.NftObject, v *nft.Quota) { row.Quota = quotaOf(v) }),
	nft.ObjectLimit:         ofObject(func(row *registry.NftObject, v *nft.Limit) { row.Limit = limitOf(v) }),
	nft.ObjectConnlimit:     ofObject(func(row *registry.NftObject, v *nft.Connlimit) { row.Connlimit = connlimitOf(v) }),
	nft.ObjectSynproxy:      ofObject(func(row *registry.NftObject, v *nft.Synproxy) { row.Synproxy = synproxyOf(v) }),
	nft.ObjectCtHelper:      ofObject(func(row *registry.NftObject, v *nft.CtHelper) { row.CtHelper = ctHelperOf(v) }),
	nft.ObjectCtTimeout:     ofObject(func(row *registry.NftObject, v *nft.CtTimeout) { row.CtTimeout = ctTimeoutOf(v) }),
	nft.ObjectCtExpectation: ofObject(func(row *registry.NftObject, v *nft.CtExpectation) { row.CtExpectation = ctExpectationOf(v) }),
	nft.ObjectTunnel:        ofObject(func(row *registry.NftObject, v *nft.Tunnel) { row.Tunnel = tunnelObject(v) }),
	nft.ObjectSecmark:       ofObject(func(row *registry.NftObject, v *nft.Secmark) { row.Secmark = registry.NonZero(v.Context) }),
}

func ofObject[T any, K nft.Kind[T]](set func(row *registry.NftObject, v *T)) func(*registry.NftObject, []byte) (bool, error) {
	return func(row *registry.NftObject, data []byte) (bool, error) {
		var v T
		complete, err := nft.Decode[T, K](data, &v)
		if err == nil {
			set(row, &v)
		}
		return complete, err
	}
}

// l3Protocol is absent where an object is for every family.
func l3Protocol(proto uint16) registry.Opt[string] { return wire.When(proto != 0, Family(proto)) }

func ctHelperOf(v *nft.CtHelper) *registry.NftCtHelper {
	return &registry.NftCtHelper{Name: v.Name, L3protocol: l3Protocol(v.L3Proto), L4protocol: ct.ProtocolName(v.L4Proto)}
}

func ctTimeoutOf(v *nft.CtTimeout) *registry.NftCtTimeout {
	x := &registry.NftCtTimeout{
		L3protocol: l3Protocol(v.L3Proto),
		L4protocol: ct.ProtocolName(v.L4Proto),
		TimeoutsS:  map[string]int64{},
	}
	for state, seconds := range v.Timeouts() {
		x.TimeoutsS[state] = int64(seconds)
	}
	return x
}

func ctExpectationOf(v *nft.CtExpectation) *registry.NftCtExpectation {
	return &registry.NftCtExpectation{
		L3protocol: l3Protocol(v.L3Proto),
		L4protocol: ct.ProtocolName(v.L4Proto),
		Port:       int64(v.DPort),
		TimeoutS:   float64(v.Timeout) / 1000,
		Size:       int64(v.Size),
	}
}

func tunnelObject(v *nft.Tunnel) *registry.NftTunnelObject {
	x := &registry.NftTunnelObject{
		ID:              int64(v.ID),
		Source:          wire.Addr(v.Src),
		Destination:     wire.Addr(v.Dst),
		SourcePort:      optional(v.SrcPort),
		DestinationPort: optional(v.DstPort),
		Tos:             optional(v.TOS),
		TTL:             optional(v.TTL),
		FlowLabel:       optional(v.FlowLabel),
		Flags:           flagNames(nft.TunnelFlags, v.Flags),
		OptionsType:     registry.NonZero(v.Options.Kind),
	}
	o := &v.Options
	switch o.Kind {
	case "vxlan":
		x.VxlanGbp = wire.Number(true, o.VxlanGBP)
	case "erspan":
		x.ErspanVersion = wire.Number(true, o.ErspanVersion)
		x.ErspanIndex = wire.Number(o.ErspanVersion == 1, o.ErspanIndex)
		x.ErspanDirection = wire.Number(o.ErspanVersion == 2, o.ErspanDir)
		x.ErspanHwID = wire.Number(o.ErspanVersion == 2, o.ErspanHwID)
	}
	for _, option := range o.Geneve {
		x.GeneveOptions = append(x.GeneveOptions, wire.Hex(option).Or(""))
	}
	return x
}
