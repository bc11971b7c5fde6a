package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/fault"
)

const (
	defaultFoldSize = 1 << 20
	defaultFoldIdle = 5 * time.Second
	tempPrefix      = ".new-" // of a registry file that is being written
)

// Fold brings the registry files up to date and starts a new journal. It happens by itself; calls go on
// meanwhile. After an error the old files stand and still say everything.
func (s *Store) Fold() error {
	if s.readOnly != nil {
		return fmt.Errorf("fold: %w", ErrReadOnly)
	}
	s.folding.Lock()
	defer s.folding.Unlock()
	j := &s.journal
	j.disk.Lock()
	err := j.damaged // the next write repairs that, and folds
	if j.closed {
		err = errClosed
	}
	if err == nil {
		err = s.rotate()
	}
	if err != nil {
		j.disk.Unlock()
		return fmt.Errorf("fold: %w", err)
	}
	number, snaps := j.number, s.snapshot()
	j.disk.Unlock()
	return s.foldInto(number, snaps)
}

// renew starts a new journal and folds everything, from memory alone. The caller holds the disk.
func (s *Store) renew() error {
	if err := s.rotate(); err != nil {
		return err
	}
	s.mu.Lock()
	for _, t := range s.tables {
		t.dirty = true
	}
	s.mu.Unlock()
	return s.foldInto(s.journal.number, s.snapshot())
}

// foldInto writes the registries and then drops the journals before number.
func (s *Store) foldInto(number uint64, snaps []snapshot) error {
	var size int64
	for i, sn := range snaps {
		n, err := s.writeTable(sn)
		if err != nil {
			s.unfolded(snaps[i:])
			return fmt.Errorf("fold %s: %w", sn.table.name, err)
		}
		size += n
	}
	if err := s.journal.fs.Sync(); err != nil {
		s.unfolded(snaps)
		return fmt.Errorf("fold: %w", err)
	}
	fault.Point("folded")
	s.folded.Store(max(size, s.folded.Load()/2))
	if err := s.asideJournals(); err != nil {
		return fmt.Errorf("fold: %w", err)
	}
	return s.dropJournals(number)
}

// asideJournals sets aside the journals in which something could not be read: all that could is folded.
func (s *Store) asideJournals() error {
	s.mu.Lock()
	list := s.aside
	s.aside = nil
	s.mu.Unlock()
	for i, a := range list {
		if err := s.setAside(a.File, a.cause, true); err != nil {
			s.mu.Lock()
			s.aside = append(s.aside, list[i:]...)
			s.mu.Unlock()
			return err
		}
	}
	return nil
}

// snapshot is a registry as it stood when the journal was rotated.
type snapshot struct {
	table   *table
	entries map[string]*entry
	seq     uint64
}

// snapshot takes what has changed since the files were written. The caller holds the disk, so that memory
// shows exactly what the journals say.
func (s *Store) snapshot() []snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []snapshot
	for _, name := range slices.Sorted(maps.Keys(s.tables)) {
		if t := s.tables[name]; t.dirty {
			list = append(list, snapshot{t, maps.Clone(t.entries), s.journal.written})
			t.dirty = false
		}
	}
	return list
}

// unfolded says that registries are not in their files yet.
func (s *Store) unfolded(snaps []snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sn := range snaps {
		sn.table.dirty = true
	}
}

// writeTable puts a registry into its file: written beside it, synced, renamed. A repair of the journal folds
// while another fold may be under way; what that one had looked at before must not take the place of what
// stands there since, whose journals are gone.
func (s *Store) writeTable(sn snapshot) (int64, error) {
	s.filing.Lock()
	defer s.filing.Unlock()
	if sn.seq < sn.table.filed {
		return 0, nil
	}
	b, err := encodeTable(sn.table.name, sn.seq, sn.entries)
	if err != nil {
		return 0, err
	}
	dir, temp := s.journal.fs, tempPrefix+sn.table.name
	if err := writeFile(dir, temp, b); err != nil {
		return 0, errors.Join(err, removeIfThere(dir, temp))
	}
	fault.Point("registry written")
	if err := dir.Rename(temp, fileOf(sn.table.name)); err != nil {
		return 0, err
	}
	sn.table.filed = sn.seq
	return int64(len(b)), nil
}

// writeFile makes a file with these contents, synced.
func writeFile(dir FS, name string, b []byte) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removeIfThere(dir FS, name string) error {
	err := dir.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// rotate starts a new journal. The caller holds the disk.
func (s *Store) rotate() error {
	j := &s.journal
	line, err := s.firstLine()
	if err != nil {
		return err
	}
	f, err := startFile(j.fs, journalName(j.number+1), line)
	if err != nil {
		return s.notStarted(fmt.Errorf("start journal: %w", err))
	}
	fault.Point("journal started")
	if j.file != nil {
		_ = j.file.Close() // all that matters of it was synced, or will be written anew
	}
	j.file, j.number, j.size, j.reserved = f, j.number+1, int64(len(line)), 0
	j.unsynced = nil
	return nil
}

// startFile makes a file with these contents, durable, and opens it.
func startFile(dir FS, name string, b []byte) (File, error) {
	if err := writeFile(dir, name, b); err != nil {
		return nil, err
	}
	if err := dir.Sync(); err != nil {
		return nil, err
	}
	return dir.Open(name)
}

// notStarted takes back what there may be of the journal that was to be started. Where it may stay for a start
// to find, its first line would hide what is appended to the journal before it from now on: that one is given
// up then, and the next write begins with another.
func (s *Store) notStarted(cause error) error {
	j := &s.journal
	err := errors.Join(removeIfThere(j.fs, journalName(j.number+1)), j.fs.Sync())
	if err != nil {
		j.number++
		j.damaged = cause
	}
	return errors.Join(cause, err)
}

// firstLine is what a journal begins with: what is open, and what the journal before it may lose, since it
// was not synced and this one makes a start forget its intent. It is one line, so that a power cut leaves
// all of it or nothing.
func (s *Store) firstLine() ([]byte, error) {
	j := &s.journal
	r := record{Type: typeJournal, Changes: j.unsynced, Header: &header{Version: Version, Boots: j.boots, Open: s.openIntents()}}
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	return appendLine(nil, j.written, body), nil
}

func (s *Store) openIntents() []openIntent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []openIntent
	for id, w := range s.open {
		list = append(list, openIntent{id, w.intent})
	}
	for id, u := range s.interrupted {
		list = append(list, openIntent{id, u.Intent})
	}
	slices.SortFunc(list, func(a, b openIntent) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// dropJournals removes the journals before number: the registries have what they say.
func (s *Store) dropJournals(number uint64) error {
	names, err := s.journal.fs.List()
	if err != nil {
		return fmt.Errorf("fold: %w", err)
	}
	for _, name := range names {
		if n, ok := journalNumber(name); ok && n < number {
			if err := removeIfThere(s.journal.fs, name); err != nil {
				return fmt.Errorf("fold: %w", err)
			}
		}
	}
	return nil
}

// foldLater has the journal folded in the background: at once, or when nothing was written for a while.
func (s *Store) foldLater(now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.foldIdle < 0 && !now {
		return
	}
	wait := s.foldIdle
	if now {
		if s.foldSoon {
			return
		}
		s.foldSoon, wait = true, 0
	} else if s.foldSoon {
		return
	}
	if s.foldTimer == nil {
		s.foldTimer = time.AfterFunc(wait, s.foldNow)
		return
	}
	s.foldTimer.Reset(wait)
}

func (s *Store) foldNow() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	err := s.Fold()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.foldSoon = false
	s.foldError = err
}
