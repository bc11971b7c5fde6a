package hostinfo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPrettyName(t *testing.T) {
	tests := map[string]string{
		"NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n": "Debian GNU/Linux 12 (bookworm)",
		"PRETTY_NAME='Alpine Linux'":                               "Alpine Linux",
		"PRETTY_NAME=Void\n":                                       "Void",
		"PRETTY_NAME=\"a \\\"b\\\" \\$c\"\n":                       `a "b" $c`,
		"PRETTY_NAME=a\nPRETTY_NAME=b\n":                           "b",
		"# PRETTY_NAME=a\nNAME=b":                                  "",
		"PRETTY_NAME=\"":                                           `"`,
		"PRETTY_NAME=\\":                                           `\`,
		"":                                                         "",
	}
	for text, want := range tests {
		if got := prettyName(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestOSNameLooksInBothPlaces(t *testing.T) {
	root := t.TempDir()
	if got := OSName(root); got != "" {
		t.Errorf("without any file: %q", got)
	}
	write := func(dir, text string) {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "os-release"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("usr/lib", "PRETTY_NAME=vendor\n")
	if got := OSName(root); got != "vendor" {
		t.Errorf("with /usr/lib/os-release: %q", got)
	}
	write("etc", "PRETTY_NAME=admin\n")
	if got := OSName(root); got != "admin" {
		t.Errorf("with both: %q", got)
	}
}

func TestUnameAgreesWithUname(t *testing.T) {
	out, err := exec.Command("uname", "-nrvm").Output()
	if err != nil {
		t.Fatal(err)
	}
	u := ReadUname()
	if got := fmt.Sprintf("%s %s %s %s\n", u.NodeName, u.Release, u.Version, u.Machine); got != string(out) {
		t.Errorf("%q, uname says %q", got, out)
	}
}

func TestBootAgreesWithProc(t *testing.T) {
	if got := BootID(t.TempDir()); got != "" {
		t.Errorf("boot id without /proc: %q", got)
	}
	if got := BootID(""); len(got) != 36 {
		t.Errorf("boot id %q", got)
	}
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	if off := (Uptime() - time.Duration(seconds*float64(time.Second))).Abs(); off > time.Second {
		t.Errorf("uptime is %v off /proc/uptime", off)
	}
}

func TestCapabilitiesAgreeWithProc(t *testing.T) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "CapEff:\t")
	want, err := strconv.ParseUint(rest[:16], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	got := EffectiveCapabilities()
	if uint64(got) != want {
		t.Errorf("%x, /proc says %x", got, want)
	}
	if got.Has(12) != (want>>12&1 != 0) {
		t.Error("Has looks at another bit")
	}
}

func FuzzPrettyName(f *testing.F) {
	f.Add("PRETTY_NAME=\"a\\")
	f.Add("PRETTY_NAME='")
	f.Fuzz(func(t *testing.T, text string) {
		if name := prettyName(text); len(name) > len(text) {
			t.Fatalf("%q is longer than what it was found in", name)
		}
	})
}
