package netops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
)

var own = nft.In{Family: ruleset.OwnFamily, Table: ruleset.OwnTable}

// entry is a spec whose objects are elements of the own table.
type entry interface {
	spec
	elements() []owntable.Element
	label() string // the comment of its elements: the id and, behind a space, what the caller said
}

// holder is a set or an element that entries have, by their ids. It goes with the last of them.
type holder struct{ set, key string }

// tableState is what the own table has, as far as this daemon knows: which sets are there, and which entries
// have what in them. It is made out of the registries, and kept up by the changes of the table, so that
// the cost of a change does not grow with what is there.
type tableState struct {
	turn chan struct{} // has one token: the table is changed by one call at a time, as the kernel does it

	mu      sync.Mutex
	entries map[string]entry               // by id: what is registered, and what is on its way to be
	holders map[holder]map[string]struct{} // nil: to be made anew
	shapes  map[owntable.Shape]bool

	stopFollowing context.CancelFunc // nil: nobody follows the host
	followed      chan struct{}      // closed when that has ended
}

func newTableState() *tableState {
	t := &tableState{turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// take waits for the table, and returns what gives it back.
func (t *tableState) take(ctx context.Context) (func(), error) {
	select {
	case <-t.turn:
		return func() { t.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forget has it made out of the registries once more.
func (t *tableState) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holders = nil
}

// know makes it out of the entries, unless it is made.
func (t *tableState) know(all func(func(entry) bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holders != nil {
		return
	}
	t.entries, t.holders, t.shapes = map[string]entry{}, map[holder]map[string]struct{}{}, map[owntable.Shape]bool{}
	for e := range all {
		t.put(e)
	}
}

func (t *tableState) put(in entry) {
	id := in.id()
	t.entries[id] = in
	for _, e := range in.elements() {
		t.shapes[e.Shape] = true
		t.hold(holder{set: e.Set()}, id)
		if e.Shared {
			t.hold(holder{e.Set(), string(e.Key)}, id)
		}
	}
}

func (t *tableState) hold(h holder, id string) {
	if t.holders[h] == nil {
		t.holders[h] = map[string]struct{}{}
	}
	t.holders[h][id] = struct{}{}
}

func (t *tableState) drop(of entry) {
	id := of.id()
	delete(t.entries, id)
	for _, e := range of.elements() {
		for _, h := range []holder{{set: e.Set()}, {e.Set(), string(e.Key)}} {
			if delete(t.holders[h], id); len(t.holders[h]) == 0 {
				delete(t.holders, h)
				if h.key == "" {
					delete(t.shapes, e.Shape)
				}
			}
		}
	}
}

// has tells whether the table was given an entry: what is left of it when some has gone is its own.
func (t *tableState) has(e entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.entries[e.id()] != nil
}

// others tells whether others than id have it.
func (t *tableState) others(h holder, id string) bool {
	_, mine := t.holders[h][id]
	return len(t.holders[h]) > boolInt(mine)
}

// tableChange is what one call does to the table.
type tableChange struct {
	before, after []owntable.Shape
	add, remove   []owntable.Element
	label         string
}

// addition is what an entry adds: the elements that nobody else has there yet, and the sets for them.
func (t *tableState) addition(e entry) (c tableChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	after := maps.Clone(t.shapes)
	for _, el := range e.elements() {
		after[el.Shape] = true
		if !el.Shared || !t.others(holder{el.Set(), string(el.Key)}, e.id()) {
			c.add = append(c.add, el)
		}
	}
	c.before, c.after, c.label = owntable.InOrder(t.shapes), owntable.InOrder(after), e.label()
	return c
}

// removal is what goes with an entry.
func (t *tableState) removal(e entry) (c tableChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	after := maps.Clone(t.shapes)
	for _, el := range e.elements() {
		name := el.Set()
		switch {
		case !t.others(holder{set: name}, e.id()):
			delete(after, el.Shape)
		case !el.Shared || !t.others(holder{name, string(el.Key)}, e.id()):
			c.remove = append(c.remove, el)
		}
	}
	c.before, c.after = owntable.InOrder(t.shapes), owntable.InOrder(after)
	return c
}

// tableKept are the registries of the entries, and of what they need beside the table.
type tableKept struct {
	rules      *state.Registry[firewallSpec]
	dnats      *state.Registry[dnatSpec]
	snats      *state.Registry[snatSpec]
	policy     *state.Registry[inputPolicySpec]
	refused    *state.Registry[refusedPolicy]
	forwarding *state.Registry[forwardingSpec]
	table      *tableState

	rangesByPlace *state.Index[firewallSpec]
	dnatsByBridge *state.Index[dnatSpec]
}

// openTable registers the kinds of the own table, which come before all that packets could pass through, and
// forwarding, which comes last.
func (k *kept) openTable(s *state.Store) {
	t := &k.tableKept
	t.rules = state.Register[firewallSpec](s, "firewall")
	t.dnats = state.Register[dnatSpec](s, "dnat")
	t.snats = state.Register[snatSpec](s, "snat")
	t.policy = state.Register[inputPolicySpec](s, "input_policy")
	t.refused = state.Register[refusedPolicy](s, "input_policy_refused")
	t.forwarding = state.Register[forwardingSpec](s, "forwarding")
	t.table = newTableState()
	t.rangesByPlace = t.rules.IndexBy(func(_ string, f firewallSpec) string { return f.accepts().RangePlace() })
	t.dnatsByBridge = t.dnats.IndexBy(func(_ string, d dnatSpec) string { return behindKey(d.Behind, d.family()) })
	first := []keeper{tableKeeper(t), keeperOf(t.policy, "input_policy"), keeperOf(t.rules, "firewall"), keeperOf(t.dnats, "dnat"), keeperOf(t.snats, "snat")}
	k.kinds = append(append(first, k.kinds...), keeperOf(t.forwarding, "forwarding"))
	for i := range k.kinds {
		k.kindByRegistry[k.kinds[i].name] = &k.kinds[i]
	}
}

// knownShapes are those of all entries that are registered or on their way to be.
func (k *tableKept) knownShapes() map[owntable.Shape]bool {
	k.table.know(k.tableEntries)
	k.table.mu.Lock()
	defer k.table.mu.Unlock()
	return maps.Clone(k.table.shapes)
}

// wanted is what may stand in the own table: of all entries that are registered, or on their way to be.
func (k *tableKept) wanted() (map[owntable.Ref]bool, map[owntable.Shape]bool) {
	shapes := k.knownShapes()
	elements := map[owntable.Ref]bool{}
	add := func(e entry) bool {
		for _, el := range e.elements() {
			elements[el.Ref()], shapes[el.Shape] = true, true
		}
		return true
	}
	k.table.mu.Lock()
	for _, e := range k.table.entries {
		add(e)
	}
	k.table.mu.Unlock()
	k.tableEntries(add)
	return elements, shapes
}

// tableEntries are all entries that are registered.
func (k *tableKept) tableEntries(yield func(entry) bool) {
	for _, e := range k.policy.All() {
		if !yield(e) {
			return
		}
	}
	for _, e := range k.rules.All() {
		if !yield(e) {
			return
		}
	}
	for _, e := range k.dnats.All() {
		if !yield(e) {
			return
		}
	}
	for _, e := range k.snats.All() {
		if !yield(e) {
			return
		}
	}
}

// putEntry adds an entry to the own table, in one transaction: with the table, chains, rules and sets that it
// is the first to need.
type putEntry struct{ Entry entry }

func (s putEntry) String() string { return "add " + s.Entry.line() + " to table " + ruleset.OwnTable }

func (s putEntry) take(ctx context.Context, t *taker) error {
	return t.net.changeTable(ctx, func(c *nft.Conn) error {
		change := t.net.kept.table.addition(s.Entry)
		err := commitChange(ctx, t.net, c, change)
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EEXIST) && t.net.kept.table.has(s.Entry) { // somebody has taken the table away, or a part of it
			err = t.net.rebuild(ctx, c, s.Entry, "")
		}
		if err == nil {
			t.net.kept.table.mu.Lock()
			t.net.kept.table.put(s.Entry)
			t.net.kept.table.mu.Unlock()
		}
		return err
	})
}

// dropEntry removes an entry, with the sets, rules and chains that nobody else needs, and the table with the
// last.
type dropEntry struct{ Entry entry }

func (s dropEntry) String() string {
	return "remove " + s.Entry.line() + " from table " + ruleset.OwnTable
}

func (s dropEntry) take(ctx context.Context, t *taker) error {
	return t.net.changeTable(ctx, func(c *nft.Conn) error {
		change := t.net.kept.table.removal(s.Entry)
		err := commitChange(ctx, t.net, c, change)
		if errors.Is(err, syscall.ENOENT) {
			err = t.net.rebuild(ctx, c, nil, s.Entry.id())
		}
		if err == nil {
			t.net.kept.table.mu.Lock()
			t.net.kept.table.drop(s.Entry)
			t.net.kept.table.mu.Unlock()
		}
		return err
	})
}

// changeTable calls f with a socket when it is the caller's turn.
func (n *Net) changeTable(ctx context.Context, f func(*nft.Conn) error) error {
	done, err := n.kept.table.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	conn, err := n.filters.Get()
	if err != nil {
		return err
	}
	defer n.filters.Put(conn)
	n.kept.table.know(n.kept.tableEntries)
	return f(conn)
}

// commitChange makes a change in one transaction.
func commitChange(ctx context.Context, n *Net, conn *nft.Conn, c tableChange) error {
	t := conn.Change()
	switch {
	case len(c.after) == 0 && len(c.before) > 0:
		t.DeleteTable(own)
		return t.Commit(ctx)
	case !slices.Equal(c.before, c.after):
		if err := n.reshape(ctx, t, c.before, c.after); err != nil {
			return err
		}
	}
	addElements(t, c.add, c.label)
	for set, list := range bySet(c.remove, "") {
		t.DeleteElements(own, set, list)
	}
	return t.Commit(ctx)
}

// reshape brings the rules and sets of the table from some shapes to others. Elements of shapes that stay
// are not touched.
func (n *Net) reshape(ctx context.Context, t *nft.Change, before, after []owntable.Shape) error {
	oldChains, oldSets := owntable.For(before)
	newChains, newSets := owntable.For(after)
	t.AddTable(own, nft.Comment(nft.UserComment, "made by my_os_server; what others put here is removed"))
	for _, c := range newChains {
		t.AddChain(own, c.NewChain)
	}
	if len(before) > 0 {
		for _, c := range slices.Backward(oldChains) {
			t.FlushChain(own, c.Name)
		}
		for _, c := range slices.Backward(oldChains) {
			if !slices.ContainsFunc(newChains, func(o owntable.Chain) bool { return o.Name == c.Name }) {
				t.DeleteChain(own, c.Name)
			}
		}
	}
	kept := map[string]bool{}
	for _, s := range after {
		kept[s.Name()] = true
	}
	for _, s := range newSets {
		kept[s.Name] = true
	}
	for _, s := range before {
		if !kept[s.Name()] {
			t.DeleteSet(own, s.Name())
		}
	}
	for _, s := range oldSets {
		if !kept[s.Name] {
			t.DeleteSet(own, s.Name)
		}
	}
	return n.furnish(ctx, t, newChains, newSets, after)
}

// furnish adds sets and rules. Those sets that tell of the host are filled.
func (n *Net) furnish(ctx context.Context, t *nft.Change, chains []owntable.Chain, sets []nft.NewSet, shapes []owntable.Shape) error {
	for _, s := range shapes {
		t.AddSet(own, s.Set())
	}
	for _, s := range sets {
		t.AddSet(own, s)
	}
	if len(sets) > 0 {
		if err := n.tellHost(ctx, t, sets); err != nil {
			return err
		}
	}
	for _, c := range chains {
		for _, r := range c.Rules {
			t.AddRule(own, c.Name, nft.Comment(nft.UserComment, r.Name), r.Steps...)
		}
	}
	return nil
}

func addElements(t *nft.Change, list []owntable.Element, label string) {
	for set, group := range bySet(list, label) {
		t.AddElements(own, set, group)
	}
}

// bySet groups elements by their sets. Shared ones have no comment: they are nobody's alone.
func bySet(list []owntable.Element, label string) map[string][]nft.NewElement {
	groups := map[string][]nft.NewElement{}
	for _, e := range list {
		made := nft.NewElement{Key: e.Key, Data: e.Data, Timeout: e.Timeout()}
		if !e.Shared && label != "" {
			made.User = nft.Comment(nft.UserComment, label)
		}
		groups[e.Set()] = append(groups[e.Set()], made)
	}
	return groups
}

// rebuild makes the whole table anew, in one transaction, out of what is registered or on its way to be, with one
// entry more or without one. It is called by changeTable.
func (n *Net) rebuild(ctx context.Context, conn *nft.Conn, more entry, without string) error {
	n.kept.table.mu.Lock()
	entries := maps.Clone(n.kept.table.entries)
	n.kept.table.mu.Unlock()
	delete(entries, without)
	if more != nil {
		entries[more.id()] = more
	}
	shapes, shared := map[owntable.Shape]bool{}, map[owntable.Ref]bool{}
	t := conn.Change()
	t.AddTable(own, nil) // so that there is one to be deleted
	t.DeleteTable(own)
	var fill []func()
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		var list []owntable.Element
		for _, el := range entries[id].elements() {
			shapes[el.Shape] = true
			if el.Shared && shared[el.Ref()] {
				continue
			}
			shared[el.Ref()] = true
			list = append(list, el)
		}
		fill = append(fill, func() { addElements(t, list, entries[id].label()) })
	}
	if len(shapes) > 0 {
		if err := n.reshape(ctx, t, nil, owntable.InOrder(shapes)); err != nil {
			return err
		}
	}
	for _, f := range fill {
		f()
	}
	if err := t.Commit(ctx); err != nil {
		return fmt.Errorf("make table %s anew: %w", ruleset.OwnTable, err)
	}
	n.kept.table.forget()
	n.kept.table.know(func(yield func(entry) bool) {
		for _, e := range entries {
			if !yield(e) {
				return
			}
		}
	})
	return nil
}
