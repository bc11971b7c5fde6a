package rtnl

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// deviceRequest is the argument of the netdevice(7) ioctls that are asked here. They take any socket
// and act in its network namespace, so they go over the rtnetlink socket, and are answered while a
// dump is under way. A name costs a tenth of what RTM_GETLINK costs.
type deviceRequest struct {
	index    ifreqIndex
	ethtool  ifreqEthtool
	settings ethtoolCmd

	cmd   uintptr
	arg   unsafe.Pointer
	errno syscall.Errno
	ioctl func(fd uintptr)
}

// ifreqIndex and ifreqEthtool are struct ifreq: a name, and a union of 24 bytes.
type ifreqIndex struct {
	name  [unix.IFNAMSIZ]byte
	index int32
	_     [20]byte
}

type ifreqEthtool struct {
	name [unix.IFNAMSIZ]byte
	data *ethtoolCmd
	_    [16]byte
}

// ethtoolCmd is struct ethtool_cmd of ETHTOOL_GSET, which every driver answers in one call; the newer
// ETHTOOL_GLINKSETTINGS needs two, and says the same of speed and duplex.
type ethtoolCmd struct {
	cmd       uint32
	_         [2]uint32 // supported, advertising
	speed     uint16    // low half of Mbit/s
	duplex    uint8
	_         [5]uint8 // port, phy_address, transceiver, autoneg, mdio_support
	_         [2]uint32
	speedHigh uint16
	_         [2]uint8
	_         [3]uint32
}

// LinkName returns the name of the interface with an index, which changes when it is renamed. That
// there is none is ENODEV.
func (c *Conn) LinkName(index int) (string, error) {
	r := &c.device
	r.index = ifreqIndex{index: int32(index)}
	if err := c.ioctl(unix.SIOCGIFNAME, unsafe.Pointer(&r.index)); err != nil {
		return "", err
	}
	return string(nlsock.Text(r.index.name[:])), nil
}

// LinkIndex returns the index of the interface with a name of at most 15 bytes, an alternative name
// too. That there is none is ENODEV.
func (c *Conn) LinkIndex(name string) (int, error) {
	r := &c.device
	r.index = ifreqIndex{}
	if len(name) >= len(r.index.name) {
		return 0, syscall.ENODEV
	}
	copy(r.index.name[:], name)
	if err := c.ioctl(unix.SIOCGIFINDEX, unsafe.Pointer(&r.index)); err != nil {
		return 0, err
	}
	return int(r.index.index), nil
}

// LinkFlags returns the lower half of an interface's IFF_* flags. That there is none is ENODEV.
func (c *Conn) LinkFlags(name string) (uint32, error) {
	r := &c.device
	r.index = ifreqIndex{}
	copy(r.index.name[:unix.IFNAMSIZ-1], name)
	if err := c.ioctl(unix.SIOCGIFFLAGS, unsafe.Pointer(&r.index)); err != nil {
		return 0, err
	}
	return uint32(uint16(r.index.index)), nil // ifr_flags is the first short of the union
}

// LinkSettings is what a driver says of the wire.
type LinkSettings struct {
	Mbps   uint32 // 0: not known
	Duplex uint8  // DUPLEX_HALF 0, DUPLEX_FULL 1, DUPLEX_UNKNOWN 255
}

// The values of LinkSettings.Duplex (linux/ethtool.h).
const (
	DuplexHalf    = 0
	DuplexFull    = 1
	DuplexUnknown = 255
)

// LinkSettings asks the driver of the interface with a name for speed and duplex. A driver that has
// none to tell is EOPNOTSUPP.
func (c *Conn) LinkSettings(name string) (LinkSettings, error) {
	r := &c.device
	r.settings = ethtoolCmd{cmd: unix.ETHTOOL_GSET}
	r.ethtool = ifreqEthtool{data: &r.settings}
	copy(r.ethtool.name[:unix.IFNAMSIZ-1], name)
	if err := c.ioctl(unix.SIOCETHTOOL, unsafe.Pointer(&r.ethtool)); err != nil {
		return LinkSettings{}, err
	}
	s := LinkSettings{Mbps: uint32(r.settings.speedHigh)<<16 | uint32(r.settings.speed), Duplex: r.settings.duplex}
	if s.Mbps == unknownSpeed {
		s.Mbps = 0
	}
	return s, nil
}

const unknownSpeed = 0xffffffff // SPEED_UNKNOWN

// ioctl runs cmd on the socket. The callback is made once; the request lives in c, where arg points.
func (c *Conn) ioctl(cmd uintptr, arg unsafe.Pointer) error {
	r := &c.device
	if r.ioctl == nil {
		r.ioctl = r.run
	}
	r.cmd, r.arg = cmd, arg
	if err := c.sock.Control(r.ioctl); err != nil {
		return err
	}
	if r.errno != 0 {
		return os.NewSyscallError("ioctl", r.errno)
	}
	return nil
}

func (r *deviceRequest) run(fd uintptr) {
	_, _, r.errno = unix.Syscall(unix.SYS_IOCTL, fd, r.cmd, uintptr(r.arg))
}
