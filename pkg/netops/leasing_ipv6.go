package netops

import (
	"fmt"
	"os"
	"strings"
)

// ipv6Settings are the kernel's settings of an interface (ip-sysctl of the kernel's documentation) that a method
// of IPv6 asks for. Router advertisements are taken on an interface that forwards too (accept_ra 2), or is to as
// soon as its prefix is used: else the kernel would drop the default route that came by one.
func ipv6Settings(method string, forwards bool) []ipv6Setting {
	switch method {
	case "slaac", "dhcp": // RFC 8415 has no routers: they come by advertisements
		ra := "1"
		if forwards {
			ra = "2"
		}
		// In this order the kernel, when it begins with IPv6, asks for a router at once.
		return []ipv6Setting{{"accept_ra", ra}, {"autoconf", "1"}, {"disable_ipv6", "0"}}
	case "none":
		return []ipv6Setting{{"disable_ipv6", "1"}}
	}
	return nil
}

// ipv6Setting is a file of /proc/sys/net/ipv6/conf/INTERFACE and what it is to hold.
type ipv6Setting struct{ name, value string }

// settle6 has the kernel do with IPv6 what the configuration says of an interface. What is so already is not
// written again.
func (r *leaser) settle6() error {
	if r.IPv6 == "" {
		return nil
	}
	folder := r.net.options.Root + "/proc/sys/net/ipv6/conf/" + r.Name + "/"
	return r.net.inside(func() error {
		forwards, _ := os.ReadFile(folder + "forwarding")
		for _, s := range ipv6Settings(r.IPv6, r.PrefixDelegation || strings.TrimSpace(string(forwards)) == "1") {
			have, err := os.ReadFile(folder + s.name)
			if err == nil && strings.TrimSpace(string(have)) == s.value {
				continue
			}
			if err := os.WriteFile(folder+s.name, []byte(s.value), 0); err != nil {
				return fmt.Errorf("set %s of %s to %s: %w", s.name, r.Name, s.value, err)
			}
		}
		return nil
	})
}
