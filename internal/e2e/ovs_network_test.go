package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// guest is a machine on a tap: what it sends is what a virtual machine would.
type guest struct {
	t    *testing.T
	name string
	file *os.File
	mac  byte

	heard map[string]bool
}

// etherTest is the EtherType for experiments (IEEE 802, 0x88b5), etherVLAN that of a tag.
const (
	etherTest = 0x88b5
	etherVLAN = 0x8100
)

// boot opens a tap, as a hypervisor does.
func (n *node) boot(tap string, mac byte) *guest {
	n.t.Helper()
	var fd int
	var err error
	n.Do(func() {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return
		}
		var request *unix.Ifreq
		if request, err = unix.NewIfreq(tap); err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
	})
	if err != nil {
		n.t.Fatalf("open %s: %v", tap, err)
	}
	g := &guest{t: n.t, name: tap, file: os.NewFile(uintptr(fd), tap), mac: mac, heard: map[string]bool{}}
	n.t.Cleanup(func() { g.file.Close() })
	return g
}

// send broadcasts a text, in a VLAN where that is not 0.
func (g *guest) send(vlan uint16, text string) {
	g.t.Helper()
	frame := append(bytes.Repeat([]byte{0xff}, 6), 0x52, 0x54, 0, 0, 0, g.mac)
	if vlan != 0 {
		frame = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(frame, etherVLAN), vlan)
	}
	frame = append(binary.BigEndian.AppendUint16(frame, etherTest), text...)
	frame = append(frame, make([]byte, max(0, 60-len(frame)))...)
	if _, err := g.file.Write(frame); err != nil {
		g.t.Fatalf("%s: %v", g.name, err)
	}
}

// next is the next text that arrives, with its VLAN; "": none does for a while.
func (g *guest) next() string {
	g.t.Helper()
	frame := make([]byte, 2048)
	_ = g.file.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		n, err := g.file.Read(frame)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ""
		}
		if err != nil {
			g.t.Fatalf("%s: %v", g.name, err)
		}
		rest, vlan := frame[12:n], uint16(0)
		if binary.BigEndian.Uint16(rest) == etherVLAN {
			vlan, rest = binary.BigEndian.Uint16(rest[2:])&0xfff, rest[4:]
		}
		if binary.BigEndian.Uint16(rest) == etherTest {
			return fmt.Sprint(vlan, " ", strings.TrimRight(string(rest[2:]), "\x00"))
		}
	}
}

// reach sends a text until each of some guests has heard it as it must: the switch needs a moment to see that a tap
// was opened. Whatever else they hear that they may not have heard before is wrong.
func (g *guest) reach(vlan uint16, text string, must map[*guest]string) {
	g.t.Helper()
	for other, want := range must {
		for end := time.Now().Add(time.Minute); !other.heard[want]; {
			if time.Now().After(end) {
				g.t.Fatalf("%s does not hear %q", other.name, want)
			}
			g.send(vlan, text)
			if got := other.next(); got != "" {
				other.heard[got] = true
			}
		}
	}
}

// TestMachinesOnOpenVSwitch: the network of machines, made through the socket alone: frames pass inside a VLAN and
// not into another, over a trunk with their tag, over a connection of two bridges; and nothing of it is left.
func TestMachinesOnOpenVSwitch(t *testing.T) {
	testhost.Root(t)
	n := newNode(t)
	o := testhost.NewOVS(t, n.NetNS)
	config := n.folder + "/config.toml"
	text := fmt.Sprintf("ovs_run_dir = %q\n[bridge]\nbackend = \"ovs\"\novs_datapath_type = \"netdev\"\n", o.RunDir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = []string{"--config", config}
	tables := []string{"list", "Bridge", "--", "list", "Port", "--", "list", "Interface", "--", "list", "Controller", "--", "list", "QoS", "--", "list", "Mirror"}
	before := o.Vsctl(tables...)
	l := n.start(0)
	for _, s := range []step{
		{"net.bridge.add", `{"name":"br0"}`}, {"net.bridge.add", `{"name":"br1"}`},
		{"net.bridge.connect", `{"a":"br0","b":"br1"}`},
		{"net.vm.create_tap", `{"vm_id":"a","name":"ta","bridge":"br0","pvid":10}`},
		{"net.vm.create_tap", `{"vm_id":"b","name":"tb","bridge":"br0","pvid":10}`},
		{"net.vm.create_tap", `{"vm_id":"c","name":"tc","bridge":"br0","pvid":20}`},
		{"net.vm.create_tap", `{"vm_id":"d","name":"td","bridge":"br1","vlans":["10","20"]}`},
	} {
		l.must(s)
	}
	a, b, c, d := n.boot("ta", 0xa), n.boot("tb", 0xb), n.boot("tc", 0xc), n.boot("td", 0xd)
	a.reach(0, "from a", map[*guest]string{b: "0 from a", d: "10 from a"})
	d.reach(20, "from d in 20", map[*guest]string{c: "0 from d in 20"})
	d.reach(10, "from d in 10", map[*guest]string{a: "0 from d in 10", b: "0 from d in 10"})
	c.reach(0, "from c", map[*guest]string{d: "20 from c"})
	d.send(30, "from d in 30") // which it may not
	d.reach(20, "last in 20", map[*guest]string{c: "0 last in 20"})
	d.reach(10, "last in 10", map[*guest]string{a: "0 last in 10", b: "0 last in 10"})
	for g, want := range map[*guest][]string{
		a: {"0 from d in 10", "0 last in 10"}, b: {"0 from a", "0 from d in 10", "0 last in 10"},
		c: {"0 from d in 20", "0 last in 20"}, d: {"10 from a", "20 from c"},
	} {
		if got := slices.Sorted(maps.Keys(g.heard)); !slices.Equal(got, want) {
			t.Errorf("%s heard %q, want %q", g.name, got, want)
		}
	}
	var verified struct {
		InSync bool `json:"in_sync"`
	}
	if err := json.Unmarshal(l.must(step{"net.verify", "{}"}), &verified); err != nil || !verified.InSync {
		t.Errorf("not in sync: %v", err)
	}
	if a := l.call(step{"net.vm.delete_tap", `{"name":"ta"}`}); a == nil || a.Error == nil || a.Error.Data["kind"] != "busy" {
		t.Errorf("a tap that a machine has open: %+v", a)
	}
	for _, g := range []*guest{a, b, c, d} {
		g.file.Close()
		l.must(step{"net.vm.delete_tap", `{"name":"` + g.name + `","force":true}`})
	}
	l.must(step{"net.bridge.delete", `{"name":"br1","force":true}`})
	l.must(step{"net.bridge.delete", `{"name":"br0"}`})
	if after := o.Vsctl(tables...); after != before {
		t.Errorf("left in the database:\n%s\nthere was\n%s", after, before)
	}
	if links := n.Run("ip", "-o", "link"); strings.Contains(links, "my_os_server") {
		t.Errorf("left:\n%s", links)
	}
	l.stop()
}
