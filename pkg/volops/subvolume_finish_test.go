package volops

import (
	"os"
	"testing"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestFinishSubvolume has a crash come between making a subvolume and giving it its owner, or before it was
// made: the next start finishes the first and forgets the other.
func TestFinishSubvolume(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	dir := t.TempDir()
	v, s := afterBoot(t, dir, "first")
	for _, name := range []string{"new", "never"} {
		want := &registry.VolCreateSubvolumeParams{Path: b.Path + "/" + name, Uid: registry.Some[int64](1234), Mode: registry.Some("0700"), MaxReferencedBytes: registry.Some[int64](1 << 30)}
		if _, err := v.state.Begin(t.Context(), state.Intent{Method: "vol.create_subvolume", Class: state.Report, Subject: want.Path, Detail: want.AppendJSON(nil)}); err != nil {
			t.Fatal(err)
		}
	}
	b.Run("subvolume", "create", b.Path+"/new")
	closeBoth(t, v, s)
	v, s = afterBoot(t, dir, "first")
	v.Start()
	comesTrue(t, "finishing", func() bool { return len(v.state.Interrupted()) == 0 })
	info, err := os.Stat(b.Path + "/new")
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("%v", info.Mode())
	}
	if exists(b.Path + "/never") {
		t.Error("what was never begun was made")
	}
	closeBoth(t, v, s)
}
