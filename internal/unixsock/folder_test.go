package unixsock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534 // a user who is neither root nor the owner of anything here

// lay makes a folder with exactly this owner and mode and returns its path.
func lay(t *testing.T, path string, owner int, mode uint32) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, owner, owner); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// publicTemp is a new folder that every user can look into, but only root may write.
func publicTemp(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for dir := folder; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestFolders: which folders a server takes for its socket, as root and as another user.
func TestFolders(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name   string
		lay    func(t *testing.T, base string) (folder string)
		asRoot string // a part of why not; empty where it is taken
		asUser string
	}{
		{"root's own", func(t *testing.T, b string) string { return lay(t, b+"/f", 0, 0o755) }, "", "permission denied"},
		{"root's, its group may write", func(t *testing.T, b string) string { return lay(t, b+"/f", 0, 0o775) }, "others may write there (mode 0775)", "permission denied"},
		{"root's, anyone may write", func(t *testing.T, b string) string { return lay(t, b+"/f", 0, 0o777) }, "others may write there (mode 0777)", "others may write there (mode 0777)"},
		{"root's, sticky as /tmp", func(t *testing.T, b string) string { return lay(t, b+"/f", 0, 0o1777) }, "others may write there (mode 1777)", ""},
		{"below a sticky one", func(t *testing.T, b string) string { lay(t, b+"/f", 0, 0o1777); return lay(t, b+"/f/g", 0, 0o755) }, "", "permission denied"},
		{"below one that anyone may write", func(t *testing.T, b string) string { lay(t, b+"/f", 0, 0o777); return lay(t, b+"/f/g", 0, 0o755) }, "others may write there (mode 0777)", "permission denied"},
		{"a user's", func(t *testing.T, b string) string { return lay(t, b+"/f", nobody, 0o755) }, "it belongs to user 65534", ""},
		{"a user's and the group's", func(t *testing.T, b string) string { return lay(t, b+"/f", nobody, 0o775) }, "it belongs to user 65534", ""},
		{"a user's that anyone may write", func(t *testing.T, b string) string { return lay(t, b+"/f", nobody, 0o777) }, "it belongs to user 65534", "others may write there (mode 0777)"},
		{"another user's that anyone may write", func(t *testing.T, b string) string { return lay(t, b+"/f", 12345, 0o1777) }, "it belongs to user 12345", "it belongs to user 12345"},
		{"root's below a user's", func(t *testing.T, b string) string { lay(t, b+"/f", nobody, 0o755); return lay(t, b+"/f/g", 0, 0o755) }, "it belongs to user 65534", "permission denied"},
		{"to be made", func(t *testing.T, b string) string { return b + "/x/y/z" }, "", "permission denied"},
		{"to be made in a user's", func(t *testing.T, b string) string { return lay(t, b+"/f", nobody, 0o755) + "/x/y" }, "it belongs to user 65534", ""},
		{"a file on the way", func(t *testing.T, b string) string { return write(t, b+"/f") + "/x" }, "not a directory", "not a directory"},
		{"root's link to root's", func(t *testing.T, b string) string { return link(t, lay(t, b+"/f", 0, 0o755), b+"/l", 0) }, "", "permission denied"},
		{"root's link to a user's", func(t *testing.T, b string) string { return link(t, lay(t, b+"/f", nobody, 0o755), b+"/l", 0) }, "it belongs to user 65534", ""},
		{"a user's link to root's", func(t *testing.T, b string) string { return link(t, lay(t, b+"/f", 0, 0o755), b+"/l", nobody) }, "symbolic link belongs to user 65534", "permission denied"},
		{"a relative link with dots", func(t *testing.T, b string) string {
			lay(t, b+"/f/g", 0, 0o755)
			lay(t, b+"/h", 0, 0o755)
			return link(t, "../h/./../f", b+"/f/l", 0) + "/g"
		}, "", "permission denied"},
		{"a link to itself", func(t *testing.T, b string) string { return link(t, "l", b+"/l", 0) }, "too many levels of symbolic links", "too many levels of symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for uid, want := range map[int]string{0: c.asRoot, nobody: c.asUser} {
				path := filepath.Join(c.lay(t, publicTemp(t)), "s")
				checkLine(t, uid, path, want)
			}
		})
	}
}

// checkLine listens at path as uid in another process and compares what came of it.
func checkLine(t *testing.T, uid int, path, refusal string) {
	t.Helper()
	p, line := try(t, uid, path, 0o600)
	defer p.stop()
	switch {
	case refusal == "" && !strings.HasPrefix(line, "listening "):
		t.Errorf("as user %d: %s", uid, line)
	case refusal != "" && !strings.Contains(line, refusal):
		t.Errorf("as user %d: %s, want %q", uid, line, refusal)
	case refusal == "":
		want := fs.FileMode(0o600)
		if got := permissions(t, path); got != want {
			t.Errorf("as user %d: mode %03o", uid, got)
		}
	}
}

func write(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func link(t *testing.T, target, path string, owner int) string {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(path, owner, owner); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMadeFolders: every folder that is made on the way gets the mode of its owner's kind.
func TestMadeFolders(t *testing.T) {
	needRoot(t)
	for uid, want := range map[int]fs.FileMode{0: 0o755, nobody: 0o700} {
		base := lay(t, filepath.Join(publicTemp(t), "base"), uid, 0o755)
		checkLine(t, uid, filepath.Join(base, "a/b/s"), "")
		for _, folder := range []string{"a", "a/b"} {
			if got := permissions(t, filepath.Join(base, folder)); got != want {
				t.Errorf("as user %d: %s has mode %03o, want %03o", uid, folder, got, want)
			}
		}
	}
}

func TestRootOfTheFileSystem(t *testing.T) {
	f := folders{uid: 0, trusted: []int{4711}}
	if _, err := f.open("/"); !errors.Is(err, ErrUntrustedFolder) {
		t.Errorf("%v: / itself is not judged", err)
	}
}

// TestUserNamespace: in a namespace of a user's own, / belongs to an unmapped user, who is the host's
// root and no danger; a folder of a mapped stranger is refused as ever.
func TestUserNamespace(t *testing.T) {
	needRoot(t)
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 4711, Size: 1}, {ContainerID: 1, HostID: 4712, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 4711, Size: 1}},
		Credential:  &syscall.Credential{},
	}
	for owner, want := range map[int]string{
		4711: "listening ",
		4712: "it belongs to user 1,",
	} {
		path := filepath.Join(lay(t, publicTemp(t)+"/f", owner, 0o755), "s")
		p := startWith(t, attr, "listen", path, "600")
		p.goOn(t)
		if line := p.line(t); !strings.Contains(line, want) {
			t.Errorf("in the folder of %d: %s, want %q", owner, line, want)
		}
	}
}

// TestUnmappedOwner: outside user namespaces nobody is nobody.
func TestUnmappedOwner(t *testing.T) {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(strings.Fields(string(uids)), " ") == "0 0 4294967295"
	if _, ok := unmappedOwner(); ok && all {
		t.Error("every user is mapped here, and still one is not")
	}
}
