package kernelrow

import "github.com/geomind/my_os_server/internal/rtnl"

// OwnProtocol marks the routes that this daemon makes (rtm_protocol). The number is free in
// linux/rtnetlink.h and in the rt_protos of iproute2, FRR and OVN.
const OwnProtocol = 109

// ownProtocolName is the name that the table gives them.
const ownProtocolName = "my_os_server"

// ProtocolName is the name of a route protocol, as the table has it.
func ProtocolName(protocol uint8) string {
	if protocol == OwnProtocol {
		return ownProtocolName
	}
	return rtnl.ProtocolName(protocol)
}

// ParseProtocol is the inverse of ProtocolName, and takes numbers too.
func ParseProtocol(s string) (uint8, bool) {
	if s == ownProtocolName {
		return OwnProtocol, true
	}
	return rtnl.ParseProtocol(s)
}
