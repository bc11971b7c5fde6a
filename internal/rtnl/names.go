package rtnl

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// routeProtocols are the names of RTPROT_* (linux/rtnetlink.h), as in iproute2's rt_protos. The others
// are called by their number.
var routeProtocols = numbered(map[uint8]string{
	0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static",
	8: "gated", 9: "ra", 10: "mrt", 11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk",
	16: "dhcp", 17: "mrouted", 18: "keepalived", 42: "babel", 99: "openr",
	186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
})

// numbered makes a list of all names out of those that are words: every route of a dump asks for one.
func numbered(words map[uint8]string) *[256]string {
	var names [256]string
	for n := range names {
		names[n] = nameOrNumber(words[uint8(n)], n)
	}
	return &names
}

// ProtocolName is the name of a route's protocol, or its number as text.
func ProtocolName(protocol uint8) string { return routeProtocols[protocol] }

// ParseProtocol is the inverse of ProtocolName; numbers go up to 255.
func ParseProtocol(s string) (uint8, bool) {
	if i := slices.Index(routeProtocols[:], s); i >= 0 {
		return uint8(i), true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}

// ScopeName is the name of RT_SCOPE_*, of routes and addresses, or the number as text.
func ScopeName(scope uint8) string {
	switch scope {
	case unix.RT_SCOPE_UNIVERSE:
		return "global"
	case unix.RT_SCOPE_SITE:
		return "site"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	case unix.RT_SCOPE_NOWHERE:
		return "nowhere"
	}
	return strconv.Itoa(int(scope))
}

var routeTypes = [...]string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast",
	"blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve"}

// RouteTypeName is the name of RTN_*, or the number as text.
func RouteTypeName(typ uint8) string { return fromList(routeTypes[:], int(typ)) }

var encapTypes = [...]string{"none", "mpls", "ip", "ila", "ip6", "seg6", "bpf", "seg6local", "rpl", "ioam6", "xfrm"}

// EncapName is the name of LWTUNNEL_ENCAP_*, or the number as text.
func EncapName(typ uint16) string { return fromList(encapTypes[:], int(typ)) }

var addrGenModes = [...]string{"eui64", "none", "stable_secret", "random"}

// AddrGenModeName is the name of IN6_ADDR_GEN_MODE_*, or the number as text.
func AddrGenModeName(mode uint8) string { return fromList(addrGenModes[:], int(mode)) }

var operStates = [...]string{"unknown", "not_present", "down", "lower_layer_down", "testing", "dormant", "up"}

// OperStateName is the name of IF_OPER_*, unknown for a number that has none.
func OperStateName(state uint8) string {
	if int(state) < len(operStates) {
		return operStates[state]
	}
	return operStates[0]
}

var linkModes = [...]string{"default", "dormant", "testing"}

// LinkModeName is the name of IF_LINK_MODE_*, or the number as text.
func LinkModeName(mode uint8) string { return fromList(linkModes[:], int(mode)) }

var addressProtocols = [...]string{"", "kernel_lo", "kernel_ra", "kernel_ll"}

// AddressProtocolName is the name of IFAPROT_*, or the number as text; "" for 0, which says nothing.
func AddressProtocolName(protocol uint8) string { return fromList(addressProtocols[:], int(protocol)) }

var xdpModes = [...]string{"", "driver", "generic", "offloaded", "multiple"}

// XDPModeName is the name of XDP_ATTACHED_*; "" where no program is attached.
func XDPModeName(attached uint8) string { return fromList(xdpModes[:], int(attached)) }

// fromList is the name at a place of a list, or the place as text.
func fromList(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return strconv.Itoa(i)
}

func nameOrNumber(name string, n int) string {
	if name == "" {
		return strconv.Itoa(n)
	}
	return name
}

// linkTypes are the names of ARPHRD_* (linux/if_arp.h), as iproute2 has them.
var linkTypes = map[uint16]string{
	0: "netrom", 1: "ether", 2: "eether", 3: "ax25", 4: "pronet", 5: "chaos", 6: "ieee802", 7: "arcnet",
	8: "atalk", 15: "dlci", 19: "atm", 23: "metricom", 24: "ieee1394", 27: "eui64", 32: "infiniband",
	256: "slip", 257: "cslip", 258: "slip6", 259: "cslip6", 260: "rsrvd", 264: "adapt", 270: "rose",
	271: "x25", 272: "hwx25", 280: "can", 290: "mctp", 512: "ppp", 513: "hdlc", 516: "lapb", 517: "ddcmp",
	518: "rawhdlc", 519: "rawip", 768: "ipip", 769: "tunnel6", 770: "frad", 771: "skip", 772: "loopback",
	773: "ltalk", 774: "fddi", 775: "bif", 776: "sit", 777: "ip/ddp", 778: "gre", 779: "pimreg",
	780: "hippi", 781: "ash", 782: "econet", 783: "irda", 784: "fcpp", 785: "fcal", 786: "fcpl",
	800: "tr", 801: "ieee802.11", 802: "ieee802.11/prism", 803: "ieee802.11/radiotap",
	804: "ieee802.15.4", 805: "ieee802.15.4/monitor", 820: "phonet", 821: "phonet_pipe", 822: "caif",
	823: "gre6", 824: "netlink", 825: "6lowpan", 826: "vsockmon", 0xfffe: "none", 0xffff: "void",
}

// LinkTypeName is the name of ARPHRD_*, or the number as text.
func LinkTypeName(typ uint16) string { return nameOrNumber(linkTypes[typ], int(typ)) }
