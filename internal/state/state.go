// Package state is what the daemon remembers beyond its own life: registries of the objects that it made,
// and the journal that carries every write to them across a crash. It knows neither networks nor disks.
//
// A [Store] is one folder, open. It holds one JSON file a registry, which a person can read, and one
// append-only journal of JSON lines, each with a checksum. A write of the host goes so:
//
//	unlock, err := store.Lock(ctx, state.Exclusive("link/br0"))     // in turn on one object
//	defer unlock()
//	w, err := store.Begin(ctx, state.Intent{                       // synced: now a crash is known of
//		Method:  "net.bridge.add",
//		Changes: []state.Change{bridges.Put("br0", spec)},
//	})
//	// now the kernel is changed, whatever becomes of the caller
//	err = w.Done()                                                 // the registries have it
//	// or, where the kernel refused and is as it was before:
//	err = w.Undone(cause)
//
// Calls that run side by side share one fsync. From time to time the journal is folded into the registry
// files (temporary file, fsync, rename, fsync of the folder), so that neither the cost of a write nor that
// of a start grows with what was ever written.
//
// What a start finds: [Store.Boot] and [Store.SameBoot] tell whether the kernel can still hold what was made;
// [Store.Pending] are the writes that a crash cut off, each to be finished or undone; [Store.Interrupted] are
// those which nobody may repeat (see [Report]); [Store.Problems] are files that could not be read. A file
// that is corrupt or of a newer version is renamed and left alone: it is never fatal and never overwritten.
//
// The folder belongs to one Store at a time; its owner holds a lock on it before it calls [Open].
package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geomind/my_os_server/internal/fault"
)

// Version is that of the files. A file with a higher one was written by a newer daemon and is set aside.
const Version = 1

// Class says what a start does with a write that a crash cut off.
type Class string

const (
	// Finish is for writes that may be done again: the start brings the kernel to what the intent
	// says, or back. It is the default. The record of the outcome needs no fsync of its own, because a
	// start that does not find it comes to the same end.
	Finish Class = ""
	// Report is for writes that must not be repeated unasked, such as making a file system or deleting
	// a subvolume: the start lists them under [Store.Interrupted] and does nothing. Their outcome is
	// synced before Done and Undone return.
	Report Class = "report"
)

// Change is one entry of one registry that a write puts or removes. Make one with [Registry.Put] or
// [Registry.Remove].
type Change struct {
	Registry string          `json:"registry"`
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value,omitempty"` // absent: the entry is removed

	decoded any // Value as its registry's type, where it is at hand
}

// Removes tells whether the change takes an entry away.
func (c *Change) Removes() bool { return c.Value == nil }

// Intent is a write that is about to begin.
type Intent struct {
	Method  string          `json:"method"`            // as in net.bridge.add
	Class   Class           `json:"class,omitempty"`   // what a start does with it
	Changes []Change        `json:"changes,omitempty"` // what the registries will hold once it is done
	Subject string          `json:"subject,omitempty"` // of class Report: what it is about; see Interrupted
	Detail  json.RawMessage `json:"detail,omitempty"`  // what whoever finishes or reports it must know beyond
	At      time.Time       `json:"at"`                // when it began; Begin fills it in
}

// Options are what [Open] needs beside the folder.
type Options struct {
	FS       FS               // nil: the folder at the path given to Open
	Boot     Boot             // the identity of this boot; see ReadBoot
	Now      func() time.Time // nil: time.Now
	FoldSize int64            // fold once the journal has so many bytes; 0: 1 MiB. It is raised to the size of what is registered
	FoldIdle time.Duration    // fold once nothing was written for so long; 0: 5 s, below 0: never
}

// Store is an open state folder. Its methods may be called from several goroutines at once.
type Store struct {
	locks     locks
	journal   journal
	boot      Boot
	now       func() time.Time
	lastBoots map[string]Boot // what the parts had restored in before this start
	readOnly  error           // why nothing can be written; nil: it can

	foldIdle time.Duration
	folding  sync.Mutex   // held by one fold at a time
	filing   sync.Mutex   // held while a registry's file is written
	folded   atomic.Int64 // bytes of the registry files, about

	mu          sync.Mutex        // guards what follows
	tables      map[string]*table // the registries by name
	open        map[uint64]*Write // writes whose outcome is not in the journal
	pending     []*Write          // of class Finish, found at the start
	interrupted map[uint64]Unfinished
	problems    []Problem
	aside       []unreadable // journals to be set aside once what could be read of them is safe
	foldTimer   *time.Timer  // nil before the first write
	foldSoon    bool         // a fold is about to begin
	foldError   error        // how the last one in the background went
	closed      bool
}

// Problem is a file of the state folder that could not be used as it was.
type Problem struct {
	File     string // name in the folder
	SetAside string // where its bytes were kept, in the same folder; empty where they stayed
	Cause    string // one sentence
}

// unreadable is a journal of which something could not be read.
type unreadable struct {
	File  string
	cause error
}

// Unfinished is a write of class [Report] that began and of which nobody knows how it ended.
type Unfinished struct {
	ID uint64
	Intent
}

// ErrReadOnly is in the chain of the error of every write to a store whose folder cannot be written.
var ErrReadOnly = errors.New("the state folder cannot be written")

// SameBoot tells whether a part of the daemon, such as net, had restored in this very boot before this
// start, so that what it gave the kernel may still be there. Otherwise all of it is gone. The answer stays
// the same until the store is closed, whatever Restored is told.
func (s *Store) SameBoot(part string) bool { return s.boot.known() && s.lastBoots[part] == s.boot }

// ReadOnly tells whether every write will be refused.
func (s *Store) ReadOnly() bool { return s.readOnly != nil }

// Boot is the identity of this boot.
func (s *Store) Boot() Boot { return s.boot }

// Pending are the writes of class [Finish] that a crash cut off, oldest first. Whoever started the store
// brings each to an end with [Write.Done] or [Write.Undone]; until then they are listed at every start.
//
// In the same boot nobody was told that they had come about, and either end will do. In another boot a
// caller may have been: there they are to be finished.
func (s *Store) Pending() []*Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*Write
	for _, w := range s.pending {
		if s.open[w.id] == w {
			list = append(list, w)
		}
	}
	return list
}

// Interrupted are the writes of class [Report] of which nobody knows how they ended, oldest first: those that a
// crash cut off, and those that [Write.Left] gave up. One leaves the list when a later write with the same
// Subject is done, or by [Store.Forget].
func (s *Store) Interrupted() []Unfinished {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Collect(maps.Values(s.interrupted))
	slices.SortFunc(list, func(a, b Unfinished) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Forget takes a write off the list of interrupted ones.
func (s *Store) Forget(id uint64) error {
	it := &item{rec: &record{Type: typeForget, Intent: id}}
	it.then = func() { delete(s.interrupted, id) }
	return s.append(it, true)
}

// Problems are the files that a start or a fold could not use.
func (s *Store) Problems() []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.problems)
	if s.foldError != nil {
		list = append(list, Problem{Cause: s.foldError.Error()})
	}
	return list
}

// Begin writes the intent to the journal and syncs it. Only then may the kernel be touched. ctx is looked at
// before, not while it is written. An error means that nothing began: for want of space it wraps
// syscall.ENOSPC, for want of a folder [ErrReadOnly]. The outcome's room on disk is reserved.
func (s *Store) Begin(ctx context.Context, in Intent) (*Write, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("begin %s: %w", in.Method, err)
	}
	in.At = s.now().UTC()
	fault.Point("intent")
	w := &Write{store: s, intent: in}
	it := &item{rec: &record{Type: typeIntent, Body: &w.intent}}
	it.then = func() {
		w.id, w.size = it.rec.Seq, int64(len(it.body))
		s.open[w.id] = w
	}
	if err := s.append(it, true); err != nil {
		return nil, fmt.Errorf("begin %s: %w", in.Method, err)
	}
	fault.Point("intent synced")
	return w, nil
}

// Set changes registries without an intent, for what the kernel has no part in. It is synced on return.
func (s *Store) Set(changes ...Change) error {
	it := &item{rec: &record{Type: typeSet, Changes: changes}, then: func() { s.apply(changes) }}
	if err := s.append(it, true); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	return nil
}

// Write is a write of the host that has begun. Exactly one of Done, Undone and Left ends it.
type Write struct {
	store  *Store
	id     uint64
	intent Intent
	size   int64 // of the intent in the journal, about
}

// Intent is what was begun.
func (w *Write) Intent() Intent { return w.intent }

// ID is the write's number in the journal.
func (w *Write) ID() uint64 { return w.id }

// Done says that the kernel is as the intent said. Where changes are given, the registries take these
// instead of the intent's (a name that the kernel chose). Once it returns, the registries have them. An
// error means that the journal could not be written: the registries in memory have the changes all the
// same, and the record follows as soon as the journal takes one again.
func (w *Write) Done(changes ...Change) error {
	it := &item{rec: &record{Type: typeDone, Intent: w.id, Changes: changes}, ends: w}
	if changes == nil {
		changes = w.intent.Changes
	}
	it.puts = changes
	it.then = func() {
		w.store.apply(changes)
		w.store.settle(w.id, w.intent.Subject)
	}
	return w.end(it)
}

// Undone says that the kernel is as it was before the intent, and why.
func (w *Write) Undone(cause error) error {
	rec := &record{Type: typeUndone, Intent: w.id}
	if cause != nil {
		rec.Cause = cut(cause.Error(), maxCause)
	}
	return w.end(&item{rec: rec, ends: w, then: func() {}})
}

// Left says of a write of class [Report] that it ended somewhere on the way: what the host has now is neither
// what the intent said nor what was there before. From now on it is among the interrupted ones, as after a crash:
// the journal has the intent, and needs no more.
func (w *Write) Left() {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, w.id)
	s.interrupted[w.id] = Unfinished{ID: w.id, Intent: w.intent}
}

func (w *Write) end(it *item) error {
	fault.Point("outcome")
	sync := w.intent.Class == Report || it.rec.Type == typeUndone
	if err := w.store.append(it, sync); err != nil {
		return fmt.Errorf("end %s: %w", w.intent.Method, err)
	}
	fault.Point("outcome written")
	return nil
}

// settle drops the interrupted writes on what a later one has done.
func (s *Store) settle(id uint64, subject string) {
	for other, u := range s.interrupted {
		if subject != "" && u.Subject == subject && other < id {
			delete(s.interrupted, other)
		}
	}
}
