package volops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/internal/md"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// StopMDArray answers vol.stop_md_array.
func (v *Vol) StopMDArray(ctx context.Context, p *registry.VolStopMDArrayParams) (*registry.VolStopMDArrayResult, error) {
	if v.state == nil {
		return nil, errors.New("stop an array: there is no state folder to record it in")
	}
	if err := v.needArrays(-1); err != nil {
		return nil, err
	}
	if err := hostexec.Mdadm.Installed(); err != nil {
		return nil, toolError(err, registry.AppliedNo)
	}
	s := &arrayStop{v: v, params: p, faulty: make(map[blk.Number]bool), zeroed: []string{}}
	err := s.hold(ctx)
	defer s.close()
	var gone *registry.NotFoundError
	if errors.As(err, &gone) {
		return s.strike(ctx)
	}
	if err == nil {
		err = s.check(ctx)
	}
	if err != nil {
		return nil, notApplied(err)
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	r := &registry.VolStopMDArrayResult{Deleted: true, Zeroed: s.zeroed, LinkRemoved: s.linkRemoved}
	if s.name != "" {
		r.Unregistered = registry.Some(true)
	}
	return r, nil
}

// arrayStop takes one array out of the kernel.
type arrayStop struct {
	v       *Vol
	params  *registry.VolStopMDArrayParams
	array   *target
	members []*target
	faulty  map[blk.Number]bool
	unlock  func()

	uuid string // of the array; empty where nothing tells
	name string // in the registry; empty where it is not there
	link string // below /dev/md; empty where there is none

	wiping []*target // the members whose superblocks are to go

	zeroed      []string
	linkRemoved bool
}

func (s *arrayStop) close() {
	if s.unlock != nil {
		s.unlock()
	}
	for _, t := range s.members {
		t.close()
	}
	if s.array != nil {
		s.array.close()
	}
}

// hold pins the array and its members and waits for its turn on all of them.
func (s *arrayStop) hold(ctx context.Context) error {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := s.v.devices(allowed)
	defer d.close()
	var err error
	if s.array, err = s.v.pin(ctx, d, s.params.Device); err != nil {
		return err
	}
	a, err := s.read()
	if err != nil {
		return err
	}
	for i := range a.Members {
		m := &a.Members[i]
		t, err := s.v.pinNumber(ctx, d, nodePath(m.Name), blk.Number{Major: m.Major, Minor: m.Minor})
		var gone *registry.NotFoundError
		if errors.As(err, &gone) { // a disk that was pulled
			continue
		}
		if err != nil {
			return err
		}
		s.members = append(s.members, t)
		s.faulty[t.number] = m.Role() == "faulty"
	}
	facts := &arrayFacts{Array: a, supers: d.superblocks(a)}
	facts.takeNewest()
	s.uuid, s.link = a.UUID, d.arrayLink(a)
	if facts.super != nil {
		s.uuid = cmp.Or(s.uuid, facts.super.UUID)
	}
	s.name = s.v.registeredArray(s.uuid)
	turn := state.Exclusive(arrayObject(cmp.Or(s.name, strings.TrimPrefix(s.link, arrayFolder), s.array.name)))
	s.unlock, err = s.v.takeTurn(ctx, append(slices.Clone(s.members), s.array), turn)
	if err != nil {
		return err
	}
	if again, err := s.read(); err != nil || again.UUID != a.UUID || !slices.EqualFunc(again.Members, a.Members, sameMember) {
		return errors.Join(err, s.conflict("has changed meanwhile; try again"))
	}
	return nil
}

func sameMember(a, b md.Member) bool { return a.Major == b.Major && a.Minor == b.Minor }

// read reads the array that is pinned.
func (s *arrayStop) read() (*md.Array, error) {
	if s.array.name != s.array.whole {
		return nil, s.conflict("is no MD array")
	}
	a, err := md.Read(s.v.root, s.array.name)
	if errors.Is(err, md.ErrNotArray) {
		return nil, s.conflict("is no MD array")
	}
	return a, err
}

func (s *arrayStop) conflict(what string) error {
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "array", ID: s.params.Device},
		Message:      s.params.Device + " " + what,
	}
}

// check is the guard: it must be the array that is meant, none of the system's, and free.
func (s *arrayStop) check(ctx context.Context) error {
	t := s.array
	sysfs, err := blk.Open(s.v.root)
	if err != nil {
		return err
	}
	defer sysfs.Close()
	if t.disk, err = sysfs.Disk(t.whole); err != nil {
		return t.gone(err)
	}
	// An array that has failed cannot be read, nor one that does not run; both can be stopped.
	if _, err = hang.Do(ctx, s.v.calls, t.number, func() (struct{}, error) { return struct{}{}, t.read() }); err != nil || t.contents == nil {
		t.contents = &ondisk.Contents{}
	}
	if err := s.expected(); err != nil {
		return err
	}
	if err := t.systemDisk(ctx); err != nil {
		return err
	}
	if err := t.free(ctx, t.claimants()); err != nil {
		return err
	}
	if !s.params.ZeroSuperblocks.Or(false) {
		return nil
	}
	return s.checkMembers(ctx)
}

// checkMembers is the guard for the members that are to be wiped; it chooses those that can be. A faulty one
// may be out of order altogether. That they are in use, by the array, is as it should be.
func (s *arrayStop) checkMembers(ctx context.Context) error {
	for _, m := range s.members {
		err := m.look(ctx)
		if err != nil && s.faulty[m.number] {
			continue
		}
		if err != nil {
			return err
		}
		if err := m.closed(ctx); err != nil {
			return err
		}
		s.wiping = append(s.wiping, m)
	}
	return nil
}

// expected is target.expected for an array, whose own UUID stands on its members.
func (s *arrayStop) expected() error {
	if s.params.Expect == nil {
		return nil
	}
	e := *s.params.Expect
	if want, given := e.UUID.Get(); given && strings.EqualFold(want, s.uuid) {
		e.UUID = registry.Opt[string]{}
	}
	return s.array.expected(&e)
}

// run stops the array, and wipes its members where that is asked for.
func (s *arrayStop) run(ctx context.Context) error {
	subject := s.array.path()
	if s.name != "" {
		subject = arrayFolder + s.name
	}
	record, err := s.v.beginAs(ctx, "vol.stop_md_array", append([]*target{s.array}, s.wiping...), deviceDetail{Name: subject, UUID: s.uuid})
	if err != nil {
		return notApplied(err)
	}
	s.array.close() // the kernel stops none that somebody has open
	fault.Point("stop array")
	_, err = s.v.run(ctx, hostexec.Mdadm, nil, stopArguments(s.v.root+s.array.path())...)
	if err != nil && s.runs() {
		return s.failed(ctx, err, record)
	}
	fault.Point("array stopped")
	s.removeLink()
	for _, t := range s.wiping {
		if err := s.zero(ctx, t); err != nil { // a person has to look
			record.Left()
			return appliedAs(err, registry.AppliedYes)
		}
	}
	var changes []state.Change
	if s.name != "" {
		changes = append(changes, s.v.arraySpecs.Remove(s.name))
	}
	return appliedAs(record.Done(changes...), registry.AppliedYes)
}

// runs tells whether the array is still there.
func (s *arrayStop) runs() bool {
	a, err := md.Read(s.v.root, s.array.name)
	return !errors.Is(err, md.ErrNotArray) && (a == nil || a.UUID == s.uuid || s.uuid == "" || a.UUID == "")
}

// failed is the answer where mdadm did not stop the array.
func (s *arrayStop) failed(ctx context.Context, err error, record *state.Write) error {
	cause := notApplied(toolError(err, registry.AppliedNo))
	if busy := s.array.free(ctx, s.array.claimants()); isBusy(busy) {
		cause = busy
	}
	if err := record.Undone(err); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// removeLink removes the link below /dev/md, where mdadm or udev did not.
func (s *arrayStop) removeLink() {
	if s.link != "" {
		_, err := os.Lstat(s.v.root + s.link)
		s.linkRemoved = errors.Is(err, fs.ErrNotExist) || s.v.removeDangling(s.link)
	}
}

// removeDangling removes a link that leads nowhere.
func (v *Vol) removeDangling(link string) bool {
	path := v.root + link
	if _, err := os.Readlink(path); err != nil {
		return false
	}
	node, err := blk.StatNode(path)
	if err == nil { // the node of an array that is no more may stay
		if _, err := md.Read(v.root, filepath.Base(v.sysName(node.Number))); !errors.Is(err, md.ErrNotArray) {
			return false
		}
	}
	err = os.Remove(path)
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// sysName is the kernel name of a device; empty where it has none.
func (v *Vol) sysName(n blk.Number) string {
	s, err := blk.Open(v.root)
	if err != nil {
		return ""
	}
	defer s.Close()
	name, _, _ := s.Owner(n)
	return name
}

// superblockLength is how much of a superblock of MD is overwritten: all but a bitmap.
const superblockLength = 4096

// zero overwrites the array's superblocks on a member, which it holds exclusively. The kernel may need a moment
// to let go of it.
func (s *arrayStop) zero(ctx context.Context, t *target) error {
	var f *os.File
	for end := time.Now().Add(settleTime); ; time.Sleep(settleStep) {
		var err error
		f, err = inuse.Claim(s.v.root+t.path(), t.number, unix.O_RDWR)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("take %s: %w", t.path(), err)
		}
		if time.Now().After(end) {
			return cmp.Or(t.free(ctx, t.claimants()), err)
		}
	}
	defer f.Close()
	wiped, err := hang.Do(ctx, s.v.calls, t.number, func() (bool, error) { return s.wipe(f, t.size) })
	if wiped {
		s.zeroed = append(s.zeroed, t.path())
	}
	return waiting(err, t.path())
}

func (s *arrayStop) wipe(f *os.File, size int64) (wiped bool, err error) {
	list, err := ondisk.Signatures(f, size)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	for _, found := range list {
		if found.MD == nil || s.uuid == "" || found.UUID != s.uuid {
			continue
		}
		if _, err := f.WriteAt(make([]byte, superblockLength), found.MagicOffset); err != nil {
			return wiped, fmt.Errorf("wipe superblock of %s: %w", f.Name(), err)
		}
		wiped = true
	}
	if err := f.Sync(); err != nil {
		return wiped, fmt.Errorf("flush %s: %w", f.Name(), err)
	}
	return wiped, nil
}
