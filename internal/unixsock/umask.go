package unixsock

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// umaskMu guards the umask of the process where withoutUmask has to change that.
var umaskMu sync.Mutex

// withoutUmask runs f on a thread that takes nothing away from the modes f asks for. bind(2) and
// mkdir(2) apply the umask, and a chmod afterwards leaves a moment with the wrong mode and follows a
// link that somebody put there meanwhile.
//
// The thread has a umask of its own (unshare(CLONE_FS)) and ends with the call, so that files made by
// the rest of the process keep theirs. Where a container forbids unshare, the umask of the whole
// process is lifted for as long as f takes.
func withoutUmask(f func() error) error {
	done := make(chan error)
	go func() {
		umaskMu.Lock()
		defer umaskMu.Unlock()
		runtime.LockOSThread()
		if unix.Unshare(unix.CLONE_FS) != nil {
			defer runtime.UnlockOSThread()
		}
		old := unix.Umask(0)
		err := f()
		unix.Umask(old)
		done <- err
	}()
	return <-done
}
