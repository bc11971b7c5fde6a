package netops

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/registry"
)

// hostFiles is the one key of the files that other network managers keep: they are on one file system or a
// few, and a call reads all of them.
type hostFiles struct{}

// newFilesGroup bounds how many calls may hang in reading those files.
func newFilesGroup() *hang.Group[hostFiles] { return hang.New[hostFiles](hang.DefaultLimits()) }

// readFiles runs f with a reader of the host's files. f goes on by itself where ctx ends, so it must not
// touch what its caller still uses.
func readFiles[T any](ctx context.Context, n *Net, f func(*netconf.Reader) T) (T, error) {
	inode := n.netnsInode()
	result, err := hang.Do(ctx, n.files, hostFiles{}, func() (T, error) {
		r := netconf.NewReader(n.options.Root)
		r.NetNS = inode
		return f(r), nil
	})
	var busy *hang.BusyError
	if errors.As(err, &busy) || errors.Is(err, hang.ErrExhausted) {
		err = &registry.ResourceExhaustedError{
			ResourceExhaustedData: registry.ResourceExhaustedData{Limit: "hung_calls"},
			Message:               "files of the network managers do not answer: " + err.Error(),
		}
	}
	return result, err
}

// netnsInode is what /proc/PID/ns/net of a process in the Net's namespace names; 0 where that is not
// known.
func (n *Net) netnsInode() uint64 {
	var info os.FileInfo
	var err error
	if n.netns != nil {
		info, err = n.netns.Stat()
	} else {
		info, err = os.Stat("/proc/self/ns/net")
	}
	if err != nil {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
