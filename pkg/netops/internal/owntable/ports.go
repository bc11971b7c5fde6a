package owntable

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ProtocolAny stands for all protocols.
const ProtocolAny = "any"

// ProtocolNumber is the number of a protocol that entries are for; 0: there are none for it.
func ProtocolNumber(name string) uint8 { return protocolNumbers[name] }

// protocolNumbers are the numbers of the protocols that entries are for.
var protocolNumbers = map[string]uint8{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "icmp": unix.IPPROTO_ICMP, "icmpv6": unix.IPPROTO_ICMPV6,
}

// Ports is some ports of a protocol.
type Ports struct {
	Protocol    string
	First, Last int
}

// String is "tcp/443" or "udp/5000-5010".
func (r Ports) String() string { return r.Protocol + "/" + PortsText(r.First, r.Last) }

// ParsePorts is the inverse of String.
func ParsePorts(text string) (r Ports, err error) {
	protocol, ports, found := strings.Cut(text, "/")
	first, last, ranged := strings.Cut(ports, "-")
	if !ranged {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if !found || errA != nil || errB != nil || a == 0 || b < a || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return r, fmt.Errorf("ports %q: must be as in tcp/443 or udp/5000-5010", text)
	}
	return Ports{protocol, int(a), int(b)}, nil
}

// Has tells whether some of the ports of a protocol from first to last are among these.
func (r Ports) Has(protocol string, first, last int) bool {
	return r.Protocol == protocol && r.First <= last && first <= r.Last
}

// JoinPorts puts ports in order, each once.
func JoinPorts(list []Ports) (out []Ports) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Ports) int {
		if a.Protocol != b.Protocol {
			return strings.Compare(a.Protocol, b.Protocol)
		}
		return a.First - b.First
	})
	for _, r := range list {
		if n := len(out) - 1; n >= 0 && out[n].Protocol == r.Protocol && r.First <= out[n].Last+1 {
			out[n].Last = max(out[n].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// PortsText is "443" or, of more than one port, "5000-5010".
func PortsText(first, last int) string {
	if last == 0 || last == first {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
