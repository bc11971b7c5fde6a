package blk

import (
	"math"

	"golang.org/x/sys/unix"
)

// getZoneSize is BLKGETZONESZ of linux/blkzoned.h: sectors of a zone, 0 of a device without.
const getZoneSize = 0x80041284

// Told is what an open device tells of itself by ioctl(2) (linux/fs.h, linux/loop.h), in bytes. Sysfs tells the same,
// at ten times the cost: a file is to be opened there for each.
type Told struct {
	ReadOnly, Rotational, Zoned         bool
	AlignmentOffset                     int64 // -1: misaligned
	LogicalBlockSize, PhysicalBlockSize int64
	MinimumIOSize, OptimalIOSize        int64
	ReadAhead                           int64

	loop *Loop // of an attached loop device, without the name of its file
}

// Tell asks the device; nil where a kernel does not answer all of it. kind is what Disk has. It may hang as a read may.
func (d *Device) Tell(kind string) *Told {
	var failed error
	number := func(request uint) uint32 {
		v, err := unix.IoctlGetUint32(d.fd, request)
		if err != nil {
			failed = err
		}
		return v
	}
	t := &Told{
		ReadOnly:          number(unix.BLKROGET) != 0,
		Rotational:        number(unix.BLKROTATIONAL) != 0,
		Zoned:             number(getZoneSize) != 0,
		AlignmentOffset:   int64(int32(number(unix.BLKALIGNOFF))),
		LogicalBlockSize:  int64(number(unix.BLKSSZGET)),
		PhysicalBlockSize: int64(number(unix.BLKPBSZGET)),
		MinimumIOSize:     int64(number(unix.BLKIOMIN)),
		OptimalIOSize:     int64(number(unix.BLKIOOPT)),
	}
	ahead, err := unix.IoctlGetInt(d.fd, unix.BLKRAGET) // in sectors, a long
	if failed != nil || err != nil {
		return nil
	}
	t.ReadAhead = int64(min(ahead, math.MaxInt64/sector)) * sector
	if kind == "loop" {
		t.loop = d.loop()
	}
	return t
}

// loop is nil for a loop device that is attached to nothing.
func (d *Device) loop() *Loop {
	l, err := unix.IoctlLoopGetStatus64(d.fd)
	if err != nil {
		return nil
	}
	has := func(flag uint32) Fact[bool] { return known(l.Flags&flag != 0) }
	return &Loop{
		Offset:    known(int64(min(l.Offset, math.MaxInt64))),
		SizeLimit: known(int64(min(l.Sizelimit, math.MaxInt64))),
		Autoclear: has(unix.LO_FLAGS_AUTOCLEAR),
		Partscan:  has(unix.LO_FLAGS_PARTSCAN),
		DirectIO:  has(unix.LO_FLAGS_DIRECT_IO),
	}
}

// queue is the part of the folder queue that the device tells.
func (t *Told) queue() Queue {
	q := Queue{
		LogicalBlockSize:  known(t.LogicalBlockSize),
		PhysicalBlockSize: known(t.PhysicalBlockSize),
		MinimumIOSize:     known(t.MinimumIOSize),
		OptimalIOSize:     known(t.OptimalIOSize),
		Rotational:        known(t.Rotational),
		ReadAhead:         known(t.ReadAhead),
	}
	if !t.Zoned {
		q.Zoned = "none"
	}
	return q
}
