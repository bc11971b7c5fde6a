package kernelrow

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// askSingly is how many interfaces are asked for their addresses one by one, at some 10 µs each, before
// those of all interfaces are read in one dump: a call for a few does not pay for thousands, nor one for
// thousands for as many round trips.
const askSingly = 64

// AddressBook has the addresses of interfaces, read as they are needed.
type AddressBook struct {
	conn        *rtnl.Conn
	known       addressList
	whole       bool // known is that of all interfaces, sorted
	asked       int
	interrupted bool

	rows  []registry.InterfaceAddress
	flags map[addressFlags][]string
}

// addressFlags is what the names of an address' flags depend on; few combinations are in use.
type addressFlags struct {
	flags  uint32
	family uint8
}

// NewAddressBook is a book that has read nothing yet and asks by conn.
func NewAddressBook(conn *rtnl.Conn) *AddressBook {
	return &AddressBook{conn: conn, flags: map[addressFlags][]string{}}
}

// Use makes the book ask by another socket, and forget what it knows by the one before.
func (b *AddressBook) Use(conn *rtnl.Conn) {
	b.conn = conn
	b.Forget()
}

// Interrupted tells whether a dump was, so that the book may lack something.
func (b *AddressBook) Interrupted() bool { return b.interrupted }

// Forget makes the book read everything again.
func (b *AddressBook) Forget() {
	b.known.clear()
	b.whole, b.asked, b.interrupted = false, 0, false
}

// ReadAll reads the addresses of every interface.
func (b *AddressBook) ReadAll(ctx context.Context) error {
	if err := b.read(ctx, rtnl.AddressFilter{}); err != nil {
		return err
	}
	b.known.sort()
	b.whole = true
	return nil
}

func (b *AddressBook) read(ctx context.Context, f rtnl.AddressFilter) error {
	b.known.clear()
	interrupted, err := wire.Each(b.conn.Addresses(ctx, f), func(a *rtnl.Address) error {
		b.known.add(a)
		return nil
	})
	b.interrupted = b.interrupted || interrupted
	return err
}

// Of returns the addresses of one interface in the kernel's order. They hold until the next call.
func (b *AddressBook) Of(ctx context.Context, index int) ([]registry.InterfaceAddress, error) {
	if err := b.ask(ctx, index); err != nil {
		return nil, err
	}
	b.rows = b.rows[:0]
	for a := range b.known.of(index) {
		b.rows = append(b.rows, b.row(a))
	}
	return b.rows, nil
}

// ask makes sure that the addresses of an interface are known. One that went meanwhile has none.
func (b *AddressBook) ask(ctx context.Context, index int) error {
	if b.whole {
		return nil
	}
	b.asked++
	if b.asked > askSingly {
		return b.ReadAll(ctx)
	}
	err := b.read(ctx, rtnl.AddressFilter{Index: index})
	if errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

func (b *AddressBook) row(a *rtnl.Address) registry.InterfaceAddress {
	row := registry.InterfaceAddress{
		Address:    AddressPrefix(a),
		Family:     wire.Family(a.Family),
		Scope:      rtnl.ScopeName(a.Scope),
		Label:      registry.NonZero(a.Label),
		Broadcast:  wire.Addr(a.Broadcast),
		Anycast:    wire.Addr(a.Anycast),
		Flags:      b.flagNames(a),
		PreferredS: Lifetime(a.Preferred),
		ValidS:     Lifetime(a.Valid),
		Metric:     wire.Number(a.Has(unix.IFA_RT_PRIORITY), a.Priority),
		Protocol:   registry.NonZero(rtnl.AddressProtocolName(a.Protocol)),
	}
	if a.Peer.IsValid() {
		row.Peer = registry.Some(netip.PrefixFrom(a.Peer, a.PrefixLen))
	}
	return row
}

// AddressPrefix is the address with the length of its network. Where there is another end that length
// is of the network behind it, and the address stands alone.
func AddressPrefix(a *rtnl.Address) netip.Prefix {
	if a.Peer.IsValid() {
		return netip.PrefixFrom(a.Local, a.Local.BitLen())
	}
	return netip.PrefixFrom(a.Local, a.PrefixLen)
}

func (b *AddressBook) flagNames(a *rtnl.Address) []string {
	key := addressFlags{a.Flags, a.Family}
	names, ok := b.flags[key]
	if !ok {
		names = rtnl.AppendAddressFlags([]string{}, a.Flags, a.Family)
		b.flags[key] = names
	}
	return names
}

// Lifetime is in seconds; absent for one without an end.
func Lifetime(s uint32) registry.Opt[int64] { return wire.Number(s != rtnl.Forever, s) }

// addressList keeps addresses as they came and finds those of one interface. It grows by blocks, since
// growing one slice would copy thousands of addresses again and again.
type addressList struct {
	blocks []*[addressBlock]rtnl.Address
	order  []addressPlace
}

// addressPlace says where the list has an address of an interface.
type addressPlace struct{ index, place int32 }

const addressBlock = 16

// clear empties the list and keeps its memory.
func (l *addressList) clear() { l.order = l.order[:0] }

func (l *addressList) add(a *rtnl.Address) {
	place := len(l.order)
	if place/addressBlock == len(l.blocks) {
		l.blocks = append(l.blocks, new([addressBlock]rtnl.Address))
	}
	*l.at(int32(place)) = *a
	l.order = append(l.order, addressPlace{index: int32(a.Index), place: int32(place)})
}

func (l *addressList) at(place int32) *rtnl.Address {
	return &l.blocks[place/addressBlock][place%addressBlock]
}

// sort orders the list by interface, and leaves those of one in the order in which they came.
func (l *addressList) sort() {
	slices.SortFunc(l.order, func(x, y addressPlace) int {
		return cmp.Or(cmp.Compare(x.index, y.index), cmp.Compare(x.place, y.place))
	})
}

// of yields the addresses of one interface from a sorted list, or from one that has no other's.
func (l *addressList) of(index int) iter.Seq[*rtnl.Address] {
	return func(yield func(*rtnl.Address) bool) {
		first, _ := slices.BinarySearchFunc(l.order, index, func(p addressPlace, index int) int { return cmp.Compare(int(p.index), index) })
		for _, p := range l.order[first:] {
			if int(p.index) != index || !yield(l.at(p.place)) {
				return
			}
		}
	}
}
