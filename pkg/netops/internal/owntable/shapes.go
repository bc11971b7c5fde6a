package owntable

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nft"
)

// What is let in, forwarded and translated stands in the daemon's own table as elements of sets and maps, so
// that one costs the same whether there are ten or ten thousand. What an entry looks at differs: an
// interface or none, a network of a certain length or none. Entries that look at the same things have the
// same shape: one set, and the rule that loads these things from a packet and looks them up. Sets are hashes:
// the kernel clones a set of intervals at every change of it.

// use is what a set is for. The order is that of the rules in a chain: of two sets for the same thing the
// first one that has an element for the packet decides.
type use int

const (
	useKept       use = iota // ports that stay open where what comes in is dropped
	useTrial                 // families in which that is on trial, for as long as it is
	useFormer                // ports that stay open once the trial is over
	useOpen                  // lets in
	useForwarded             // targets of port forwards
	useSources               // networks whose sources are translated
	useClosed                // interfaces on which forwarding was switched on
	useDNAT                  // port forwards
	useHairpin               // targets of port forwards, each with the network that it is in
	useInside                // networks whose sources are translated, twice
	useSNAT                  // networks with the address that they get
	useMasquerade            // networks that get the address of the interface
)

var useNames = [...]string{"kept", "trial", "former", "open", "forwarded", "sources", "closed", "dnat", "hairpin", "inside", "snat", "masquerade"}

// portsOf says what a shape looks at beyond addresses.
type portsOf int

const (
	portOne     portsOf = iota // protocol and port
	portBlocks                 // protocol and aligned blocks of two ports or more, each by the port in its middle
	portSingles                // protocol and the single ports of ranges
	portNone                   // protocol
	portAny                    // family
	portUnused                 // neither
)

var shapePorts = [...]string{"", "_blocks", "_singles", "_proto", "_all", ""}

// Shape is what the entries of one set have in common.
type Shape struct {
	use       use
	family    uint8 // unix.NFPROTO_IPV4 or IPV6; 0: either
	iface     bool
	link      string // of port forwards with an interface: that
	dest      bool
	hasSource bool
	bits      int // of the source, where there is one
	ports     portsOf
}

// Name is the name of the set.
func (s Shape) Name() string {
	name := useNames[s.use]
	switch s.family {
	case unix.NFPROTO_IPV4:
		name += "4"
	case unix.NFPROTO_IPV6:
		name += "6"
	}
	if s.hasSource {
		name += "_from" + strconv.Itoa(s.bits)
	}
	if s.iface {
		name += "_if"
	}
	if s.link != "" {
		name += "_" + s.link
	}
	if s.dest {
		name += "_to"
	}
	return name + shapePorts[s.ports]
}

// compareShapes orders shapes as their rules stand: what looks at more comes first.
func compareShapes(a, b Shape) int {
	rank := func(s Shape) []int {
		bits := -1
		if s.hasSource {
			bits = s.bits
		}
		return []int{int(s.use), -flagRank(s.dest), -flagRank(s.iface), -bits, int(s.family), int(s.ports)}
	}
	x, y := rank(a), rank(b)
	if a.use >= useInside && b.use >= useInside { // these stand in one chain, the longest networks first
		within := func(s Shape) []int {
			return []int{-s.bits, int(s.family), -flagRank(s.use == useInside), -flagRank(s.iface), int(s.use)}
		}
		x, y = within(a), within(b)
	}
	for i := range x {
		if x[i] != y[i] {
			return x[i] - y[i]
		}
	}
	return strings.Compare(a.link, b.link)
}

// InOrder are shapes as their rules stand.
func InOrder(shapes map[Shape]bool) []Shape {
	return slices.SortedFunc(maps.Keys(shapes), compareShapes)
}

func flagRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s Shape) addressField() nft.Field {
	if s.family == unix.NFPROTO_IPV6 {
		return nft.FieldIPv6
	}
	return nft.FieldIPv4
}

// fields are the parts of the set's keys.
func (s Shape) fields() (list []nft.Field) {
	if s.use == useClosed {
		if s.iface {
			return []nft.Field{nft.FieldInterface}
		}
		return []nft.Field{nft.FieldFamily}
	}
	if s.ports == portAny && (s.use == useOpen || s.use == useTrial) {
		list = append(list, nft.FieldFamily)
	}
	if s.iface && s.link == "" {
		list = append(list, nft.FieldInterface)
	}
	if s.hasSource {
		list = append(list, s.addressField())
	}
	if s.dest {
		list = append(list, s.addressField())
	}
	switch s.ports {
	case portOne, portBlocks, portSingles:
		list = append(list, nft.FieldProtocol, nft.FieldPort)
	case portNone:
		list = append(list, nft.FieldProtocol)
	}
	return list
}

// data are the parts of what a map has for a key.
func (s Shape) data() []nft.Field {
	switch s.use {
	case useDNAT:
		return []nft.Field{s.addressField(), nft.FieldPort}
	case useSNAT:
		return []nft.Field{s.addressField()}
	}
	return nil
}

// counts tells whether the elements count what finds them.
func (s Shape) counts() bool {
	return s.use == useOpen || s.use == useDNAT || s.use == useSNAT || s.use == useMasquerade
}

// Set is the set for it.
func (s Shape) Set() nft.NewSet {
	return nft.NewSet{Name: s.Name(), Key: s.fields(), Data: s.data(), Counters: s.counts(), Timeouts: s.use == useTrial}
}

// joinKey joins the parts of a key.
func joinKey(fields []nft.Field, parts ...[]byte) (key []byte) {
	if len(fields) != len(parts) {
		panic(fmt.Sprintf("key of %d parts for %d fields", len(parts), len(fields)))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	for _, p := range parts {
		key = nft.AppendKey(key, p)
	}
	return key
}

func portBytes(port int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(port)) }

// ifnameBytes is the name of an interface as sets keep it.
func ifnameBytes(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// maskBytes is the mask of a network.
func maskBytes(bits, size int) []byte {
	mask := make([]byte, size)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// portBlock is a run of ports whose length is a power of two that its first port is a multiple of.
type portBlock struct {
	bits  int
	first int
}

// middle is the port by which a block of two or more is kept: no two blocks have the same, since its lowest bit
// that is set tells the length.
func (b portBlock) middle() int { return b.first | 1<<b.bits>>1 }

// blocksOf are the fewest blocks that have the ports from first to last: 30 at most.
func blocksOf(first, last int) (list []portBlock) {
	for first <= last {
		bits := 0
		for bits < 16 && first&(1<<(bits+1)-1) == 0 && first+1<<(bits+1)-1 <= last {
			bits++
		}
		list = append(list, portBlock{bits, first})
		first += 1 << bits
	}
	return list
}

// Element is what an entry has in a set. Several entries may have the same shared element: it goes with the
// last of them.
type Element struct {
	Shape  Shape
	Key    []byte
	Data   []byte
	until  time.Time // when it goes by itself; zero: never
	Shared bool
}

// Timeout is how long the element stays from now on, 0 for ever: whole seconds where it is some, as a person reads them.
func (e *Element) Timeout() time.Duration {
	switch left := time.Until(e.until); {
	case e.until.IsZero():
		return 0
	case left > 2*time.Second:
		return left.Round(time.Second)
	default:
		return max(left, time.Millisecond)
	}
}

// Set is the name of the set that it stands in.
func (e *Element) Set() string { return e.Shape.Name() }

// Ref is what finds it.
func (e *Element) Ref() Ref { return Ref{e.Set(), string(e.Key)} }

// Ref finds an element.
type Ref struct{ Set, Key string }

func addressBytes(a netip.Addr) []byte { return a.AsSlice() }

// FamilyOf is the family of an address in netfilter's numbers.
func FamilyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}
