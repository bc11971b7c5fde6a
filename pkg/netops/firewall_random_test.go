package netops

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/testhost"
)

// randomRuleset writes rulesets at random: tables of every family, sets and maps of many types, objects,
// and rules that between them use every kind of expression that the host's kernel and nft have.
type randomRuleset struct {
	rng *rand.Rand
	b   strings.Builder

	optional   map[string][]string // see probe
	flowtables bool
}

// templates are rules by the chain that takes them; {…} is replaced at random.
var templates = map[string][]string{
	"forward": {
		"ct state established,related accept", "ct original ip saddr {a} drop", "ct mark set ct mark and {x}", "ct label set {b}",
		"ct original packets > {n}", "tcp flags & (syn|ack) == syn", "tcp option maxseg size {n}-{p}", "tcp option sack exists",
		"reset tcp option maxseg", "ip option ra exists", "ip6 nexthdr {b}", "exthdr frag exists", "frag id {n}",
		"sctp chunk init exists", "sctp chunk data tsn {n}", "meta mark set jhash ip saddr . ip daddr mod {n} seed {x} offset {b}",
		"meta mark set symhash mod {n}", "meta mark set numgen inc mod {n} offset {b}", "numgen random mod 1000 < {n}",
		"meta mark set meta mark rshift {k}", "meta mark set meta mark lshift {k}", "log group {b} snaplen {p} queue-threshold {b} prefix {s}",
		"log level debug flags ip options", "log level audit", "log prefix {s} level info flags all", "log",
		"add @recent { ip saddr timeout {n}s limit rate over {n}/second burst {n} packets }", "add @recent { ip saddr counter }",
		"delete @recent { ip saddr }", "update @marks { ip saddr : {x} }", "add @recent6 { ip6 saddr . tcp dport timeout {n}m }",
		"ct count over {n} drop", "ct count {n} accept", "quota over {n} mbytes used {b} kbytes drop", "quota {n} kbytes",
		"limit rate {n} mbytes/second burst {n} kbytes", "limit rate over {n}/week", "limit rate {n}/hour burst {n} packets accept",
		"reject with tcp reset", "reject with icmp host-unreachable", "reject with icmpx admin-prohibited", "ip6 saddr {c6} reject with icmpv6 no-route",
		"rt classid {n}", "rt ip nexthop {a}", "rt ip6 nexthop {a6}", "rt ipsec exists", "tcp option maxseg size set rt mtu", "tcp option maxseg size set {p}",
		"tcp dport {p} synproxy mss {p} wscale {k} timestamp sack-perm", "tcp dport {p} synproxy name \"proxy\"", "ipsec in reqid {n}",
		"ipsec out ip saddr {a}", "counter name \"hits\"", "counter name tcp dport map @objects", "quota name \"volume\"", "limit name \"pace\"",
		"ip dscp set {k}", "tcp dport set {p}", "ip6 flowlabel set {n}", "meta hour 10:00-12:00", "meta day Monday", "meta cgroup {n}",
		"meta random > {x}", "meta skuid {n}", "meta oifkind \"veth\"", "meta sdif {n}", "ip saddr {a}-255.255.255.255", "ip saddr != {c}",
		"tcp dport != 5-{p}", "goto target", "jump target", "@th,16,16 {n}", "@ih,0,8 {b}", "meta nftrace set 1",
		"meta priority set {b}:{b}", "meta pkttype broadcast", "continue", "return", "meta secmark set ct secmark",
		"ip saddr { {a}, {a}, {c} } counter", "tcp dport { {p}, 1-{b} } counter packets {n} bytes {p} accept", "ip6 daddr { {a6}, {c6} } drop",
		"ip saddr . tcp dport { {a} . {p}, {a} . {p} } accept", "ct state vmap { established : accept, invalid : drop, new : jump target }",
		"tcp dport vmap { {p} : drop, 0 : goto target }", "meta mark set tcp dport map { {p} : {x}, 1-99 : {x} }", "ip saddr @addresses drop",
		"ip6 saddr != @addresses6 counter", "ip saddr . udp dport @services accept", "ip saddr vmap @verdicts", "iifname \"eth*\" accept",
		"iifname { \"lo\", \"eth0\" } oifname \"eth{k}\" drop", "ether saddr {m} drop", "vlan id {n} drop", "icmp type echo-request limit rate {n}/second accept",
		"icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept", "th dport {p} meta mark set mark and {x} or {x}", "udp length > {n}",
		"ip protocol { tcp, udp } meta mark {x}", "meta length {n}-{p} accept", "ip ttl < {b}", "ip frag-off & 0x1fff != 0 drop", "fib daddr type blackhole drop",
	},
	"prerouting": {
		"ct original zone set {b}", "ct zone set {b}", "socket transparent 1", "socket mark {x}", "socket wildcard 0", "osf name \"Linux\"", "notrack",
		"meta l4proto tcp tproxy ip to {a}:{p}", "meta l4proto tcp tproxy to :{p}", "tcp dport 21 ct helper set \"ftp\"",
		"fib saddr . mark . iif oifname \"lo\"", "fib saddr . iif oif missing drop", "fib daddr . iif type != { local, broadcast } drop",
	},
	"dnat": {
		"tcp dport {p} dnat ip to {a}:{p}", "udp dport {p} dnat ip to {a}-255.255.255.255:1-{p} random,persistent", "tcp dport {p} dnat ip6 to [{a6}]:{p}",
		"tcp dport {p} redirect to :1-{p} fully-random", "redirect", "dnat ip to ip saddr map { {a} : {a}, {a} : {a} }",
		"ip protocol tcp dnat ip to tcp dport map { {p} : {a} . {p} }",
	},
	"snat": {
		"tcp sport {p} masquerade to :1-{p} random", "masquerade", "masquerade fully-random,persistent", "snat ip to {a}", "snat ip6 to {a6} random",
		"snat ip prefix to ip saddr map { 10.0.0.0/8 : 11.0.0.0/8 }",
	},
	"netdev": {"dup to lo", "fwd to lo", "fwd ip to {a} device lo", "meta iifname lo", "ether type ip drop", "ip saddr {c} drop"},
	"arp":    {"arp operation request", "arp saddr ip {a} drop", "arp htype 1 counter"},
	"bridge": {"ether saddr {m} vlan id {n}", "ether daddr {m} drop", "ip saddr {c} counter", "ether type arp accept"},
	"ip":     {"dup to {a} device lo", "ip saddr {a} counter", "ip daddr {c} ip ttl {b} drop", "ip length {n} accept", "ip id {n}", "ip checksum {n}"},
	"ip6":    {"ip6 saddr {c6} accept", "ip6 hoplimit {b} drop", "ip6 daddr {a6}", "ip6 length {n} counter"},
}

// optionalTemplates are rules that a kernel may lack the module for.
var optionalTemplates = map[string][]string{
	"forward": {"flow add @fast", "queue num {b} bypass", "queue flags bypass,fanout to 1-{b}", "queue to symhash mod {k}"},
	"bridge":  {"meta ibrname \"br{k}\" accept", "meta ibrpvid {n}", "meta obrname \"br0\"", "reject with icmpx port-unreachable"},
}

// probe finds out which optional rules, and whether flowtables, the kernel takes.
func (r *randomRuleset) probe(ns *testhost.NetNS) {
	r.optional = map[string][]string{}
	flowtable := "flowtable fast {\nhook ingress priority 0\ndevices = { lo }\n}\n"
	_, err := ns.Try("table inet p {\n"+flowtable+"}\n", "nft", "-c", "-f", "-")
	r.flowtables = err == nil
	if !r.flowtables {
		flowtable = ""
	}
	for chain, rules := range optionalTemplates {
		head := map[string]string{
			"forward": "table inet p {\n" + flowtable + "chain c {\ntype filter hook forward priority 0\n",
			"bridge":  "table bridge p {\nchain c {\ntype filter hook input priority 0\n",
		}[chain]
		for _, rule := range rules {
			if _, err := ns.Try(head+r.fill(rule)+"\n}\n}\n", "nft", "-c", "-f", "-"); err == nil {
				r.optional[chain] = append(r.optional[chain], rule)
			}
		}
	}
}

// write makes a ruleset of about so many rules.
func (r *randomRuleset) write(rules int) string {
	r.b.Reset()
	r.b.WriteString("flush ruleset\n")
	r.table("inet", "mixed", func() {
		if r.flowtables {
			fmt.Fprintf(&r.b, "flowtable fast {\nhook ingress priority %d\ndevices = { lo }\n}\n", r.rng.IntN(100))
			fmt.Fprintf(&r.b, "flowtable idle {\nhook ingress priority %d\ncounter\n}\n", r.rng.IntN(100))
		}
		r.objects()
		r.sets()
		r.b.WriteString("chain target {\n}\n")
		r.chain("forward", "type filter hook forward priority %d; policy accept; comment \"of many\";", "forward", rules*7/10)
		r.chain("pre", "type filter hook prerouting priority %d;", "prerouting", rules/20)
		r.chain("route", "type route hook output priority %d;", "", 0)
		r.chain("dn", "type nat hook prerouting priority -%d;", "dnat", rules/20)
		r.chain("sn", "type nat hook postrouting priority %d;", "snat", rules/20)
	})
	r.table("netdev", "nd", func() { r.chain("in", "type filter hook ingress device \"lo\" priority %d;", "netdev", rules/40) })
	r.table("arp", "ar", func() { r.chain("in", "type filter hook input priority %d; policy drop;", "arp", rules/40) })
	r.table("bridge", "br", func() { r.chain("in", "type filter hook input priority -%d;", "bridge", rules/40) })
	r.table("ip", "v4", func() { r.chain("f", "type filter hook forward priority %d;", "ip", rules/20) })
	r.table("ip6", "v6", func() { r.chain("f", "type filter hook forward priority %d;", "ip6", rules/40) })
	return r.b.String()
}

func (r *randomRuleset) table(family, name string, inside func()) {
	fmt.Fprintf(&r.b, "table %s %s {\n", family, name)
	if r.rng.IntN(2) == 0 {
		fmt.Fprintf(&r.b, "comment %s\n", r.word())
	}
	inside()
	r.b.WriteString("}\n")
}

func (r *randomRuleset) chain(name, head, of string, rules int) {
	fmt.Fprintf(&r.b, "chain %s {\n"+head+"\n", name, r.rng.IntN(200))
	list := append(slices.Clone(templates[of]), r.optional[of]...)
	for range rules {
		rule := r.fill(list[r.rng.IntN(len(list))])
		if r.rng.IntN(4) == 0 {
			rule += " comment " + r.word()
		}
		fmt.Fprintln(&r.b, rule)
	}
	r.b.WriteString("}\n")
}

func (r *randomRuleset) objects() {
	fmt.Fprintf(&r.b, "counter hits {\npackets %d bytes %d\n}\n", r.rng.IntN(1000), r.rng.IntN(100000))
	fmt.Fprintf(&r.b, "counter more {\ncomment %s\n}\n", r.word())
	fmt.Fprintf(&r.b, "quota volume {\nover %d bytes\n}\n", 1+r.rng.IntN(1<<30))
	fmt.Fprintf(&r.b, "limit pace {\nrate over %d/minute burst %d packets\n}\n", 1+r.rng.IntN(100), 1+r.rng.IntN(100))
	fmt.Fprintf(&r.b, "limit width {\nrate %d kbytes/second\n}\n", 1+r.rng.IntN(100))
	fmt.Fprintf(&r.b, "ct helper ftp {\ntype \"ftp\" protocol tcp\nl3proto ip\n}\n")
	fmt.Fprintf(&r.b, "ct timeout slow {\nprotocol tcp\nl3proto ip\npolicy = { established : %d, close : 4 }\n}\n", 1+r.rng.IntN(1000))
	fmt.Fprintf(&r.b, "ct timeout slower {\nprotocol udp\nl3proto ip6\npolicy = { unreplied : %d, replied : 12 }\n}\n", 1+r.rng.IntN(1000))
	fmt.Fprintf(&r.b, "ct expectation later {\nprotocol tcp\ndport %d\ntimeout %dm\nsize %d\nl3proto ip\n}\n", 1+r.rng.IntN(65535), 1+r.rng.IntN(9), 1+r.rng.IntN(200))
	fmt.Fprintf(&r.b, "synproxy proxy {\nmss %d\nwscale %d\ntimestamp sack-perm\n}\n", 500+r.rng.IntN(1000), r.rng.IntN(14))
}

func (r *randomRuleset) sets() {
	r.set("set addresses", "type ipv4_addr; flags interval; auto-merge;", "{c}", 30)
	r.set("set addresses6", "type ipv6_addr; flags interval; auto-merge; comment \"six\";", "{c6}", 30)
	r.set("set plain", "type ipv4_addr; size 5000;", "{a}", 150)
	r.set("set plain6", "type ipv6_addr; policy memory;", "{a6}", 20)
	r.set("set services", "type ipv4_addr . inet_service; flags interval;", "{c} . 1-{p}", 1)
	r.set("set pairs", "type inet_proto . inet_service;", "{t} . {p}", 20)
	r.set("set hosts", "type ether_addr; flags timeout; timeout 1h;", "{m} timeout {n}m comment {s}", 10)
	r.set("set links", "type ifname;", "\"eth{n}\"", 8)
	r.set("set marked", "type mark; flags interval; auto-merge;", "{x}", 10)
	r.set("set numbers", "type inet_proto; flags interval; auto-merge;", "{k}-{k5}", 1)
	r.set("set widths", "type inet_service; flags interval; auto-merge;", "{b}-{n1}", 9)
	r.set("set counted", "type ipv4_addr; flags dynamic; counter;", "{a}", 5)
	r.set("set paced", "type ipv6_addr; flags dynamic,timeout; limit rate 5/second; timeout 90s; gc-interval 30s;", "{a6}", 3)
	r.set("map verdicts", "type ipv4_addr : verdict;", "{a} : jump target", 8)
	r.set("map ports", "type inet_service : ipv4_addr . inet_service;", "{p} : {a} . {p}", 8)
	r.set("map nets", "type ipv4_addr : mark; flags interval;", "{c8} comment {s} : {x}", 1)
	r.set("map objects", "type inet_service : counter;", "{p} : \"hits\"", 5)
	r.set("set recent", "type ipv4_addr; flags dynamic,timeout;", "", 0)
	r.set("set recent6", "type ipv6_addr . inet_service; flags dynamic,timeout;", "", 0)
	r.set("map marks", "type ipv4_addr : mark; flags dynamic,timeout;", "", 0)
	r.b.WriteString("map rest {\ntype ipv4_addr : verdict\nelements = { 1.2.3.4 : accept, * : drop }\n}\n")
}

// set writes a set with up to so many elements, no two with the same key.
func (r *randomRuleset) set(name, head, element string, most int) {
	fmt.Fprintf(&r.b, "%s {\n%s\n", name, strings.ReplaceAll(head, ";", "\n"))
	seen := map[string]bool{}
	var list []string
	for range r.rng.IntN(most + 1) {
		e := r.fill(element)
		key, _, _ := strings.Cut(e, " : ")
		key, _, _ = strings.Cut(key, " timeout")
		if !seen[key] {
			seen[key] = true
			list = append(list, e)
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(&r.b, "elements = { %s }\n", strings.Join(list, ", "))
	}
	r.b.WriteString("}\n")
}

// fill replaces what stands in braces.
func (r *randomRuleset) fill(template string) string {
	for _, h := range []struct {
		hole string
		make func() string
	}{
		{"{n}", func() string { return fmt.Sprint(1 + r.rng.IntN(999)) }},
		{"{b}", func() string { return fmt.Sprint(1 + r.rng.IntN(99)) }},
		{"{k}", func() string { return fmt.Sprint(1 + r.rng.IntN(13)) }},
		{"{k5}", func() string { return fmt.Sprint(50 + r.rng.IntN(50)) }},
		{"{n1}", func() string { return fmt.Sprint(100 + r.rng.IntN(900)) }},
		{"{p}", func() string { return fmt.Sprint(1000 + r.rng.IntN(64000)) }},
		{"{x}", func() string { return fmt.Sprintf("%#x", 1+r.rng.Uint32()>>r.rng.IntN(31)) }},
		{"{s}", r.word},
		{"{t}", func() string { return []string{"tcp", "udp", "sctp", "icmp"}[r.rng.IntN(4)] }},
		{"{a}", func() string { return r.address(false).String() }},
		{"{a6}", func() string { return r.address(true).String() }},
		{"{c}", func() string { return r.network(false) }},
		{"{c6}", func() string { return r.network(true) }},
		{"{c8}", func() string { return fmt.Sprintf("%d.0.0.0/8", 1+r.rng.IntN(200)) }},
		{"{m}", func() string {
			return fmt.Sprintf("02:%02x:00:%02x:5e:%02x", r.rng.IntN(256), r.rng.IntN(256), r.rng.IntN(256))
		}},
	} {
		for strings.Contains(template, h.hole) {
			template = strings.Replace(template, h.hole, h.make(), 1)
		}
	}
	return template
}

func (r *randomRuleset) word() string {
	return fmt.Sprintf("\"%s %d;\"", []string{"no thanks", "web", "# handle 7", "a/b:c", "x"}[r.rng.IntN(5)], r.rng.IntN(1000))
}

func (r *randomRuleset) address(six bool) netip.Addr {
	if !six {
		return netip.AddrFrom4([4]byte{byte(1 + r.rng.IntN(200)), byte(r.rng.IntN(256)), byte(r.rng.IntN(256)), byte(1 + r.rng.IntN(254))})
	}
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	for i := 8; i < 16; i++ {
		b[i] = byte(r.rng.IntN(256))
	}
	return netip.AddrFrom16(b)
}

func (r *randomRuleset) network(six bool) string {
	a := r.address(six)
	return netip.PrefixFrom(a, a.BitLen()-r.rng.IntN(a.BitLen()-7)).Masked().String()
}
