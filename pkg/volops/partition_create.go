package volops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/gpt"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// partitionTypes are the GUIDs of the types that have a name in the table of methods.
var partitionTypes = map[string]string{
	"linux":    "0fc63daf-8483-4772-8e79-3d69d8477de4",
	"efi":      "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
	"swap":     "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
	"raid":     "a19d880f-05fc-4d3b-a006-743f0f84911e",
	"lvm":      "e6d6d379-f507-44c2-a23c-238f2a3df928",
	"luks":     "ca7d7ccb-63ed-4c53-861c-1742536059cc",
	"home":     "933ac7e1-2eb4-4f13-b844-0e14e2aef915",
	"srv":      "3b8f8425-20e0-4f3b-907f-1a25a76f98e8",
	"bios":     "21686148-6449-6e6f-744e-656564454649",
	"xbootldr": "bc13c2ff-59e6-4262-a352-b275fd6f7172",
}

// wantPartition is a partition as a call asks for it.
type wantPartition struct {
	typ, uuid        string // GUIDs; uuid is empty where none was given
	typGiven         bool
	label            registry.Opt[string]
	start, size      int64 // bytes
	startGiven, rest bool
}

func parseWantPartition(p *registry.VolCreatePartitionParams) (*wantPartition, error) {
	typ, given := p.Type.Get()
	w := &wantPartition{typ: cmp.Or(partitionTypes[cmp.Or(typ, "linux")], typ), typGiven: given, label: p.Label, uuid: p.UUID.Or(""), rest: !p.SizeBytes.IsSet()}
	w.start, w.startGiven = p.StartBytes.Get()
	w.size = alignUp(p.SizeBytes.Or(0))
	var faults []registry.Fault
	if w.start%freeAlignment != 0 {
		faults = append(faults, registry.Fault{Path: "start_bytes", Message: fmt.Sprintf("must be a multiple of %d, not %d", freeAlignment, w.start)})
	}
	if isNilUUID(w.typ) { // to every reader of the table the entry would be none
		faults = append(faults, registry.Fault{Path: "type", Message: "must not be all zeros, which says that an entry of the table is not used"})
	}
	if isNilUUID(w.uuid) {
		faults = append(faults, registry.Fault{Path: "uuid", Message: nilUUIDFault})
	}
	if n := len(utf16.Encode([]rune(p.Label.Or("")))); n > 36 {
		faults = append(faults, registry.Fault{Path: "label", Message: fmt.Sprintf("must be at most 36 units of UTF-16, not %d", n)})
	}
	if len(faults) > 0 {
		return nil, &registry.ParamsError{Faults: faults}
	}
	return w, nil
}

// CreatePartition answers vol.create_partition.
func (v *Vol) CreatePartition(ctx context.Context, p *registry.VolCreatePartitionParams) (*registry.VolCreatePartitionResult, error) {
	want, err := parseWantPartition(p)
	if err != nil {
		return nil, err
	}
	h, err := v.devicesOf(ctx, "disk", []string{p.Disk}, expectations(p.Expect))
	if err != nil {
		return nil, notApplied(err)
	}
	defer h.close()
	t := h.targets[0]
	if t.partition != nil {
		return nil, &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: "disk", ID: p.Disk},
			Message:      fmt.Sprintf("%s is no whole disk; %s is", p.Disk, nodePath(t.whole)),
		}
	}
	m := &partitionMaker{target: t, want: want}
	defer m.close()
	r, err := m.make(ctx)
	if err != nil {
		return nil, err
	}
	v.settle(h.targets, tableWrites...)
	return r, m.answer(ctx, r)
}

// expectations is a list of one, or none.
func expectations(e *registry.DeviceExpectation) []registry.DeviceExpectation {
	if e == nil {
		return nil
	}
	return []registry.DeviceExpectation{*e}
}

// partitionMaker makes one partition on one disk.
type partitionMaker struct {
	*target
	want   *wantPartition
	file   *os.File // the disk, locked and open for writing
	table  *gpt.Table
	number int
	extent stretch
}

func (m *partitionMaker) close() {
	if m.file != nil {
		m.file.Close()
	}
}

// tableWrites are the methods that change partition tables.
var tableWrites = []string{"vol.create_partition", "vol.resize_max"}

func (m *partitionMaker) make(ctx context.Context) (*registry.VolCreatePartitionResult, error) {
	if err := m.mend(ctx); err != nil {
		return nil, notApplied(err)
	}
	stands, err := m.standing()
	if err != nil {
		return nil, err
	}
	if stands != nil && m.inKernel(stands.Number) {
		m.number, m.extent = stands.Number, stretch{stands.Start, stands.End()}
		return &registry.VolCreatePartitionResult{}, nil
	}
	if err := m.closed(ctx); err != nil {
		return nil, err
	}
	if err := m.open(ctx); err != nil {
		return nil, notApplied(err)
	}
	if stands != nil { // a call that was cut off left it without a node
		m.number, m.extent = stands.Number, stretch{stands.Start, stands.End()}
		return &registry.VolCreatePartitionResult{}, m.addNode(ctx)
	}
	r := &registry.VolCreatePartitionResult{Created: true, TableCreated: m.contents.Table == nil}
	if err := m.plan(ctx); err != nil {
		return nil, notApplied(err)
	}
	if err := m.wholeFree(ctx); err != nil {
		return nil, notApplied(err)
	}
	return r, m.write(ctx)
}

// mend makes a table whole that a change of ours was cut off on: what the new one begins with is then the old
// table or the one that was to be.
func (m *partitionMaker) mend(ctx context.Context) error {
	if len(m.cutOff(tableWrites...)) == 0 {
		return nil
	}
	if err := m.open(ctx); err != nil {
		return err
	}
	err := m.do(ctx, func() error {
		phases, _, err := gpt.Mend(m.file, m.size, m.sector)
		if errors.Is(err, gpt.ErrNone) || errors.Is(err, gpt.ErrLayout) { // the first write was the one that failed
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(gpt.Apply(m.file, phases), m.file.Sync())
	})
	if err != nil {
		return fmt.Errorf("mend the partition table of %s: %w", m.path(), err)
	}
	return m.look(ctx)
}

// standing finds the partition with the uuid that was asked for. The error is a conflict where it is of
// another type or label.
func (m *partitionMaker) standing() (*ondisk.Partition, error) {
	t := m.contents.Table
	if m.want.uuid == "" || t == nil || t.Type != "gpt" {
		return nil, nil
	}
	for i := range t.Partitions {
		e := &t.Partitions[i]
		if e.UUID != m.want.uuid {
			continue
		}
		var differences []registry.Difference
		if m.want.typGiven && e.Type != m.want.typ {
			differences = append(differences, registry.Difference{Field: "type", Existing: e.Type, Asked: m.want.typ})
		}
		if label, given := m.want.label.Get(); given && e.Name != label {
			differences = append(differences, registry.Difference{Field: "label", Existing: e.Name, Asked: label})
		}
		if len(differences) > 0 {
			return nil, &registry.ConflictError{
				ConflictData: registry.ConflictData{Resource: "partition", ID: e.UUID, Differences: differences},
				Message:      fmt.Sprintf("partition %d of %s has that uuid and another %s", e.Number, m.path(), differences[0].Field),
			}
		}
		return e, nil
	}
	return nil, nil
}

func (m *partitionMaker) inKernel(number int) bool {
	for _, p := range m.disk.Partitions {
		if p.Index == number {
			return true
		}
	}
	return false
}

// open opens the disk for writing and locks it against udev and other tools, then reads it once more: now
// nobody who keeps to the lock changes it.
func (m *partitionMaker) open(ctx context.Context) error {
	if m.file != nil {
		return nil
	}
	s, err := blk.Open(m.v.root)
	if err != nil {
		return err
	}
	defer s.Close()
	if !s.Partitionable(m.name) {
		return &registry.UnsupportedError{
			UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonKernel, Missing: registry.Some("partitions of " + m.path())},
			Message:         fmt.Sprintf("the kernel takes no partitions on %s; a loop must be attached with partition scanning (losetup -P)", m.path()),
		}
	}
	if m.file, err = blk.OpenNode(m.v.root+m.path(), m.target.number, unix.O_RDWR); err != nil {
		return err
	}
	for end := time.Now().Add(settleTime); ; time.Sleep(settleStep) {
		err := blk.Lock(m.file)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			if err != nil {
				return fmt.Errorf("lock %s: %w", m.path(), err)
			}
			break
		}
		if time.Now().After(end) {
			return m.inUse([]inuse.Holder{{Kind: inuse.Kernel, Name: "flock"}})
		}
	}
	return m.look(ctx)
}

// plan finds the extent and enters the partition into the table.
func (m *partitionMaker) plan(ctx context.Context) error {
	if err := m.readTable(ctx); err != nil {
		return err
	}
	l := &diskScan{diskList: &diskList{v: m.v}}
	whole := *cmp.Or(m.contents.Table, &ondisk.Table{})
	var table *ondisk.Table
	if m.contents.Table != nil {
		first, last := m.table.Usable()
		whole.FirstLBA, whole.LastLBA, table = first, last, &whole
	}
	var err error
	if m.extent, err = m.choose(freeExtents(m.size, m.sector, table, l.taken(m.disk, m.contents))); err != nil {
		return err
	}
	return m.enter()
}

// readTable reads the table, or makes one for a blank disk.
func (m *partitionMaker) readTable(ctx context.Context) (err error) {
	c := m.contents
	switch {
	case c.Table == nil && (c.Signature != nil || len(m.disk.Partitions) > 0):
		what := "partitions that no table lists"
		if c.Signature != nil {
			what = c.Signature.Type
		}
		return m.conflict(fmt.Sprintf("%s bears %s as a whole and no partition table", m.path(), what))
	case c.Table == nil:
		m.table, err = gpt.New(m.size, m.sector, gpt.RandomGUID())
	case c.Table.Type != "gpt":
		return m.conflict(fmt.Sprintf("%s has a partition table of type %s, not gpt", m.path(), c.Table.Type))
	default:
		m.table, err = hang.Do(ctx, m.v.calls, m.target.number, func() (*gpt.Table, error) { return gpt.Read(m.file, m.size, m.sector) })
		if err == nil {
			m.table.ToEnd()
		}
	}
	switch {
	case errors.Is(err, gpt.ErrDamaged), errors.Is(err, gpt.ErrNone):
		return refused("table_damaged", "", fmt.Sprintf("a copy of the partition table of %s is damaged: mend it first, as with sgdisk -e or gdisk", m.path()))
	case errors.Is(err, gpt.ErrLayout):
		return m.conflict(fmt.Sprintf("%s: %v", m.path(), err))
	}
	return waiting(err, m.path())
}

func (m *partitionMaker) conflict(message string) error {
	return &registry.ConflictError{ConflictData: registry.ConflictData{Resource: "disk", ID: m.path()}, Message: message}
}

// choose takes the extent that was asked for out of the free ones.
func (m *partitionMaker) choose(free []stretch) (stretch, error) {
	var best stretch
	for _, e := range free {
		if m.want.startGiven {
			if m.want.start < e.start || m.want.start >= e.end {
				continue
			}
			e.start = m.want.start
		}
		if m.want.rest {
			if e.end-e.start > best.end-best.start {
				best = e
			}
			continue
		}
		if e.end-e.start >= m.want.size {
			return stretch{e.start, e.start + m.want.size}, nil
		}
		best = stretch{e.start, max(best.end-best.start, e.end-e.start) + e.start}
	}
	if m.want.rest && best.end > best.start {
		return best, nil
	}
	longest := best.end - best.start
	return stretch{}, &registry.ResourceExhaustedError{
		ResourceExhaustedData: registry.ResourceExhaustedData{Limit: "free_extent", Maximum: registry.Some(longest)},
		Message:               fmt.Sprintf("%s has no free extent that fits; the longest one there has %d bytes", m.path(), longest),
	}
}

// enter puts the partition into the table, under a number that the kernel has not given either.
func (m *partitionMaker) enter() (err error) {
	e := gpt.Entry{First: uint64(m.extent.start / m.sector), Last: uint64(m.extent.end/m.sector) - 1, Name: m.want.label.Or(""), UUID: gpt.RandomGUID()}
	if e.Type, err = gpt.ParseGUID(m.want.typ); err != nil {
		return invalid("type", err.Error())
	}
	if m.want.uuid != "" {
		if e.UUID, err = gpt.ParseGUID(m.want.uuid); err != nil {
			return invalid("uuid", err.Error())
		}
	}
	m.want.uuid = e.UUID.String()
	var taken []int
	for _, p := range m.disk.Partitions {
		taken = append(taken, p.Index)
	}
	m.number, err = m.table.Add(e, taken...)
	if errors.Is(err, gpt.ErrFull) {
		return &registry.ResourceExhaustedError{
			ResourceExhaustedData: registry.ResourceExhaustedData{Limit: "gpt_entries", Maximum: registry.Some(int64(m.table.Entries()))},
			Message:               fmt.Sprintf("the partition table of %s has no free entry of its %d", m.path(), m.table.Entries()),
		}
	}
	return err
}

// wholeFree refuses a disk that somebody uses as a whole, past its partitions. That one of these is in use is
// no matter.
func (m *partitionMaker) wholeFree(ctx context.Context) error {
	if err := m.unheld(ctx, []inuse.Device{{Name: m.name, Number: m.target.number}}); err != nil {
		return err
	}
	claimed, err := m.claimed(ctx)
	if err != nil || !claimed {
		return err
	}
	// A claim on a partition shows on the disk too; but only one on the disk shows on a partition that
	// nobody can have claimed yet: the one to be made.
	number, length := m.number, m.extent.end-m.extent.start
	if err := blk.AddPartition(m.file, number, m.extent.start, length); err != nil {
		return err
	}
	claimed, err = m.probePartition()
	if err = errors.Join(err, forget(m.file, number)); err != nil {
		return err
	}
	if claimed {
		return m.inUse([]inuse.Holder{{Kind: inuse.Kernel}})
	}
	return nil
}

func (m *partitionMaker) probePartition() (bool, error) {
	s, err := blk.Open(m.v.root)
	if err != nil {
		return false, err
	}
	defer s.Close()
	name := partitionName(m.name, m.number)
	n, err := s.Number(name)
	if err != nil {
		return false, err
	}
	return inuse.Claimed(m.v.root+nodePath(name), n)
}

// write records the write, writes the table and has the kernel know of the partition.
func (m *partitionMaker) write(ctx context.Context) error {
	w, err := m.v.begin(ctx, "vol.create_partition", []*target{m.target}, m.want.uuid)
	if err != nil {
		return notApplied(err)
	}
	fault.Point("write partition table")
	if err := m.apply(ctx); err != nil {
		w.Left()
		return appliedAs(err, registry.AppliedUnknown)
	}
	fault.Point("partition table written")
	return errors.Join(m.addNode(ctx), w.Done())
}

// apply writes the table. What is cut off here the next call mends, or the next start.
func (m *partitionMaker) apply(ctx context.Context) error {
	return m.do(ctx, func() error {
		if err := gpt.Apply(m.file, m.table.Phases()); err != nil {
			return fmt.Errorf("%s: %w", m.path(), err)
		}
		return nil
	})
}

// addNode has the kernel know of the partition, and waits for its node.
func (m *partitionMaker) addNode(ctx context.Context) error {
	if err := blk.AddPartition(m.file, m.number, m.extent.start, m.extent.end-m.extent.start); err != nil {
		return appliedAs(err, registry.AppliedYes)
	}
	path := m.v.root + nodePath(partitionName(m.name, m.number))
	for ctx.Err() == nil {
		if _, err := blk.StatNode(path); err == nil {
			return nil
		}
		time.Sleep(settleStep)
	}
	return ctx.Err()
}

// answer reads back what stands there now.
func (m *partitionMaker) answer(ctx context.Context, r *registry.VolCreatePartitionResult) error {
	old, err := hang.Do(ctx, m.v.calls, m.target.number, func() ([]ondisk.Signature, error) {
		return ondisk.Signatures(io.NewSectionReader(m.pin, m.extent.start, m.extent.end-m.extent.start), m.extent.end-m.extent.start)
	})
	if err != nil {
		return appliedAs(waiting(err, m.path()), registry.AppliedYes)
	}
	r.OldSignatures = []registry.Signature{}
	for i := range old {
		if r.Created {
			r.OldSignatures = append(r.OldSignatures, *signatureRow(&ondisk.Contents{Signature: &old[i]}))
		}
	}
	l, err := m.v.scanDisks(ctx, m.path())
	if err != nil {
		return err
	}
	defer l.close()
	found := false
	err = l.each(ctx, func(c *diskContents) error {
		for i := range c.partitions {
			if c.partitions[i].index() == m.number {
				r.Partition, found = l.partitionRow(c, &c.partitions[i]), true
			}
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("read back partition %d of %s: %w", m.number, m.path(), unix.ENOENT)
	}
	return err
}
