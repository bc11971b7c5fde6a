// Package hostexec runs the few programs of the host that have a fact which nothing else has. It is the
// only package that starts processes.
//
// What may run is a closed list; each is looked for in fixed folders, never along $PATH, and started
// without a shell, with arguments that no other program interprets, nothing on its standard input, a
// fixed environment (LC_ALL=C), in a process group of its own that is killed as a whole when the
// context ends. What it prints is bounded, or read as it comes.
//
// The package interprets no output, and tries nothing twice.
package hostexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Program is one of the programs that may run.
type Program struct {
	name, pkg string
}

// The programs, with their Debian packages.
var (
	Nft          = Program{"nft", "nftables"}
	MkfsBtrfs    = Program{"mkfs.btrfs", "btrfs-progs"}
	MkfsExt4     = Program{"mkfs.ext4", "e2fsprogs"}
	MkfsVfat     = Program{"mkfs.vfat", "dosfstools"}
	Mkswap       = Program{"mkswap", "util-linux"}
	MkfsBcachefs = Program{"mkfs.bcachefs", "bcachefs-tools"}
	Mdadm        = Program{"mdadm", "mdadm"}
	Networkctl   = Program{"networkctl", "systemd"}
	Nmcli        = Program{"nmcli", "network-manager"}
	OvsOfctl     = Program{"ovs-ofctl", "openvswitch-common"}
)

// Name is the program's name.
func (p Program) Name() string { return p.name }

// Installed tells whether the host has the program: nil, or the *ToolMissing that Run would answer.
func (p Program) Installed() error {
	_, err := find(p)
	return err
}

// folders is where programs are looked for.
var folders = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}

const (
	timeout     = time.Minute     // where the context has no earlier deadline
	outputLimit = 64 << 20        // bytes that a program may print
	stderrTail  = 2 << 10         // bytes of its complaints that are kept
	killDelay   = 5 * time.Second // after which a child that does not die is left behind
)

// ToolMissing is a program that the host does not have.
type ToolMissing struct {
	Tool    string
	Package string // the Debian package that has it
}

// Error names the tool and its package.
func (e *ToolMissing) Error() string {
	return fmt.Sprintf("run %s: not installed (Debian package %s)", e.Tool, e.Package)
}

// Exit is a program that ended with another status than 0.
type Exit struct {
	Tool   string
	Code   int    // -1: by a signal
	Stderr string // the end of what it complained
}

// Error is the tool's complaint.
func (e *Exit) Error() string {
	return fmt.Sprintf("run %s: exit status %d: %s", e.Tool, e.Code, e.Stderr)
}

var (
	// ErrOutput is a program that printed more than is taken.
	ErrOutput = errors.New("output exceeds the limit")
	// ErrLeftBehind is a program that did not end when it was killed.
	ErrLeftBehind = errors.New("process does not end, left behind")
)

// Run runs a program to its end and returns what it printed. Errors are *ToolMissing, *Exit, the
// context's, ErrOutput and ErrLeftBehind. The program runs in the network namespace of the calling
// thread.
func Run(ctx context.Context, p Program, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return RunWith(ctx, p, nil, args...)
}

// RunWith is Run for programs that may take long: until the context's deadline, or a minute where it has
// none. The program has the files open as descriptors 3 and upwards.
func RunWith(ctx context.Context, p Program, files []*os.File, args ...string) ([]byte, error) {
	path, err := find(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounding(ctx)
	defer cancel()
	stdout, stderr := &bounded{limit: outputLimit, full: cancel}, &tail{}
	cmd := command(ctx, path, args)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = files
	err = cmd.Run()
	switch {
	case stdout.exceeded:
		return nil, fmt.Errorf("run %s: %w", p.name, ErrOutput)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("run %s: %w", p.name, ErrLeftBehind)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run %s: %w", p.name, ctx.Err())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, &Exit{Tool: p.name, Code: exit.ExitCode(), Stderr: strings.TrimSpace(string(stderr.b))}
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", p.name, err)
	}
	return stdout.b.Bytes(), nil
}

// bounding is the context with a deadline.
func bounding(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

func command(ctx context.Context, path string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	// libblkid believes what it wrote down of other devices a moment ago; without its file it looks.
	cmd.Env = []string{"LC_ALL=C", "PATH=" + strings.Join(folders, ":"), "BLKID_FILE=/dev/null"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	return cmd
}

// find looks for an executable file in the folders.
func find(p Program) (string, error) {
	for _, folder := range folders {
		path := filepath.Join(folder, p.name)
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &ToolMissing{Tool: p.name, Package: p.pkg}
}

// bounded keeps what is written to it, and ends the program where that is too much.
type bounded struct {
	b        bytes.Buffer
	limit    int
	full     func()
	exceeded bool
}

func (w *bounded) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > w.limit {
		w.exceeded = true
		w.full()
		return 0, ErrOutput
	}
	return w.b.Write(p)
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (w *tail) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	if over := len(w.b) - stderrTail; over > 0 {
		w.b = append(w.b[:0], w.b[over:]...)
	}
	return len(p), nil
}

// systemdRun starts a program outside of the cgroup of whoever asks, so that the end of a service does not end
// what it began.
var systemdRun = Program{"systemd-run", "systemd"}

// Detach starts this very program once more, with other arguments, in a session of its own and with nothing of
// ours open: it lives on when we end. Where systemd runs the host it gets a unit of its own, named unit. The
// error is that of starting it; how it ends is nobody's to wait for.
func Detach(ctx context.Context, unit string, args ...string) error {
	if exe, err := os.Readlink("/proc/self/exe"); err == nil && !strings.HasSuffix(exe, " (deleted)") && underSystemd() {
		_, err := Run(ctx, systemdRun, append([]string{"--quiet", "--collect", "--unit=" + unit, "--property=TimeoutStopSec=10", "--", exe}, args...)...)
		return err
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a process of our own: %w", err)
	}
	go cmd.Wait() // so that it leaves no zombie as long as we live
	return nil
}

// underSystemd tells whether systemd runs the host (sd_booted(3)) and has what it takes.
func underSystemd() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir() && systemdRun.Installed() == nil
}
