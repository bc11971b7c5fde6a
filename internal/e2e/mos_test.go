package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/api"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// startChain starts what a MOS node has: two daemons, each with its half of the table, and the server that passes
// calls on to them. args are the server's.
func startChain(t *testing.T, args ...string) *server {
	t.Helper()
	mosnet := startServer(t, "--serve-as", "mosnet")
	storage := startServer(t, "--serve-as", "storage")
	return startMOS(t, mosnet.socket, storage.socket, args...)
}

func startMOS(t *testing.T, mosnet, storage string, args ...string) *server {
	t.Helper()
	return startBinary(t, filepath.Join(bin, "my-os-server-mos"), append([]string{"--mosnet-socket", mosnet, "--storage-socket", storage}, args...)...)
}

// binaries are both servers, each as it is started for a test that holds for either.
var binaries = []struct {
	name  string
	start func(t *testing.T, args ...string) *server
}{
	{"my-os-server-native", startServer},
	{"my-os-server-mos", startChain},
}

// mustDiffer are the members of net.status that a MOS node's daemon says of itself: what it is, since when it
// runs, and which methods of its own half cannot work.
var mustDiffer = []string{"mode", "pid", "started_at", "uptime_s", "unavailable"}

// TestBothServersAnswerAlike asks every read method of the native server and of the chain, on the same kernel with
// something in every table: the results, and the errors of what cannot be, are the same.
func TestBothServersAnswerAlike(t *testing.T) {
	testhost.Root(t)
	if !testhost.MountNS(t) {
		return
	}
	fs := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Size: 200 << 20, Metadata: "raid1", Label: "MOSE2E"})
	fs.Run("subvolume", "create", fs.Path+"/sub")
	ns := testhost.NewNetNS(t)
	ns.IP("link add br0 type bridge", "link add v0 type veth peer name v1", "link set v0 master br0 up", "link set v1 up",
		"addr add 192.0.2.1/24 dev br0", "link set br0 up", "route add 198.51.100.0/24 via 192.0.2.2", "neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev br0 nud permanent")
	ns.FillRoutes(3000) // more than is looked at as a whole
	ns.Run("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c tcp dport 22 counter accept")
	var native, mos *server
	ns.Do(func() { native, mos = startServer(t), startChain(t) })
	params := map[string][]string{
		"vol.usage": {fmt.Sprintf(`{"path":%q}`, fs.Path), `["/no/such/path"]`}, "vol.list_subvolumes": {fmt.Sprintf(`{"path":%q}`, fs.Path), fmt.Sprintf(`[%q]`, fs.Path)},
		"vol.list_free_space": {fmt.Sprintf(`{"disk":%q}`, fs.Disks[0].Path), `{"disk":"/dev/no-such"}`}, "vol.md_detail": {`{"device":"/dev/no-such"}`},
		"net.routes": {"", `["ipv4",null,null,"198.51.100.0/24"]`, `{"limit":3}`}, "net.interfaces": {"", `{"name":"br0"}`, `{"name":"no-such"}`},
	}
	for _, method := range []string{"vol.device_stats", "vol.scrub_status", "vol.fs_usage", "vol.fs_df", "vol.balance_status"} {
		params[method] = []string{fmt.Sprintf(`{"path":%q}`, fs.Path)}
	}
	compared, failed := 0, 0
	for _, m := range registry.All() {
		if m.Effect != registry.EffectRead {
			continue
		}
		calls := params[m.Name]
		if calls == nil {
			calls = []string{""}
		}
		for _, p := range calls {
			if alike(t, native, mos, m.Name, p) != nil {
				failed++
			}
			compared++
		}
	}
	t.Logf("%d calls of all read methods compared, %d of them answered by both with the same error", compared, failed)
}

// alike compares what both servers answer to one call, and returns the error that they answer with. The native
// server is asked before and after; what has changed by itself meanwhile, like the space that is free, is not
// compared.
func alike(t *testing.T, native, mos *server, method, params string) *rpcError {
	t.Helper()
	nc, mc := native.client(), mos.client()
	defer nc.CloseIdleConnections()
	defer mc.CloseIdleConnections()
	ask := func(c *http.Client) (any, *rpcError) {
		a, err := post(c, nil, body(method, params))
		if err != nil {
			t.Fatalf("%s %s: %v", method, params, err)
		}
		if a.Error != nil {
			return map[string]any{"code": a.Error.Code, "message": a.Error.Message, "data": a.Error.Data}, a.Error
		}
		return comparable(t, method, a.Result), nil
	}
	diff := ""
	for range 20 {
		before, failure := ask(nc)
		passedOn, _ := ask(mc)
		after, _ := ask(nc)
		if diff = cmp.Diff(steady(before, after, before), steady(before, after, passedOn)); diff == "" {
			return failure
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s %s (-native +mos):\n%.4000s", method, params, diff)
	return nil
}

// steady is v without the scalars that are not the same in both of two answers to the same call.
func steady(one, other, v any) any {
	switch v := v.(type) {
	case map[string]any:
		one, isObject := one.(map[string]any)
		other, areObjects := other.(map[string]any)
		if !isObject || !areObjects {
			return v
		}
		out := map[string]any{}
		for name, value := range v {
			out[name] = steady(one[name], other[name], value)
		}
		return out
	case []any:
		one, isArray := one.([]any)
		other, areArrays := other.([]any)
		if !isArray || !areArrays || len(one) != len(v) || len(other) != len(v) {
			return v
		}
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = steady(one[i], other[i], value)
		}
		return out
	}
	if !cmp.Equal(one, other) {
		return "changes by itself"
	}
	return v
}

// comparable is a result without what must differ.
func comparable(t *testing.T, method string, result json.RawMessage) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(result, &v); err != nil {
		t.Fatal(err)
	}
	if method == "net.status" {
		for _, name := range mustDiffer {
			delete(v.(map[string]any), name)
		}
	}
	return v
}

// TestStatusOfAMOSNode: net.status says what kind of node it is, in the schema of both.
func TestStatusOfAMOSNode(t *testing.T) {
	s := startChain(t)
	c := s.client()
	defer c.CloseIdleConnections()
	status := call(t, c, "net.status", "")
	testhost.ValidateResult(t, "net.status", status)
	if !bytes.Contains(status, []byte(`"mode":"mos"`)) {
		t.Errorf("%s", status)
	}
}

// TestWritesGoThrough makes and unmakes things through the chain, and asks of every other write method for what
// cannot be done: both servers say the same.
func TestWritesGoThrough(t *testing.T) {
	testhost.Root(t)
	if !testhost.MountNS(t) {
		return
	}
	fs := testhost.NewBtrfs(t, testhost.BtrfsOptions{Size: 200 << 20})
	ns := testhost.NewNetNS(t)
	ns.IP("link add v0 type veth peer name v1", "addr add 192.0.2.1/24 dev v0", "link set v0 up", "link set v1 up")
	var native, mos *server
	ns.Do(func() { native, mos = startServer(t), startChain(t) })
	impossible := map[string]string{
		"vol.create_subvolume": fmt.Sprintf(`{"path":%q}`, fs.Path+"/no/such/sub"), "vol.delete_subvolume": fmt.Sprintf(`{"path":%q}`, fs.Path+"/no-such"),
		"vol.mount": `{"source":"/dev/no-such","target":"/mnt/no-such"}`, "vol.unmount": `{"target":"/mnt/no-such"}`,
		"net.routes.delete": `{"dst":"203.0.113.0/24"}`, "net.bridge.delete": `{"name":"no-such"}`, "net.vm.delete_tap": `{"name":"no-such"}`,
		"net.nat.remove_dnat": `{"id":"no-such"}`, "net.nat.remove_snat": `{"id":"no-such"}`, "net.firewall.remove_rule": `{"id":"no-such"}`,
		"net.lease.restart": `["no-such"]`, "net.bridge.remove_port": `{"bridge":"no-such","interface":"no-such"}`,
		"vol.create_partition": `{"disk":"/dev/no-such"}`, "vol.create_filesystem": `{"device":"/dev/no-such","type":"ext4"}`,
		"vol.stop_md_array": `{"device":"/dev/no-such"}`, "vol.create_btrfs_raid": `{"devices":["/dev/no-such","/dev/no-such-2"],"level":"raid1"}`,
		"vol.create_md_array": `{"name":"no-such","devices":["/dev/no-such","/dev/no-such-2"]}`,
	}
	asked := 0
	for _, m := range registry.All() {
		params, ok := impossible[m.Name]
		if m.Effect == registry.EffectRead {
			continue
		}
		if !ok {
			params = `{"no_such_param":1}` // told by the server in front; what would be done is not tried here
		}
		alike(t, native, mos, m.Name, params)
		asked++
	}
	t.Logf("%d write methods asked", asked)
	made := 0
	for _, w := range []struct{ make, makeParams, unmake, unmakeParams string }{
		{"net.routes.add", `{"dst":"203.0.113.0/24","gateway":"192.0.2.2"}`, "net.routes.delete", `{"dst":"203.0.113.0/24"}`},
		{"net.bridge.add", `["br9"]`, "net.bridge.delete", `["br9"]`},
		{"vol.create_subvolume", fmt.Sprintf(`{"path":%q}`, fs.Path+"/s"), "vol.delete_subvolume", fmt.Sprintf(`{"path":%q}`, fs.Path+"/s")},
	} {
		made += makeAndUnmake(t, mos, w.make, w.makeParams, w.unmake, w.unmakeParams)
	}
	t.Logf("%d things made and unmade", made)
}

// makeAndUnmake is 1 where both methods are built and work, 0 where one is not built yet.
func makeAndUnmake(t *testing.T, s *server, make, makeParams, unmake, unmakeParams string) int {
	t.Helper()
	c := s.client()
	defer c.CloseIdleConnections()
	for _, w := range []struct{ method, params, want string }{{make, makeParams, `"created":true`}, {make, makeParams, `"created":false`}, {unmake, unmakeParams, `"deleted":true`}} {
		a, err := post(c, nil, body(w.method, w.params))
		switch {
		case err != nil:
			t.Errorf("%s: %v", w.method, err)
		case a.Error != nil && a.Error.Data["reason"] == "not_built_yet":
			return 0
		case a.Error != nil:
			t.Errorf("%s: %v", w.method, a.Error)
		case !bytes.Contains(a.Result, []byte(w.want)):
			t.Errorf("%s: %s, want %s", w.method, a.Result, w.want)
		}
	}
	return 1
}

// TestDiscoverIsTheSame compares the bytes of both servers' documents with the table's.
func TestDiscoverIsTheSame(t *testing.T) {
	for _, b := range binaries {
		s := b.start(t)
		c := s.client()
		defer c.CloseIdleConnections()
		if got := call(t, c, "rpc.discover", ""); !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(api.Document)) {
			t.Errorf("%s: %d bytes that are not the table's %d", b.name, len(got), len(api.Document))
		}
	}
}

// TestStandInIsClosed: nobody but root reaches a daemon that takes a proxy's word, and it has its half alone.
func TestStandInIsClosed(t *testing.T) {
	testhost.Root(t)
	s := startServer(t, "--serve-as", "mosnet")
	if info, err := os.Stat(s.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := dialAs(s.socket, 2000, nil); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("another user connects: %v", err)
	}
	c := s.client()
	defer c.CloseIdleConnections()
	for method, want := range map[string]string{"mosnet.interfaces": "a result", "net.interfaces": "method_not_found", "storage.list_disks": "method_not_found", "vol.list_disks": "method_not_found"} {
		a, err := post(c, nil, body(method, ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(a); got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
	holds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	touches := slices.ContainsFunc(holds, func(fd string) bool {
		path, _ := os.Readlink(fd)
		return strings.HasPrefix(path, "/dev/sd") || strings.HasPrefix(path, "/dev/loop") || strings.HasSuffix(path, "/mountinfo")
	})
	if touches {
		t.Error("the network's half has something of storage open")
	}
}

// TestUpstreamOfNobodyTrusted: what listens on a daemon's socket as some user gets to see no call.
func TestUpstreamOfNobodyTrusted(t *testing.T) {
	testhost.Root(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Who listens is who called listen(2) last: do it once more as another user.
	raw, err := l.(*net.UnixListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	listenAs(t, raw, 2000)
	s := startMOS(t, socket, filepath.Join(dir, "none"))
	c := s.client()
	defer c.CloseIdleConnections()
	a, err := post(c, nil, body("net.status", ""))
	if err != nil {
		t.Fatal(err)
	}
	if a.Error == nil || a.Error.Data["cause"] != "it runs as user 2000, which upstream_uids does not name" {
		t.Errorf("%v", a.Error)
	}
}

// listenAs calls listen(2) with the credentials of another user, on a thread that ends with its goroutine.
func listenAs(t *testing.T, raw interface{ Control(func(uintptr)) error }, uid uint32) {
	t.Helper()
	var err error
	onThreadOf(uid, func() {
		if e := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 16) }); e != nil {
			err = e
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// onThreadOf runs f on a thread with the credentials of another user, which ends with it.
func onThreadOf(uid uint32, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e == 0 {
			f()
		}
	}()
	<-done
}
