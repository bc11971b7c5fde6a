//go:build vmtest

package volops

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/btrfswork"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// serviceScene tells the service of TestScrubUnderSystemd the filesystem and the folder of its state.
const serviceScene = "VOLOPS_SERVICE"

// firstProcess has systemd run a host of its own: namespaces of which it is process 1, with no units but those
// that it needs itself.
const firstProcess = `
mount --make-rprivate /
mount -t proc proc /proc
umount /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system
for unit in sysinit basic shutdown test; do
	printf '[Unit]\nDefaultDependencies=no\n' >"$0/$unit.target"
done
export container=test SYSTEMD_UNIT_PATH="$0" SYSTEMD_GENERATOR_PATH="$0/none" SYSTEMD_LOG_LEVEL=warning SYSTEMD_LOG_TARGET=console
exec /lib/systemd/systemd --system --unit=test.target --show-status=0`

// TestScrubUnderSystemd starts a scrub from a service, which systemd then stops with all that is in its cgroup: the
// scrub has a unit of its own and goes on to its end.
func TestScrubUnderSystemd(t *testing.T) {
	vmtest.Guest(t)
	if scene := os.Getenv(serviceScene); scene != "" {
		serveScrub(t, strings.Fields(scene))
		return
	}
	for tool, pkg := range map[string]string{"systemd-run": "systemd", "unshare": "util-linux", "nsenter": "util-linux"} {
		testhost.Tool(t, tool, pkg)
	}
	testhost.Command(t, "modprobe", "btrfs")
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Size: 160 << 20})
	b.Write("file", 16<<20)
	v, dir := newVol(t, Options{}), t.TempDir()
	uuid := obtain(t, v, "vol.scrub_status", "path", b.Path)["scrub"].(map[string]any)["filesystem_uuid"].(string)
	throttle(t, uuid, 1<<20)
	defer throttle(t, uuid, 0)
	inside := startSystemd(t)
	exe, err := os.Readlink("/proc/self/exe")
	must(t, err)
	service := []string{"systemd-run", "--quiet", "--collect", "--unit=daemon", "--setenv=SECOND_KERNEL=1",
		"--setenv=" + serviceScene + "=" + b.Path + " " + dir, "--", exe, "-test.run=^TestScrubUnderSystemd$"}
	comesTrue(t, "a service", func() bool { return inside(service...) == nil })
	comesTrue(t, "the start of a scrub", func() bool { return exists(dir + "/started") })
	worker := processOf(t, btrfswork.Word)
	cgroup, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(worker), "cgroup"))
	if err != nil || !strings.Contains(string(cgroup), "/my_os_server-scrub-"+uuid) {
		t.Errorf("it is in %s, %v", cgroup, err)
	}
	must(t, inside("systemctl", "stop", "daemon.service"))
	if processOf(t, "-test.run=^TestScrubUnderSystemd$") != 0 {
		t.Error("the service runs on")
	}
	status := func() any {
		return obtain(t, v, "vol.scrub_status", "path", b.Path)["scrub"].(map[string]any)["state"]
	}
	if processOf(t, btrfswork.Word) != worker || status() != "running" {
		t.Errorf("with the service ended process %d, state %v", processOf(t, btrfswork.Word), status())
	}
	throttle(t, uuid, 0)
	comesTrue(t, "the end", func() bool { return status() == "finished" })
}

// serveScrub is the service: it starts a scrub and waits to be ended.
func serveScrub(t *testing.T, words []string) {
	v := newVol(t, Options{State: openState(t, words[1]), StateDir: words[1]})
	obtain(t, v, "vol.scrub_start", "path", words[0], "read_only", true)
	must(t, os.WriteFile(words[1]+"/started", nil, 0o600))
	time.Sleep(time.Hour)
}

// startSystemd starts it, and returns what runs a command in its namespaces.
func startSystemd(t *testing.T) (inside func(command ...string) error) {
	t.Helper()
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc", "sh", "-c", firstProcess, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("systemd said: %s", &said)
		}
	})
	return func(command ...string) error {
		first := processOf(t, "/lib/systemd/systemd")
		if first == 0 {
			return os.ErrNotExist
		}
		return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(first), "--pid", "--mount", "--cgroup"}, command...)...).Run()
	}
}

// processOf is a process that has a word among its arguments and is not the one that asks; 0 where there is none.
func processOf(t *testing.T, word string) int {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range list {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		must(t, err)
		text, err := os.ReadFile(path)
		if err == nil && pid != os.Getpid() && bytes.Contains(append([]byte{0}, text...), []byte("\x00"+word+"\x00")) {
			return pid
		}
	}
	return 0
}
