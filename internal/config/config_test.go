package config

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	want := Default()
	want.Sockets = []string{"/run/a.sock", "/run/b.sock"}
	want.SocketMode = "0660"
	want.HeroSocket = false
	want.StateDir = "/srv/state"
	want.ACL = "/etc/acl.toml"
	want.NodeName = "node-7"
	want.Log = Log{Level: "warn", Format: "json"}
	want.Limits.Calls = 7
	want.Limits.CallsPerUser = 2
	want.Deadlines.Read = 0.5
	want.Deadlines.Drain = 3
	want.Interfaces = []Interface{{Name: "eth0", IPv4: "dhcp", Metric: 50}, {Name: "eth1", IPv6: "none"}}
	want.DNS.EtcResolvConf = true
	got, err := Parse("c.toml", []byte(`
sockets = ["/run/a.sock", "/run/b.sock"]
socket_mode = "0660"
hero_socket = false
state_dir = "/srv/state"
acl = "/etc/acl.toml"
node_name = "node-7"
log = { level = "warn", format = "json" }
limits.calls = 7
limits.calls_per_user = 2
[deadlines]
read_s = 0.5
drain_s = 3
[[interface]]
name = "eth0"
ipv4 = "dhcp"
metric = 50
[[interface]]
name = "eth1"
ipv6 = "none"
[dns]
etc_resolv_conf = true
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPartsFitTheirWhole: parts that the file does not name are lowered with it, all the way down.
func TestPartsFitTheirWhole(t *testing.T) {
	want := Default()
	want.Limits.Streams, want.Limits.StreamsPerUser = 3, 3
	want.Limits.Bodies, want.Limits.BodiesPerUser, want.Limits.Body = 65536, 65536, 65536
	got, err := Parse("c.toml", []byte("[limits]\nstreams = 3\nbodies_bytes = 65536\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefaultIsValid(t *testing.T) {
	c, err := Parse("empty", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c.Mode() != 0o666 || Seconds(c.Deadlines.Header) != 5*time.Second {
		t.Errorf("mode %o, header %s", c.Mode(), Seconds(c.Deadlines.Header))
	}
}

// TestFaults: each says where it is and which rule it breaks.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "socket = \"/x\"", "c.toml:1:1: socket: there is no such key"},
		{"unknown key in a table", "[limits]\ncalls = 1\n  call = 1", "c.toml:3:3: limits.call: there is no such key"},
		{"unknown table", "\n[cloud]\nname = \"x\"", "c.toml:2:2: cloud: there is no such key"},
		{"address without a port", "listen = [\"192.0.2.1\"]", "c.toml:1:1: listen: \"192.0.2.1\": must be [ADDRESS]:PORT"},
		{"port 0", "listen = [\":0\"]", "c.toml:1:1: listen: \":0\": must be [ADDRESS]:PORT, with a port from 1 to 65535"},
		{"a name for an address", "listen = [\":8443\", \"node-7:8443\"]", "c.toml:1:1: listen: \"node-7:8443\": must begin with an IP address"},
		{"certificate without a key", "[tls]\ncertificate = \"/a\"", "c.toml:2:1: tls.certificate: tls.certificate and tls.key go together"},
		{"relative client CA", "[tls]\nclient_ca = \"a\"", "c.toml:2:1: tls.client_ca: must be an absolute path"},
		{"unknown key in an inline table", "log = { level = \"info\", colour = true }", "c.toml:1:25: log.colour: there is no such key"},
		{"other case", "[limits]\nCalls = 1", "c.toml:2:1: limits.Calls: there is no such key"},
		{"table in other case", "[Log]\nlevel = \"info\"", "c.toml:1:2: Log: there is no such key"},
		{"one key with a dot", "\"limits.calls\" = 1", "c.toml:1:1: \"limits.calls\": there is no such key"},
		{"empty key", "\"\" = 1", "c.toml:1:1: \"\": there is no such key"},
		{"deep", "[limits.calls.x]\ny = 1", "c.toml:1:2: limits.calls: must be an integer"},
		{"unknown and out of range", "a = 1\nacl = \"b\"", "c.toml:1:1: a: there is no such key\nc.toml:2:1: acl: must be an absolute path"},
		{"several", "a = 1\n[log]\nb = 2\n[c]\n", "c.toml:1:1: a: there is no such key\nc.toml:3:1: log.b: there is no such key\nc.toml:4:2: c: there is no such key"},
		{"not TOML", "acl = ", "c.toml:1:6: expected value, not end of input"},
		{"not TOML either", "[log\n", "c.toml:1:5: "},
		{"not UTF-8", "acl = \"\xff\"", "c.toml:1:8: "},
		{"twice", "[log]\nlevel = \"info\"\nlevel = \"info\"", "c.toml:3:1: level: key level is already defined"},
		{"number for a string", "acl = 1", "c.toml:1:7: acl: must be a string"},
		{"number for a mode", "socket_mode = 0o666", "c.toml:1:15: socket_mode: must be a string"},
		{"string for a number", "[limits]\ncalls = \"16\"", "c.toml:2:9: limits.calls: must be an integer"},
		{"fraction for an integer", "[limits]\ncalls = 1.5", "c.toml:2:9: limits.calls: must be an integer"},
		{"string for seconds", "[deadlines]\nread_s = \"5s\"", "c.toml:2:10: deadlines.read_s: must be a number"},
		{"string for an array", "sockets = \"/x\"", "c.toml:1:11: sockets: must be an array of strings"},
		{"numbers in an array", "sockets = [\"/x\", 1]", "c.toml:1:18: sockets: must be an array of strings"},
		{"string for a truth", "hero_socket = \"yes\"", "c.toml:1:15: hero_socket: must be true or false"},
		{"value for a table", "limits = 5", "c.toml:1:10: limits: must be a table"},
		{"array of tables", "[[limits]]\ncalls = 5", "c.toml:1:3: limits: must be a table"},
		{"table for a value", "[acl]\nfile = \"x\"", "c.toml:1:2: acl: must be a string"},
		{"too large for an integer", "[limits]\ncalls = 99999999999999999999", "c.toml:2:9: limits.calls: decimal number is too large"},
		{"below the range", "[limits]\ncalls = 0", "c.toml:2:1: limits.calls: must be from 1 to 100000"},
		{"above the range", "limits.calls = 100001", "c.toml:1:1: limits.calls: must be from 1 to 100000"},
		{"not a number", "[deadlines]\nread_s = nan", "c.toml:2:1: deadlines.read_s: must be from 0.01 to 86400"},
		{"infinite", "deadlines = { idle_s = 1, read_s = inf }", "c.toml:1:27: deadlines.read_s: must be from 0.01 to 86400"},
		{"negative", "[deadlines]\n\ndrain_s = -1", "c.toml:3:1: deadlines.drain_s: must be from 0.01 to 86400"},
		{"part above the whole", "[limits]\nstreams = 8\nstreams_per_user = 9", "c.toml:3:1: limits.streams_per_user: is 9, must be at most limits.streams, which is 8"},
		{"relative socket", "sockets = [\"/x\", \"y\"]", "c.toml:1:1: sockets: \"y\": must be an absolute path"},
		{"relative state folder", "state_dir = \"state\"", "c.toml:1:1: state_dir: must be an absolute path"},
		{"NUL in a path", "acl = \"/a\\u0000\"", "c.toml:1:1: acl: must be an absolute path"},
		{"mode of nine", "socket_mode = \"0999\"", "c.toml:1:1: socket_mode: must be up to four octal digits"},
		{"setuid mode", "socket_mode = \"4666\"", "c.toml:1:1: socket_mode: must be up to four octal digits"},
		{"empty mode", "socket_mode = \"\"", "c.toml:1:1: socket_mode: must be up to four octal digits"},
		{"unknown level", "[log]\nlevel = \"loud\"", "c.toml:2:1: log.level: must be one of debug, info, warn, error"},
		{"unknown format", "[log]\nformat = \"xml\"", "c.toml:2:1: log.format: must be one of auto, console, json"},
		{"node name of two lines", "node_name = \"a\\nb\"", "c.toml:1:1: node_name: must be at most 253 printable ASCII"},
		{"long node name", "node_name = \"" + strings.Repeat("n", 254) + "\"", "c.toml:1:1: node_name: must be at most 253 printable ASCII"},
		{"interface that is no array", "[interface]\nname = \"eth0\"", "c.toml:1:2: interface: must be an array of tables: [[interface]]"},
		{"interfaces in a line", "interface = [{ name = \"/\" }]", "c.toml:1:1: interface: must be an array of tables: [[interface]]"},
		{"interface that is a word", "interface = \"eth0\"", "c.toml:1:13: interface: must be an array of tables: [[interface]]"},
		{"interface without a name", "[[interface]]\nname = \"eth0\"\n[[interface]]\nipv4 = \"dhcp\"", "c.toml:3:3: interface[1].name: must be the name of a network interface"},
		{"interface with a long name", "[[interface]]\nname = \"0123456789abcdef\"", "c.toml:2:1: interface[0].name: must be the name of a network interface"},
		{"the same interface twice", "[[interface]]\nname = \"a\"\n[[interface]]\nname = \"a\"", "c.toml:4:1: interface[1].name: is given twice"},
		{"unknown method", "[[interface]]\nname = \"a\"\nipv4 = \"static\"\nipv6 = \"6to4\"", "c.toml:3:1: interface[0].ipv4: must be one of dhcp\nc.toml:4:1: interface[0].ipv6: must be one of slaac, dhcp, none"},
		{"a prefix without IPv6", "[[interface]]\nname = \"a\"\nipv6 = \"none\"\nprefix_delegation = true", "c.toml:4:1: interface[0].prefix_delegation: must be false where ipv6 is \"none\""},
		{"parts of no prefix", "[[interface]]\nname = \"a\"\nassign_to = [\"b\"]", "c.toml:3:1: interface[0].assign_to: must be empty where prefix_delegation is false"},
		{"parts for itself", "[[interface]]\nname = \"a\"\nprefix_delegation = true\nassign_to = [\"b\", \"a\"]", "c.toml:4:1: interface[0].assign_to: \"a\": must not be the interface that the prefix comes by"},
		{"parts for one twice", "[[interface]]\nname = \"a\"\nprefix_delegation = true\nassign_to = [\"b\", \"b\"]", "c.toml:4:1: interface[0].assign_to: \"b\": is given twice"},
		{"parts for no interface", "[[interface]]\nname = \"a\"\nprefix_delegation = true\nassign_to = [\"b/c\"]", "c.toml:4:1: interface[0].assign_to: \"b/c\": must be the name of a network interface"},
		{"a word for parts", "[[interface]]\nname = \"a\"\nassign_to = \"b\"", "c.toml:3:13: interface.assign_to: must be an array of strings"},
		{"unknown input policy", "[firewall]\ninput_policy = \"reject\"", "c.toml:2:1: firewall.input_policy: must be one of accept, drop"},
		{"no time to confirm", "[firewall]\nconfirm_s = 0", "c.toml:2:1: firewall.confirm_s: must be from 5 to 3600"},
		{"unknown protocol", "[firewall]\nkeep_open = [\"tcp/80\", \"icmp/1\"]", "c.toml:2:1: firewall.keep_open: \"icmp/1\": must be tcp, udp or sctp"},
		{"port 0", "[firewall]\nkeep_open = [\"tcp/0\"]", "c.toml:2:1: firewall.keep_open: \"tcp/0\": must be"},
		{"port too large", "[firewall]\nkeep_open = [\"udp/65536\"]", "c.toml:2:1: firewall.keep_open: \"udp/65536\": must be"},
		{"falling ports", "[firewall]\nkeep_open = [\"udp/20-10\"]", "c.toml:2:1: firewall.keep_open: \"udp/20-10\": must be"},
		{"port without a protocol", "[firewall]\nkeep_open = [\"443\"]", "c.toml:2:1: firewall.keep_open: \"443\": must be"},
		{"numbers for ports", "[firewall]\nkeep_open = [443]", "c.toml:2:14: firewall.keep_open: must be an array of strings"},
		{"unknown backend", "[bridge]\nbackend = \"macvlan\"", "c.toml:2:1: bridge.backend: must be one of linux, ovs"},
		{"unknown datapath", "[bridge]\novs_datapath_type = \"dpdk\"", "c.toml:2:1: bridge.ovs_datapath_type: must be one of system, netdev"},
		{"unknown mode", "[reconcile]\nmode = \"mend\"", "c.toml:2:1: reconcile.mode: must be one of report, repair"},
		{"metric below 0", "[[interface]]\nname = \"a\"\nmetric = -1", "c.toml:3:1: interface[0].metric: must be from 0 to 4294967295"},
		{"word for a metric", "[[interface]]\nname = \"a\"\nmetric = \"low\"", "c.toml:3:10: interface.metric: must be an integer"},
		{"unknown key of an interface", "[[interface]]\nname = \"a\"\n[[interface]]\nname = \"b\"\nmtu = 1", "c.toml:5:1: interface[1].mtu: there is no such key"},
		{"all of them, by line", "log.level = \"x\"\nacl = \"y\"\n", "c.toml:1:1: log.level: must be one of debug, info, warn, error\nc.toml:2:1: acl: must be an absolute path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse("c.toml", []byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			if !reflect.DeepEqual(got, Config{}) {
				t.Error("a refused file left a configuration")
			}
		})
	}
}

// TestErrorIsTyped: tools that show a file want the place, not the text.
func TestErrorIsTyped(t *testing.T) {
	_, err := Parse("c.toml", []byte("[log]\nlevel = \"x\""))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Error{"c.toml", 2, 1, "log.level", "must be one of debug, info, warn, error"}, *e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, []byte("node_name = \"n\""), 0o644); err != nil {
		t.Fatal(err)
	}
	c, file, err := Load(path)
	if err != nil || file != path || c.NodeName != "n" {
		t.Errorf("%+v %s %v", c, file, err)
	}
}

// TestLoadWithoutFile: the default place may be empty, a named one may not.
func TestLoadWithoutFile(t *testing.T) {
	if _, err := os.Stat(DefaultPath); err == nil {
		t.Skipf("this host has a %s", DefaultPath)
	}
	c, file, err := Load("")
	if err != nil || file != "" || !reflect.DeepEqual(c, Default()) {
		t.Errorf("%+v %s %v", c, file, err)
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "c.toml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want not exist", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, lay := range map[string]func(path string) error{
		"others may write it": func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Chmod(p, 0o620)) },
		"no regular file":     func(p string) error { return unix.Mkfifo(p, 0o600) },
		"has 1048577 bytes":   func(p string) error { return os.WriteFile(p, make([]byte, maxSize+1), 0o600) },
	} {
		path := filepath.Join(t.TempDir(), "c.toml")
		if err := lay(path); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(path); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

func TestOwners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	own := uint32(os.Geteuid())
	if err := judge(info, own); err != nil {
		t.Error(err)
	}
	if err := judge(info, own+1); own != 0 && !errors.Is(err, ErrUnsafe) {
		t.Errorf("%v, want ErrUnsafe", err)
	}
	if err := judge(info, own+1); own == 0 && err != nil {
		t.Errorf("a file of root: %v", err)
	}
}

func TestChanged(t *testing.T) {
	old, new := Default(), Default()
	if reload, restart := Changed(&old, &new); reload != nil || restart != nil {
		t.Errorf("%v, %v", reload, restart)
	}
	new.Log.Level = "debug"
	new.Sockets = []string{"/x"}
	new.Deadlines.Idle = 7
	reload, restart := Changed(&old, &new)
	if diff := cmp.Diff([]string{"log.level"}, reload); diff != "" {
		t.Errorf("reload (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"sockets", "deadlines.idle_s"}, restart); diff != "" {
		t.Errorf("restart (-want +got):\n%s", diff)
	}
}

func TestModeOfNonsense(t *testing.T) {
	for _, s := range []string{"", "x", "1000", "-1"} {
		c := Config{SocketMode: s}
		if c.Mode() != 0 {
			t.Errorf("%q: %o", s, c.Mode())
		}
	}
}

// TestRangesAreReadable: a tag that does not parse would let nothing or everything pass.
func TestRangesAreReadable(t *testing.T) {
	c := Default()
	for _, k := range Keys() {
		number := k.kind.Kind() == reflect.Int || k.kind.Kind() == reflect.Float64
		if number != (k.Range != "") {
			t.Errorf("%s: range %q", k.Name, k.Range)
		}
		if !number || k.inner != nil {
			continue
		}
		for _, n := range []float64{-1, 1e12} {
			v := k.value(&c)
			old := v.Interface()
			v.Set(reflect.ValueOf(n).Convert(k.kind))
			if k.inRange(&c) == "" {
				t.Errorf("%s: %g passes", k.Name, n)
			}
			v.Set(reflect.ValueOf(old))
		}
	}
	if c.Deadlines.Read = math.NaN(); len(c.Faults()) != 1 {
		t.Errorf("NaN: %v", c.Faults())
	}
}

func TestIsNodeName(t *testing.T) {
	for name, want := range map[string]bool{"node-7": true, "": false, "a b": false, "knöt": false, strings.Repeat("n", 253): true} {
		if IsNodeName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("sockets = [\"/a\"]\n[log]\nlevel = \"debug\"\n"))
	f.Add([]byte("log = { level = \"info\", colour = true }"))
	f.Add([]byte("[[interface]]\nname = \"eth0\"\n[[interface]]\nmetric = -1\n[interface.x]"))
	f.Add([]byte("limits.calls = 0\ndeadlines.read_s = nan\n[[x]]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil {
			if faults := c.Faults(); len(faults) > 0 {
				t.Errorf("accepted with %v", faults)
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Reason == "" {
			t.Errorf("%v: does not say where or why", err)
		}
	})
}
