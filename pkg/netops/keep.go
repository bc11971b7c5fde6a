package netops

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// What the daemon makes it keeps: each object is registered as a spec of what it is to be. A spec plans,
// out of what the kernel has, the steps that bring the kernel there; a write takes these steps, net.verify
// tells them, and a start takes them for all that is registered. A further kind of object is a file with its
// spec, and a row in the list of Net.kinds.

// spec is what is registered of one object.
type spec interface {
	// resource and id are how net.verify calls the object; line is all of it in one line.
	resource() string
	id() string
	line() string
	// needs says what of the kernel the plans look at.
	needs() needs
	// plan is what it takes that the object stands, removal what it takes that it does not. Both are pure.
	plan(h *held) plan
	removal(h *held) plan
	// locks are what a call that changes the object holds.
	locks() []state.Object
	// lasts tells whether the object outlives a boot.
	lasts() bool
}

// plan is what is between the kernel and what is registered. A plan without steps, wait and obstacle says
// that there is nothing.
type plan struct {
	missing  bool                       // nothing of the object stands
	differs  []registry.DriftDifference // where something does
	steps    []step                     // in order
	gone     bool                       // what it belongs to, and with it the need: nothing to be told until that comes back
	waits    string                     // what is lacking, as in "interface eth0"; the steps go as far as they can without
	obstacle string                     // what stands in its place and is not ours: nothing is done about it
}

// done tells whether nothing is to be done and nothing to be told.
func (p *plan) done() bool {
	return !p.missing && len(p.differs) == 0 && len(p.steps) == 0 && p.waits == "" && p.obstacle == ""
}

// differ notes a difference and the step that mends it.
func (p *plan) differ(field, expected, actual string, s step) {
	p.differs = append(p.differs, registry.DriftDifference{
		Field: field, Expected: registry.NonZero(expected), Actual: registry.NonZero(actual),
	})
	if s != nil {
		p.steps = append(p.steps, s)
	}
}

// step is one change of the kernel. Its text is an order: "set mtu of br0 to 1500".
type step interface {
	fmt.Stringer
	take(ctx context.Context, t *taker) error
}

// keeper is one kind of registered object, in the order of dependence.
type keeper struct {
	name   string // of the registry
	all    func() iter.Seq2[string, spec]
	decode func(state.Change) (spec, bool)
	mine   func(key string) (spec, bool) // the registered object
	asked  bool                          // after a boot it must be asked for first: a start does not restore it
}

// keeperOf makes the row of a kind out of its registry.
func keeperOf[T spec](r *state.Registry[T], name string) keeper {
	return keeper{
		name: name,
		all: func() iter.Seq2[string, spec] {
			return func(yield func(string, spec) bool) {
				for key, v := range r.All() {
					if !yield(key, v) {
						return
					}
				}
			}
		},
		decode: func(c state.Change) (spec, bool) { v, ok := r.Value(c); return v, ok },
		mine:   func(key string) (spec, bool) { v, ok := r.Get(key); return v, ok },
	}
}

// askedFor is a kind that a start does not restore.
func askedFor(k keeper) keeper {
	k.asked = true
	return k
}

// kept are the registries.
type kept struct {
	bridges     *state.Registry[bridgeSpec]
	connections *state.Registry[connectionSpec]
	ports       *state.Registry[portSpec]
	taps        *state.Registry[tapSpec]
	leases      *state.Registry[leaseSpec]
	leases6     *state.Registry[lease6Spec]
	identity    *state.Registry[identity] // of the DHCPv6 client
	routes      *state.Registry[routeSpec]
	waiting     *state.Registry[place] // of those, what a start could not restore yet, by place.String

	tapsByName     *state.Index[tapSpec]
	tapsByBridge   *state.Index[tapSpec]
	portsByBridge  *state.Index[portSpec]
	pairsByA       *state.Index[connectionSpec]
	pairsByB       *state.Index[connectionSpec]
	pairsByBPort   *state.Index[connectionSpec]
	kinds          []keeper
	kindByRegistry map[string]*keeper

	tableKept
}

// openKept registers the kinds with a store.
func openKept(s *state.Store) *kept {
	k := &kept{
		bridges:     state.Register[bridgeSpec](s, "bridges"),
		connections: state.Register[connectionSpec](s, "connections"),
		ports:       state.Register[portSpec](s, "ports"),
		taps:        state.Register[tapSpec](s, "taps"),
		leases:      state.Register[leaseSpec](s, "leases"),
		leases6:     state.Register[lease6Spec](s, "leases6"),
		identity:    state.Register[identity](s, "identity"),
		routes:      state.Register[routeSpec](s, "routes"),
		waiting:     state.Register[place](s, "waiting"),
	}
	k.tapsByName = k.taps.IndexBy(func(_ string, t tapSpec) string { return t.Name })
	k.tapsByBridge = k.taps.IndexBy(func(_ string, t tapSpec) string { return t.Bridge })
	k.portsByBridge = k.ports.IndexBy(func(_ string, p portSpec) string { return p.Bridge })
	k.pairsByA = k.connections.IndexBy(func(_ string, c connectionSpec) string { return c.A })
	k.pairsByB = k.connections.IndexBy(func(_ string, c connectionSpec) string { return c.B })
	k.pairsByBPort = k.connections.IndexBy(func(_ string, c connectionSpec) string { return c.BPort })
	k.kinds = []keeper{
		keeperOf(k.bridges, "bridges"),
		keeperOf(k.connections, "connections"),
		keeperOf(k.taps, "taps"),
		keeperOf(k.ports, "ports"),
		askedFor(keeperOf(k.leases, "leases")),
		askedFor(keeperOf(k.leases6, "leases6")),
		keeperOf(k.routes, "routes"),
	}
	k.kindByRegistry = map[string]*keeper{}
	for i := range k.kinds {
		k.kindByRegistry[k.kinds[i].name] = &k.kinds[i]
	}
	k.openTable(s)
	return k
}

// connectionOf is the connection that a link is an end of.
func (k *kept) connectionOf(link string) (connectionSpec, bool) {
	if c, ok := k.connections.Get(link); ok {
		return c, true
	}
	for _, c := range k.pairsByBPort.Find(link) {
		return c, true
	}
	return connectionSpec{}, false
}

// connectionsOf are the connections of a bridge.
func (k *kept) connectionsOf(bridge string) (list []connectionSpec) {
	for _, c := range k.pairsByA.Find(bridge) {
		list = append(list, c)
	}
	for _, c := range k.pairsByB.Find(bridge) {
		list = append(list, c)
	}
	return list
}

// tapOf is the tap with a name.
func (k *kept) tapOf(name string) (tapSpec, bool) {
	for _, t := range k.tapsByName.Find(name) {
		return t, true
	}
	return tapSpec{}, false
}

// errNoState is why a Net that was opened without a store makes nothing.
var errNoState = errors.New("no state folder was given")

// storeOf is the store of the options, or one that refuses every write.
func storeOf(o *Options) *state.Store {
	if o.State != nil {
		return o.State
	}
	return state.OpenReadOnly("", errNoState, state.Options{})
}
