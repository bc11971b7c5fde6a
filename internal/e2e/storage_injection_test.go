package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// recorder puts a script in the place of each program that makes filesystems, in the test's own mount namespace:
// it writes down its arguments and becomes the program.
type recorder struct {
	t   *testing.T
	log string
}

func newRecorder(t *testing.T, programs map[string]string) *recorder {
	t.Helper()
	dir := t.TempDir()
	r := &recorder{t, dir + "/log"}
	for name, pkg := range programs {
		testhost.Tool(t, name, pkg)
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\0' $# \"${0##*/}\" \"$@\" >>%s\nexec %s/${0##*/} \"$@\"\n", r.log, dir)
		for file, text := range map[string][]byte{dir + "/" + name: program, dir + "/" + name + ".sh": []byte(script)} {
			if err := os.WriteFile(file, text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Mount(dir+"/"+name+".sh", path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
	return r
}

// ran is what was run since it was last asked for: programs with their arguments.
func (r *recorder) ran() (list [][]string) {
	r.t.Helper()
	b, err := os.ReadFile(r.log)
	if os.IsNotExist(err) {
		return nil
	}
	if err == nil {
		err = os.Remove(r.log)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	words := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	for len(words) > 0 {
		n, err := strconv.Atoi(words[0])
		if err != nil || len(words) < n+2 {
			r.t.Fatalf("recorded %q", b)
		}
		list = append(list, words[1:n+2])
		words = words[n+2:]
	}
	return list
}

// writer is a daemon, and a caller who holds write and no more.
type writer struct {
	*life
	header http.Header
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	n := newNode(t)
	acl := n.folder + "/acl.toml"
	text := fmt.Sprintf("[[group]]\nname = \"writers\"\nusers = [\"token:writer\"]\n[[group]]\nname = \"admins\"\nusers = [\"uid:0\"]\n"+
		"[[ace]]\nright = \"write\"\ngroups = [\"writers\"]\n[[ace]]\nright = \"admin\"\ngroups = [\"admins\"]\n"+
		"[[token]]\nname = \"writer\"\nsha256 = %q\nexpires = 2099-01-01T00:00:00Z\n", sum(goodToken))
	if err := os.WriteFile(acl, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = []string{"--allow-private-mounts", "--acl", acl}
	return &writer{n.start(0), bearer(goodToken)(nil)}
}

// ask makes a call with write. params may be anything, also what is no JSON.
func (w *writer) ask(method, params string) *answer {
	w.node.t.Helper()
	c := (&server{socket: w.node.folder + "/rpc.sock"}).client()
	defer c.CloseIdleConnections()
	a, err := post(c, w.header, body(method, params))
	if err != nil {
		w.node.t.Fatalf("%s %.200q: %v", method, params, err)
	}
	return a
}

func (w *writer) obtain(method string, pairs ...any) {
	w.node.t.Helper()
	if a := w.ask(method, params(pairs...)); a.Error != nil {
		w.node.t.Fatalf("%s %s: %v", method, params(pairs...), a.Error)
	}
}

func (w *writer) refused(method, params string, kinds ...string) {
	w.node.t.Helper()
	a := w.ask(method, params)
	if a.Error == nil || !slices.Contains(kinds, fmt.Sprint(a.Error.Data["kind"])) && !slices.Contains(kinds, fmt.Sprint(a.Error.Code)) {
		w.node.t.Errorf("%s %.200q: %s, want %v", method, params, told(a), kinds)
	}
}

// TestNothingElseRuns has a caller with write give labels, names, options and paths that try to be something else:
// the programs that run get them as one argument, byte for byte, or nothing runs, is mounted or is made at all.
func TestNothingElseRuns(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	r := newRecorder(t, map[string]string{"mkfs.ext4": "e2fsprogs", "mkfs.btrfs": "btrfs-progs", "mkfs.vfat": "dosfstools", "mkswap": "util-linux"})
	w := newWriter(t)
	disk := newDisk(t)
	defer testhost.TryCommand(t, "losetup", "-d", disk)
	cases := 0
	for i, label := range []string{"-f", "--help", "-L", "x,dev,suid", "..", "../../x", "$(id)", "`id`", "a;b", "*", "%s%n", "'\"", "\\", "a b"} {
		for typ, want := range map[string][]string{
			"ext4":  {"mkfs.ext4", "-q", "-L", label, "-U", crashUUID, "--", disk},
			"btrfs": {"mkfs.btrfs", "-q", "-K", "-L", label, "-U", crashUUID, "--", "/proc/self/fd/3"},
			"swap":  {"mkswap", "-L", label, "-U", crashUUID, "--", disk},
		} {
			if i%4 != 0 && typ != "swap" {
				continue
			}
			testhost.Command(t, "wipefs", "-aq", disk)
			w.obtain("vol.create_filesystem", "device", disk, "type", typ, "label", label, "uuid", crashUUID)
			if ran := r.ran(); len(ran) != 1 || !slices.Equal(ran[0], want) {
				t.Errorf("ran %q, want %q", ran, want)
			}
			cases++
		}
	}
	testhost.Command(t, "wipefs", "-aq", disk)
	w.obtain("vol.create_filesystem", "device", disk, "type", "ext4", "uuid", keptUUID)
	r.ran()
	before, etc := mountsOf(t), namesIn(t, "/etc")
	for _, c := range injections(t, disk) {
		w.refused(c.method, c.params, c.kinds...)
		cases++
		if ran := r.ran(); len(ran) > 0 {
			t.Errorf("%s %.200q: ran %q", c.method, c.params, ran)
		}
		if now := mountsOf(t); now != before {
			t.Fatalf("%s %.200q: mounts:\n%s\nbefore:\n%s", c.method, c.params, now, before)
		}
	}
	if now := namesIn(t, "/etc"); !slices.Equal(now, etc) {
		t.Errorf("/etc has %q, had %q", now, etc)
	}
	out := testhost.Command(t, "blkid", "-p", "-o", "value", "-s", "UUID", disk)
	if strings.TrimSpace(out) != keptUUID {
		t.Errorf("the disk bears %q", out)
	}
	t.Logf("%d cases", cases)
}

func mountsOf(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func namesIn(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// injection is a call that must come to nothing, and how it is answered: the kind of the error, or its code.
type injection struct {
	method, params string
	kinds          []string
}

func injections(t *testing.T, disk string) (list []injection) {
	t.Helper()
	add := func(method, params string, kinds ...string) { list = append(list, injection{method, params, kinds}) }
	long := strings.Repeat("x", 4096)
	for _, label := range []string{`a\nb`, `a\u0000b`, `\u007f`, ``, long, "\xff\xfe", `\ud800`} {
		for _, typ := range []string{"ext4", "btrfs", "vfat", "swap"} {
			add("vol.create_filesystem", fmt.Sprintf(`{"device":%q,"type":%q,"force":true,"label":"%s"}`, disk, typ, label), "-32602", "-32700")
		}
		add("vol.create_partition", fmt.Sprintf(`{"disk":%q,"label":"%s"}`, disk, label), "-32602", "-32700", "conflict")
	}
	for _, device := range []string{"-F", "", "x", disk + "\n", disk + " -F", disk + ",x", disk + "\x00", "/dev/../etc/passwd", "/dev/null", "/dev/" + long, "/dev/./" + filepath.Base(disk) + "/x",
		"/proc/self/fd/0", "UUID=", "LABEL=-F", "LABEL=x,suid", "UUID=" + keptUUID, "/dev/disk/by-uuid/" + keptUUID, "PARTUUID=-F", "/dev/\xff", "/dev/disk/by-id/../by-uuid/" + keptUUID} {
		add("vol.create_filesystem", fmt.Sprintf(`{"device":%s,"type":"ext4","force":true}`, quote(device)), "-32602", "-32700", "not_found", "refused")
	}
	for _, options := range []string{`{"features":["^has_journal,-F"]}`, `{"features":["-x"]}`, `{"features":["a b"]}`, `{"features":["x;id"]}`, `{"errors":"panic -F"}`, `{"block_size_bytes":-1}`,
		`{"extended":"x"}`, `{"checksum":"crc32c --help"}`, `{"stride_blocks":"1"}`, `["-F"]`, `"-F"`} {
		add("vol.create_filesystem", fmt.Sprintf(`{"device":%q,"type":"ext4","force":true,"options":%s}`, disk, options), "-32602")
	}
	for _, member := range []string{`"type":"ext4 -F"`, `"type":"-F"`, `"type":"ext4","uuid":"-F"`, `"type":"ext4","uuid":"random"`, `"type":"ext4","uuid":"` + keptUUID + `\n"`, `"type":"ext4","__proto__":1`, `"type":"ext4","force":"true"`} {
		add("vol.create_filesystem", fmt.Sprintf(`{"device":%q,%s}`, disk, member), "-32602")
	}
	at := t.TempDir()
	addMounts(add, disk, at, long)
	for target, kinds := range targetsOf(t, at, long) {
		add("vol.mount", fmt.Sprintf(`{"source":%q,"target":%s}`, disk, quote(target)), kinds...)
	}
	for _, method := range []string{"vol.create_md_array", "vol.create_btrfs_raid", "vol.stop_md_array"} {
		add(method, fmt.Sprintf(`{"name":"x","devices":[%q],"device":%q,"level":"single","force":true}`, disk, disk), "permission_denied")
	}
	for _, path := range []string{"x", "-rf", "/..", at + "/../x/../../etc/y", at + "/" + long, at + "/" + strings.Repeat("y", 256), at + "/\x00", at + "/\xff", "", "/", "/etc/new", "/proc/self/cwd/x"} {
		add("vol.create_subvolume", fmt.Sprintf(`{"path":%s}`, quote(path)), "-32602", "-32700", "not_found", "refused", "os_error")
		add("vol.snapshot_subvolume", fmt.Sprintf(`{"source":%s,"target":%s}`, quote(at), quote(path)), "-32602", "-32700", "not_found", "refused", "os_error")
	}
	return list
}

// addMounts adds options, types and subvolumes.
func addMounts(add func(method, params string, kinds ...string), disk, at, long string) {
	for _, option := range []string{"suid", "dev", "errors=panic"} {
		for _, list := range []string{`["%s"]`, `["noatime","%s"]`, `["nosuid","nodev","%s"]`, `["%[1]s","%[1]s"]`} {
			add("vol.mount", fmt.Sprintf(`{"source":%q,"target":%q,"options":%s}`, disk, at+"/m", fmt.Sprintf(list, option)), "permission_denied")
		}
	}
	for _, option := range []string{"noatime,suid", "ro,dev", "-o", "--bind", "bind", "remount", "nosuid\\nsuid", "suid ", " suid", "SUID", "suid=1", "dev=", "nosuid=no", "\\u0000suid", "loop", "user", "users", "owner", "context=x", "defaults",
		"x-systemd.automount", "source=/dev/vda", "journal_path=/dev/vda", "lowerdir=/", "usrjquota=x", long, "\xff"} {
		add("vol.mount", fmt.Sprintf(`{"source":%q,"target":%q,"options":["%s"]}`, disk, at+"/m", option), "-32602", "-32700")
	}
	for _, option := range []string{"data=ordered,suid", "commit=5,dev", "errors=continue,suid", "commit=-o", "stripe=" + strings.Repeat("1", 300), "commit=5\\nsuid"} { // the kernel takes none of it apart
		add("vol.mount", fmt.Sprintf(`{"source":%q,"target":%q,"options":["%s"]}`, disk, at+"/m", option), "-32602", "os_error")
	}
	for _, typ := range []string{"ext4 -o suid", "overlay", "tmpfs", "fuse", "nfs", "-t", ""} {
		add("vol.mount", fmt.Sprintf(`{"source":%q,"target":%q,"type":%q}`, disk, at+"/m", typ), "-32602", "refused")
	}
	for _, source := range []string{"tmpfs", "none", "/etc", "/proc/self/mem", "//server/share", "server:/x", "overlay", "-o", disk + ",suid"} {
		add("vol.mount", fmt.Sprintf(`{"source":%q,"target":%q}`, source, at+"/m"), "-32602", "not_found")
	}
}

// targetsOf are targets that nobody mounts at: the system's folders by all sorts of ways.
func targetsOf(t *testing.T, at, long string) map[string][]string {
	t.Helper()
	for link, to := range map[string]string{"etc": "/etc", "usr": "/usr/", "run": "/var/run", "up": "..", "twice": at + "/etc", "bin": "/bin"} {
		if err := os.Symlink(to, at+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	targets := map[string][]string{}
	for _, target := range []string{"/", "/.", "//", "/etc", "//etc", "/etc/", "/./etc", "/etc/new", "/etc/cron.d", "/usr", "/usr/bin", "/proc", "/proc/self", "/proc/1/root/etc", "/sys/fs", "/dev", "/dev/shm/x", "/run", "/run/my_os_server",
		"/var/run/my_os_server", "/root", "/root/.ssh", "/boot/new", "/bin", "/sbin", "/lib/modules", "/lib64", "/libx", "/var", "/var/spool/cron", "/var/spool/cron/crontabs", "/var/spool/new/x", "/var/lib", "/var/lib/dpkg",
		at + "/etc", at + "/etc/x", at + "/usr/local", at + "/run/my_os_server", at + "/twice", at + "/bin", "/proc/self/root/etc"} {
		targets[target] = []string{"refused", "os_error"}
	}
	for _, target := range []string{"", "etc", "-o", at + "/../../../../etc", at + "/up/x/../../etc", at + "/" + long, at + "/\x00", at + "/\xff", "~/x", "$HOME"} {
		targets[target] = []string{"-32602", "-32700", "refused", "os_error"}
	}
	return targets
}

// quote is a JSON string with its bytes as they are, but for those that JSON has escaped.
func quote(s string) string {
	var b bytes.Buffer
	b.WriteByte('"')
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\u%04x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// TestWriteGainsNothing has a caller with write mount what bears programs that change who runs them, and nodes of
// devices; neither works there. With admin, and asked for, they do.
func TestWriteGainsNothing(t *testing.T) {
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	testhost.Tool(t, "mkfs.btrfs", "btrfs-progs")
	if !testhost.MountNS(t) {
		return
	}
	w := newWriter(t)
	disk := newDisk(t)
	defer testhost.TryCommand(t, "losetup", "-d", disk)
	at := openFolderFor(t)
	plantPrograms(t, disk, at)
	for _, options := range [][]string{{}, {"exec"}, {"rw", "relatime"}, {"nosuid", "exec"}, {"data=ordered"}} {
		w.obtain("vol.mount", "source", disk, "target", at, "options", options, "persistent", false)
		if uid, opened := whoRuns(t, at), opensDevice(at); uid != "65534" || opened {
			t.Errorf("%q: the program runs as %s; the device was opened: %v", options, uid, opened)
		}
		w.obtain("vol.unmount", "target", at)
	}
	w.must(step{"vol.mount", params("source", disk, "target", at, "options", []string{"suid", "dev"})})
	if uid, opened := whoRuns(t, at), opensDevice(at); uid != "0" || !opened {
		t.Errorf("with admin the program runs as %s; the device was opened: %v", uid, opened)
	}
	w.must(step{"vol.unmount", params("target", at)})
	gainsNoSystemFolder(t, w)
}

// openFolderFor is a folder to mount at that everybody may enter.
func openFolderFor(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gain")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH); os.Remove(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func plantPrograms(t *testing.T, disk, at string) {
	t.Helper()
	testhost.Command(t, "mkfs.ext4", "-q", disk)
	if err := unix.Mount(disk, at, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	testhost.Command(t, "sh", "-ec", `cd "$0"; cp -L "$(command -v id)" id; chmod 4755 id; mknod -m 666 zero c 1 5`, at)
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
}

// whoRuns is the effective user of the planted program when nobody (65534) starts it.
func whoRuns(t *testing.T, at string) string {
	t.Helper()
	cmd := exec.Command(at+"/id", "-u")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func opensDevice(at string) bool {
	f, err := os.Open(at + "/zero")
	if err == nil {
		f.Close()
	}
	return err == nil
}

// gainsNoSystemFolder has a btrfs be a part of the system: a subvolume there is nothing that write may make, put in
// its place, or take away.
func gainsNoSystemFolder(t *testing.T, w *writer) {
	t.Helper()
	disk, system := newDisk(t), "/usr/local"
	defer testhost.TryCommand(t, "losetup", "-d", disk)
	testhost.Command(t, "mkfs.btrfs", "-q", disk)
	if err := unix.Mount(disk, system, "btrfs", 0, ""); err != nil { // in the test's own mount namespace
		t.Fatal(err)
	}
	defer unix.Unmount(system, unix.MNT_DETACH)
	mine := openFolderFor(t)
	if err := unix.Mount(disk, mine, "btrfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	link := t.TempDir() + "/link"
	if err := os.Symlink(system, link); err != nil {
		t.Fatal(err)
	}
	w.obtain("vol.create_subvolume", "path", mine+"/mine", "uid", 65534, "mode", "0777")
	for _, folder := range []string{system, link} {
		w.refused("vol.create_subvolume", params("path", folder+"/new", "uid", 65534), "refused")
		w.refused("vol.snapshot_subvolume", params("source", mine+"/mine", "target", folder+"/new"), "refused")
		w.refused("vol.delete_subvolume", params("path", folder+"/mine"), "refused")
	}
	if _, err := os.Stat(system + "/new"); err == nil {
		t.Error("a subvolume was made")
	}
	w.must(step{"vol.create_subvolume", params("path", system+"/new")})
	w.must(step{"vol.delete_subvolume", params("path", system+"/new")})
	w.obtain("vol.delete_subvolume", "path", mine+"/mine")
}
