package testhost

import "fmt"

// FillLinks makes n interfaces, p0 upwards, in pairs of the kind veth (n is even) that are up, each
// with an IPv4 address. Two thousand take about ten seconds.
func (ns *NetNS) FillLinks(n int) {
	ns.t.Helper()
	var commands []string
	for i := 0; i < n; i += 2 {
		commands = append(commands, fmt.Sprintf("link add p%d type veth peer name p%d", i, i+1))
	}
	for i := range n {
		commands = append(commands,
			fmt.Sprintf("link set p%d up", i),
			fmt.Sprintf("addr add 10.%d.%d.1/24 dev p%d", 10+i/200, i%200, i))
	}
	ns.IP(commands...)
}
