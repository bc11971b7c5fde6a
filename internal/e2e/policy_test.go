package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// configure writes the daemon's configuration file.
func (n *node) configure(text string) {
	n.t.Helper()
	if err := os.WriteFile(n.folder+"/config.toml", []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.args = []string{"--config", n.folder + "/config.toml"}
}

func (n *node) drops() bool {
	return strings.Contains(n.Run("nft", "list", "ruleset"), "hook input priority filter; policy drop;")
}

type inputPolicy struct {
	Policy, Configured string
	ConfirmBy          string `json:"confirm_by"`
}

// policy is what net.verify says of the input policy.
func (l *life) policy(params string) inputPolicy {
	l.node.t.Helper()
	var v struct {
		InSync bool            `json:"in_sync"`
		Drift  json.RawMessage `json:"drift"`
		Policy inputPolicy     `json:"input_policy"`
	}
	if err := json.Unmarshal(l.must(step{"net.verify", params}), &v); err != nil || !v.InSync {
		l.node.t.Errorf("drift %s, %v", v.Drift, err)
	}
	return v.Policy
}

func (l *life) hup() { _ = l.cmd.Process.Signal(syscall.SIGHUP) }

// TestInputPolicyThroughItsLife: on trial, killed, tried again, confirmed, killed, reloaded.
func TestInputPolicyThroughItsLife(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "nft", "nftables")
	n := newNode(t)
	n.configure("[firewall]\ninput_policy = \"drop\"\nkeep_open = [\"tcp/443\"]\nconfirm_s = 600\n")
	l := n.start(0)
	if p := l.policy("{}"); !n.drops() || p.Policy != "drop" || p.ConfirmBy == "" {
		t.Fatalf("on trial: %+v\n%s", p, l.log.String())
	}
	l.kill()
	l = n.start(0)
	if p := l.policy("{}"); n.drops() || p.Policy != "accept" || p.Configured != "drop" {
		t.Fatalf("killed on trial: %+v\n%s", p, l.log.String())
	}
	l.hup()
	testhost.Eventually(t, "tried again after SIGHUP", n.drops)
	if p := l.policy(`{"confirm":"input_policy"}`); p.Policy != "drop" || p.ConfirmBy != "" {
		t.Fatalf("confirmed: %+v", p)
	}
	l.kill()
	l = n.start(0)
	if p := l.policy("{}"); !n.drops() || p.ConfirmBy != "" {
		t.Fatalf("killed when it was confirmed: %+v\n%s", p, l.log.String())
	}
	if a := l.call(step{"net.nat.add_dnat", `{"protocol":"tcp","port":443,"to_address":"192.0.2.9"}`}); a == nil || a.Error == nil || a.Error.Data["rule"] != "kept_open" {
		t.Errorf("a forward of a port that is kept open: %+v", a)
	}
	n.configure("[firewall]\ninput_policy = \"accept\"\n[reconcile]\nmode = \"repair\"\n")
	l.hup()
	testhost.Eventually(t, "accept after SIGHUP", func() bool { return !n.drops() })
	l.must(step{"net.bridge.add", `{"name":"br0","mtu":1400}`})
	n.IP("link set br0 mtu 1300")
	testhost.Eventually(t, "mended since SIGHUP", func() bool { return strings.Contains(n.Run("ip", "link", "show", "br0"), "mtu 1400") })
	if !l.stop() {
		t.Error("it did not end well")
	}
}
