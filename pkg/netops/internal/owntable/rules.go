package owntable

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nft"
)

// The chains of the own table.
const (
	chainInput       = "input"
	chainForward     = "forward"
	chainPrerouting  = "prerouting"
	chainOutput      = "output"
	chainDNAT        = "dnat"
	chainPostrouting = "postrouting"
	chainSNAT        = "snat"
)

// Translation comes one before that of others (NF_IP_PRI_NAT_DST is -100, NF_IP_PRI_NAT_SRC is 100).
const (
	priorityDNAT = -101
	prioritySNAT = 99
)

// The sets that hold what the host is like, and no entries.
const (
	setOwn4    = "own4_"   // and an interface: its addresses
	setOwn6    = "own6_"   //
	SetBridged = "bridged" // interfaces, twice
)

// Chain is a chain as it is to be.
type Chain struct {
	nft.NewChain
	Rules []Rule
}

// Text is what ChainText has of it.
func (c *Chain) Text() string { return ChainText(c.Name, c.Type, c.Hook, c.Priority, c.Policy) }

// Verdicts of a chain's policy (linux/netfilter.h).
const (
	nfDrop   = 0
	nfAccept = 1
)

// Rule is a rule as it is to be. Its name is its comment, by which it is known.
type Rule struct {
	Name  string
	Steps []nft.Step
}

// First registers. Fields of a key stand one behind the other from here on.
const reg0 nft.Register = unix.NFT_REG32_00

// Numbers of connection tracking (linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_BIT).
const (
	ctStateKnown = 1<<1 | 1<<2 // established, related
	ctStatusDNAT = 1 << 5      // IPS_DST_NAT
)

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// anyBit goes on where a register has one of some bits.
func anyBit(load nft.Step, bits uint32) []nft.Step {
	return []nft.Step{load, nft.Mask(reg0, native32(bits)), nft.Compare(unix.NFT_CMP_NEQ, reg0, make([]byte, 4))}
}

func familyIs(family uint8) []nft.Step {
	if family == 0 {
		return nil
	}
	return []nft.Step{nft.LoadMeta(unix.NFT_META_NFPROTO, reg0), nft.Equal(reg0, []byte{family})}
}

func translated() []nft.Step { return anyBit(nft.LoadCt(unix.NFT_CT_STATUS, reg0), ctStatusDNAT) }

// addressAt is where the addresses stand in the headers of IPv4 and IPv6, and how long they are.
func addressAt(family uint8, source bool) (offset, length uint32) {
	switch {
	case family == unix.NFPROTO_IPV4 && source:
		return 12, 4
	case family == unix.NFPROTO_IPV4:
		return 16, 4
	case source:
		return 8, 16
	}
	return 24, 16
}

// loader puts the parts of a key into registers, one behind the other.
type loader struct {
	steps []nft.Step
	next  nft.Register
}

func load(steps []nft.Step) *loader { return &loader{steps, reg0} }

func (l *loader) put(length int, s ...nft.Step) {
	l.steps = append(l.steps, s...)
	l.next += nft.Register((length + 3) / 4)
}

// address loads an address, or the network of so many bits that it is in.
func (l *loader) address(family uint8, source bool, bits int) {
	offset, length := addressAt(family, source)
	steps := []nft.Step{nft.LoadPayload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length, l.next)}
	if bits < int(length)*8 {
		steps = append(steps, nft.Mask(l.next, maskBytes(bits, int(length))))
	}
	l.put(int(length), steps...)
}

func (l *loader) meta(key uint32, length int) { l.put(length, nft.LoadMeta(key, l.next)) }

func (l *loader) protocol() { l.meta(unix.NFT_META_L4PROTO, 1) }

// port loads the destination port, or the middle of the block of so many bits that it is in.
func (l *loader) port(bits int) {
	steps := []nft.Step{nft.LoadPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, l.next)}
	if bits > 0 {
		steps = append(steps, nft.MaskAndSet(l.next, portBytes(0xffff<<bits), portBytes(1<<bits>>1)))
	}
	l.put(2, steps...)
}

const wholeAddress = 128

// rules are the rules of a shape.
func (s Shape) rules() []Rule {
	switch s.use {
	case useKept, useOpen, useFormer:
		return s.openRules()
	case useDNAT:
		return []Rule{s.rule(s.dnatSteps())}
	case useForwarded:
		l := load(append(familyIs(s.family), translated()...))
		l.address(s.family, false, wholeAddress)
		return []Rule{s.rule(append(l.steps, nft.Find(s.Name(), reg0), nft.Accept()))}
	case useSources:
		l := load(familyIs(s.family))
		l.address(s.family, true, s.bits)
		return []Rule{s.rule(append(l.steps, nft.Find(s.Name(), reg0), nft.Accept()))}
	case useClosed:
		return []Rule{s.rule(s.closedSteps())}
	case useHairpin:
		l := load(append(familyIs(s.family), translated()...))
		l.address(s.family, true, s.bits)
		l.address(s.family, false, wholeAddress)
		return []Rule{s.rule(append(l.steps, nft.Find(s.Name(), reg0), nft.Masquerade()))}
	}
	return []Rule{s.rule(s.snatSteps())}
}

func (s Shape) rule(steps []nft.Step) Rule { return Rule{s.Name(), steps} }

func (s Shape) openRules() (list []Rule) {
	blocks := []int{0}
	if s.ports == portBlocks {
		blocks = blocks[:0]
		for bits := range 16 {
			blocks = append(blocks, bits+1)
		}
	}
	for _, bits := range blocks {
		l := load(familyIs(s.family))
		if s.use == useFormer {
			l = load(trialOver())
		}
		if s.ports == portAny {
			l.meta(unix.NFT_META_NFPROTO, 1)
		}
		if s.iface {
			l.meta(unix.NFT_META_IIFNAME, unix.IFNAMSIZ)
		}
		if s.hasSource {
			l.address(s.family, true, s.bits)
		}
		if s.ports != portAny {
			l.protocol()
		}
		if s.ports == portOne || s.ports == portBlocks || s.ports == portSingles {
			l.port(bits)
		}
		list = append(list, s.rule(append(l.steps, nft.Find(s.Name(), reg0), nft.Accept())))
	}
	return list
}

// dnatSteps translate what comes for an address of the node, for one of an interface's, or for a given one.
func (s Shape) dnatSteps() []nft.Step {
	steps := familyIs(s.family)
	if !s.dest && !s.iface {
		steps = append(steps, ownAddress(s.family)...)
	}
	if s.iface {
		offset, length := addressAt(s.family, false)
		steps = append(steps, nft.LoadPayload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, length, reg0), nft.Find(s.ownSet().Name, reg0))
	}
	l := load(steps)
	if s.hasSource {
		l.address(s.family, true, s.bits)
	}
	if s.dest {
		l.address(s.family, false, wholeAddress)
	}
	l.protocol()
	l.port(0)
	_, length := addressAt(s.family, false)
	port := reg0 + nft.Register(length/4)
	return append(l.steps, nft.Map(s.Name(), reg0, reg0), nft.NAT(unix.NFT_NAT_DNAT, uint32(s.family), reg0, port, 0))
}

// ownSet is the set of the addresses of a shape's interface. (A map from addresses to interfaces would do for all
// interfaces, but nft(8) up to 1.0.6 gives up a whole ruleset in which what a map gave is a part of a key.)
func (s Shape) ownSet() nft.NewSet {
	name := setOwn4
	if s.family == unix.NFPROTO_IPV6 {
		name = setOwn6
	}
	return nft.NewSet{Name: name + s.link, Key: []nft.Field{s.addressField()}}
}

// ownAddress goes on where the destination is an address of the node, but for loopback ones, behind which
// nothing can be reached elsewhere.
func ownAddress(family uint8) []nft.Step {
	l := load([]nft.Step{
		nft.LoadFib(unix.NFT_FIB_RESULT_ADDRTYPE, unix.NFTA_FIB_F_DADDR, reg0), nft.Equal(reg0, native32(unix.RTN_LOCAL)),
	})
	if family == unix.NFPROTO_IPV4 {
		l.address(family, false, 8)
		return append(l.steps, nft.Compare(unix.NFT_CMP_NEQ, reg0, []byte{127, 0, 0, 0}))
	}
	l.address(family, false, wholeAddress)
	return append(l.steps, nft.Compare(unix.NFT_CMP_NEQ, reg0, append(make([]byte, 15), 1)))
}

// closedSteps drop what nothing before has let through. The kernel forwards IPv6 on all interfaces or none.
func (s Shape) closedSteps() []nft.Step {
	if !s.iface {
		return []nft.Step{nft.LoadMeta(unix.NFT_META_NFPROTO, reg0), nft.Find(s.Name(), reg0), nft.Drop()}
	}
	return append(familyIs(s.family), nft.LoadMeta(unix.NFT_META_IIFNAME, reg0), nft.Find(s.Name(), reg0), nft.Drop())
}

func (s Shape) snatSteps() []nft.Step {
	l := load(familyIs(s.family))
	if s.iface {
		l.meta(unix.NFT_META_OIFNAME, unix.IFNAMSIZ)
	}
	l.address(s.family, true, s.bits)
	if s.use == useInside {
		l.address(s.family, false, s.bits)
		return append(l.steps, nft.Find(s.Name(), reg0), nft.Return())
	}
	if s.use == useMasquerade {
		return append(l.steps, nft.Find(s.Name(), reg0), nft.Masquerade())
	}
	return append(l.steps, nft.Map(s.Name(), reg0, reg0), nft.NAT(unix.NFT_NAT_SNAT, uint32(s.family), reg0, 0, 0))
}

// For is the table for some shapes: its chains, those that others jump to first, and the sets beside the
// shapes' own. shapes are in order.
func For(shapes []Shape) (chains []Chain, sets []nft.NewSet) {
	var input, forward, dnat, hairpin, snat []Rule
	closed, drop, former := false, false, slices.ContainsFunc(shapes, func(s Shape) bool { return s.use == useFormer })
	for _, s := range shapes {
		switch s.use {
		case useKept:
			if !drop {
				input = append(input, alwaysOpen()...)
			}
			drop = true
			input = append(input, s.rules()...)
		case useTrial:
			if !former {
				input = append(input, s.rule(append(trialOver(), nft.Accept())))
			}
		case useFormer, useOpen:
			input = append(input, s.rules()...)
		case useClosed:
			if !closed {
				forward = append(forward, Rule{SetBridged, []nft.Step{
					nft.LoadMeta(unix.NFT_META_IIFNAME, reg0), nft.LoadMeta(unix.NFT_META_OIFNAME, reg0+4), nft.Find(SetBridged, reg0), nft.Accept(),
				}})
			}
			closed = true
			forward = append(forward, s.rules()...)
		case useForwarded, useSources:
			forward = append(forward, s.rules()...)
		case useDNAT:
			if own := s.ownSet(); s.iface && !slices.ContainsFunc(sets, func(o nft.NewSet) bool { return o.Name == own.Name }) {
				sets = append(sets, own)
			}
			dnat = append(dnat, s.rules()...)
		case useHairpin:
			hairpin = append(hairpin, s.rules()...)
		default:
			snat = append(snat, s.rules()...)
		}
	}
	if closed {
		sets = append(sets, nft.NewSet{Name: SetBridged, Key: []nft.Field{nft.FieldInterface, nft.FieldInterface}})
	}
	chains = chainsFor(input, forward, dnat, hairpin, snat)
	for i, c := range chains {
		if c.Type != "" {
			chains[i].Policy = nft.Opt[uint32]{Value: nfAccept, Set: true}
		}
		if c.Name == chainInput && drop {
			chains[i].Policy.Value = nfDrop
		}
	}
	return chains, sets
}

// chainsFor puts rules into chains, as many as are needed.
func chainsFor(input, forward, dnat, hairpin, snat []Rule) (chains []Chain) {
	if len(dnat) > 0 {
		to := []Rule{{"to " + chainDNAT, []nft.Step{nft.Jump(chainDNAT)}}}
		chains = append(chains, Chain{nft.NewChain{Name: chainDNAT}, dnat},
			Chain{nft.NewChain{Name: chainPrerouting, Type: "nat", Hook: unix.NF_INET_PRE_ROUTING, Priority: priorityDNAT}, to},
			Chain{nft.NewChain{Name: chainOutput, Type: "nat", Hook: unix.NF_INET_LOCAL_OUT, Priority: priorityDNAT}, to})
	}
	postrouting := hairpin
	if len(snat) > 0 {
		chains = append(chains, Chain{nft.NewChain{Name: chainSNAT}, append(untranslated(), snat...)})
		postrouting = append(postrouting, Rule{"to " + chainSNAT, []nft.Step{nft.Jump(chainSNAT)}})
	}
	if len(postrouting) > 0 {
		chains = append(chains, Chain{nft.NewChain{Name: chainPostrouting, Type: "nat", Hook: unix.NF_INET_POST_ROUTING, Priority: prioritySNAT}, postrouting})
	}
	if len(forward) > 0 {
		chains = append(chains, Chain{nft.NewChain{Name: chainForward, Type: "filter", Hook: unix.NF_INET_FORWARD}, append([]Rule{knownFlows()}, forward...)})
	}
	if len(input) > 0 {
		chains = append(chains, Chain{nft.NewChain{Name: chainInput, Type: "filter", Hook: unix.NF_INET_LOCAL_IN}, input})
	}
	return chains
}

// untranslated are the rules for what keeps its source: what stays on the node, multicast and broadcast.
func untranslated() []Rule {
	list := []Rule{{"local", []nft.Step{nft.LoadMeta(unix.NFT_META_OIFNAME, reg0), nft.Equal(reg0, ifnameBytes("lo")), nft.Return()}}}
	for _, t := range []struct {
		name string
		rtn  uint32
	}{{"multicast", unix.RTN_MULTICAST}, {"broadcast", unix.RTN_BROADCAST}} {
		list = append(list, Rule{t.name, []nft.Step{
			nft.LoadFib(unix.NFT_FIB_RESULT_ADDRTYPE, unix.NFTA_FIB_F_DADDR, reg0), nft.Equal(reg0, native32(t.rtn)), nft.Return(),
		}})
	}
	return list
}

// ChainText is a chain's name and, of one that packets come to by themselves, where they come from and whether they
// are dropped at its end.
func ChainText(name, typ string, hook uint32, priority int32, policy nft.Opt[uint32]) string {
	if typ == "" {
		return name
	}
	text := fmt.Sprintf("%s %s %d %d", name, typ, hook, priority)
	if policy.Set && policy.Value == nfDrop {
		text += " policy drop"
	}
	return text
}
