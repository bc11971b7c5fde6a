package blk

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long Watch gathers events before it tells of them: a disk comes with its partitions.
const settle = 200 * time.Millisecond

// Watch tells when block devices come or change, by the kernel's own events (NETLINK_KOBJECT_UEVENT). What is
// sent is a hint to look: several events become one, and lost ones become one too. The channel is closed when
// ctx ends. The error is that of opening the socket.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	f := os.NewFile(uintptr(fd), "uevents") // the poller waits, so that Close ends a read
	stop := context.AfterFunc(ctx, func() { f.Close() })
	events := make(chan struct{}, 1)
	go func() {
		defer stop()
		defer close(events)
		defer f.Close()
		watch(f, events)
	}()
	return events, nil
}

func watch(f *os.File, events chan<- struct{}) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 16<<10)
	// Once the kernel has dropped an event it drops all that come, without a further word, until the last that it
	// kept was received (netlink_overrun in net/netlink/af_netlink.c).
	for dropping := false; ; {
		n, err := receive(raw, buf, !dropping)
		switch {
		case err == unix.ENOBUFS:
			dropping = true
			continue
		case err == unix.EAGAIN:
			dropping = false
		case err != nil:
			return
		case !isBlockEvent(buf[:n]):
			continue
		}
		time.Sleep(settle)
		select {
		case events <- struct{}{}:
		default: // one is waiting to be taken
		}
	}
}

// receive takes one event. Where there is none, it waits, or fails with EAGAIN.
func receive(raw syscall.RawConn, buf []byte, wait bool) (n int, err error) {
	closed := raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), buf)
		return err != unix.EAGAIN || !wait
	})
	return n, cmp.Or(closed, err)
}

// isBlockEvent tells whether a message of the kernel is of a block device that came or changed: a heading
// "add@/devices/…", then NAME=value, each ended by a NUL.
func isBlockEvent(b []byte) bool {
	if !bytes.HasPrefix(b, []byte("add@")) && !bytes.HasPrefix(b, []byte("change@")) {
		return false
	}
	return bytes.Contains(b, []byte("\x00SUBSYSTEM=block\x00"))
}
