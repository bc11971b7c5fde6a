package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// progress is how far something that runs by itself is.
type progress struct {
	running bool
	state   string
	percent float64 // -1: not known
	detail  string
	failed  bool // it has ended, and not well
}

// waits are the verbs that start what runs on after the answer, or that tell of it, and how to see how far that
// is by what the call names: a path in the filesystem, the array's name or its device.
var waits = map[string]*waiter{
	"vol.scrub_start":     {"path", scrubProgress},
	"vol.balance_start":   {"path", balanceProgress},
	"vol.create_md_array": {"name", arrayProgress},
	"vol.md_detail":       {"device", arrayProgress},
}

type waiter struct {
	param string
	look  func(ctx context.Context, c *client.Client, name string) (progress, error)
}

// waitPeriod is how often it is looked.
const waitPeriod = 500 * time.Millisecond

// callAndWait makes the call, prints its answer, and stays until what it started has ended.
func (s *session) callAndWait(ctx context.Context, nodes *nodes, call *call) error {
	if nodes.several {
		return &usageError{Name, "--wait is for one node"}
	}
	n, w := nodes.list[0], waits[call.verb.method]
	if err := s.callOne(ctx, s.out, n, call.verb, call.params()); err != nil {
		return err
	}
	name := call.value(w.param).String()
	tick := time.NewTicker(waitPeriod)
	defer tick.Stop()
	for {
		look, cancel := s.deadline(ctx, lookTime)
		p, err := w.look(look, n.client, name)
		cancel()
		if err != nil {
			s.endBar()
			return err
		}
		if !p.running {
			s.endBar()
			return s.ended(call.verb, p)
		}
		s.bar(p)
		select {
		case <-ctx.Done():
			s.endBar()
			return ctx.Err() // what was started goes on without us
		case <-tick.C:
		}
	}
}

// ended says how it ended.
func (s *session) ended(v *verb, p progress) error {
	text := strings.TrimSpace(p.state + " " + p.detail)
	if p.failed {
		return &localError{fmt.Errorf("%s: %s", v.method, text)}
	}
	fmt.Fprintln(s.errs, text)
	return nil
}

// barCells is how wide a bar is.
const barCells = 30

// bar shows how far it is, on a terminal only.
func (s *session) bar(p progress) {
	if !isTerminal(s.errs) {
		return
	}
	fmt.Fprintf(s.errs, "\r%s %s\x1b[K", drawBar(p.percent, barCells), strings.TrimSpace(p.state+" "+p.detail))
}

func (s *session) endBar() {
	if isTerminal(s.errs) {
		fmt.Fprint(s.errs, "\r\x1b[K")
	}
}

// drawBar is a bar of n cells; percent below 0 is not known.
func drawBar(percent float64, n int) string {
	if percent < 0 {
		return "[" + strings.Repeat("?", n) + "]     "
	}
	full := min(max(int(percent*float64(n)/100+0.5), 0), n)
	return fmt.Sprintf("[%s%s] %3.0f%%", strings.Repeat("#", full), strings.Repeat("-", n-full), percent)
}

func scrubProgress(ctx context.Context, c *client.Client, path string) (progress, error) {
	result, err := c.VolScrubStatus(ctx, &registry.VolScrubStatusParams{Path: path})
	if err != nil {
		return progress{}, err
	}
	scrub := &result.Scrub
	p := progress{running: scrub.State == "running", state: scrub.State, percent: scrub.Percent.Or(-1), failed: scrub.State == "failed"}
	if rate, ok := scrub.RateBps.Get(); ok {
		p.detail = rateText(rate)
	}
	if left, ok := scrub.RemainingS.Get(); ok && p.running {
		p.detail += ", " + durationText(left) + " left"
	}
	if errors := scrub.Errors.Or(0); errors > 0 {
		p.detail += fmt.Sprintf(", %d errors", errors)
	}
	return p, nil
}

func balanceProgress(ctx context.Context, c *client.Client, path string) (progress, error) {
	result, err := c.VolBalanceStatus(ctx, &registry.VolBalanceStatusParams{Path: path})
	if err != nil {
		return progress{}, err
	}
	balance := &result.Balance
	p := progress{state: balance.State, percent: balance.Percent.Or(-1)}
	p.running = balance.State != "none" && balance.State != "paused"
	if p.running {
		p.detail = fmt.Sprintf("%d of %d chunks", balance.Considered.Or(0), balance.Expected.Or(0))
	} else if last := balance.Last; last != nil && balance.State == "none" {
		p.state, p.failed = last.Outcome, last.Outcome == "failed"
		p.detail = fmt.Sprintf("%d chunks moved %s", last.Completed.Or(0), last.Error.Or(""))
	}
	return p, nil
}

func arrayProgress(ctx context.Context, c *client.Client, name string) (progress, error) {
	if !strings.HasPrefix(name, "/") {
		name = "/dev/md/" + name
	}
	result, err := c.VolMDDetail(ctx, &registry.VolMDDetailParams{Device: name})
	if err != nil {
		return progress{}, err
	}
	array := &result.Array
	p := progress{state: array.ArrayState, percent: -1}
	if sync := array.Sync; sync != nil && sync.Action != "idle" && sync.Action != "frozen" {
		p.running, p.state, p.percent = true, sync.Action, sync.Percent.Or(-1)
		if speed, ok := sync.SpeedBps.Get(); ok {
			p.detail = rateText(speed)
		}
		if left, ok := sync.RemainingS.Get(); ok {
			p.detail += ", " + durationText(left) + " left"
		}
	}
	return p, nil
}
