//go:build vmtest

package volops

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// killedCall tells a child of TestArrayKilled what it is to do.
const killedCall = "VOLOPS_KILLED_CALL"

// arrayMoments are the moments of each write to an array at which what the next start finds differs; every one is
// tried where there is time.
var arrayMoments = map[string][]string{
	"create": {"intent synced", "mdadm has run", "outcome written"},
	"stop":   {"stop array", "array stopped", "outcome"},
}

var allArrayMoments = map[string][]string{
	"create": {"intent", "journal written", "intent synced", "wipe members", "run mdadm", "mdadm has run", "outcome", "outcome written"},
	"stop":   {"intent", "journal written", "intent synced", "stop array", "array stopped", "outcome", "outcome written"},
}

// TestArrayKilled kills a process in the midst of making and of stopping an array. What the next start finds it
// tells of and does not touch; the same call, made again, brings it about, and the registry says what runs.
func TestArrayKilled(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mdadm", "mdadm")
	if call := os.Getenv(killedCall); call != "" {
		diesInCall(t, strings.Fields(call))
		return
	}
	var disks []string
	for range 2 { // which this process does not have open: the other one looks at who has
		disk := attach(t, t.TempDir()+"/member")
		t.Cleanup(func() { testhost.TryCommand(t, "losetup", "-d", disk) })
		disks = append(disks, disk)
	}
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "--scan") })
	moments := arrayMoments
	if testhost.Rounds(1) >= 100 {
		moments = allArrayMoments
	}
	for _, call := range []string{"create", "stop"} {
		for _, moment := range moments[call] {
			t.Run(call+"/"+moment, func(t *testing.T) { arrayKilledAt(t, call, moment, disks) })
		}
	}
}

func arrayPairs(call string, disks []string) (method string, pairs []any) {
	if call == "create" {
		return "vol.create_md_array", []any{"name", "cut", "devices", disks, "force", true}
	}
	return "vol.stop_md_array", []any{"device", "/dev/md/cut", "zero_superblocks", true}
}

// diesInCall is the child: it makes the call, in which it is killed.
func diesInCall(t *testing.T, words []string) {
	v, s := afterBoot(t, words[1], "first")
	method, pairs := arrayPairs(words[0], words[2:])
	obtain(t, v, method, pairs...)
	closeBoth(t, v, s)
}

func arrayKilledAt(t *testing.T, call, moment string, disks []string) {
	dir := t.TempDir()
	testhost.Command(t, "mkswap", disks[0]) // something to be wiped
	if call == "stop" {
		v, s := afterBoot(t, dir, "first")
		method, pairs := arrayPairs("create", disks)
		obtain(t, v, method, pairs...)
		closeBoth(t, v, s)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestArrayKilled$")
	cmd.Env = append(os.Environ(), "MY_OS_SERVER_FAULT_AT="+moment, fmt.Sprintf("%s=%s %s %s", killedCall, call, dir, strings.Join(disks, " ")))
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); err == nil || !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("it did not die there: %v: %s", err, out)
	}
	v, s := afterBoot(t, dir, "first")
	var ran [][]string
	record(v, &ran)
	v.Start()
	<-v.restorer.ended
	if len(ran) > 0 {
		t.Errorf("the start ran %q", ran)
	}
	method, pairs := arrayPairs(call, disks)
	problems := problemsOf(takeInventory(t, v), "/dev/md/cut")
	told, registered := slices.Contains(problems, "interrupted"), v.arraySpecs.Has("cut")
	uncertain := moment == "journal written" // with the intent or with the outcome, whichever is first
	if begun := moment != "intent" && moment != "outcome written"; !uncertain && (told != begun || begun && registered != (call == "stop")) {
		t.Errorf("told of %v, registered %v", problems, registered)
	}
	again := obtain(t, v, method, pairs...)
	row, _ := registeredArrayRow(t, v, "cut")
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
	if call == "create" {
		if row == nil || !row.Exists || arrayOf(t, again).UUID.Or("") != row.UUID || !askArray(t, v, "/dev/md/cut").Managed {
			t.Errorf("asked again: %v; registered %+v", again, row)
		}
		obtain(t, v, "vol.stop_md_array", "device", "/dev/md/cut", "zero_superblocks", true)
	}
	for _, disk := range disks {
		if what := bears(t, disk); what != "" {
			t.Errorf("%s bears %q", disk, what)
		}
	}
	if _, err := os.Lstat("/dev/md/cut"); err == nil || call == "stop" && row != nil {
		t.Errorf("there is still something of it: %v, %+v", err, row)
	}
	closeBoth(t, v, s)
}
