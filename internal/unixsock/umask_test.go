package unixsock

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestModes: the file has the mode that was asked for, under every umask, and the umask stays.
func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o002, 0o022, 0o077, 0o777} {
		for _, mode := range []fs.FileMode{0o666, 0o660, 0o600, 0o777, 0} {
			t.Run(fmt.Sprintf("%03o under %03o", mode, umask), func(t *testing.T) {
				if err := checkModes(t.TempDir(), umask, mode); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestModesWithoutUnshare is the same in a container that forbids unshare(2), as Docker's default does.
func TestModesWithoutUnshare(t *testing.T) {
	p := start(t, os.Geteuid(), "modes", t.TempDir())
	if line := p.line(t); line != "as asked" {
		t.Error(line)
	}
}

// modesRole runs checkModes in a process to which unshare(2) is forbidden.
func modesRole(args []string) error {
	if err := forbidUnshare(); err != nil {
		return err
	}
	for i, umask := range []int{0o022, 0o777} {
		if err := checkModes(filepath.Join(args[0], fmt.Sprint(i)), umask, 0o666); err != nil {
			return err
		}
	}
	fmt.Println("as asked")
	return nil
}

// forbidUnshare has the kernel answer EPERM to unshare on every thread of this process (seccomp(2)).
func forbidUnshare() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_UNSHARE, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if err := unix.Unshare(unix.CLONE_FS); err != unix.EPERM {
		return fmt.Errorf("unshare: %v, want EPERM", err)
	}
	return nil
}

// checkModes listens below base under a umask and compares the modes of what was made.
func checkModes(base string, umask int, mode fs.FileMode) error {
	path := filepath.Join(base, "made", "rpc.sock")
	old := unix.Umask(umask)
	l, err := Listen(path, mode)
	after := unix.Umask(old)
	if err != nil {
		return err
	}
	defer l.Close()
	if after != umask {
		return fmt.Errorf("umask afterwards: %03o", after)
	}
	for path, want := range map[string]fs.FileMode{path: mode, filepath.Dir(path): ownFolders().makeMode} {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if got := info.Mode().Perm(); got != want {
			return fmt.Errorf("%s: mode %03o, want %03o", path, got, want)
		}
	}
	return nil
}

// TestUmaskOfOthers: files that the rest of the process makes meanwhile keep the umask's protection.
func TestUmaskOfOthers(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	folder := t.TempDir()
	err := withoutUmask(func() error {
		made := make(chan error)
		go func() { made <- os.WriteFile(filepath.Join(folder, "other"), nil, 0o666) }()
		return <-made
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := permissions(t, filepath.Join(folder, "other")); got != 0o600 {
		t.Errorf("mode %03o", got)
	}
}
