package netops

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// taker takes steps: it has what they need of the host.
type taker struct {
	net    *Net
	conn   *rtnl.Conn
	route  func(*rtnl.Route) // gets a route as the kernel made it; may be nil
	flows  *int              // counts the flows that were ended; may be nil
	cutOff bool              // see held
	blind  bool              // see write
	seen   *held             // see write; taken by the first object
	taken  int               // steps
	back   bool              // what was done is taken back
	late   error             // something was done that ovs-vswitchd has not seen yet
	known  <-chan struct{}   // of the last transaction of which is not known whether it was carried out; see ovsdb.Unavailable
}

// take takes the steps of a plan, in order, until one fails.
func (t *taker) take(ctx context.Context, steps []step) error {
	if len(steps) > 0 {
		if err := t.net.claim(); err != nil {
			return err
		}
	}
	for len(steps) > 0 {
		now := together(steps)
		steps = steps[len(now):]
		for _, s := range now {
			fault.Point("before: " + s.String())
		}
		if err := t.takeTogether(ctx, now); err != nil {
			return err
		}
		t.taken += len(now)
		t.net.steps.Add(int64(len(now)))
		for _, s := range now {
			fault.Point("after: " + s.String())
		}
	}
	return nil
}

// linkStep is a step that sets a property of a link, for which the kernel takes several at a time: each costs it and
// whoever hears of it as much as all.
type linkStep interface {
	step
	link() string
	// set adds the property to the change of its link; false: the change has it already.
	set(c *rtnl.LinkChange, indexOf func(name string) (int, error)) (bool, error)
}

// together are the first of some steps that can be taken as one.
func together(steps []step) []step {
	first, ok := steps[0].(linkStep)
	if !ok {
		return steps[:1]
	}
	var c rtnl.LinkChange
	anyIndex := func(string) (int, error) { return 0, nil }
	n := 0
	for _, s := range steps {
		next, ok := s.(linkStep)
		if !ok || next.link() != first.link() {
			break
		}
		if free, _ := next.set(&c, anyIndex); !free {
			break
		}
		n++
	}
	return steps[:n]
}

// takeTogether takes steps of one link as one, and any other step alone. The kernel sets an address, an MTU, an alias, a
// master and whether the link is up in this order (do_setlink): a link is a port before it is up.
func (t *taker) takeTogether(ctx context.Context, steps []step) error {
	first, ok := steps[0].(linkStep)
	if !ok {
		return steps[0].take(ctx, t)
	}
	var c rtnl.LinkChange
	for _, s := range steps {
		if _, err := s.(linkStep).set(&c, t.indexOf); err != nil {
			return err
		}
	}
	err := t.change(ctx, first.link(), c)
	if err != nil && len(steps) > 1 {
		return halfDone{err} // the first of them may be set
	}
	return err
}

func (t *taker) indexOf(name string) (int, error) { return indexOf(t.conn, name) }

// alone takes a property as the only one.
func (t *taker) alone(ctx context.Context, s linkStep) error { return t.takeTogether(ctx, []step{s}) }

// change sets properties of a link by its name.
func (t *taker) change(ctx context.Context, name string, c rtnl.LinkChange) error {
	index, err := t.conn.LinkIndex(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	return t.conn.ChangeLink(ctx, index, c)
}

type addBridge struct {
	Name, MAC          string
	MTU                int
	STP, VLANFiltering bool
}

func (s addBridge) String() string { return "add bridge " + s.Name }
func (s addBridge) take(ctx context.Context, t *taker) error {
	// A bridge takes its MTU for set, and does not follow its ports, once it is changed to another
	// (br_change_mtu): it is made with one that it is not to keep.
	mtu := uint32(s.MTU + 1)
	if s.MTU == maxMTU {
		mtu = maxMTU - 1
	}
	err := t.conn.AddBridge(ctx, rtnl.NewBridge{
		Name: s.Name, MAC: wire.MACBytes(s.MAC), MTU: mtu, STP: s.STP, VLANFiltering: s.VLANFiltering,
	})
	switch {
	case s.VLANFiltering && errors.Is(err, syscall.EOPNOTSUPP):
		return noVLANs(nil)
	case err != nil || !s.VLANFiltering:
		return err
	}
	return t.filters(ctx, s.Name)
}

const maxMTU = 65535

// filters checks that a bridge filters by VLAN: kernels that were built without refuse the option or pass over it.
func (t *taker) filters(ctx context.Context, name string) error {
	l, err := t.conn.LinkByName(ctx, name)
	if err != nil {
		return halfDone{err}
	}
	if b, err := rtnl.DecodeBridge(l.Data); err != nil || !b.VLANFiltering {
		return halfDone{noVLANs(err)}
	}
	return nil
}

func noVLANs(err error) error {
	if err != nil {
		return err
	}
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{
			Reason: registry.UnsupportedReasonKernel, Missing: registry.Some("VLAN filtering of bridges (CONFIG_BRIDGE_VLAN_FILTERING)"),
		},
		Message: "this kernel was built without VLAN filtering of bridges",
	}
}

type addPair struct{ A, B string }

func (s addPair) String() string { return "add veth pair " + s.A + ", " + s.B }
func (s addPair) take(ctx context.Context, t *taker) error {
	return t.conn.AddVeth(ctx, rtnl.NewVeth{Name: s.A}, rtnl.NewVeth{Name: s.B})
}

type addTap struct {
	Name                string
	OwnerUID, OwnerGID  *uint32
	MultiQueue, VnetHdr bool
}

func (s addTap) String() string { return "add tap " + s.Name }
func (s addTap) take(_ context.Context, t *taker) error {
	device := t.net.options.Root + "/dev/net/tun"
	return t.net.inside(func() error {
		return rtnl.AddTap(device, rtnl.NewTap{
			Name: s.Name, OwnerUID: s.OwnerUID, OwnerGID: s.OwnerGID, MultiQueue: s.MultiQueue, VnetHdr: s.VnetHdr,
		})
	})
}

type setAlias struct{ Name, Alias string }

func (s setAlias) String() string                           { return "set alias of " + s.Name + " to " + s.Alias }
func (s setAlias) take(ctx context.Context, t *taker) error { return t.alone(ctx, s) }
func (s setAlias) link() string                             { return s.Name }
func (s setAlias) set(c *rtnl.LinkChange, _ func(string) (int, error)) (bool, error) {
	free := c.Alias == nil
	c.Alias = &s.Alias
	return free, nil
}

type setMAC struct{ Name, MAC string }

func (s setMAC) String() string                           { return "set mac of " + s.Name + " to " + s.MAC }
func (s setMAC) take(ctx context.Context, t *taker) error { return t.alone(ctx, s) }
func (s setMAC) link() string                             { return s.Name }
func (s setMAC) set(c *rtnl.LinkChange, _ func(string) (int, error)) (bool, error) {
	free := c.MAC == nil
	c.MAC = wire.MACBytes(s.MAC)
	return free, nil
}

type setMTU struct {
	Name string
	MTU  int
}

func (s setMTU) String() string                           { return "set mtu of " + s.Name + " to " + strconv.Itoa(s.MTU) }
func (s setMTU) take(ctx context.Context, t *taker) error { return t.alone(ctx, s) }
func (s setMTU) link() string                             { return s.Name }
func (s setMTU) set(c *rtnl.LinkChange, _ func(string) (int, error)) (bool, error) {
	free := c.MTU == 0
	c.MTU = uint32(s.MTU)
	return free, nil
}

type setUp struct {
	Name string
	Up   bool
}

func (s setUp) String() string {
	if s.Up {
		return "set " + s.Name + " up"
	}
	return "set " + s.Name + " down"
}

func (s setUp) take(ctx context.Context, t *taker) error { return t.alone(ctx, s) }
func (s setUp) link() string                             { return s.Name }
func (s setUp) set(c *rtnl.LinkChange, _ func(string) (int, error)) (bool, error) {
	free := c.Up == nil
	c.Up = &s.Up
	return free, nil
}

type setSTP struct {
	Name string
	On   bool
}

func (s setSTP) String() string { return "set stp of " + s.Name + " to " + strconv.FormatBool(s.On) }
func (s setSTP) take(ctx context.Context, t *taker) error {
	return t.change(ctx, s.Name, rtnl.LinkChange{STP: &s.On})
}

type setVLANFiltering struct {
	Name string
	On   bool
}

func (s setVLANFiltering) String() string {
	return "set vlan_filtering of " + s.Name + " to " + strconv.FormatBool(s.On)
}

func (s setVLANFiltering) take(ctx context.Context, t *taker) error {
	err := t.change(ctx, s.Name, rtnl.LinkChange{VLANFiltering: &s.On})
	switch {
	case s.On && errors.Is(err, syscall.EOPNOTSUPP):
		return noVLANs(nil)
	case err != nil || !s.On:
		return err
	}
	return t.filters(ctx, s.Name)
}

// setMaster makes a link a port of a bridge, or of none.
type setMaster struct{ Name, Bridge string }

func (s setMaster) String() string {
	if s.Bridge == "" {
		return "take " + s.Name + " out of its bridge"
	}
	return "add port " + s.Name + " to " + s.Bridge
}

func (s setMaster) take(ctx context.Context, t *taker) error { return t.alone(ctx, s) }
func (s setMaster) link() string                             { return s.Name }
func (s setMaster) set(c *rtnl.LinkChange, indexOf func(string) (int, error)) (bool, error) {
	free := c.Master == nil
	master, err := indexOf(s.Bridge)
	c.Master = &master
	return free, err
}

type setPort struct {
	Name              string
	Hairpin, Isolated *bool
}

func (s setPort) String() string {
	var set []string
	if s.Hairpin != nil {
		set = append(set, "hairpin to "+strconv.FormatBool(*s.Hairpin))
	}
	if s.Isolated != nil {
		set = append(set, "isolated to "+strconv.FormatBool(*s.Isolated))
	}
	return "set of port " + s.Name + " " + strings.Join(set, ", ")
}

func (s setPort) take(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Name, err)
	}
	return t.conn.ChangeBridgePort(ctx, index, rtnl.PortChange{Hairpin: s.Hairpin, Isolated: s.Isolated})
}

// setVLANs has a port take VLANs, and no longer take others.
type setVLANs struct {
	Name        string
	Add, Delete []rtnl.PortVLAN
}

func (s setVLANs) String() string {
	return fmt.Sprintf("set vlans of port %s: %d more, %d less", s.Name, len(s.Add), len(s.Delete))
}

func (s setVLANs) take(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Name, err)
	}
	err = t.conn.DeletePortVLANs(ctx, index, s.Delete)
	if err == nil {
		err = t.conn.AddPortVLANs(ctx, index, s.Add)
	}
	switch {
	case errors.Is(err, syscall.EOPNOTSUPP):
		return halfDone{noVLANs(nil)}
	case err != nil:
		return halfDone{err}
	}
	return nil
}

// addressProtocol marks the addresses that we give to interfaces (IFA_PROTO, linux/if_addr.h: 1 to 3 are
// the kernel's). Only eight bits, and no registry of them: the number is that of our routes.
const addressProtocol = RouteProtocol

type addAddress struct {
	Name    string
	Address netip.Prefix
}

func (s addAddress) String() string { return "add address " + s.Address.String() + " to " + s.Name }
func (s addAddress) take(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Name, err)
	}
	return t.conn.AddAddress(ctx, index, s.Address, addressProtocol)
}

// deleteLink removes the link that was looked at, by its index: not another that has taken its name.
type deleteLink struct {
	Name  string
	Index int
}

func (s deleteLink) String() string                           { return "delete " + s.Name }
func (s deleteLink) take(ctx context.Context, t *taker) error { return t.conn.DeleteLink(ctx, s.Index) }
