package owntable

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nft"
)

// KeptSets are the sets of the ports that stay open.
var KeptSets = []string{
	Shape{use: useKept}.Name(), Shape{use: useKept, ports: portBlocks}.Name(), Shape{use: useKept, ports: portSingles}.Name(),
}

// IsKeptSet tells whether a set has ports that stay open.
func IsKeptSet(name string) bool { return slices.Contains(KeptSets, name) }

// shapeTrial is the set of the families that are on trial. What comes in is dropped as long as it has them.
var shapeTrial = Shape{use: useTrial, ports: portAny}

// TrialSet is the name of that set.
var TrialSet = shapeTrial.Name()

// trialOver goes on where the trial is over.
func trialOver() []nft.Step {
	return []nft.Step{nft.LoadMeta(unix.NFT_META_NFPROTO, reg0), nft.Miss(shapeTrial.Name(), reg0)}
}

// KeptOpen are the elements of the ports, as Ports.String has them, that stay open where what comes in is dropped.
func KeptOpen(ports []string) []Element { return openPorts(ports, useKept) }

// OnTrial are the elements for which the kernel drops until then what comes in, and lets in from then on only what
// comes for the former ports: all where there are none.
func OnTrial(former []string, until time.Time) (list []Element) {
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		list = append(list, Element{Shape: shapeTrial, Key: []byte{family}, until: until})
	}
	return append(list, openPorts(former, useFormer)...)
}

func openPorts(texts []string, as use) (list []Element) {
	for _, text := range texts {
		run, err := ParsePorts(text)
		if err != nil {
			continue // of a version that keeps more open
		}
		list = append(list, run.elements(as)...)
	}
	return list
}

func (r Ports) elements(as use) (list []Element) {
	proto := []byte{ProtocolNumber(r.Protocol)}
	add := func(s Shape, port int) {
		list = append(list, Element{Shape: s, Key: joinKey(s.fields(), proto, portBytes(port))})
	}
	if r.First == r.Last {
		add(Shape{use: as}, r.First)
		return list
	}
	for _, b := range blocksOf(r.First, r.Last) {
		s := Shape{use: as, ports: portBlocks}
		if b.bits == 0 {
			s.ports = portSingles
		}
		add(s, b.middle())
	}
	return list
}

// Types of ICMP without which a node cannot be reached for long, from the first to the last (RFC 4890, section 4.4;
// RFC 1122, section 3.2.2): errors, of which path MTU discovery lives, echo requests, the discovery of
// neighbours and routers, and what tells switches of multicast listeners.
var (
	icmpOpen   = [][2]byte{{3, 3}, {8, 8}, {11, 12}}
	icmpv6Open = [][2]byte{{1, 4}, {128, 128}, {130, 136}, {143, 143}}
)

// Ports of those that ask for addresses (RFC 2131, RFC 8415).
const (
	portDHCPClient   = 68
	portDHCPv6Client = 546
)

// alwaysOpen are the rules in front of an input chain that drops.
func alwaysOpen() []Rule {
	rules := []Rule{
		knownFlows(),
		{"loopback", []nft.Step{nft.LoadMeta(unix.NFT_META_IIFNAME, reg0), nft.Equal(reg0, ifnameBytes("lo")), nft.Accept()}},
	}
	for _, of := range []struct {
		name   string
		family uint8
		number uint8
		types  [][2]byte
	}{{"icmp", unix.NFPROTO_IPV4, unix.IPPROTO_ICMP, icmpOpen}, {"icmpv6", unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, icmpv6Open}} {
		for _, t := range of.types {
			steps := append(protocolIs(of.family, of.number), nft.LoadPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, reg0))
			if t[0] == t[1] {
				steps = append(steps, nft.Equal(reg0, t[:1]))
			} else {
				steps = append(steps, nft.Compare(unix.NFT_CMP_GTE, reg0, t[:1]), nft.Compare(unix.NFT_CMP_LTE, reg0, t[1:]))
			}
			rules = append(rules, Rule{fmt.Sprint(of.name, " ", t[0]), append(steps, nft.Accept())})
		}
	}
	for _, of := range []struct {
		name   string
		family uint8
		port   int
	}{{"dhcp", unix.NFPROTO_IPV4, portDHCPClient}, {"dhcpv6", unix.NFPROTO_IPV6, portDHCPv6Client}} {
		steps := append(protocolIs(of.family, unix.IPPROTO_UDP), nft.LoadPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg0), nft.Equal(reg0, portBytes(of.port)))
		rules = append(rules, Rule{of.name + " client", append(steps, nft.Accept())})
	}
	return rules
}

func protocolIs(family, number uint8) []nft.Step {
	return append(familyIs(family), nft.LoadMeta(unix.NFT_META_L4PROTO, reg0), nft.Equal(reg0, []byte{number}))
}

// knownFlows lets through what belongs to a flow that was let through.
func knownFlows() Rule {
	return Rule{"known", append(anyBit(nft.LoadCt(unix.NFT_CT_STATE, reg0), ctStateKnown), nft.Accept())}
}
