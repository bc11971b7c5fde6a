package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
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
	g := &guest{t: n.t, name: tap, file: os.NewFile(uintptr(fd), tap), mac: mac}
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

// next is the next text that arrives, with its VLAN.
func (g *guest) next() string {
	g.t.Helper()
	frame := make([]byte, 2048)
	_ = g.file.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		n, err := g.file.Read(frame)
		if err != nil {
			g.t.Fatalf("%s hears nothing: %v", g.name, err)
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

func (g *guest) hears(want string) {
	g.t.Helper()
	if got := g.next(); got != want {
		g.t.Errorf("%s hears %q, want %q", g.name, got, want)
	}
}

// TestMachinesOnOpenVSwitch: the network of machines, made through the socket alone: frames pass inside a VLAN and
// not into another, over a trunk with their tag, over a connection of two bridges; and nothing of it is left.
func TestMachinesOnOpenVSwitch(t *testing.T) {
	requireRoot(t)
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
	a.send(0, "from a")
	b.hears("0 from a")
	d.hears("10 from a")
	d.send(20, "from d in 20")
	c.hears("0 from d in 20") // and had not heard a before
	d.send(10, "from d in 10")
	a.hears("0 from d in 10")
	b.hears("0 from d in 10")
	c.send(0, "from c")
	d.hears("20 from c")
	d.send(30, "from d in 30") // which it may not
	d.send(20, "last")
	c.hears("0 last")
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
