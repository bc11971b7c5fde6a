package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// prefixServer is a namespace with isc dhcpd, which leases addresses and prefixes, at the other end of a node's
// uplink.
type prefixServer struct {
	*testhost.NetNS
	log testhost.Log
}

func newPrefixServer(t *testing.T, n *node) *prefixServer {
	t.Helper()
	testhost.Tool(t, "dhcpd", "isc-dhcp-server")
	s := &prefixServer{NetNS: testhost.NewNetNS(t)}
	n.Run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
	s.IP(fmt.Sprintf("link add s0 type veth peer name up0 netns %s", n.Path()), "addr add fe80::1/64 dev s0 nodad", "addr add 2001:db8:5::1/64 dev s0 nodad", "link set s0 up")
	s.dhcpd(t, "-6", `authoritative; ddns-update-style none; default-lease-time 300; preferred-lifetime 200;
subnet6 2001:db8:5::/64 { range6 2001:db8:5::1000 2001:db8:5::1fff; prefix6 2001:db8:100:: 2001:db8:1ff:: /56; }
`)
	return s
}

// dhcpd starts a server of a family.
func (s *prefixServer) dhcpd(t *testing.T, family, config string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"dhcpd.conf": config, "leases": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("dhcpd", family, "-d", "-f", "--no-pid", "-user", "root", "-group", "root", "-cf", dir+"/dhcpd.conf", "-lf", dir+"/leases", "s0")
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	var err error
	s.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// leased are the addresses and refusing routes of IPv6 that leases gave a node.
func leased(n *node) (list []string) {
	var links []struct {
		Name  string `json:"ifname"`
		Addrs []struct {
			Local string `json:"local"`
			Len   int    `json:"prefixlen"`
			Scope string `json:"scope"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(n.Witness("-6", "addr"), &links); err != nil {
		n.t.Fatal(err)
	}
	for _, l := range links {
		for _, a := range l.Addrs {
			if a.Scope == "global" {
				list = append(list, fmt.Sprint(l.Name, " ", a.Local, "/", a.Len))
			}
		}
	}
	for line := range strings.Lines(n.Run("ip", "-6", "route", "show", "proto", "109")) {
		list = append(list, strings.Join(strings.Fields(line)[:2], " "))
	}
	slices.Sort(list)
	return list
}

// TestPrefixSurvivesKilling: the daemon is killed with SIGKILL; address and prefix stay, and are the same ones when
// it is there again, which asks for them by REBIND.
func TestPrefixSurvivesKilling(t *testing.T) {
	testhost.Root(t)
	n := newNode(t)
	server := newPrefixServer(t, n)
	n.IP("link add lan0 type bridge", "link set lan0 up")
	config := n.folder + "/config.toml"
	err := os.WriteFile(config, []byte("[[interface]]\nname = \"up0\"\nipv6 = \"dhcp\"\nprefix_delegation = true\nassign_to = [\"lan0\"]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	n.args = append(n.args, "--config", config)
	l := n.start(0)
	first := awaitPrefix(t, l, server)
	stands := leased(n)
	if len(stands) != 3 || !strings.HasPrefix(stands[0], "lan0 2001:db8:1") || !strings.HasPrefix(stands[1], "unreachable 2001:db8:1") || !strings.HasPrefix(stands[2], "up0 2001:db8:5::1") {
		t.Fatalf("leased: %q", stands)
	}
	for range 3 {
		l.kill()
		if now := leased(n); !slices.Equal(now, stands) {
			t.Fatalf("without the daemon: %q, want %q", now, stands)
		}
		l = n.start(0)
		again := awaitPrefix(t, l, server)
		if now := leased(n); again != first || !slices.Equal(now, stands) {
			t.Fatalf("with another daemon: %q, want %q", now, stands)
		}
		var verify struct {
			InSync bool `json:"in_sync"`
		}
		if err := json.Unmarshal(l.must(step{"net.verify", "{}"}), &verify); err != nil || !verify.InSync {
			t.Fatalf("drift: %s", l.must(step{"net.verify", "{}"}))
		}
	}
	if n := strings.Count(server.log.String(), "Solicit message"); n == 0 || n > 3 { // a slow machine asks again
		t.Errorf("the server saw %d of SOLICIT:\n%s", n, server.log.String())
	}
	if !strings.Contains(server.log.String(), "Rebind message") {
		t.Errorf("the server saw no REBIND:\n%s", server.log.String())
	}
	if !l.stop() {
		t.Errorf("the daemon did not end well:\n%s", l.log.String())
	}
}

// awaitPrefix waits until the daemon's client has an answer of a server, and returns the prefix.
func awaitPrefix(t *testing.T, l *life, server *prefixServer) string {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var leases struct {
			Interfaces []struct {
				Dhcp6    struct{ State string } `json:"dhcp6"`
				Prefixes []struct{ Prefix string }
			}
		}
		raw := l.must(step{"net.lease", `{"interface":"up0"}`})
		if err := json.Unmarshal(raw, &leases); err != nil {
			t.Fatal(err)
		}
		if row := leases.Interfaces[0]; row.Dhcp6.State == "bound" && len(row.Prefixes) == 1 {
			testhost.ValidateResult(t, "net.lease", raw)
			return row.Prefixes[0].Prefix
		}
	}
	t.Fatalf("no prefix: %s\n%s\n%s", l.must(step{"net.lease", "{}"}), l.log.String(), server.log.String())
	return ""
}
