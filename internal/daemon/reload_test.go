package daemon

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReloadOfRules: the file's rules hold from the moment it is finished, with a signal and without one;
// a file with a fault, or none, changes nothing.
func TestReloadOfRules(t *testing.T) {
	folder := world(t)
	file := write(t, folder+"/acl.toml", readers)
	p := start(t, folder, "--acl", file)
	wants(t, p.socket, "net.status", "{}", "unsupported")

	replace := func(text string) {
		if err := os.Rename(write(t, file+".new", text), file); err != nil {
			t.Fatal(err)
		}
	}
	replace(nobodys)
	p.expect(t, "rule, reloaded", "others have none locally")
	wants(t, p.socket, "net.status", "{}", "permission_denied")
	wants(t, p.socket, "rpc.health", "{}", "")

	replace("[policy]\nanonymous_local = \"reed\"\n")
	p.expect(t, "ACL file refused, the rules of before stay in force", "acl.toml:2: ")
	wants(t, p.socket, "net.status", "{}", "permission_denied")

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.expect(t, "ACL file refused", "no such file")
	p.signal(t, syscall.SIGHUP)
	p.expect(t, "ACL file refused", "no such file")
	wants(t, p.socket, "net.status", "{}", "permission_denied")

	write(t, file, readers)
	p.expect(t, "rule, reloaded", "others have read locally")
	wants(t, p.socket, "net.status", "{}", "unsupported")

	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	p.expect(t, "ACL file refused", "others may write it")
	wants(t, p.socket, "net.status", "{}", "unsupported")
}

// TestReloadOfConfiguration: what can be taken over is, the rest is named, and a bad file changes nothing.
func TestReloadOfConfiguration(t *testing.T) {
	folder := world(t)
	file := write(t, folder+"/c.toml", "[log]\nlevel = \"info\"\n")
	p := start(t, folder, "--config", file)

	write(t, file, "node_name = \"other\"\n[log]\nlevel = \"warn\"\n[limits]\ncalls = 7\n")
	p.signal(t, syscall.SIGHUP)
	p.expect(t, "these changes wait for a restart", `"node_name"`, `"limits.calls"`)

	write(t, file, "[log]\nlevel = \"debug\"\n")
	p.signal(t, syscall.SIGHUP)
	p.expect(t, "configuration reloaded", `"log.level"`)

	write(t, file, "[log]\nlevel = \"loud\"\n")
	p.signal(t, syscall.SIGHUP)
	p.expect(t, "configuration refused, what was in force stays", "log.level: must be one of")
	if all := strings.Join(p.seen, "\n"); strings.Contains(all, "rule, reloaded") {
		t.Errorf("there is no ACL file to reload: %s", all)
	}
	wants(t, p.socket, "rpc.health", "{}", "")
}

// TestFlagBeatsReloadedFile: what was said on the command line holds for the whole run.
func TestFlagBeatsReloadedFile(t *testing.T) {
	folder := world(t)
	file := write(t, folder+"/c.toml", "log.level = \"error\"\n")
	p := start(t, folder, "-v", "--config", file)
	write(t, file, "log.level = \"warn\"\n")
	p.signal(t, syscall.SIGHUP)
	p.expect(t, "configuration reloaded", `"changed":[]`)
}

// TestStartWaitsForTheWriter: who writes the rules may still have them open when the daemon starts, or a child that
// has inherited them; who does not come to an end is not waited for.
func TestStartWaitsForTheWriter(t *testing.T) {
	folder := world(t)
	rules := folder + "/acl.toml"
	writer, err := os.OpenFile(rules, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	refused := command(t, []string{"--socket", folder + "/s", "--state-dir", folder + "/none", "--no-hero-socket", "--acl", rules}).run(t)
	if status := refused.ends(t, 20*time.Second); status != exitFailed {
		t.Errorf("status %d while the rules are being written", status)
	}
	time.AfterFunc(writersTime/4, func() {
		_, _ = writer.WriteString("[policy]\nanonymous_local = \"read\"\n")
		_ = writer.Close()
	})
	start(t, folder, "--acl", rules)
}
