package unixsock

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor that a service manager passes: SD_LISTEN_FDS_START.
const firstFD = 3

// maxFDs bounds LISTEN_FDS: nobody passes that many, and a wrong number must not close what is ours.
const maxFDs = 256

// Activated takes over the sockets that a service manager passed to this process (sd_listen_fds(3)), or
// none. The environment variables that announce them are taken away, so that no child process believes
// they are meant for it. Closing one of these listeners leaves its file: that is the manager's.
func Activated() ([]*net.UnixListener, error) {
	defer func() {
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			os.Unsetenv(name)
		}
	}()
	return activated(os.Getenv, os.Getpid(), firstFD)
}

func activated(getenv func(string) string, pid, first int) ([]*net.UnixListener, error) {
	count, err := announced(getenv, pid)
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	names := strings.Split(getenv("LISTEN_FDNAMES"), ":")
	var all []*net.UnixListener
	for i := range count {
		l, err := takeOver(first + i)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, fmt.Errorf("socket activation: descriptor %d%s: %w", first+i, named(names, i), err)
		}
		all = append(all, l)
	}
	return all, nil
}

// announced is how many descriptors are meant for this process.
func announced(getenv func(string) string, pid int) (int, error) {
	if getenv("LISTEN_FDS") == "" || getenv("LISTEN_PID") == "" {
		return 0, nil
	}
	target, err := strconv.Atoi(getenv("LISTEN_PID"))
	if err != nil {
		return 0, fmt.Errorf("LISTEN_PID=%q is no number", getenv("LISTEN_PID"))
	}
	if target != pid {
		return 0, nil
	}
	count, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || count < 0 || count > maxFDs {
		return 0, fmt.Errorf("LISTEN_FDS=%q is no number from 0 to %d", getenv("LISTEN_FDS"), maxFDs)
	}
	return count, nil
}

func named(names []string, i int) string {
	if i >= len(names) || names[i] == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", names[i])
}

// takeOver makes a listener of a descriptor and closes the descriptor: the listener has one of its own.
func takeOver(fd int) (*net.UnixListener, error) {
	unix.CloseOnExec(fd)
	if err := judgeSocket(fd); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	l := ln.(*net.UnixListener)
	l.SetUnlinkOnClose(false)
	return l, nil
}

// judgeSocket lets pass a listening Unix stream socket and names anything else.
func judgeSocket(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("is no socket: %w", err)
	}
	if domain != unix.AF_UNIX {
		return fmt.Errorf("is %s, where only Unix sockets (ListenStream=/a/path) are taken", family(domain))
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_STREAM {
		return fmt.Errorf("is a Unix socket of another type (%s), where only stream sockets are taken", socketType(kind))
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if listening == 0 {
		return fmt.Errorf("does not listen: Accept=yes is not for this server")
	}
	return nil
}

func family(domain int) string {
	switch domain {
	case unix.AF_INET:
		return "an IPv4 socket"
	case unix.AF_INET6:
		return "an IPv6 socket"
	case unix.AF_NETLINK:
		return "a netlink socket"
	case unix.AF_VSOCK:
		return "a vsock socket"
	}
	return fmt.Sprintf("a socket of address family %d", domain)
}

func socketType(kind int) string {
	switch kind {
	case unix.SOCK_DGRAM:
		return "datagram"
	case unix.SOCK_SEQPACKET:
		return "sequential packets"
	}
	return strconv.Itoa(kind)
}
