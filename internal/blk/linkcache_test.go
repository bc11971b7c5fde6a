package blk_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/testhost"
)

// TestLinkCache has links come, go and change under a cache, with the folders as they were long enough before to be
// kept and without.
func TestLinkCache(t *testing.T) {
	first, second := testhost.NewLoop(t, testhost.LoopOptions{Size: 1 << 20}), testhost.NewLoop(t, testhost.LoopOptions{Size: 1 << 20})
	for _, settled := range []bool{true, false} {
		root := t.TempDir()
		folder := root + "/dev/disk/by-id"
		must(t, os.MkdirAll(folder, 0o755))
		must(t, os.Symlink(first.Path, root+"/node"))
		must(t, os.Symlink(root+"/node", folder+"/disk"))
		c := blk.NewLinkCache(root)
		check := func(step string) {
			t.Helper()
			if settled {
				time.Sleep(150 * time.Millisecond) // so long a folder has to have been left alone
			}
			for range 2 {
				for _, disk := range []*testhost.Loop{first, second} {
					node, err := blk.StatNode(disk.Path)
					must(t, err)
					got := c.Of(node.Number)[node.Number]
					want := blk.ReadLinks(root, blk.DiskFolders(root)...)[node.Number]
					if !slices.Equal(got, want) {
						t.Errorf("%s: %s is called %q, want %q", step, disk.Path, got, want)
					}
				}
			}
		}
		check("new")
		must(t, os.Symlink(second.Path, folder+"/other"))
		check("a link more")
		must(t, os.Symlink(second.Path, folder+"/.new"))
		must(t, os.Rename(folder+"/.new", folder+"/disk"))
		check("a link changed")
		must(t, os.Symlink(root+"/node", folder+"/.new"))
		must(t, os.Rename(folder+"/.new", folder+"/disk"))
		check("and back")
		must(t, os.Remove(root+"/node"))
		must(t, os.Symlink(second.Path, root+"/node"))
		if node, err := blk.StatNode(first.Path); err != nil || len(c.Of(node.Number)[node.Number]) != 0 {
			t.Errorf("%v, %v: the node is another's", c.Of(node.Number), err)
		}
		must(t, os.Mkdir(root+"/dev/disk/by-path", 0o755))
		must(t, os.Symlink(first.Path, root+"/dev/disk/by-path/x"))
		check("a folder more")
		must(t, os.RemoveAll(folder))
		check("a folder less")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
