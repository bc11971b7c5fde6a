package btrfs

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"syscall"
)

// QgroupID names a quota group: the level in the upper 16 bits, below it a number, at level 0 that of
// the subvolume.
type QgroupID uint64

// String is the usual form, LEVEL/NUMBER.
func (id QgroupID) String() string {
	return strconv.FormatUint(uint64(id>>48), 10) + "/" + strconv.FormatUint(uint64(id)&(1<<48-1), 10)
}

// Qgroup is what a quota group accounts for and allows, in bytes.
type Qgroup struct {
	ID            QgroupID
	Referenced    uint64     // all that can be reached
	Exclusive     uint64     // what nothing else refers to
	MaxReferenced Limit      // of Referenced
	MaxExclusive  Limit      // of Exclusive
	Parents       []QgroupID // groups that it belongs to
}

// Limit is a limit in bytes, where there is one: a limit of 0 allows nothing.
type Limit struct {
	Set   bool
	Bytes uint64
}

// QuotaStatus is struct btrfs_qgroup_status_item, as the last commit wrote it, with the state of a
// rescan as it is now.
type QuotaStatus struct {
	On           bool
	Simple       bool // simple quotas (6.7): no sharing is accounted for
	Inconsistent bool
	Rescanning   bool
}

// Bits of the status item's flags.
const (
	quotaOn = 1 << iota
	quotaRescan
	quotaInconsistent
	quotaSimple
)

// QuotaStatus reads whether quotas are on, and whether they can be relied upon.
func (f *Filesystem) QuotaStatus(ctx context.Context) (QuotaStatus, error) {
	at := key{0, qgroupStatus, 0}
	c := f.search(ctx, "read quotas of", quotaTree, at, at)
	defer c.close()
	if !c.next() {
		if c.err == nil || errors.Is(c.err, syscall.ENOENT) { // no such tree
			return QuotaStatus{}, nil
		}
		return QuotaStatus{}, c.err
	}
	if len(c.item.data) < 24 {
		return QuotaStatus{}, c.wrap(errMalformed)
	}
	flags := binary.LittleEndian.Uint64(c.item.data[16:])
	rescanning, err := f.rescanning(ctx)
	return QuotaStatus{
		On:           flags&quotaOn != 0,
		Simple:       flags&quotaSimple != 0,
		Inconsistent: flags&quotaInconsistent != 0,
		Rescanning:   rescanning,
	}, err
}

// rescanning asks whether a rescan runs (BTRFS_IOC_QUOTA_RESCAN_STATUS).
func (f *Filesystem) rescanning(ctx context.Context) (bool, error) {
	a := new([8]uint64) // struct btrfs_ioctl_quota_rescan_args
	err := ioctl(ctx, f, "read quota rescan of", sysAdmin, iocQuotaRescanStatus, a)
	return err == nil && a[0] != 0, err
}

// QgroupWalk finds the quota groups of subvolumes, one after the other in the order of their numbers,
// by walking along the three kinds of items that a group is made of.
type QgroupWalk struct {
	info, limit, relation *cursor
}

// SubvolumeQgroups begins a walk over the groups of level 0. It must end in Close.
func (f *Filesystem) SubvolumeQgroups(ctx context.Context) *QgroupWalk {
	return f.qgroupsFrom(ctx, firstFree)
}

// qgroupsFrom begins the walk at a subvolume.
func (f *Filesystem) qgroupsFrom(ctx context.Context, first uint64) *QgroupWalk {
	const last = 1<<48 - 1
	search := func(from, to key) *cursor {
		c := f.search(ctx, "read quotas of", quotaTree, from, to)
		c.advance()
		return c
	}
	return &QgroupWalk{
		info:     search(key{0, qgroupInfo, first}, key{0, qgroupInfo, last}),
		limit:    search(key{0, qgroupLimit, first}, key{0, qgroupLimit, last}),
		relation: search(key{first, qgroupRelation, 0}, key{last, qgroupRelation, ^uint64(0)}),
	}
}

// Close ends the walk.
func (w *QgroupWalk) Close() {
	w.info.close()
	w.limit.close()
	w.relation.close()
}

// Find reads the group of a subvolume into q; false where it has none. Numbers must grow from call to
// call. q.Parents is used again.
func (w *QgroupWalk) Find(subvolume uint64, q *Qgroup) (found bool, err error) {
	*q = Qgroup{ID: QgroupID(subvolume), Parents: q.Parents[:0]}
	if w.info.advanceTo(key{0, qgroupInfo, subvolume}) {
		found = true
		err = q.parseInfo(w.info.item.data)
	}
	if err == nil && w.limit.advanceTo(key{0, qgroupLimit, subvolume}) {
		err = q.parseLimit(w.limit.item.data)
	}
	if err != nil {
		return false, w.info.wrap(err)
	}
	for from := (key{subvolume, qgroupRelation, 0}); ; {
		at, ok := w.relation.atLeast(from)
		if !ok || at.object != subvolume {
			break
		}
		// Each relation stands there twice, from the child and from the parent; of a group of level 0
		// only the first occurs.
		if at.typ == qgroupRelation {
			q.Parents = append(q.Parents, QgroupID(at.offset))
		}
		if from, ok = at.next(); !ok {
			break
		}
	}
	return found, w.err()
}

func (w *QgroupWalk) err() error {
	for _, c := range [...]*cursor{w.info, w.limit, w.relation} {
		if c.err != nil && !errors.Is(c.err, syscall.ENOENT) {
			return c.err
		}
	}
	return nil
}

// parseInfo reads struct btrfs_qgroup_info_item: generation, referenced, compressed, exclusive,
// compressed.
func (q *Qgroup) parseInfo(b []byte) error {
	if len(b) < 40 {
		return errMalformed
	}
	q.Referenced, q.Exclusive = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[24:])
	return nil
}

// Bits of a limit's flags: which of its values count.
const (
	limitReferenced = 1 << iota
	limitExclusive
)

// parseLimit reads struct btrfs_qgroup_limit_item: flags, referenced, exclusive and two that the
// kernel does not enforce. A limit counts where its flag is set.
func (q *Qgroup) parseLimit(b []byte) error {
	if len(b) < 40 {
		return errMalformed
	}
	le := binary.LittleEndian
	flags := le.Uint64(b)
	if flags&limitReferenced != 0 {
		q.MaxReferenced = Limit{true, le.Uint64(b[8:])}
	}
	if flags&limitExclusive != 0 {
		q.MaxExclusive = Limit{true, le.Uint64(b[16:])}
	}
	return nil
}

// advance steps to the next item and remembers whether there is one.
func (c *cursor) advance() { c.valid = c.next() }

// atLeast steps to the first item whose key is k or behind it.
func (c *cursor) atLeast(k key) (key, bool) {
	for c.valid && c.item.key.compare(k) < 0 {
		c.advance()
	}
	return c.item.key, c.valid
}

// advanceTo steps to the item with the key k; false where there is none.
func (c *cursor) advanceTo(k key) bool {
	at, ok := c.atLeast(k)
	return ok && at == k
}
