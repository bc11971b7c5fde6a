package rtnl

import (
	"math/bits"
	"strconv"

	"golang.org/x/sys/unix"
)

// flagNames has a name for each bit, lowest first; "" where a bit has none.
type flagNames []string

// The kernel's flags in lower case, without the prefix of their family.
var (
	linkFlags = flagNames{"up", "broadcast", "debug", "loopback", "pointopoint", "notrailers", "running",
		"noarp", "promisc", "allmulti", "master", "slave", "multicast", "portsel", "automedia", "dynamic",
		"lower_up", "dormant", "echo"}
	addressFlags = flagNames{"temporary", "nodad", "optimistic", "dadfailed", "homeaddress", "deprecated",
		"tentative", "permanent", "managetempaddr", "noprefixroute", "mcautojoin", "stable_privacy"}
	routeFlags = flagNames{"dead", "pervasive", "onlink", "offload", "linkdown", "unresolved", "trap", "",
		"notify", "cloned", "equalize", "prefix", "lookup_table", "fib_match", "rt_offload", "rt_trap",
		29: "rt_offload_failed"}
)

// AppendLinkFlags appends the names of IFF_*; bit_N for a bit that has none.
func AppendLinkFlags(dst []string, flags uint32) []string { return linkFlags.append(dst, flags) }

// AppendRouteFlags appends the names of RTNH_F_* (of a route and of a next hop) and RTM_F_*.
func AppendRouteFlags(dst []string, flags uint32) []string { return routeFlags.append(dst, flags) }

// AppendAddressFlags appends the names of IFA_F_*. The lowest bit means secondary in IPv4 and
// temporary in IPv6.
func AppendAddressFlags(dst []string, flags uint32, family uint8) []string {
	if family == unix.AF_INET && flags&unix.IFA_F_SECONDARY != 0 {
		dst = append(dst, "secondary")
		flags &^= unix.IFA_F_SECONDARY
	}
	return addressFlags.append(dst, flags)
}

func (names flagNames) append(dst []string, flags uint32) []string {
	for flags != 0 {
		bit := bits.TrailingZeros32(flags)
		flags &= flags - 1
		if bit < len(names) && names[bit] != "" {
			dst = append(dst, names[bit])
		} else {
			dst = append(dst, "bit_"+strconv.Itoa(bit))
		}
	}
	return dst
}
