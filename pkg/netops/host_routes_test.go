package netops

import "fmt"

// buildRoutes makes routes of every type, in several tables. Each has a destination of its own, by
// which text and JSON of the witness can be brought together.
func (h *host) buildRoutes() {
	h.try("nexthop add id 5 via 10.0.0.77 dev "+h.links[0], "nexthop add id 6 via 10.0.0.78 dev "+h.links[0], "nexthop add id 9 group 5/6")
	for i := range 5 + h.rng.IntN(15) {
		h.try("route add " + h.route4(i))
	}
	for i := range 5 + h.rng.IntN(10) {
		h.try6("route add " + h.route6(i))
	}
	h.try6("route add default via fe80::99 dev "+h.link(), "route add default via fe80::98 dev "+h.link()+" metric 3 pref low")
	h.try("route add default via 10.0.0.99 dev "+h.links[0]+" onlink", "route add default via 10.0.0.98 dev "+h.links[0]+" onlink metric 9")
}

// try6 is try for commands of IPv6, which a batch takes only as an option of ip.
func (h *host) try6(commands ...string) {
	h.t.Helper()
	for _, c := range commands {
		_, _ = h.Try(c+"\n", "ip", "-6", "-force", "-batch", "-")
	}
}

func (h *host) link() string { return h.links[h.rng.IntN(len(h.links))] }

func (h *host) route4(i int) string {
	dst := fmt.Sprintf("172.%d.%d.0/24", 16+i/200, i%200)
	if h.rng.IntN(4) == 0 {
		dst = fmt.Sprintf("172.%d.%d.%d", 16+i/200, i%200, h.rng.IntN(256))
	}
	return fmt.Sprintf("%s %s %s", h.kindOfRoute(dst), h.where4(), h.attributes4())
}

// kindOfRoute puts one of the types before a destination that take no gateway, now and then.
func (h *host) kindOfRoute(dst string) string {
	return h.oneOf("", "", "", "", "blackhole ", "unreachable ", "prohibit ", "throw ") + dst
}

func (h *host) where4() string {
	dev := "dev " + h.link()
	switch h.rng.IntN(8) {
	case 0:
		return dev
	case 1:
		return fmt.Sprintf("via 10.0.0.%d %s onlink", 100+h.rng.IntN(50), dev)
	case 2:
		return "via inet6 fe80::5 " + dev
	case 3:
		return "nhid " + h.oneOf("5", "6", "9")
	case 4:
		return fmt.Sprintf("nexthop via 10.0.0.101 dev %s weight %d onlink nexthop via inet6 fe80::7 dev %s weight %d nexthop dev %s",
			h.link(), 1+h.rng.IntN(256), h.link(), 1+h.rng.IntN(256), h.link())
	case 5:
		return dev + " scope " + h.oneOf("host", "link", "site", "global", "99")
	case 6:
		return "encap ip id 5 src 192.0.2.1 dst 192.0.2.2 ttl 9 " + dev
	}
	return ""
}

func (h *host) attributes4() string {
	return fmt.Sprintf("%s %s %s %s %s %s", h.protocolAndTable(), h.maybe(3, fmt.Sprintf("metric %d", h.rng.Uint32())),
		h.maybe(5, "tos 0x04"), h.maybe(6, "src 127.0.0.1"), h.maybe(6, "realm "+h.oneOf("7", "5/7")), h.metrics())
}

func (h *host) protocolAndTable() string {
	return h.maybe(2, "proto "+h.oneOf("static", "dhcp", "bird", "zebra", "77", "109", "187", "ra")) + " " +
		h.maybe(3, "table "+h.oneOf("100", "4000000000", "253", "255", "256"))
}

func (h *host) metrics() string {
	text := ""
	for _, m := range []string{"mtu 1400", "mtu lock 1300", "window 30000", "rtt 5ms", "rttvar 7ms", "ssthresh 9", "cwnd lock 20",
		"advmss 1200", "reordering 4", "hoplimit 33", "initcwnd 11", "initrwnd 12", "features ecn", "rto_min 20ms", "quickack 1",
		"congctl cubic", "fastopen_no_cookie 1"} {
		text += h.maybe(12, m+" ")
	}
	return text
}

func (h *host) route6(i int) string {
	dst := fmt.Sprintf("2001:db8:f%02x::/48", i)
	if h.rng.IntN(4) == 0 {
		dst = fmt.Sprintf("2001:db8:f%02x::%x", i, h.rng.IntN(1<<16))
	}
	return fmt.Sprintf("%s %s %s %s %s %s %s", h.kindOfRoute(dst), h.where6(), h.protocolAndTable(),
		h.maybe(3, fmt.Sprintf("metric %d", 1+h.rng.Uint32N(1<<31))), h.maybe(4, "pref "+h.oneOf("low", "medium", "high")),
		h.maybe(4, "expires 900"), h.metrics())
}

func (h *host) where6() string {
	dev := "dev " + h.link()
	switch h.rng.IntN(5) {
	case 0:
		return fmt.Sprintf("via fe80::%x %s", 1+h.rng.IntN(99), dev)
	case 1:
		return fmt.Sprintf("nexthop via fe80::7 dev %s weight %d nexthop via fe80::8 dev %s", h.link(), 1+h.rng.IntN(256), h.link())
	case 2:
		return "from 2001:db8:aaaa::/64 " + dev
	case 3:
		return "encap ip6 id 5 src 2001:db8::1 dst 2001:db8::2 " + dev
	}
	return dev
}
