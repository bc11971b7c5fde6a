package unixsock

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long to wait for a lock that its holders keep for a few system calls.
const lockPatience = 5 * time.Second

// errLocked says that somebody kept the lock far longer than it takes to make a socket.
var errLocked = errors.New("another process keeps the lock")

// lock takes the lock file at path, which only its owner can open and which stays when it is let go:
// removing it would let two processes each lock a file of their own.
func lock(path string) (unlock func(), err error) {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { unix.Close(fd) }, nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
		case time.Since(start) < lockPatience:
			continue
		default:
			err = errLocked
		}
		unix.Close(fd)
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
}
