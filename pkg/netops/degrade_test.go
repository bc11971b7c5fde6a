package netops

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// netIn makes a Net in the process' own namespace, with files below root.
func netIn(t *testing.T, root string) *Net {
	t.Helper()
	n, err := New(Options{Root: root, Mode: registry.NodeModeNative, Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func unavailableIn(status object) []string {
	var names []string
	for _, m := range objects(status["unavailable"]) {
		if m["reason"] != "not_built_yet" {
			names = append(names, m["method"].(string)+" "+text(m["reason"])+" "+text(m["missing"]))
		}
	}
	return names
}

func TestWithoutProc(t *testing.T) {
	n := netIn(t, t.TempDir())
	_, err := call(t, n, "net.sysctl", object{})
	var unsupported *registry.UnsupportedError
	if !errors.As(err, &unsupported) || unsupported.Reason != registry.UnsupportedReasonPlatform || unsupported.Missing.Or("") != sysctlRoot {
		t.Errorf("net.sysctl: %v", err)
	}
	status := mustCall(t, n, "net.status", object{})
	for _, member := range []string{"boot_id", "os"} {
		if v, ok := status[member]; ok {
			t.Errorf("%s: %v", member, v)
		}
	}
	if !slices.Contains(unavailableIn(status), "net.sysctl platform /proc/sys/net") {
		t.Errorf("unavailable: %v", unavailableIn(status))
	}
	mustCall(t, n, "net.interfaces", object{})
	mustCall(t, n, "net.routes", object{})
	mustCall(t, n, "net.bridge", object{})
	mustCall(t, n, "net.vlan", object{})
}

func TestSysctlWithoutIPv6(t *testing.T) {
	root := t.TempDir()
	for name, value := range map[string]string{
		"ip_forward": "1\n", "ip_local_port_range": "32768\t60999\n", "conf/all/forwarding": "1\n", "conf/default/forwarding": "0\n",
		"conf/eth0/forwarding": "1\n", "conf/eth0/medium_id": "-1\n", "conf/eth0/rp_filter": "2\n",
		"conf/gone/rp_filter": "2\n", // went while it was read
	} {
		path := filepath.Join(root, "proc/sys/net/ipv4", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := mustCall(t, netIn(t, root), "net.sysctl", object{})
	want := object{
		"ipv4":       object{"ip_forward": 1.0, "ip_local_port_first": 32768.0, "ip_local_port_last": 60999.0},
		"all":        object{"ipv4": object{"forwarding": 1.0}},
		"default":    object{"ipv4": object{"forwarding": 0.0}},
		"interfaces": []any{object{"interface": "eth0", "ipv4": object{"forwarding": 1.0, "medium_id": -1.0, "rp_filter": 2.0}}},
	}
	if text(got) != text(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestWithoutCapabilities(t *testing.T) {
	testhost.Root(t)
	n := netIn(t, "")
	testhost.WithoutCapabilities(t, func() {
		for _, method := range []string{"net.status", "net.interfaces", "net.routes", "net.bridge", "net.vlan", "net.sysctl"} {
			result, err := call(t, n, method, object{})
			if err != nil {
				t.Errorf("%s: %v", method, err)
			}
			if method == "net.status" && !slices.Contains(unavailableIn(result), "net.conntrack <nil> CAP_NET_ADMIN") {
				t.Errorf("unavailable: %v", unavailableIn(result))
			}
		}
	})
	for _, line := range unavailableIn(mustCall(t, n, "net.status", object{})) {
		if !strings.Contains(line, string(registry.UnsupportedReasonNoOvs)) {
			t.Errorf("unavailable with every capability: %s", line)
		}
	}
}

// inSandbox tells a child of TestSandbox that it is one.
const inSandbox = "NETOPS_TEST_SANDBOX"

// TestSandbox runs itself as an unprivileged user in user and network namespaces of its own, as
// unshare -Urn makes them.
func TestSandbox(t *testing.T) {
	if os.Getenv(inSandbox) != "" {
		sandboxed(t)
		return
	}
	testhost.Root(t)
	const nobody = 65534
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSandbox$", "-test.v")
	cmd.Env = append(os.Environ(), inSandbox+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		Credential:  &syscall.Credential{NoSetGroups: true},
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func sandboxed(t *testing.T) {
	for _, command := range [][]string{{"link", "set", "lo", "up"}, {"link", "add", "v0", "type", "veth", "peer", "name", "v1"},
		{"link", "set", "v0", "up"}, {"addr", "add", "10.0.0.1/24", "dev", "v0"},
		{"link", "add", "b0", "type", "bridge"}, {"link", "set", "v1", "master", "b0"}} {
		if out, err := exec.Command("ip", command...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	n := netIn(t, "")
	if got := len(objects(mustCall(t, n, "net.interfaces", object{})["interfaces"])); got != 4 {
		t.Errorf("%d interfaces, want lo, v0, v1 and b0", got)
	}
	if got := objects(mustCall(t, n, "net.routes", object{"interface": "v0"})["routes"]); len(got) == 0 || got[0]["dst"] != "10.0.0.0/24" {
		t.Errorf("routes: %v", got)
	}
	if got := len(objects(mustCall(t, n, "net.sysctl", object{})["interfaces"])); got != 4 {
		t.Errorf("settings of %d interfaces", got)
	}
	bridges := objects(mustCall(t, n, "net.bridge", object{})["bridges"])
	if len(bridges) != 1 || bridges[0]["name"] != "b0" || objects(bridges[0]["ports"])[0]["interface"] != "v1" {
		t.Errorf("bridges: %v", bridges)
	}
	if got := objects(mustCall(t, n, "net.vlan", object{"bridge": "b0"})["bridges"]); len(got) != 1 || len(objects(got[0]["ports"])) != 1 {
		t.Errorf("VLANs: %v", got)
	}
	if got := objects(mustCall(t, n, "net.status", object{})["addresses"]); len(got) != 1 || got[0]["address"] != "10.0.0.1/24" {
		t.Errorf("addresses: %v", got)
	}
}
