package rtnl

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NewTap is a tap interface to be made (tun(4)).
type NewTap struct {
	Name       string
	OwnerUID   *uint32 // who may open it besides CAP_NET_ADMIN; nil: nobody
	OwnerGID   *uint32
	MultiQueue bool // IFF_MULTI_QUEUE
	VnetHdr    bool // IFF_VNET_HDR
}

// TapError is a step of making a tap that failed.
type TapError struct {
	Op   string // as in "add tap tap0"
	Call string // as in TUNSETIFF
	Err  error
}

// Error is "op: call: cause".
func (e *TapError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Op, e.Call, e.Err) }

// Unwrap returns the cause, a syscall.Errno where the kernel refused.
func (e *TapError) Unwrap() error { return e.Err }

// Capability names what the process lacks where that is why the kernel refused.
func (e *TapError) Capability() string {
	if errors.Is(e.Err, syscall.EPERM) {
		return "CAP_NET_ADMIN"
	}
	return ""
}

// AddTap makes a persistent tap interface in the network namespace of the calling thread, down. device is
// the path of the clone device, /dev/net/tun. That something has the name is EBUSY, EINVAL or, where a tap
// has it, EEXIST. (TUNSETIFF would attach to that one: IFF_TUN_EXCL refuses it.)
func AddTap(device string, t NewTap) error {
	op := "add tap " + t.Name
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return &TapError{op, "open " + device, err}
	}
	defer unix.Close(fd)
	for _, s := range t.steps() {
		if err := s.run(fd); err != nil {
			// A tap that is not persistent yet goes with the descriptor.
			return &TapError{op, s.name, err}
		}
	}
	return nil
}

// tapStep is one ioctl.
type tapStep struct {
	name string
	run  func(fd int) error
}

func (t *NewTap) steps() []tapStep {
	set := func(name string, request uint, value int) tapStep {
		return tapStep{name, func(fd int) error { return unix.IoctlSetInt(fd, request, value) }}
	}
	steps := []tapStep{{"TUNSETIFF", t.attach}}
	if t.OwnerUID != nil {
		steps = append(steps, set("TUNSETOWNER", unix.TUNSETOWNER, int(*t.OwnerUID)))
	}
	if t.OwnerGID != nil {
		steps = append(steps, set("TUNSETGROUP", unix.TUNSETGROUP, int(*t.OwnerGID)))
	}
	return append(steps, set("TUNSETPERSIST", unix.TUNSETPERSIST, 1))
}

func (t *NewTap) attach(fd int) error {
	var r struct { // struct ifreq
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	if len(t.Name) >= len(r.name) {
		return os.ErrInvalid
	}
	copy(r.name[:], t.Name)
	r.flags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL
	if t.MultiQueue {
		r.flags |= unix.IFF_MULTI_QUEUE
	}
	if t.VnetHdr {
		r.flags |= unix.IFF_VNET_HDR
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return errno
	}
	return nil
}
