package aclfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/acl"
)

const (
	readers = "[policy]\nanonymous_local = \"read\"\n"
	writers = "[policy]\nanonymous_local = \"write\"\n"
)

var methods = []acl.Method{{Name: "net.routes"}, {Name: "vol.list_disks"}}

func source(path string) Source {
	return Source{Path: path, DaemonUID: uint32(os.Geteuid()), Methods: methods}
}

// anonymous is what the policy gives an anonymous local caller, which is all that these tests need to
// tell one file from another.
func anonymous(p *acl.Policy) acl.Right {
	return p.Right(&acl.Caller{Local: true}, methods[0])
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "acl.toml"), writers)
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, link} {
		p, err := source(path).Load()
		if err != nil {
			t.Fatal(err)
		}
		if got := anonymous(p); got != acl.Write {
			t.Errorf("%s: anonymous callers have %s", path, got)
		}
	}
}

// TestLoadNamesTheLine: what is wrong inside is for pkg/acl to find and passes through as it is.
func TestLoadNamesTheLine(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "acl.toml"), "[policy]\nanonymous_locally = \"read\"\n")
	_, err := source(path).Load()
	var parse *acl.ParseError
	if !errors.As(err, &parse) || parse.Line != 2 || parse.File != path {
		t.Errorf("%v, want a *acl.ParseError at %s:2", err, path)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		root bool // whether making it needs root
		lay  func(path string) error
		is   error
		say  string
	}{
		{"nothing there", false, func(string) error { return nil }, fs.ErrNotExist, "no such file"},
		{"a folder", false, func(p string) error { return os.Mkdir(p, 0o700) }, ErrUnsafe, "no regular file"},
		{"a named pipe", false, func(p string) error { return unix.Mkfifo(p, 0o600) }, ErrUnsafe, "no regular file"},
		{"a device", false, func(p string) error { return os.Symlink("/dev/null", p) }, ErrUnsafe, "no regular file"},
		{"its group may write", false, func(p string) error { return withMode(p, 0o660) }, ErrUnsafe, "others may write it (mode 0660); run chmod go-w"},
		{"anyone may write", false, func(p string) error { return withMode(p, 0o602) }, ErrUnsafe, "others may write it (mode 0602)"},
		{"somebody's", true, func(p string) error { return errors.Join(withMode(p, 0o600), os.Chown(p, 12345, 0)) }, ErrUnsafe, "belongs to user 12345; run chown root"},
		{"too large", false, func(p string) error { return os.WriteFile(p, make([]byte, MaxSize+1), 0o600) }, ErrUnsafe, "has 1048577 bytes, at most 1048576"},
		{"larger than it says", true, func(p string) error { return os.Symlink("/proc/kallsyms", p) }, ErrUnsafe, "larger than 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				testhost.Root(t)
			}
			path := filepath.Join(t.TempDir(), "acl.toml")
			if err := c.lay(path); err != nil {
				t.Fatal(err)
			}
			_, err := source(path).Load()
			if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.say) || !strings.Contains(fmt.Sprint(err), path) {
				t.Errorf("%v, want %q and the path", err, c.say)
			}
		})
	}
}

func withMode(path string, mode fs.FileMode) error {
	return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, mode))
}

// TestLargestFile: a comment that fills the file to the last byte is still read.
func TestLargestFile(t *testing.T) {
	text := readers + "#" + strings.Repeat("x", MaxSize-len(readers)-2) + "\n"
	if _, err := source(write(t, filepath.Join(t.TempDir(), "acl.toml"), text)).Load(); err != nil {
		t.Error(err)
	}
}

// TestOwners: root's files are believed by every daemon, the daemon's own by that daemon.
func TestOwners(t *testing.T) {
	testhost.Root(t)
	for _, c := range []struct {
		owner, daemon int
		believed      bool
	}{
		{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1001, 1000, false}, {1000, 0, false},
	} {
		path := write(t, filepath.Join(t.TempDir(), "acl.toml"), readers)
		if err := os.Chown(path, c.owner, 0); err != nil {
			t.Fatal(err)
		}
		s := source(path)
		s.DaemonUID = uint32(c.daemon)
		if _, err := s.Load(); (err == nil) != c.believed {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestUnfinished: a file is not read while a process has it open for writing, and is once it is closed.
func TestUnfinished(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "acl.toml"), readers)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source(path).Load(); !errors.Is(err, ErrUnfinished) {
		t.Errorf("%v, want ErrUnfinished", err)
	}
	f.Close()
	for range 3 { // and the lease is given back
		if _, err := source(path).Load(); err != nil {
			t.Fatal(err)
		}
		write(t, path, writers)
	}
}
