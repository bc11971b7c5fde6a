package netops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/registry"
)

// InputPolicy is what happens to what comes in and no rule lets in.
type InputPolicy struct {
	Drop     bool          // else it is accepted
	KeepOpen []string      // ports that stay open besides 22 of TCP: "tcp/443", "udp/5000-5010"
	Confirm  time.Duration // for how long a change to drop stands without being confirmed; 0: a minute
}

// trialGrace is how much later than the daemon the kernel itself ends a trial, at most.
const trialGrace = 5 * time.Second

// confirmUsual is the time to confirm in where none is given.
const confirmUsual = time.Minute

// portSSH stays open whatever the configuration says.
var portSSH = owntable.Ports{Protocol: "tcp", First: 22, Last: 22}

// ports are those that stay open, and are not to be taken away by a port forward.
func (p *InputPolicy) ports() (list []owntable.Ports, err error) {
	list = []owntable.Ports{portSSH}
	for _, text := range p.KeepOpen {
		run, err := owntable.ParsePorts(text)
		if err != nil {
			return nil, err
		}
		list = append(list, run)
	}
	return owntable.JoinPorts(list), nil
}

func portTexts(list []owntable.Ports) (texts []string) {
	for _, r := range list {
		texts = append(texts, r.String())
	}
	return texts
}

// refusedPolicy is a policy that was tried and rolled back: a start does not try it again.
type refusedPolicy struct {
	Kept []string  `json:"kept"`
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
}

// policing brings the input policy to what the configuration asks for. A change that lets less in is on trial at
// first: without a word that the node can still be reached it is rolled back, by a timer, at the end of the daemon, and
// at the start after a crash; and the kernel drops no more once elements of ours have timed out, should no daemon be
// there by then.
type policing struct {
	net *Net

	mu    sync.Mutex
	asked InputPolicy
	ports []owntable.Ports
	until time.Time // the end of the trial; zero: there is none
	timer *time.Timer
	fault string // why the policy is not as asked for; "": it is
}

func newPolicing(n *Net) (*policing, error) {
	p := &policing{net: n}
	return p, p.ask(n.options.InputPolicy)
}

// ask remembers what is asked for.
func (p *policing) ask(asked InputPolicy) error {
	ports, err := asked.ports()
	if err != nil {
		return err
	}
	if asked.Confirm <= 0 {
		asked.Confirm = confirmUsual
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.ports = asked, ports
	return nil
}

// keepsOpen is the first of the ports that stay open which a port forward would take.
func (p *policing) keepsOpen(d *dnatSpec) (found owntable.Ports, taken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.ports {
		if r.Has(d.Protocol, d.Port, d.last()) {
			return r, true
		}
	}
	return found, false
}

// drops tells whether what comes in is dropped.
func (p *policing) drops() bool { return p.net.kept.policy.Has(policyKey) }

// SetInputPolicy brings the input policy of a Net that runs to what a configuration asks for. One that was rolled
// back is tried again.
func (n *Net) SetInputPolicy(ctx context.Context, asked InputPolicy) error {
	if err := n.policing.ask(asked); err != nil {
		return err
	}
	return n.policing.apply(ctx, true)
}

// turn is the lock of the input policy.
func (p *policing) turn(ctx context.Context) (func(), error) {
	return p.net.lock(ctx, inputPolicySpec{}.locks()...)
}

// apply brings the policy to what is asked for. again is true where a person asks, as by a reload.
func (p *policing) apply(ctx context.Context, again bool) error {
	unlock, err := p.turn(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	err = p.settle(ctx, again)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = ""
	if err != nil {
		p.fault = err.Error()
		p.net.options.Log.Error().Err(err).Msg("the input policy could not be set")
	}
	return err
}

// settle makes the change that it takes. The turn is held.
func (p *policing) settle(ctx context.Context, again bool) error {
	p.mu.Lock()
	asked, want := p.asked, inputPolicySpec{Kept: portTexts(p.ports)}
	p.mu.Unlock()
	have, registered := p.net.kept.policy.Get(policyKey)
	refused, wasRefused := p.net.kept.refused.Get(policyKey)
	switch {
	case !asked.Drop:
		if wasRefused {
			if err := p.net.state.Set(p.net.kept.refused.Remove(policyKey)); err != nil {
				return stateError(err)
			}
		}
		p.endTrial()
		if !registered {
			return nil
		}
		return p.change(ctx, &have, nil)
	case registered && slices.Equal(have.Kept, want.Kept):
		return nil // it stands, or is on trial
	case wasRefused && slices.Equal(refused.Kept, want.Kept) && !again:
		p.net.options.Log.Warn().Str("cause", refused.Why).Msg("the input policy drop was rolled back, and is not tried again: send SIGHUP to do so")
		return nil
	case registered && len(have.sure()) > 0 && opensMore(want.Kept, have.sure()):
		want.Confirmed = true
		if err := p.change(ctx, &have, &want); err != nil {
			return err
		}
		p.endTrial()
		return nil
	}
	want.Former = have.Former
	if have.Confirmed {
		want.Former = have.Kept
	}
	from := &have
	if !registered {
		from = nil
	}
	want.Until = time.Now().Add(asked.Confirm + min(asked.Confirm, trialGrace))
	if err := p.change(ctx, from, &want); err != nil {
		return err
	}
	p.beginTrial(asked.Confirm)
	return nil
}

// opensMore tells whether all that one list has open is open in another too.
func opensMore(more, than []string) bool {
	for _, text := range than {
		a, err := owntable.ParsePorts(text)
		if err != nil || !slices.ContainsFunc(more, func(text string) bool {
			b, err := owntable.ParsePorts(text)
			return err == nil && a.Protocol == b.Protocol && b.First <= a.First && a.Last <= b.Last
		}) {
			return false
		}
	}
	return true
}

// change journals and makes a change of the policy; nil is accept.
func (p *policing) change(ctx context.Context, from, to *inputPolicySpec) error {
	w := write{method: "net.firewall.input_policy", changes: []state.Change{p.net.kept.policy.Remove(policyKey)}}
	word := "accept"
	if from != nil {
		w.from = []spec{*from}
	}
	if to != nil {
		w.to, w.changes = []spec{*to}, []state.Change{p.net.kept.policy.Put(policyKey, *to)}
		word = to.line()
	}
	if err := p.net.perform(ctx, w); err != nil {
		return err
	}
	p.net.options.Log.Warn().Str("policy", word).Msg("the input policy is set")
	return nil
}

func (p *policing) beginTrial(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopTimer()
	p.until = time.Now().Add(d)
	p.timer = time.AfterFunc(d, func() { p.expire(d) })
	p.net.options.Log.Warn().Time("until", p.until).Msg("the input policy is on trial: confirm it by net.verify with confirm: input_policy")
}

func (p *policing) endTrial() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopTimer()
}

// stopTimer ends a trial. p.mu is held.
func (p *policing) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.until, p.timer = time.Time{}, nil
}

// expire rolls back what nobody has confirmed, and does not give up.
func (p *policing) expire(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	if err := p.rollBack(ctx, fmt.Sprintf("nobody confirmed it within %v", d)); err != nil {
		p.net.options.Log.Error().Err(err).Msg("the input policy could not be rolled back")
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.timer != nil {
			p.timer = time.AfterFunc(time.Second, func() { p.expire(d) })
		}
	}
}

// rollBack returns to the policy before an unconfirmed one, if there is one.
func (p *policing) rollBack(ctx context.Context, why string) error {
	unlock, err := p.turn(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	have, registered := p.net.kept.policy.Get(policyKey)
	if !registered || have.Confirmed {
		return nil
	}
	var to *inputPolicySpec
	if len(have.Former) > 0 {
		to = &inputPolicySpec{Kept: have.Former, Confirmed: true}
	}
	// Not in one intent with the change: a crash in between leaves a trial, which the next start rolls back.
	refused := refusedPolicy{Kept: have.Kept, Why: why, At: time.Now().UTC()}
	if err := p.net.state.Set(p.net.kept.refused.Put(policyKey, refused)); err != nil {
		return stateError(err)
	}
	if err := p.change(ctx, &have, to); err != nil {
		return err
	}
	p.endTrial()
	p.net.options.Log.Error().Str("cause", why).Msg("the input policy is rolled back")
	return nil
}

// stop rolls back what nobody has confirmed: who was locked out could not even start the daemon again.
func (p *policing) stop() {
	p.mu.Lock()
	p.stopTimer()
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	if err := p.rollBack(ctx, "the daemon ended before anybody confirmed it"); err != nil && !errors.Is(err, state.ErrReadOnly) {
		p.net.options.Log.Error().Err(err).Msg("the input policy could not be rolled back")
	}
}

// confirm keeps the policy that is on trial. One that is confirmed already stays so.
func (p *policing) confirm(ctx context.Context) error {
	if c := registry.CallerFrom(ctx); c.Right < registry.RightAdmin {
		return &registry.PermissionDeniedError{
			PermissionDeniedData: registry.PermissionDeniedData{Method: "net.verify", Required: registry.RightNameAdmin, Granted: registry.RightName(c.Right.String()), Caller: c.Name},
			Message:              "confirm needs the right admin",
		}
	}
	unlock, err := p.turn(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	have, registered := p.net.kept.policy.Get(policyKey)
	switch {
	case !registered:
		return refused("nothing_to_confirm", "", "the input policy is accept: %s", p.whyAccept())
	case have.Confirmed:
		return nil
	}
	if p.net.kept.refused.Has(policyKey) {
		if err := p.net.state.Set(p.net.kept.refused.Remove(policyKey)); err != nil {
			return stateError(err)
		}
	}
	onTrial := have
	have.Confirmed, have.Former, have.Until = true, nil, time.Time{}
	if err := p.change(ctx, &onTrial, &have); err != nil {
		return err
	}
	p.endTrial()
	p.net.options.Log.Warn().Str("policy", have.line()).Msg("the input policy is confirmed")
	return nil
}

func (p *policing) whyAccept() string {
	if r, ok := p.net.kept.refused.Get(policyKey); ok {
		return "drop was rolled back, because " + r.Why
	}
	return "the configuration asks for nothing else"
}

// row is the policy in the table's words.
func (p *policing) row() *registry.InputPolicyState {
	p.mu.Lock()
	asked, until := p.asked, p.until
	p.mu.Unlock()
	row := &registry.InputPolicyState{Policy: registry.InputPolicyAccept, Configured: registry.InputPolicyAccept}
	if asked.Drop {
		row.Configured = registry.InputPolicyDrop
	}
	if have, ok := p.net.kept.policy.Get(policyKey); ok {
		row.Policy, row.KeptOpen, row.Confirmed = registry.InputPolicyDrop, have.Kept, registry.Some(have.Confirmed)
		if !have.Confirmed && !until.IsZero() {
			row.ConfirmBy = registry.Some(until.UTC())
		}
	}
	if r, ok := p.net.kept.refused.Get(policyKey); ok {
		row.RolledBack = registry.Some(r.Why)
	}
	return row
}

// checkInputPolicy tells where the policy is not as asked for, or not for good.
func (n *Net) checkInputPolicy(context.Context) []registry.HealthCheck {
	n.policing.mu.Lock()
	fault := n.policing.fault
	n.policing.mu.Unlock()
	return judgeInputPolicy(n.policing.row(), fault)
}

func judgeInputPolicy(row *registry.InputPolicyState, fault string) []registry.HealthCheck {
	if row.Policy == registry.InputPolicyAccept && row.Configured == registry.InputPolicyAccept && fault == "" {
		return nil
	}
	c := registry.HealthCheck{Name: "input_policy", Status: registry.CheckStatusOk, Data: map[string]string{"policy": string(row.Policy), "configured": string(row.Configured)},
		Message: "what comes in is dropped but for what is let in, and " + strings.Join(row.KeptOpen, ", ")}
	by, onTrial := row.ConfirmBy.Get()
	switch {
	case fault != "":
		c.Status, c.Message = registry.CheckStatusDegraded, fault
	case onTrial:
		c.Status, c.Message = registry.CheckStatusDegraded, "the input policy is rolled back unless net.verify confirms it by "+by.Format(time.RFC3339)
	case row.RolledBack.IsSet() && row.Configured == registry.InputPolicyDrop:
		c.Status, c.Message = registry.CheckStatusDegraded, "the input policy was rolled back: "+row.RolledBack.Or("")+"; SIGHUP tries it again"
	case row.Policy != row.Configured:
		c.Status, c.Message = registry.CheckStatusDegraded, fmt.Sprintf("the input policy is %s, and %s is configured", row.Policy, row.Configured)
	}
	return []registry.HealthCheck{c}
}
