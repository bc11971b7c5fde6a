package daemon

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/proxy"
)

// TestStandIn: in the place of mosnetd it listens where that is looked for, with a mode that lets nobody else
// in, and keeps its state apart.
func TestStandIn(t *testing.T) {
	testhost.Root(t)
	folder := world(t)
	if err := os.Chown(folder, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	file := write(t, folder+"/c.toml", "sockets = [\""+folder+"/not-this\"]\nsocket_mode = \"0666\"\n")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	p := command(t, []string{"--serve-as", "mosnet", "--no-hero-socket", "--config", file}, "XDG_RUNTIME_DIR="+folder+"/run", "HOME="+folder).as(65534).run(t)
	p.expect(t, "testd is ready", `"state_dir":"`+folder+`/.local/state/my_os_server-mosnet"`)
	socket := folder + "/run/mosnet/rpc.sock"
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	wants(t, socket, "rpc.health", "{}", "")
	wants(t, socket, "mosnet.status", "{}", "unsupported")
	wants(t, socket, "net.status", "{}", "method_not_found")
	wants(t, socket, "vol.inventory", "{}", "method_not_found")
	p.signal(t, syscall.SIGTERM)
	if status := p.ends(t, 5*time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for want, args := range map[string][]string{
		"must be mosnet or storage": {"--serve-as", "net"},
		"have the mode 0600":        {"--serve-as", "storage", "--socket-mode", "0666"},
	} {
		if said, status := refused(t, command(t, args)); status != exitUsage || !strings.Contains(said, want) {
			t.Errorf("%q: status %d, %s", args, status, said)
		}
	}
}

// TestUpstreamSockets: the flag beats the environment, that beats the file, and the file the usual places.
func TestUpstreamSockets(t *testing.T) {
	for _, c := range []struct {
		flag, own, hero, file string
		want                  []string
	}{
		{"/flag", "/own", "/hero", "/file", []string{"/flag"}},
		{"", "/own", "/hero", "/file", []string{"/own"}},
		{"", "", "/hero", "/file", []string{"/hero/mosnet/rpc.sock"}},
		{"", "", "", "/file", []string{"/file"}},
		{"", "", "", "", []string{"/run/mosnet/rpc.sock", "/x/mosnet/rpc.sock"}},
	} {
		t.Setenv("MY_OS_SERVER_MOSNET_SOCKET", c.own)
		t.Setenv("HERO_SOCKET_DIR", c.hero)
		t.Setenv("XDG_RUNTIME_DIR", "/x")
		d := &daemon{program: Program{Upstreams: proxy.MOS[:1]}, flags: &flags{upstreams: map[string]string{"mosnet": c.flag}}, config: config.Config{MosnetSocket: c.file}}
		got, err := d.upstreams()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got[0].Sockets[:len(c.want)]); diff != "" || got[0].Prefix != "mosnet" {
			t.Errorf("%+v: (-want +got)\n%s", c, diff)
		}
	}
	t.Setenv("MY_OS_SERVER_MOSNET_SOCKET", "relative")
	d := &daemon{program: Program{Upstreams: proxy.MOS}, flags: &flags{}}
	if _, err := d.upstreams(); err == nil || !strings.Contains(err.Error(), "mosnet: $MY_OS_SERVER_MOSNET_SOCKET=") {
		t.Errorf("%v", err)
	}
}
