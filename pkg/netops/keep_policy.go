package netops

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
)

// inputPolicySpec is the policy drop for what comes in. It is an entry of the own table like others: its
// elements are the ports that stay open, and a table with such elements has an input chain that drops. Where none is
// registered what comes in is accepted.
type inputPolicySpec struct {
	Kept      []string `json:"kept"`                // ports that stay open, as Ports.String has them, in order
	Confirmed bool     `json:"confirmed,omitempty"` // somebody has said that the node can still be reached
	Former    []string `json:"former,omitempty"`    // Kept of what a roll-back returns to; absent: the policy accept

	// Until is when the kernel by itself returns to what was before, unless it was confirmed: a little after the daemon
	// does so, for the case that there is no daemon then.
	Until time.Time `json:"until,omitzero"`
}

// sure are the ports by which the node is known to be reached: those of the list that was confirmed last. None: everything was
// accepted.
func (s inputPolicySpec) sure() []string {
	if s.Confirmed {
		return s.Kept
	}
	return s.Former
}

// OnTrial tells whether the kernel is to know of a trial.
func (s inputPolicySpec) onTrial() bool { return !s.Confirmed && !s.Until.IsZero() }

// policyKey is the one key of its registry, and its id.
const policyKey = "input"

const resourceInputPolicy = "input_policy"

func (s inputPolicySpec) resource() string { return resourceInputPolicy }
func (s inputPolicySpec) id() string       { return policyKey }
func (s inputPolicySpec) lasts() bool      { return true }
func (s inputPolicySpec) label() string    { return "kept open by the configuration" }
func (s inputPolicySpec) line() string     { return "drop but for " + strings.Join(s.Kept, ", ") }
func (s inputPolicySpec) locks() []state.Object {
	return []state.Object{state.Exclusive("input_policy")}
}

func (s inputPolicySpec) needs() needs { return needs{table: true, sets: owntable.KeptSets} }

func (s inputPolicySpec) elements() []owntable.Element {
	list := owntable.KeptOpen(s.Kept)
	if s.onTrial() {
		list = append(list, owntable.OnTrial(s.Former, s.Until)...)
	}
	return list
}

func (s inputPolicySpec) plan(h *held) (p plan) {
	want, have := map[owntable.Ref]bool{}, map[owntable.Ref]bool{}
	for _, el := range owntable.KeptOpen(s.Kept) {
		want[el.Ref()] = true
	}
	for ref := range h.elements {
		if owntable.IsKeptSet(ref.Set) {
			have[ref] = true
		}
	}
	trial := false
	if h.table != nil {
		_, trial = h.table.sets[owntable.TrialSet]
	}
	same := maps.Equal(want, have)
	if same && trial == s.onTrial() {
		return p
	}
	p.missing = len(have) == 0
	switch {
	case p.missing:
	case !same:
		p.differ("kept_open", fmt.Sprint(len(want), " elements"), fmt.Sprint(len(have), " others"), nil)
	default:
		p.differ("on_trial", strconv.FormatBool(s.onTrial()), strconv.FormatBool(trial), nil)
	}
	p.steps = []step{setInputPolicy{s}}
	return p
}

func (s inputPolicySpec) removal(h *held) (p plan) {
	for ref := range h.elements {
		if owntable.IsKeptSet(ref.Set) {
			return plan{steps: []step{dropInputPolicy{}}}
		}
	}
	return p
}

// setInputPolicy has what comes in dropped but for some ports, in one transaction with all else that the table has: at no
// moment is there less of it, or more let in than before and after.
type setInputPolicy struct{ Policy inputPolicySpec }

func (s setInputPolicy) String() string { return "set the input policy to " + s.Policy.line() }

func (s setInputPolicy) take(ctx context.Context, t *taker) error {
	return t.net.changeTable(ctx, func(c *nft.Conn) error { return t.net.rebuild(ctx, c, s.Policy, "") })
}

// dropInputPolicy has what comes in accepted.
type dropInputPolicy struct{}

func (dropInputPolicy) String() string { return "set the input policy to accept" }

func (dropInputPolicy) take(ctx context.Context, t *taker) error {
	return t.net.changeTable(ctx, func(c *nft.Conn) error { return t.net.rebuild(ctx, c, nil, policyKey) })
}
