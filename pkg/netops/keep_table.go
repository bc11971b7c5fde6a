package netops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// heldElement is an element that the own table has.
type heldElement struct {
	label          string
	data           []byte
	packets, bytes uint64
}

// heldTable is what the own table has but for the elements: the rules of each chain by their comments, and the
// names of the sets.
type heldTable struct {
	chains map[string][]string
	sets   map[string]nft.Ref
}

// table reads the own table where it is wanted, nil where there is none; and the elements that are wanted.
func (r *reader) table(ctx context.Context, want needs) error {
	if !want.table && len(want.elements) == 0 {
		return nil
	}
	r.held.elements = map[owntable.Ref]heldElement{}
	conn, err := r.net.filters.Get()
	if err != nil {
		return err
	}
	defer r.net.filters.Put(conn)
	if want.table || len(want.elements) > wholesale {
		if r.held.table, err = readTable(ctx, conn); err != nil {
			return err
		}
	}
	if len(want.elements) > wholesale {
		return r.allElements(ctx, conn)
	}
	for _, name := range want.sets {
		if err := r.elementsOf(ctx, conn, name); err != nil {
			return err
		}
	}
	for _, ref := range want.elements {
		e, err := conn.Element(ctx, nft.Ref{Family: own.Family, Table: own.Table, Name: ref.Set}, []byte(ref.Key))
		if err != nil {
			return err
		}
		if e != nil {
			r.held.elements[ref] = heldOf(e)
		}
	}
	return nil
}

func heldOf(e *nft.Element) heldElement {
	h := heldElement{label: nft.UserData(e.UserData).Comment(nft.UserComment), data: bytes.Clone(e.Data)}
	for x := range e.Expressions() {
		var c nft.Counter
		if x.Name == "counter" {
			if _, err := nft.Decode[nft.Counter](x.Data, &c); err == nil {
				h.packets, h.bytes = c.Packets, c.Bytes
			}
		}
	}
	return h
}

// readTable reads chains, rules and sets, nil where there is no table.
func readTable(ctx context.Context, conn *nft.Conn) (t *heldTable, err error) {
	filter := nft.Filter(own)
	_, err = wire.Gathered(func() (bool, error) {
		t = nil
		there := false
		first, err := wire.Each(conn.Tables(ctx, nft.Filter{Family: own.Family}), func(m *nft.Table) error {
			there = there || m.Name == own.Table
			return nil
		})
		if err != nil || !there {
			return first, err
		}
		t = &heldTable{chains: map[string][]string{}, sets: map[string]nft.Ref{}}
		second, err := wire.Each(conn.Chains(ctx, filter), func(c *nft.Chain) error {
			t.chains[owntable.ChainText(c.Name, c.Type, c.Hook, c.Priority, c.Policy)] = nil
			return nil
		})
		if err != nil {
			return second, err
		}
		third, err := wire.Each(conn.Sets(ctx, filter), func(s *nft.Set) error {
			t.sets[s.Name] = s.Ref()
			return nil
		})
		if err != nil {
			return third, err
		}
		fourth, err := wire.Each(conn.Rules(ctx, filter), func(r *nft.Rule) error { t.addRule(r); return nil })
		return first || second || third || fourth, err
	})
	return t, err
}

func (t *heldTable) addRule(r *nft.Rule) {
	for text := range t.chains {
		if name, _, _ := strings.Cut(text, " "); name == r.Chain {
			t.chains[text] = append(t.chains[text], nft.UserData(r.UserData).Comment(nft.UserComment))
		}
	}
}

// allElements reads every set of the table.
func (r *reader) allElements(ctx context.Context, conn *nft.Conn) error {
	if r.held.table == nil {
		return nil
	}
	for name := range r.held.table.sets {
		if err := r.elementsOf(ctx, conn, name); err != nil {
			return err
		}
	}
	return nil
}

// elementsOf reads a set of the table, if it is there.
func (r *reader) elementsOf(ctx context.Context, conn *nft.Conn, name string) error {
	if r.held.table == nil {
		return nil
	}
	ref, there := r.held.table.sets[name]
	if !there {
		return nil
	}
	_, err := wire.Gathered(func() (bool, error) {
		return wire.Each(conn.Elements(ctx, ref), func(e *nft.Element) error {
			r.held.elements[owntable.Ref{Set: name, Key: string(e.Key)}] = heldOf(e)
			return nil
		})
	})
	return err
}

// tableSpec is the own table with what all entries share: chains, rules and sets. It is registered nowhere:
// what it is to be follows from the entries.
type tableSpec struct{ kept *tableKept }

func (s tableSpec) resource() string      { return "firewall_table" }
func (s tableSpec) id() string            { return "inet " + ruleset.OwnTable }
func (s tableSpec) needs() needs          { return needs{table: true} }
func (s tableSpec) locks() []state.Object { return nil }
func (s tableSpec) lasts() bool           { return true }
func (s tableSpec) removal(*held) plan    { return plan{} }
func (s tableSpec) line() string {
	n := 0
	for range s.kept.tableEntries {
		n++
	}
	return fmt.Sprintf("table inet %s with %d entries", ruleset.OwnTable, n)
}

func (s tableSpec) plan(h *held) (p plan) {
	shapes := s.kept.knownShapes()
	if len(shapes) == 0 {
		return p // the last entry is on its way out
	}
	if h.table == nil {
		p.missing = true
		p.steps = []step{rebuildTable{s.line()}}
		return p
	}
	chains, sets := owntable.For(owntable.InOrder(shapes))
	for _, c := range chains {
		var names []string
		for _, r := range c.Rules {
			names = append(names, r.Name)
		}
		have, there := h.table.chains[c.Text()]
		if !there || !slices.Equal(have, names) {
			p.differ("chain "+c.Name, strings.Join(names, ", "), strings.Join(have, ", "), nil)
		}
	}
	for sh := range shapes {
		sets = append(sets, sh.Set())
	}
	for _, set := range sets {
		if _, there := h.table.sets[set.Name]; !there {
			p.differ("set "+set.Name, "there", "", nil)
		}
	}
	if len(p.differs) > 0 {
		slices.SortFunc(p.differs, func(a, b registry.DriftDifference) int { return strings.Compare(a.Field, b.Field) })
		p.steps = []step{rebuildTable{s.line()}}
	}
	return p
}

// tableKind is the name of the table's kind.
const tableKind = "nft_table"

// tableKeeper is the kind of the table. There is none without entries.
func tableKeeper(k *tableKept) keeper {
	return keeper{
		name: tableKind,
		all: func() iter.Seq2[string, spec] {
			return func(yield func(string, spec) bool) {
				for range k.tableEntries {
					yield(ruleset.OwnTable, tableSpec{k})
					return
				}
			}
		},
		decode: func(state.Change) (spec, bool) { return nil, false },
		mine: func(string) (spec, bool) {
			for range k.tableEntries {
				return tableSpec{k}, true
			}
			return nil, false
		},
	}
}

// rebuildTable makes the table anew, in one transaction.
type rebuildTable struct{ line string }

func (s rebuildTable) String() string { return "make " + s.line }

func (s rebuildTable) take(ctx context.Context, t *taker) error {
	return t.net.changeTable(ctx, func(c *nft.Conn) error { return t.net.rebuild(ctx, c, nil, "") })
}

// planEntry is the plan of an entry: its elements are to be there, as they are registered.
func planEntry(e entry, h *held) (p plan) {
	present, wrong := 0, 0
	for _, el := range e.elements() {
		have, there := h.elements[el.Ref()]
		switch {
		case !there:
			continue
		case !bytes.Equal(have.data, el.Data) && el.Data != nil, !el.Shared && have.label != e.label():
			wrong++
		}
		if !el.Shared {
			present++
		}
	}
	missing := false
	for _, el := range e.elements() {
		if _, there := h.elements[el.Ref()]; !there {
			missing = true
		}
	}
	switch {
	case present == 0:
		p.missing = true
		p.steps = []step{putEntry{e}}
	case missing || wrong > 0:
		p.differ("elements", "as registered", "some are missing or changed", rebuildTable{tableSpecLine})
	}
	return p
}

const tableSpecLine = "table inet " + ruleset.OwnTable + " anew"

// planRemoval takes the elements of an entry away, unless they are another's or gone.
func planRemoval(e entry, h *held) (p plan) {
	for _, el := range e.elements() {
		if have, there := h.elements[el.Ref()]; there && !el.Shared && have.label == e.label() {
			return plan{steps: []step{dropEntry{e}}}
		}
	}
	return plan{}
}

// needsOf are all elements of an entry.
func needsOf(e entry) (n needs) {
	for _, el := range e.elements() {
		n.elements = append(n.elements, el.Ref())
	}
	return n
}

// strayElements are the things in the own table that are not registered.
func (n *Net) strayElements(ctx context.Context) (list []stray, err error) {
	conn, err := n.filters.Get()
	if err != nil {
		return nil, err
	}
	defer n.filters.Put(conn)
	r := reader{net: n, held: newHeld()}
	r.held.elements = map[owntable.Ref]heldElement{}
	r.held.table, err = readTable(ctx, conn)
	if errors.Is(err, nft.ErrNoTables) || err == nil && r.held.table == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := r.allElements(ctx, conn); err != nil {
		return nil, err
	}
	wanted, shapes := n.kept.wanted()
	chains, sets := owntable.For(owntable.InOrder(shapes))
	for ref, have := range r.held.elements {
		if !wanted[ref] && !slices.ContainsFunc(sets, func(s nft.NewSet) bool { return s.Name == ref.Set }) {
			list = append(list, strayInTable(fmt.Sprintf("element %x of set %s", ref.Key, ref.Set), "an element with the comment "+have.label))
		}
	}
	for name := range r.held.table.sets {
		if !slices.ContainsFunc(sets, func(s nft.NewSet) bool { return s.Name == name }) && !hasShape(shapes, name) {
			list = append(list, strayInTable("set "+name, "a set"))
		}
	}
	for text := range r.held.table.chains {
		if !slices.ContainsFunc(chains, func(c owntable.Chain) bool { return c.Text() == text }) {
			list = append(list, strayInTable("chain "+text, "a chain"))
		}
	}
	return list, nil
}

func hasShape(shapes map[owntable.Shape]bool, name string) bool {
	for s := range shapes {
		if s.Name() == name {
			return true
		}
	}
	return false
}

// restoreTable makes the own table anew where it has vanished, in the same boot too: what is let in and
// forwarded is not to be lost because another program loaded a ruleset of its own.
func (n *Net) restoreTable(ctx context.Context, out *Restored) error {
	found, err := n.survey(ctx, &n.kept.kinds[0])
	for _, f := range found {
		if f.plan.missing {
			n.restore(ctx, f, out)
		}
	}
	return err
}
