package e2e

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// inputText is what the kernel does with what comes in: accept, drop, or trial for a drop that ends by itself.
func (n *node) inputText() string {
	n.t.Helper()
	text := n.Run("nft", "list", "ruleset")
	switch {
	case !strings.Contains(text, "hook input priority filter; policy drop;"):
		return "accept"
	case strings.Contains(text, "@trial"):
		return "trial"
	}
	return "drop"
}

// becomes waits until the kernel does so; false: the daemon died before.
func (l *life) becomes(text string) (alive bool) {
	l.node.t.Helper()
	testhost.Eventually(l.node.t, text, func() bool {
		select {
		case <-l.ended:
			return true
		default:
		}
		alive = l.node.inputText() == text
		return alive
	})
	return alive
}

const (
	configAccept = "[firewall]\ninput_policy = \"accept\"\n"
	configDrop   = "[firewall]\ninput_policy = \"drop\"\nkeep_open = [\"tcp/443\"]\nconfirm_s = 600\n"
	configHasty  = "[firewall]\ninput_policy = \"drop\"\nconfirm_s = 5\n"
)

var confirmation = step{"net.verify", `{"confirm":"input_policy"}`}

// reloads has a daemon read another configuration, and waits for what it does with it.
func (l *life) reloads(config, text string) bool {
	l.node.t.Helper()
	l.node.configure(config)
	l.hup()
	return l.becomes(text)
}

// policyCrashes are what happens to the input policy.
var policyCrashes = []struct {
	name   string
	config string // at first
	of     func(n *node) ordeal
}{
	// A start after it was killed before the intent finds a policy that was never tried.
	{"begin a trial", configAccept, func(n *node) ordeal {
		return ordeal{
			setup: func(*life) {}, change: func(l *life) bool { return l.reloads(configDrop, "trial") },
			again: func(l *life) { l.reloads(configAccept, "accept") }, before: "trial", after: "accept",
		}
	}},
	{"confirm", configDrop, func(n *node) ordeal {
		return ordeal{
			setup: func(l *life) { l.becomes("trial") }, change: func(l *life) bool { return l.call(confirmation) != nil },
			again: func(l *life) {
				if n.inputText() == "accept" {
					l.reloads(configDrop, "trial")
				}
				l.must(confirmation)
			},
			before: "accept", after: "drop",
		}
	}},
	{"roll back in time", configHasty, func(n *node) ordeal {
		return ordeal{
			setup: func(*life) {}, change: func(l *life) bool { return l.becomes("accept") },
			again: func(*life) {}, before: "accept", after: "accept",
		}
	}},
	{"narrow the list", configDrop, func(n *node) ordeal {
		return ordeal{
			setup: func(l *life) { l.must(confirmation) }, change: func(l *life) bool { return l.reloads(strings.Replace(configDrop, `"tcp/443"`, "", 1), "trial") },
			again: func(l *life) { l.reloads(configDrop, "drop") }, before: "trial", after: "drop",
		}
	}},
	{"accept", configDrop, func(n *node) ordeal {
		return ordeal{
			setup: func(l *life) { l.must(confirmation) }, change: func(l *life) bool { return l.reloads(configAccept, "accept") },
			again: func(*life) {}, before: "accept", after: "accept",
		}
	}},
}

// TestInputPolicyKilledAtEveryMoment kills the daemon while a policy is tried, confirmed and rolled back: nothing that
// nobody has confirmed is there afterwards but on trial, and what was confirmed is. With few rounds, one moment in so many
// is tried, others each time.
func TestInputPolicyKilledAtEveryMoment(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "nft", "nftables")
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 7))
	stride := max(1, 60/testhost.Rounds(12))
	var points atomic.Int64
	for _, c := range policyCrashes {
		first := 1 + rng.IntN(stride)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tried := 0
			for moment := first; ; moment += stride {
				n := newNode(t)
				n.configure(c.config)
				o := c.of(n)
				o.picture, o.rest = n.inputText, func(*life) {}
				if n.undergo(moment, o) {
					break
				}
				if tried++; moment > 200 {
					t.Fatal("it never comes to its end")
				}
			}
			t.Logf("%d moments", tried)
			points.Add(int64(tried))
		})
	}
	t.Cleanup(func() { t.Logf("killed at %d moments of the input policy", points.Load()) })
}
