package volops

import (
	"os"
	"testing"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestFinishSubvolume has a crash come between making a subvolume and giving it its owner, or before it was
// made: the next start finishes the first and forgets the other. One at the same path of a filesystem that is not
// mounted is left alone.
func TestFinishSubvolume(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	dir := t.TempDir()
	v, s := afterBoot(t, dir, "first")
	for _, name := range []string{"new", "never", "elsewhere"} {
		want := &registry.VolCreateSubvolumeParams{Path: b.Path + "/" + name, Uid: registry.Some[int64](1234), Mode: registry.Some("0700"), MaxReferencedBytes: registry.Some[int64](1 << 30)}
		at, err := v.placeAt(t.Context(), want.Path, "path")
		must(t, err)
		subject := at.subject()
		at.close()
		if name == "elsewhere" {
			subject = want.Path + subjectOn + "0fc63daf-8483-4772-8e79-3d69d8477de4"
		}
		_, err = v.state.Begin(t.Context(), state.Intent{Method: "vol.create_subvolume", Class: state.Report, Subject: subject, Detail: want.AppendJSON(nil)})
		must(t, err)
	}
	b.Run("subvolume", "create", b.Path+"/new")
	b.Run("subvolume", "create", b.Path+"/elsewhere")
	closeBoth(t, v, s)
	v, s = afterBoot(t, dir, "first")
	v.Start()
	comesTrue(t, "finishing", func() bool { return len(v.state.Interrupted()) == 1 })
	info, err := os.Stat(b.Path + "/new")
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("%v", info.Mode())
	}
	other, err := os.Stat(b.Path + "/elsewhere")
	must(t, err)
	if ids, _ := interruptedRows(t, v); other.Mode().Perm() != 0o755 || len(ids) != 1 || ids[0] != b.Path+"/elsewhere" {
		t.Errorf("another filesystem's: %v, %v", other.Mode(), ids)
	}
	if exists(b.Path + "/never") {
		t.Error("what was never begun was made")
	}
	closeBoth(t, v, s)
}
