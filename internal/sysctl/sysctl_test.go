package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes a root with settings below proc/sys.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, "proc/sys", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestRead(t *testing.T) {
	root := tree(t, map[string]string{
		"net/ipv4/conf/eth0/forwarding": "1\n",
		"net/ipv4/conf/eth0/medium_id":  "-1\n",
		"net/ipv4/conf/a.b/forwarding":  "0\n",
		"net/ipv4/range":                "32768\t60999\n",
		"net/ipv4/word":                 "cubic\n",
		"net/ipv4/empty":                "",
	})
	dir, err := Open(root, "net/ipv4")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	conf, err := dir.Open("conf")
	if err != nil {
		t.Fatal(err)
	}
	defer conf.Close()
	names, err := conf.Names()
	if diff := cmp.Diff([]string{"a.b", "eth0"}, names); diff != "" || err != nil {
		t.Errorf("names: %v\n%s", err, diff)
	}
	eth0, err := conf.Open("eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer eth0.Close()
	for name, want := range map[string]int64{"forwarding": 1, "medium_id": -1} {
		if got, err := eth0.Int(name); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", name, got, err, want)
		}
	}
	if got, err := dir.Ints("range"); !cmp.Equal(got, []int64{32768, 60999}) || err != nil {
		t.Errorf("range: %v, %v", got, err)
	}
	if _, err := eth0.Int("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a setting that is not there: %v", err)
	}
	if _, err := conf.Open("eth1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	for _, name := range []string{"word", "empty", "range"} {
		if v, err := dir.Int(name); err == nil {
			t.Errorf("%s read as the integer %d", name, v)
		}
	}
	if v, err := dir.Ints("word"); err == nil {
		t.Errorf("a word read as the integers %d", v)
	}
}

func TestReadHost(t *testing.T) {
	dir, err := Open("", "kernel")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if v, err := dir.Int("pid_max"); err != nil || v < 1 {
		t.Errorf("kernel.pid_max: %d, %v", v, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1", "-1", "", "9223372036854775807", "9223372036854775808", "1 2", "0x10"} {
		f.Add(s)
	}
	d := &Dir{path: "/proc/sys/net"}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := d.parse("x", []byte(s))
		if err != nil && v != 0 {
			t.Fatalf("%d beside the error %v", v, err)
		}
	})
}
