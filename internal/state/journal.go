package state

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/geomind/my_os_server/internal/fault"
)

// How much room is reserved ahead of what is written: at least what the outcomes of all open writes may
// need, and as much at a time that it is seldom asked for.
const (
	reserveStep = 256 << 10
	outcomeRoom = 1 << 10 // of one record without changes
)

// journal is the file that records are appended to.
//
// Whoever appends puts its record into the next batch and then waits for its turn at the disk. The first of
// a batch to come through writes the batch whole, with one write and at most one fsync; the others find it
// written. So one fsync serves all that came during the one before.
type journal struct {
	fs       FS
	foldSize int64

	mu      sync.Mutex // guards what follows
	seq     uint64     // of the last record that was given one
	next    *batch
	backlog []*item // outcomes that could not be written yet

	disk     sync.Mutex      // held by whoever writes; guards what follows
	file     File            // nil: none yet
	number   uint64          // of the file
	size     int64           // bytes that are in order
	reserved int64           // bytes that the file system keeps room for
	written  uint64          // seq of the last record that memory shows
	damaged  error           // why the file must not be written to again
	unsynced []Change        // of outcomes that were written and not synced
	boots    map[string]Boot // in which the parts of the daemon have restored, as the journal says
	closed   bool
}

type batch struct {
	items   []*item
	sync    bool
	written bool
}

// item is a record on its way.
type item struct {
	rec  *record
	then func()   // makes it visible; under the store's mutex
	ends *Write   // the write that it is the outcome of
	puts []Change // what it changes, if it is one of Done
	body []byte   // rec, encoded
	err  error
}

// begins tells whether nothing has happened yet that the record tells of, so that it may still be refused.
func (i *item) begins() bool {
	switch i.rec.Type {
	case typeDone, typeUndone:
		return false
	}
	return true
}

const (
	journalPrefix = "journal-"
	journalSuffix = ".jsonl"
)

func journalName(number uint64) string {
	return journalPrefix + strconv.FormatUint(number, 10) + journalSuffix
}

// journalNumber is the number in the name of a journal.
func journalNumber(file string) (uint64, bool) {
	s, ok := strings.CutPrefix(file, journalPrefix)
	if !ok {
		return 0, false
	}
	if s, ok = strings.CutSuffix(s, journalSuffix); !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && journalName(n) == file
}

// absent calls f where no journal was written yet.
func (j *journal) absent(f func()) bool {
	j.disk.Lock()
	defer j.disk.Unlock()
	if j.file != nil || j.number > 0 {
		return false
	}
	f()
	return true
}

// restoredIn notes the boot of a part, for the first line of the next journal.
func (j *journal) restoredIn(part string, boot Boot) {
	boots := maps.Clone(j.boots)
	if boots == nil {
		boots = map[string]Boot{}
	}
	boots[part] = boot
	j.boots = boots
}

// append writes a record and then has it seen; with sync it is durable on return. A record that begins
// something and cannot be written is as if it had never been; one that ends something is seen all the same,
// and written with the next batch.
func (s *Store) append(it *item, sync bool) (err error) {
	if s.readOnly != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, s.readOnly)
	}
	if it.body, err = it.rec.body(); err != nil {
		return err
	}
	j := &s.journal
	j.mu.Lock()
	j.seq++
	it.rec.Seq = j.seq
	if j.next == nil {
		j.next = &batch{}
	}
	b := j.next
	b.items = append(b.items, it)
	b.sync = b.sync || sync
	j.mu.Unlock()

	j.disk.Lock()
	defer j.disk.Unlock()
	if !b.written {
		s.flush(b)
	}
	return it.err
}

// flush writes a batch and makes it visible.
func (s *Store) flush(b *batch) {
	j := &s.journal
	j.mu.Lock()
	j.next = nil
	items := append(j.backlog, b.items...)
	j.backlog = nil
	last := j.seq
	j.mu.Unlock()
	b.written = true

	err := s.usable()
	if err == nil {
		items, err = s.write(items, b.sync)
	}
	s.show(b.items, err)
	j.written = last
	if err != nil {
		s.keep(items)
		return
	}
	s.ended(items)
	j.unsynced = append(j.unsynced, changesOf(items)...)
	if b.sync && len(items) > 0 { // else nothing was written, nor synced
		j.unsynced = nil
	}
	s.foldLater(j.size >= max(j.foldSize, s.folded.Load()))
}

func changesOf(items []*item) (list []Change) {
	for _, it := range items {
		list = append(list, it.puts...)
	}
	return list
}

// show makes records visible: those that were written, and outcomes in any case.
func (s *Store) show(items []*item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		if it.err == nil {
			it.err = err
		}
		if it.err == nil || !it.begins() {
			it.then()
		}
	}
}

// ended forgets the writes whose outcome is in the journal. As long as it is not, a new journal lists them
// as open.
func (s *Store) ended(items []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		if it.ends != nil {
			delete(s.open, it.ends.id)
		}
	}
}

// usable sees to it that there is a file to write to.
func (s *Store) usable() error {
	j := &s.journal
	switch {
	case j.closed:
		return errClosed
	case j.damaged != nil:
		if err := s.renew(); err != nil {
			return errors.Join(j.damaged, err)
		}
		j.damaged = nil
	case j.file == nil:
		return s.rotate()
	}
	return nil
}

// write appends the records, and syncs them where asked. Where there is no room for all, those that
// begin something are refused, and the outcomes take the room that was reserved for them. It returns
// what it tried to write.
func (s *Store) write(items []*item, sync bool) ([]*item, error) {
	j := &s.journal
	if err := s.reserve(items); err != nil {
		var ends []*item
		for _, it := range items {
			if it.begins() {
				it.err = err
			} else {
				ends = append(ends, it)
			}
		}
		items = ends
	}
	var b []byte
	for _, it := range items {
		b = appendLine(b, it.rec.Seq, it.body)
	}
	if len(b) == 0 {
		return items, nil
	}
	if _, err := j.file.WriteAt(b, j.size); err != nil {
		if cutErr := j.file.Truncate(j.size); cutErr != nil {
			j.damaged = err
		}
		return items, fmt.Errorf("write journal: %w", err)
	}
	fault.Point("journal written")
	j.size += int64(len(b))
	if !sync {
		return items, nil
	}
	if err := j.file.Sync(); err != nil {
		// What the disk has of it now nobody knows, and a second fsync would not tell (fsync(2)): the
		// file is given up, and what it held is written anew from memory.
		j.damaged = fmt.Errorf("sync journal: %w", err)
		return items, j.damaged
	}
	return items, nil
}

// reserve keeps room for the records and for the outcome of every write that will then be open.
func (s *Store) reserve(items []*item) error {
	j := &s.journal
	need := j.size
	for _, it := range items {
		need += int64(lineHead + 32 + len(it.body))
		if it.rec.Type == typeIntent {
			need += outcomeRoom + 2*int64(len(it.body))
		}
	}
	s.mu.Lock()
	for _, w := range s.open {
		need += outcomeRoom + 2*w.size
	}
	s.mu.Unlock()
	if need <= j.reserved {
		return nil
	}
	if err := j.file.Reserve(need + reserveStep); err != nil {
		if err := j.file.Reserve(need); err != nil {
			return fmt.Errorf("reserve room in the journal: %w", err)
		}
		j.reserved = need
		return nil
	}
	j.reserved = need + reserveStep
	return nil
}

// keep holds back the outcomes that could not be written, for the next batch.
func (s *Store) keep(items []*item) {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, it := range items {
		if !it.begins() {
			j.backlog = append(j.backlog, it)
		}
	}
}
