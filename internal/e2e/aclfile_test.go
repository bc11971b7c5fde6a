package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// goodRules give the user 2000 what nobody else has, so that a test can see whether they are in force.
const goodRules = `[[group]]
name = "flushers"
users = ["uid:2000"]
[[ace]]
right = "admin"
groups = ["flushers"]
`

const aKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

// wrongRules are ACL files that must not come into force: what is wrong, on which line, and some words
// of the reason.
var wrongRules = []struct {
	name, text string
	line       int
	reason     string
}{
	{"not TOML", "[[group]\n", 1, ""},
	{"unknown key", "[[group]]\nname = \"a\"\nusers = []\ncolour = 1\n", 4, "colour"},
	{"unknown table", "[policies]\n", 1, "policies"},
	{"wrong type", "[[group]]\nname = 7\n", 2, "name"},
	{"group without a name", "[[group]]\nusers = [\"uid:1\"]\n", 1, "name"},
	{"same group twice", "[[group]]\nname = \"a\"\n[[group]]\nname = \"a\"\n", 4, "a"},
	{"key too short", "[[group]]\nname = \"a\"\nusers = [\"abcd\"]\n", 3, "must be a public key"},
	{"key of small order", "[[group]]\nname = \"a\"\nusers = [\"" + strings.Repeat("0", 64) + "\"]\n", 3, "order"},
	{"uid that is none", "[[group]]\nname = \"a\"\nusers = [\"uid:root\"]\n", 3, "uid"},
	{"token that is not listed", "[[group]]\nname = \"a\"\nusers = [\"token:x\"]\n", 3, "token"},
	{"unknown member group", "[[group]]\nname = \"a\"\nmember_groups = [\"b\"]\n", 3, "b"},
	{"cycle", "[[group]]\nname = \"a\"\nmember_groups = [\"b\"]\n[[group]]\nname = \"b\"\nmember_groups = [\"a\"]\n", 6, "circle: a -> b -> a"},
	{"rule for an unknown group", "[[ace]]\nright = \"read\"\ngroups = [\"a\"]\n", 3, "a"},
	{"unknown right", "[[group]]\nname = \"a\"\n[[ace]]\nright = \"root\"\ngroups = [\"a\"]\n", 4, "right"},
	{"glob that fits no method", "[[group]]\nname = \"a\"\n[[ace]]\nright = \"read\"\ngroups = [\"a\"]\nmethods = [\"nat.*\"]\n", 6, "nat.*"},
	{"token without an expiry", "[[token]]\nname = \"a\"\nsha256 = \"" + strings.Repeat("ab", 32) + "\"\n", 1, "expires"},
	{"token whose hash is none", "[[token]]\nname = \"a\"\nsha256 = \"ab\"\nexpires = 2099-01-01T00:00:00Z\n", 3, "sha256"},
	{"unknown anonymous right", "[policy]\nanonymous_local = \"all\"\n", 2, "anonymous_local"},
	{"trusted uid that is none", "[policy]\ntrusted_uids = [-1]\n", 2, "trusted_uids"},
	{"user in capitals", "[[group]]\nname = \"a\"\nusers = [\"" + strings.ToUpper(aKey) + "\"]\n", 3, "lower-case"},
}

func TestWrongACLFilesStopTheStart(t *testing.T) {
	for _, b := range binaries {
		for _, w := range wrongRules {
			t.Run(b.name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				file := filepath.Join(dir, "acl.toml")
				if err := os.WriteFile(file, []byte(w.text), 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command(filepath.Join(bin, b.name), "--no-hero-socket", "--acl", file,
					"--socket", filepath.Join(dir, "s"), "--state-dir", filepath.Join(dir, "state")).CombinedOutput()
				if err == nil {
					t.Fatalf("the server started: %s", out)
				}
				if where := fmt.Sprintf("%s:%d: ", file, w.line); !bytes.Contains(out, []byte(where)) || !bytes.Contains(out, []byte(w.reason)) {
					t.Errorf("want %q and %q in: %s", where, w.reason, out)
				}
			})
		}
	}
}

// TestWrongACLFilesStayOutOfForce puts each wrong file in the place of a good one, under a server that
// runs, and asks with SIGHUP that it be read.
func TestWrongACLFilesStayOutOfForce(t *testing.T) {
	testhost.Root(t)
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) { wrongACLFilesStayOutOfForce(t, b.start) })
	}
}

func wrongACLFilesStayOutOfForce(t *testing.T, start func(t *testing.T, args ...string) *server) {
	file := filepath.Join(t.TempDir(), "acl.toml")
	put(t, file, goodRules)
	s := start(t, "--acl", file)
	c := s.clientAs(2000)
	defer c.CloseIdleConnections()
	inForce := func() bool {
		a, err := post(c, nil, body("net.conntrack.flush", `{"no_such_param":1}`))
		if err != nil {
			t.Fatal(err)
		}
		return outcome(a) == "invalid_params"
	}
	for _, w := range wrongRules {
		put(t, file, w.text)
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		if !inForce() {
			t.Fatalf("%s: the old rules are out of force", w.name)
		}
	}
	put(t, file, strings.ReplaceAll(goodRules, "uid:2000", "uid:2001"))
	for deadline := time.Now().Add(5 * time.Second); inForce(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a good new file never came into force")
		}
	}
}

// put replaces a file by rename, as careful writers do.
func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}
