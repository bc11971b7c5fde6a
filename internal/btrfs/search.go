package btrfs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"unsafe"
)

// errMalformed is an item or a search result whose lengths do not fit.
var errMalformed = errors.New("malformed item")

// Trees and object numbers of linux/btrfs_tree.h.
const (
	rootTree     = 1
	chunkTree    = 3
	topLevelTree = 5 // BTRFS_FS_TREE_OBJECTID
	quotaTree    = 8

	rootTreeDir  = 6   // folder in the root tree that names the default subvolume
	firstFree    = 256 // numbers of subvolumes begin here, and of a subvolume's inodes
	lastFree     = math.MaxUint64 - 255
	chunkObjects = 256 // BTRFS_FIRST_CHUNK_TREE_OBJECTID
)

// Types of items.
const (
	dirItem        = 84
	rootItem       = 132
	rootBackref    = 144
	chunkItem      = 228
	qgroupStatus   = 240
	qgroupInfo     = 242
	qgroupLimit    = 244
	qgroupRelation = 246
)

// key is where an item stands in a tree: items are in the order of object, type, offset.
type key struct {
	object uint64
	typ    uint8
	offset uint64
}

// next is the key behind k; false where k is the last there can be.
func (k key) next() (key, bool) {
	if k.offset++; k.offset != 0 {
		return k, true
	}
	if k.typ++; k.typ != 0 {
		return k, true
	}
	k.object++
	return k, k.object != 0
}

// compare orders keys as trees do.
func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.object, o.object), cmp.Compare(k.typ, o.typ), cmp.Compare(k.offset, o.offset))
}

// item is one item of a tree; its data is valid until the cursor moves.
type item struct {
	key
	data []byte
}

const (
	// searchHead is the part of struct btrfs_ioctl_search_args_v2 before the buffer: a key of 104
	// bytes and the buffer's size.
	searchHead = 112
	// searchBuffer is room for what the kernel finds at a time. No item is longer than a node, of at
	// most 64 KiB, so each fits.
	searchBuffer = 64 << 10
	// itemHead is struct btrfs_ioctl_search_header.
	itemHead = 32
)

// searchArgs is struct btrfs_ioctl_search_args_v2 with its buffer.
type searchArgs struct {
	tree                     uint64
	minObject, maxObject     uint64
	minOffset, maxOffset     uint64
	minTransid, maxTransid   uint64
	minType, maxType, nItems uint32
	_                        uint32
	_                        [4]uint64
	size                     uint64
	buf                      [searchBuffer]byte
}

var _ [searchHead]byte = [unsafe.Offsetof(searchArgs{}.buf)]byte{}

var searchPool = sync.Pool{New: func() any { return new(searchArgs) }}

// cursor walks the items of a tree between two keys, in their order, whatever their types: the kernel
// compares whole keys. What is added or removed under way may or may not be met.
type cursor struct {
	f        *Filesystem
	ctx      context.Context
	op       string
	tree     uint64
	from, to key

	args *searchArgs // from the pool; nil before the first call and behind the last
	rest []byte      // what was found and not looked at yet
	left uint32      // how many items that is
	done bool
	item item
	err  error

	valid bool // for those who walk with advance: item is one
}

func (f *Filesystem) search(ctx context.Context, op string, tree uint64, from, to key) *cursor {
	return &cursor{f: f, ctx: ctx, op: op, tree: tree, from: from, to: to}
}

// next steps to the next item; false at the end and where err is set. Behind that nothing has to be
// closed; a walk that is given up earlier ends with close.
func (c *cursor) next() bool {
	for c.left == 0 {
		if c.done || c.err != nil || !c.fill() {
			c.close()
			return false
		}
	}
	var err error
	if c.item, c.rest, err = cutItem(c.rest); err != nil {
		c.err = c.wrap(err)
		c.close()
		return false
	}
	c.left--
	if c.left == 0 {
		var more bool
		c.from, more = c.item.key.next()
		c.done = !more
	}
	return true
}

// fill asks the kernel for the items from c.from on; false where there are none or the kernel refused.
func (c *cursor) fill() bool {
	if c.args == nil {
		c.args = searchPool.Get().(*searchArgs)
	}
	a := c.args
	a.tree = c.tree
	a.minObject, a.minOffset, a.minType = c.from.object, c.from.offset, uint32(c.from.typ)
	a.maxObject, a.maxOffset, a.maxType = c.to.object, c.to.offset, uint32(c.to.typ)
	a.minTransid, a.maxTransid = 0, math.MaxUint64
	a.nItems, a.size = math.MaxUint32, searchBuffer
	if err := ioctl(c.ctx, c.f, c.op, sysAdmin, iocTreeSearchV2, a); err != nil {
		c.err = err
		if !isOpError(err) {
			c.args = nil // the call may be under way still: nobody else gets its buffer
		}
		return false
	}
	c.rest, c.left = a.buf[:], a.nItems
	return c.left > 0
}

func isOpError(err error) bool {
	var op *OpError
	return errors.As(err, &op)
}

func (c *cursor) close() {
	if c.args != nil {
		searchPool.Put(c.args)
	}
	c.args, c.left, c.done = nil, 0, true
}

func (c *cursor) wrap(err error) error {
	return &OpError{Op: c.op, Path: c.f.path, Err: err}
}

// cutItem takes the first item off what a search found: transid, object, offset, type, length, data.
func cutItem(b []byte) (item, []byte, error) {
	if len(b) < itemHead {
		return item{}, nil, errMalformed
	}
	length := binary.LittleEndian.Uint32(b[28:])
	end := itemHead + int(length)
	typ := binary.LittleEndian.Uint32(b[24:])
	if end < itemHead || end > len(b) || typ > math.MaxUint8 {
		return item{}, nil, errMalformed
	}
	return item{
		key:  key{binary.LittleEndian.Uint64(b[8:]), uint8(typ), binary.LittleEndian.Uint64(b[16:])},
		data: b[itemHead:end:end],
	}, b[end:], nil
}
