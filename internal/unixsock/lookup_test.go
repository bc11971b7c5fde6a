package unixsock

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// env builds an environment: vars are NAME=value, folders those that exist.
func env(uid int, home string, vars []string, folders ...string) Env {
	return Env{
		Service: MyOSServer,
		Getenv: func(name string) string {
			for _, v := range vars {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value
				}
			}
			return ""
		},
		UID: uid, Home: home, RunDir: "/run",
		IsDir: func(path string) bool {
			for _, f := range folders {
				if f == path {
					return true
				}
			}
			return false
		},
	}
}

var lookups = []struct {
	name    string
	uid     int
	home    string
	vars    []string
	folders []string
	wish    Wish
	server  []string
	err     error    // of the server; nil where it has paths
	client  []string // with the first flag as its --socket
}{
	{
		name: "root", uid: 0, home: "/root",
		server: []string{"/run/my_os_server/rpc.sock"},
		client: []string{"/run/my_os_server/rpc.sock"},
	},
	{
		name: "root with a runtime folder", uid: 0, vars: []string{"XDG_RUNTIME_DIR=/run/user/0"},
		server: []string{"/run/my_os_server/rpc.sock"},
		client: []string{"/run/my_os_server/rpc.sock", "/run/user/0/my_os_server/rpc.sock"},
	},
	{
		name: "user", uid: 1000, vars: []string{"XDG_RUNTIME_DIR=/run/user/1000"},
		server: []string{"/run/user/1000/my_os_server/rpc.sock"},
		client: []string{"/run/my_os_server/rpc.sock", "/run/user/1000/my_os_server/rpc.sock"},
	},
	{
		name: "user without a runtime folder", uid: 1000, err: ErrNoPath,
		client: []string{"/run/my_os_server/rpc.sock"},
	},
	{
		name: "a relative runtime folder is none", uid: 1000, vars: []string{"XDG_RUNTIME_DIR=run"}, err: ErrNoPath,
		client: []string{"/run/my_os_server/rpc.sock"},
	},
	{
		name: "flags come first", uid: 0,
		vars:   []string{"MY_OS_SERVER_SOCKET=/env", "HERO_SOCKET_DIR=/hero"},
		wish:   Wish{Flags: []string{"/flag", "b.sock", "/flag", "./b.sock"}, File: []string{"/file"}},
		server: []string{"/flag", "b.sock"},
		client: []string{"/flag"},
	},
	{
		name: "then the server's own variable", uid: 1000,
		vars:   []string{"MY_OS_SERVER_SOCKET=/env", "HERO_SOCKET_DIR=/hero", "XDG_RUNTIME_DIR=/x"},
		wish:   Wish{File: []string{"/file"}},
		server: []string{"/env"},
		client: []string{"/env"},
	},
	{
		name: "then the hero folder", uid: 1000,
		vars:   []string{"HERO_SOCKET_DIR=/hero", "XDG_RUNTIME_DIR=/x"},
		wish:   Wish{File: []string{"/file"}},
		server: []string{"/hero/my_os_server/rpc.sock"},
		client: []string{"/hero/my_os_server/rpc.sock"},
	},
	{
		name: "then the configuration file", uid: 0,
		wish:   Wish{File: []string{"/file/a", "/file/b"}},
		server: []string{"/file/a", "/file/b"},
		client: []string{"/run/my_os_server/rpc.sock"},
	},
	{
		name: "the hero socket too", uid: 1000, home: "/home/u",
		vars: []string{"XDG_RUNTIME_DIR=/x"}, folders: []string{"/home/u/hero/var/sockets"},
		server: []string{"/x/my_os_server/rpc.sock", "/home/u/hero/var/sockets/hero_db_root_os.sock"},
		client: []string{"/run/my_os_server/rpc.sock", "/x/my_os_server/rpc.sock", "/home/u/hero/var/sockets/hero_db_root_os.sock"},
	},
	{
		name: "with a flag as well", uid: 0, home: "/root", folders: []string{"/root/hero/var/sockets"},
		wish:   Wish{Flags: []string{"/flag"}},
		server: []string{"/flag", "/root/hero/var/sockets/hero_db_root_os.sock"},
		client: []string{"/flag"},
	},
	{
		name: "but once", uid: 0, home: "/root", folders: []string{"/root/hero/var/sockets"},
		wish:   Wish{Flags: []string{"/root/hero/var/sockets/hero_db_root_os.sock"}},
		server: []string{"/root/hero/var/sockets/hero_db_root_os.sock"},
		client: []string{"/root/hero/var/sockets/hero_db_root_os.sock"},
	},
	{
		name: "and not where it is turned off", uid: 0, home: "/root", folders: []string{"/root/hero/var/sockets"},
		wish:   Wish{NoHero: true},
		server: []string{"/run/my_os_server/rpc.sock"},
		client: []string{"/run/my_os_server/rpc.sock", "/root/hero/var/sockets/hero_db_root_os.sock"},
	},
	{
		name: "no home, no hero socket", uid: 0, home: "", folders: []string{"hero/var/sockets", "/hero/var/sockets"},
		server: []string{"/run/my_os_server/rpc.sock"},
		client: []string{"/run/my_os_server/rpc.sock"},
	},
	{name: "relative variable", uid: 0, vars: []string{"MY_OS_SERVER_SOCKET=rpc.sock"}, err: ErrBadPath},
	{name: "relative hero folder", uid: 0, vars: []string{"HERO_SOCKET_DIR=sockets"}, err: ErrBadPath},
	{name: "empty flag", uid: 0, wish: Wish{Flags: []string{""}}, err: ErrBadPath, client: []string{"/run/my_os_server/rpc.sock"}},
	{name: "folder as a flag", uid: 0, wish: Wish{Flags: []string{"/run/"}}, err: ErrBadPath},
	{name: "abstract name", uid: 0, wish: Wish{Flags: []string{"@rpc"}}, err: ErrBadPath},
	{name: "NUL byte", uid: 0, wish: Wish{Flags: []string{"/run/\x00"}}, err: ErrBadPath},
	{name: "too long", uid: 0, wish: Wish{Flags: []string{"/" + strings.Repeat("x", 107)}}, err: ErrBadPath},
	{
		name: "just not too long", uid: 0, wish: Wish{Flags: []string{"/" + strings.Repeat("x", 106)}},
		server: []string{"/" + strings.Repeat("x", 106)}, client: []string{"/" + strings.Repeat("x", 106)},
	},
}

func TestLookup(t *testing.T) {
	for _, c := range lookups {
		t.Run(c.name, func(t *testing.T) {
			e := env(c.uid, c.home, c.vars, c.folders...)
			got, err := e.Server(c.wish)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("server: %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.server, got); diff != "" {
				t.Errorf("server (-want +got):\n%s", diff)
			}
			flag := ""
			if len(c.wish.Flags) > 0 {
				flag = c.wish.Flags[0]
			}
			got, err = e.Client(flag)
			if (err != nil) != (c.client == nil) {
				t.Errorf("client: %v", err)
			}
			if diff := cmp.Diff(c.client, got); diff != "" {
				t.Errorf("client (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNoPathSaysWhatToSet: the error is read by somebody who has just started the server for the first time.
func TestNoPathSaysWhatToSet(t *testing.T) {
	_, err := env(1000, "", nil).Server(Wish{})
	for _, word := range []string{"--socket", "$XDG_RUNTIME_DIR", "$MY_OS_SERVER_SOCKET", "1000"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v: does not say %s", err, word)
		}
	}
}

const passwd = `root:x:0:0:root:/root:/bin/bash
# a comment
broken:x:7:7
relative:x:8:8::home:/bin/sh
first:x:9:9:A, B:/home/first:/bin/sh
second:x:9:9::/home/second:/bin/sh
+nis::::::
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin`

func TestPasswdHome(t *testing.T) {
	for uid, want := range map[int]string{0: "/root", 7: "", 8: "", 9: "/home/first", 10: "", 65534: "/nonexistent"} {
		if got := passwdHome(strings.NewReader(passwd), uid); got != want {
			t.Errorf("home of %d: %q, want %q", uid, got, want)
		}
	}
}

func FuzzPasswdHome(f *testing.F) {
	f.Add(passwd, 9)
	f.Add("a:b:1:c:d:/e:f", 1)
	f.Fuzz(func(t *testing.T, text string, uid int) {
		home := passwdHome(strings.NewReader(text), uid)
		if home != "" && (!filepath.IsAbs(home) || !strings.Contains(text, ":"+strconv.Itoa(uid)+":")) {
			t.Errorf("home of %d: %q", uid, home)
		}
	})
}

func TestHost(t *testing.T) {
	t.Setenv("HOME", "/somewhere/else")
	e := Host()
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		t.Fatal(err)
	}
	if e.UID != os.Geteuid() || e.Home != u.HomeDir || e.Home == "/somewhere/else" {
		t.Errorf("uid %d home %q, want %d %q", e.UID, e.Home, os.Geteuid(), u.HomeDir)
	}
	if !e.IsDir("/proc") || e.IsDir("/proc/version") || e.IsDir("/proc/nothing") {
		t.Error("IsDir does not tell folders from other things")
	}
}

// TestAnotherService looks for a daemon's socket where that daemon is told to listen.
func TestAnotherService(t *testing.T) {
	service := Service{"mosnet/rpc.sock", "MOSNET_SOCKET", "hero_db_root_mosnet.sock"}
	folder := "/home/u/hero/var/sockets"
	for _, c := range []struct {
		vars   []string
		wish   Wish
		server []string
		client []string
	}{
		{nil, Wish{}, []string{"/x/mosnet/rpc.sock", folder + "/hero_db_root_mosnet.sock"}, []string{"/run/mosnet/rpc.sock", "/x/mosnet/rpc.sock", folder + "/hero_db_root_mosnet.sock"}},
		{[]string{"MY_OS_SERVER_SOCKET=/own"}, Wish{NoHero: true}, []string{"/x/mosnet/rpc.sock"}, []string{"/run/mosnet/rpc.sock", "/x/mosnet/rpc.sock", folder + "/hero_db_root_mosnet.sock"}},
		{[]string{"HERO_SOCKET_DIR=/hero"}, Wish{NoHero: true, File: []string{"/file"}}, []string{"/hero/mosnet/rpc.sock"}, []string{"/hero/mosnet/rpc.sock"}},
		{[]string{"HERO_SOCKET_DIR=/hero", "MOSNET_SOCKET=/var"}, Wish{NoHero: true}, []string{"/var"}, []string{"/var"}},
	} {
		e := env(1000, "/home/u", append(c.vars, "XDG_RUNTIME_DIR=/x"), folder)
		e.Service = service
		server, err := e.Server(c.wish)
		if err != nil {
			t.Error(err)
		}
		client, err := e.Client("")
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([][]string{c.server, c.client}, [][]string{server, client}); diff != "" {
			t.Errorf("%q, %+v: (-want +got)\n%s", c.vars, c.wish, diff)
		}
	}
}
