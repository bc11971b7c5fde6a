package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	manyFlows       = 50_000
	manyConnections = 100_000
)

// openvswitch is one with a userspace datapath, in the namespace of this program.
type openvswitch struct {
	dir     string
	daemons []*exec.Cmd
}

// benchOVS lists OpenFlow flows beside ovs-ofctl, which the daemon reads them through, and what a userspace
// datapath tracks beside ovs-appctl, whose protocol it speaks.
func benchOVS() error {
	o, err := startOVS()
	if err != nil {
		return err
	}
	defer o.stop()
	if err := o.sh("ovs-vsctl add-br br0 -- set bridge br0 datapath_type=netdev"); err != nil {
		return err
	}
	if err := o.benchFlows(); err != nil {
		return err
	}
	return o.benchConnections()
}

func startOVS() (*openvswitch, error) {
	dir, err := os.MkdirTemp("", "ovs")
	if err != nil {
		return nil, err
	}
	o := &openvswitch{dir: dir}
	if err := o.sh("ovsdb-tool create $OVS_RUNDIR/conf.db /usr/share/openvswitch/vswitch.ovsschema"); err != nil {
		return o, err
	}
	for _, argv := range [][]string{
		{"ovsdb-server", dir + "/conf.db", "--remote=punix:" + dir + "/db.sock"},
		{"ovs-vswitchd", "unix:" + dir + "/db.sock"},
	} {
		cmd := exec.Command(argv[0], append(argv[1:], "--pidfile", "--no-chdir", "-vconsole:off", "-vsyslog:off")...)
		cmd.Env, cmd.SysProcAttr = o.environment(), dieWithParent
		if err := cmd.Start(); err != nil {
			o.stop()
			return nil, err
		}
		o.daemons = append(o.daemons, cmd)
	}
	return o, o.sh("until test -S $OVS_RUNDIR/db.sock; do sleep .02; done; ovs-vsctl --timeout=20 init")
}

func (o *openvswitch) stop() {
	for i := len(o.daemons) - 1; i >= 0; i-- {
		_ = o.daemons[i].Process.Kill()
		_ = o.daemons[i].Wait()
	}
	os.RemoveAll(o.dir)
}

func (o *openvswitch) environment() []string {
	env := os.Environ()
	for _, name := range []string{"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"} {
		env = append(env, name+"="+o.dir)
	}
	return env
}

func (o *openvswitch) sh(line string) error {
	cmd := exec.Command("sh", "-ec", line)
	cmd.Env = o.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out))
	}
	return nil
}

// control is the socket of ovs-vswitchd.
func (o *openvswitch) control() string {
	return filepath.Join(o.dir, fmt.Sprintf("ovs-vswitchd.%d.ctl", o.daemons[1].Process.Pid))
}

func lines(word string) func([]byte) (int, error) {
	return func(out []byte) (int, error) { return bytes.Count(out, []byte(word)), nil }
}

func (o *openvswitch) benchFlows() error {
	bridge := "unix:" + o.dir + "/br0.mgmt"
	add := exec.Command("ovs-ofctl", "-O", "OpenFlow15", "add-flows", bridge, "-")
	err := feed(add, func(w io.Writer) {
		for i := range manyFlows - 1 { // with the one that a new bridge has
			fmt.Fprintf(w, "table=%d,priority=%d,cookie=0x%x,ip,ct_state=+trk+new,reg0=0x%x,nw_src=10.%d.%d.%d,nw_dst=192.0.2.0/24,actions=load:0x%x->NXM_NX_REG1[],ct(commit,zone=5,exec(set_field:0x1->ct_mark)),resubmit(,%d)\n",
				1+i%100, 1+i%60000, i, i, i>>16&255, i>>8&255, i&255, i, 2+i%100)
		}
	})
	if err != nil {
		return err
	}
	return read{what: fmt.Sprintf("%d OpenFlow flows", manyFlows), method: "net.flows", params: `{"bridge":"br0"}`, list: "flows",
		peer: []string{"ovs-ofctl", "-O", "OpenFlow15", "dump-flows", bridge}, bar: 1.3, memory: 32, peerCount: lines(" cookie="), server: []string{"--ovs-run-dir", o.dir}}.run()
}

func (o *openvswitch) benchConnections() error {
	// As long as the measurement takes, and no longer the half minute of one-sided datagrams.
	err := o.sh(`ovs-vsctl -- --id=@d create Datapath datapath_version=0 -- set Open_vSwitch . datapaths:netdev=@d
		ovs-vsctl add-zone-tp netdev zone=5 udp_first=3600 udp_single=3600
		ovs-ofctl del-flows br0; ovs-ofctl add-flow br0 'ip,actions=ct(commit,zone=5)'`)
	if err != nil {
		return err
	}
	tap, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer tap.Close()
	request, err := unix.NewIfreq("t0")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(tap.Fd()), unix.TUNSETIFF, request); err != nil {
		return err
	}
	if err := o.sh("ip link set t0 up; ovs-vsctl add-port br0 t0"); err != nil {
		return err
	}
	if err := o.talk(tap); err != nil {
		return err
	}
	return read{what: fmt.Sprintf("%d tracked connections", manyConnections), method: "net.ovs.conntrack", params: "{}", list: "entries",
		peer: []string{"ovs-appctl", "-t", o.control(), "dpctl/dump-conntrack", "-m", "-s"}, bar: 1.0, memory: 32, peerCount: lines("\n"), server: []string{"--ovs-run-dir", o.dir}}.run()
}

// talk sends a datagram for each connection, and again what was lost, until the datapath tracks all of them.
func (o *openvswitch) talk(tap *os.File) error {
	for range 50 {
		for i := range manyConnections {
			if _, err := tap.Write(datagram(i)); err != nil {
				return err
			}
			if i%64 == 0 {
				time.Sleep(500 * time.Microsecond)
			}
		}
		out, err := exec.Command("ovs-appctl", "-t", o.control(), "dpctl/ct-get-nconns").Output()
		if n, _ := strconv.Atoi(strings.TrimSpace(string(out))); err == nil && n >= manyConnections {
			return nil
		}
	}
	return fmt.Errorf("the datapath did not track %d connections", manyConnections)
}

// datagram is a UDP datagram of connection i over IPv4 over Ethernet, without a checksum of its own.
func datagram(i int) []byte {
	b := make([]byte, 60)
	copy(b, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
	ip := b[14:34]
	copy(ip, []byte{0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, byte(i >> 16), byte(i >> 8), byte(i), 192, 0, 2, 1})
	sum := uint32(0)
	for j := 0; j < 20; j += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[j:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum))
	binary.BigEndian.PutUint16(b[34:], uint16(1024+i%60000))
	binary.BigEndian.PutUint16(b[36:], 443)
	binary.BigEndian.PutUint16(b[38:], 26)
	return b
}
