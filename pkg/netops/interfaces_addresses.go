package netops

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// askSingly is how many interfaces are asked for their addresses one by one, at some 10 µs each, before
// those of all interfaces are read in one dump: a call for a few does not pay for thousands, nor one for
// thousands for as many round trips.
const askSingly = 64

// addressBook has the addresses of interfaces, read as they are needed.
type addressBook struct {
	conn        *rtnl.Conn
	list        []interfaceAddress
	whole       bool // list is that of all interfaces, sorted by index
	asked       int
	interrupted bool // a dump was, and its list may lack something

	rows  []registry.InterfaceAddress
	flags map[addressFlags][]string
}

type interfaceAddress struct {
	index int
	row   registry.InterfaceAddress
}

// addressFlags is what the names of an address' flags depend on; few combinations are in use.
type addressFlags struct {
	flags  uint32
	family uint8
}

func newAddressBook(conn *rtnl.Conn) *addressBook {
	return &addressBook{conn: conn, flags: map[addressFlags][]string{}}
}

// forget makes the book read everything again.
func (b *addressBook) forget() { b.list, b.whole, b.asked, b.interrupted = b.list[:0], false, 0, false }

// readAll reads the addresses of every interface.
func (b *addressBook) readAll(ctx context.Context) error {
	if err := b.read(ctx, rtnl.AddressFilter{}); err != nil {
		return err
	}
	slices.SortStableFunc(b.list, func(x, y interfaceAddress) int { return cmp.Compare(x.index, y.index) })
	b.whole = true
	return nil
}

func (b *addressBook) read(ctx context.Context, f rtnl.AddressFilter) error {
	b.list = b.list[:0]
	interrupted, err := each(b.conn.Addresses(ctx, f), func(a *rtnl.Address) error {
		b.list = append(b.list, interfaceAddress{index: a.Index, row: b.row(a)})
		return nil
	})
	b.interrupted = b.interrupted || interrupted
	return err
}

// of returns the addresses of one interface in the kernel's order. They hold until the next call.
func (b *addressBook) of(ctx context.Context, index int) ([]registry.InterfaceAddress, error) {
	if err := b.ask(ctx, index); err != nil {
		return nil, err
	}
	first, _ := slices.BinarySearchFunc(b.list, index, func(a interfaceAddress, index int) int { return cmp.Compare(a.index, index) })
	b.rows = b.rows[:0]
	for _, a := range b.list[first:] {
		if a.index != index {
			break
		}
		b.rows = append(b.rows, a.row)
	}
	return b.rows, nil
}

// ask makes sure that the list has the addresses of an interface. One that went meanwhile has none.
func (b *addressBook) ask(ctx context.Context, index int) error {
	if b.whole {
		return nil
	}
	b.asked++
	if b.asked > askSingly {
		return b.readAll(ctx)
	}
	err := b.read(ctx, rtnl.AddressFilter{Index: index})
	if errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

func (b *addressBook) row(a *rtnl.Address) registry.InterfaceAddress {
	row := registry.InterfaceAddress{
		Address:    addressPrefix(a),
		Family:     familyName(a.Family),
		Scope:      rtnl.ScopeName(a.Scope),
		Label:      registry.NonZero(a.Label),
		Broadcast:  validAddr(a.Broadcast),
		Anycast:    validAddr(a.Anycast),
		Flags:      b.flagNames(a),
		PreferredS: lifetime(a.Preferred),
		ValidS:     lifetime(a.Valid),
		Metric:     number(a.Has(unix.IFA_RT_PRIORITY), a.Priority),
		Protocol:   registry.NonZero(rtnl.AddressProtocolName(a.Protocol)),
	}
	if a.Peer.IsValid() {
		row.Peer = registry.Some(netip.PrefixFrom(a.Peer, a.PrefixLen))
	}
	return row
}

// addressPrefix is the address with the length of its network. Where there is another end that length
// is of the network behind it, and the address stands alone.
func addressPrefix(a *rtnl.Address) netip.Prefix {
	if a.Peer.IsValid() {
		return netip.PrefixFrom(a.Local, a.Local.BitLen())
	}
	return netip.PrefixFrom(a.Local, a.PrefixLen)
}

func (b *addressBook) flagNames(a *rtnl.Address) []string {
	key := addressFlags{a.Flags, a.Family}
	names, ok := b.flags[key]
	if !ok {
		names = rtnl.AppendAddressFlags([]string{}, a.Flags, a.Family)
		b.flags[key] = names
	}
	return names
}

// lifetime is in seconds; absent for one without an end.
func lifetime(s uint32) registry.Opt[int64] { return number(s != rtnl.Forever, s) }
