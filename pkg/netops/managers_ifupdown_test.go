package netops

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// randomInterfaces writes /etc/network/interfaces and the files that it sources.
type randomInterfaces struct {
	rng   *rand.Rand
	files map[string]string
	names []string
	base  bool // there is a stanza to inherit from
}

func (r *randomInterfaces) line(file, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if r.rng.IntN(6) == 0 { // over two lines
		if words := strings.SplitN(text, " ", 3); len(words) == 3 && words[0] != "iface" {
			text = words[0] + " " + words[1] + " \\\n    " + words[2]
		}
	}
	r.files[file] += strings.Repeat([]string{" ", "\t", ""}[r.rng.IntN(3)], r.rng.IntN(3)) + text + "\n" + []string{"", "# a comment\n", "\n"}[r.rng.IntN(3)]
}

func (r *randomInterfaces) write() {
	const top = "etc/network/interfaces"
	r.files = map[string]string{top: ""}
	r.line(top, "auto lo")
	r.line(top, "iface lo inet loopback")
	if r.base = r.rng.IntN(2) == 0; r.base {
		r.line(top, "iface base inet static")
		r.line(top, "address 10.99.0.1")
		r.line(top, "netmask 255.255.0.0")
		r.line(top, "metric %d", r.rng.IntN(900))
	}
	for i := range 2 + r.rng.IntN(5) {
		file := top
		switch r.rng.IntN(4) {
		case 0:
			file = fmt.Sprintf("etc/network/interfaces.d/if%d", i)
		case 1:
			file = fmt.Sprintf("etc/network/more/part-%d", i)
		}
		r.stanza(file, fmt.Sprintf("w%d", i))
	}
	r.line(top, "source interfaces.d/*")
	r.line(top, "source-directory /etc/network/more")
}

// stanza makes an interface of one or both families.
func (r *randomInterfaces) stanza(file, name string) {
	r.names = append(r.names, name)
	if r.rng.IntN(2) == 0 {
		r.line(file, "%s %s", []string{"auto", "allow-hotplug"}[r.rng.IntN(2)], name)
	}
	switch r.rng.IntN(4) {
	case 0:
		r.line(file, "iface %s inet dhcp", name)
	case 1:
		r.line(file, "iface %s inet static", name)
		r.line(file, "address 10.%d.%d.%d/%d", r.rng.IntN(200), r.rng.IntN(250), 1+r.rng.IntN(250), 8+r.rng.IntN(23))
		r.line(file, "gateway 10.0.0.%d", 1+r.rng.IntN(250))
	case 2:
		r.line(file, "iface %s inet static", name)
		r.line(file, "address 192.168.%d.%d", r.rng.IntN(250), 1+r.rng.IntN(250))
		r.line(file, "netmask %s", net.IP(net.CIDRMask(8+r.rng.IntN(23), 32)))
	case 3:
		if !r.base {
			r.line(file, "iface %s inet manual", name)
			break
		}
		r.line(file, "iface %s inherits base", name)
	}
	r.options(file)
	if r.rng.IntN(2) == 0 {
		r.line(file, "iface %s inet6 %s", name, []string{"auto", "manual", "dhcp"}[r.rng.IntN(3)])
		r.options(file)
	}
}

func (r *randomInterfaces) options(file string) {
	for _, text := range []string{fmt.Sprintf("mtu %d", 1280+r.rng.IntN(9000)), "dns-nameservers 192.0.2.1 2001:db8::1", "dns-search a.test b.test",
		"up ip route add 10.0.0.0/8 dev $IFACE", "hwaddress 52:54:00:00:00:01", fmt.Sprintf("x-note %d words here", r.rng.IntN(99))} {
		if r.rng.IntN(3) == 0 {
			r.line(file, "%s", text)
		}
	}
}

// TestIfupdownWitness compares what is made of /etc/network/interfaces with what ifquery says, at random.
func TestIfupdownWitness(t *testing.T) {
	testhost.Tool(t, "ifquery", "ifupdown")
	seed := testhost.Seed(t)
	compared := 0
	for round := range testhost.Rounds(usualRounds) {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			r := &randomInterfaces{rng: rand.New(rand.NewPCG(seed, uint64(round)))}
			r.write()
			root := t.TempDir()
			r.files["etc/network/interfaces"] = strings.ReplaceAll(r.files["etc/network/interfaces"], "/etc/network/more", filepath.Join(root, "etc/network/more"))
			put(t, root, r.files)
			// ifquery knows no other root, and we no other than it.
			ours := t.TempDir()
			r.files["etc/network/interfaces"] = strings.ReplaceAll(r.files["etc/network/interfaces"], root, "")
			put(t, ours, r.files)
			result := mustCall(t, netIn(t, ours), "net.config", object{})
			noFaults(t, result)
			for _, name := range r.names {
				compared += compareIfquery(t, filepath.Join(root, "etc/network/interfaces"), find(t, result["interfaces"], "interface", name))
			}
			if t.Failed() {
				t.Logf("%v", r.files)
			}
		})
	}
	if compared < 10 {
		t.Errorf("%d options were compared", compared)
	}
}

// compareIfquery compares the options of one interface.
func compareIfquery(t *testing.T, file string, row object) (compared int) {
	t.Helper()
	name := row["interface"].(string)
	out, err := exec.Command("ifquery", "-i", file, name).Output()
	if err != nil {
		t.Fatalf("ifquery %s: %v", name, err)
	}
	var said []string
	address, mask := "", ""
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.Join(strings.Fields(value), " ")
		switch key {
		case "address":
			address = value
		case "netmask":
			mask = value
		}
		said = append(said, key+": "+value)
	}
	var ours []string
	for _, f := range objects(row["facts"]) {
		words := strings.SplitN(f["name"].(string), ".", 3)
		if len(words) < 3 || words[0] != "iface" || words[2] == "address" || words[2] == "netmask" {
			continue
		}
		compared++
		option := words[2] + ": " + strings.Join(strings.Fields(f["value"].(string)), " ")
		ours = append(ours, option)
		if !slices.Contains(said, option) && words[2] != "hwaddress" { // which ifquery writes as it hands it on
			t.Errorf("%s: %q is none of ifquery's %q", name, option, said)
		}
	}
	for _, option := range said {
		key, _, _ := strings.Cut(option, ":")
		if slices.Contains([]string{"mtu", "dns-nameservers", "dns-search", "up", "x-note", "gateway", "metric"}, key) && !slices.Contains(ours, option) {
			t.Errorf("%s: ifquery's %q is none of %q", name, option, ours)
		}
	}
	want := []any{}
	if address != "" {
		bits, _ := net.IPMask(net.ParseIP(mask).To4()).Size()
		want = append(want, netip.PrefixFrom(netip.MustParseAddr(address), bits).String())
	}
	if got, _ := row["addresses"].([]any); text(got) != text(want) {
		t.Errorf("%s: addresses %v, ifquery says %v", name, got, want)
	}
	return compared
}
