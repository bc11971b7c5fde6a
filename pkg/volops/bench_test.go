package volops

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// benchCall measures a method from its decoded params to its encoded result.
func benchCall(b *testing.B, method, params string) {
	v := newVol(b, Options{})
	row, _ := registry.Lookup(method)
	p, err := row.Decode([]byte(params))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		out := &registry.Out{Write: func([]byte) error { return nil }}
		if err := row.Call(b.Context(), &registry.Servers{Vol: v}, p, out); err != nil {
			b.Fatal(err)
		}
	}
}

// benchTool measures a tool, the whole process, with its output thrown away.
func benchTool(b *testing.B, name string, args ...string) {
	for b.Loop() {
		if err := exec.Command(name, args...).Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListDisks(b *testing.B) {
	testhost.Tool(b, "lsblk", "util-linux")
	for range 190 {
		testhost.NewLoop(b, testhost.LoopOptions{Size: 16 << 20})
	}
	b.Run("ours", func(b *testing.B) { benchCall(b, "vol.list_disks", `{}`) })
	b.Run("lsblk", func(b *testing.B) { benchTool(b, "lsblk", "-J", "-b", "-O") })
	b.Run("one", func(b *testing.B) { benchCall(b, "vol.list_disks", `{"path":"/dev/vda"}`) })
}

// BenchmarkListMounts needs a mount namespace: go test -bench runs it in the one that it is given.
func BenchmarkListMounts(b *testing.B) {
	testhost.Tool(b, "findmnt", "util-linux")
	testhost.Root(b)
	dir := b.TempDir()
	for i := range 2000 {
		path := fmt.Sprintf("%s/%d", dir, i)
		if err := os.Mkdir(path, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := unix.Mount("bench", path, "tmpfs", 0, "size=64k"); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
	b.Run("ours", func(b *testing.B) { benchCall(b, "vol.list_mounts", `{}`) })
	b.Run("without usage", func(b *testing.B) { benchCall(b, "vol.list_mounts", `{"usage":false}`) })
	b.Run("findmnt", func(b *testing.B) { benchTool(b, "findmnt", "-J") })
	b.Run("one", func(b *testing.B) { benchCall(b, "vol.usage", `{"path":"/"}`) })
}
