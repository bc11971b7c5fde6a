package state

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Open reads the folder at path, which must exist, and makes it ready to be written to. It writes nothing
// where nothing is amiss. What cannot be read is set aside; see [Store.Problems]. An error means that the
// folder itself cannot be used.
func Open(path string, o Options) (*Store, error) {
	if o.FS == nil {
		dir, err := openFolder(path)
		if err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
		o.FS = dir
	}
	s := newStore(o)
	if err := s.load(true); err != nil {
		return nil, errors.Join(fmt.Errorf("open state: %w", err), o.FS.Close())
	}
	return s, nil
}

// OpenReadOnly reads what there is at path, which need not exist, for a daemon that may not write there:
// every write fails with an error that wraps [ErrReadOnly] and says why, and nothing is set aside.
func OpenReadOnly(path string, why error, o Options) *Store {
	if o.FS == nil {
		dir, err := openFolder(path)
		if err != nil {
			dir = nothing{}
		}
		o.FS = dir
	}
	s := newStore(o)
	s.readOnly = why
	s.problem(Problem{Cause: fmt.Sprintf("%v: %v", ErrReadOnly, why)})
	if err := s.load(false); err != nil {
		s.problem(Problem{Cause: err.Error()})
	}
	return s
}

func newStore(o Options) *Store {
	s := &Store{
		boot: o.Boot, now: o.Now, foldIdle: cmp.Or(o.FoldIdle, defaultFoldIdle),
		tables: map[string]*table{}, open: map[uint64]*Write{}, interrupted: map[uint64]Unfinished{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.journal.fs, s.journal.foldSize = o.FS, cmp.Or(o.FoldSize, defaultFoldSize)
	return s
}

// Close folds what is not folded and ends the use of the folder. Writes that are still open stay so, for
// the next start to find.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.foldTimer != nil {
		s.foldTimer.Stop()
	}
	dirty := false
	for _, t := range s.tables {
		dirty = dirty || t.dirty
	}
	s.mu.Unlock()
	var err error
	if dirty && s.readOnly == nil {
		err = s.Fold()
	}
	s.folding.Lock()
	defer s.folding.Unlock()
	j := &s.journal
	j.disk.Lock()
	defer j.disk.Unlock()
	if j.file != nil {
		err = errors.Join(err, j.file.Close())
	}
	j.file, j.closed = nil, true
	return errors.Join(err, j.fs.Close())
}

var errClosed = errors.New("it is closed")

// Restored says that a part of the daemon, such as net, has given the kernel of this boot all that it has
// registered: from the next start on [Store.SameBoot] holds for that part, until there is another boot.
func (s *Store) Restored(part string) error {
	if s.SameBoot(part) || !s.boot.known() {
		return nil
	}
	boot := s.boot
	it := &item{rec: &record{Type: typeBoot, Boot: &boot, Part: part}}
	it.then = func() { s.journal.restoredIn(part, boot) }
	if s.readOnly == nil && s.journal.absent(it.then) {
		return nil // the first line of the first journal will say it: nothing was registered yet
	}
	return s.append(it, true)
}

// load reads registries and journals. With repair it sets aside and cleans up.
func (s *Store) load(repair bool) error {
	names, err := s.journal.fs.List()
	if err != nil {
		return err
	}
	var journals []uint64
	for _, name := range names {
		if registry, ok := registryOf(name); ok {
			err = s.loadTable(registry, repair)
		} else if n, ok := journalNumber(name); ok {
			journals = append(journals, n)
		} else if strings.HasPrefix(name, tempPrefix) && repair {
			err = removeIfThere(s.journal.fs, name)
		}
		if err != nil {
			return err
		}
	}
	slices.Sort(journals)
	return s.loadJournals(journals, repair)
}

func (s *Store) loadTable(name string, repair bool) error {
	b, err := s.journal.fs.Read(fileOf(name))
	if err == nil {
		var t *table
		if t, err = decodeTable(name, b); err == nil {
			s.tables[name] = t
			s.folded.Add(int64(len(b)))
			return nil
		}
	}
	return s.setAside(fileOf(name), err, repair)
}

// setAside renames a file that cannot be used, to a name that nothing has.
func (s *Store) setAside(name string, cause error, repair bool) error {
	p := Problem{File: name, Cause: cause.Error()}
	if errors.Is(cause, fs.ErrNotExist) {
		return nil
	}
	if repair {
		kind := ".corrupt-"
		if errors.Is(cause, errNewer) {
			kind = ".newer-"
		}
		names, err := s.journal.fs.List()
		if err != nil {
			return err
		}
		for i := 1; p.SetAside == "" || slices.Contains(names, p.SetAside); i++ {
			p.SetAside = name + kind + strconv.Itoa(i)
		}
		if err := errors.Join(s.journal.fs.Rename(name, p.SetAside), s.journal.fs.Sync()); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem(p)
	return nil
}

// loadJournals replays the journals, oldest first, and goes on with the last.
func (s *Store) loadJournals(numbers []uint64, repair bool) error {
	j := &s.journal
	r := replay{store: s, boots: map[string]Boot{}}
	for _, t := range s.tables {
		r.seq = max(r.seq, t.seq)
	}
	var last scan
	for _, n := range numbers {
		last = s.readJournal(journalName(n))
		for _, rec := range last.records {
			r.record(rec)
		}
		if last.bad != nil {
			s.aside = append(s.aside, unreadable{journalName(n), last.bad})
		}
		j.number = n
	}
	r.end()
	j.seq, j.written, j.boots = r.seq, r.seq, r.boots
	s.lastBoots = r.boots
	switch {
	case !repair:
		for _, a := range s.aside {
			s.problem(Problem{File: a.File, Cause: a.cause.Error()})
		}
		return nil
	case len(s.aside) > 0:
		return s.salvage()
	}
	return s.resume(last)
}

func (s *Store) readJournal(name string) scan {
	b, err := s.journal.fs.Read(name)
	if err != nil {
		return scan{bad: err}
	}
	return scanJournal(b)
}

// resume goes on with the last journal, behind what is in order in it.
func (s *Store) resume(last scan) error {
	j := &s.journal
	if len(last.records) == 0 || last.records[0].Type != typeJournal {
		return nil // none, or one that a crash left without its first line: the first write starts another
	}
	f, err := j.fs.Open(journalName(j.number))
	if err != nil {
		return err
	}
	if err := f.Truncate(last.good); err != nil { // what a crash left of a batch
		return errors.Join(err, f.Close())
	}
	j.file, j.size = f, last.good
	return nil
}

// salvage writes what could be read into new files before it sets the old ones aside, so that a crash in
// between loses nothing. Where there is no room for that now, the first write does it.
func (s *Store) salvage() error {
	if err := s.renew(); err != nil {
		s.journal.damaged = err
		s.problem(Problem{Cause: err.Error()})
	}
	return nil
}

// replay brings the records of the journals to memory.
type replay struct {
	store *Store
	seq   uint64
	boots map[string]Boot
}

func (r *replay) record(rec *record) {
	s := r.store
	r.seq = max(r.seq, rec.Seq)
	switch rec.Type {
	case typeJournal:
		r.boots = map[string]Boot{}
		maps.Copy(r.boots, rec.Header.Boots)
		clear(s.open)
		for _, o := range rec.Header.Open {
			r.begin(o.ID, o.Write)
			r.seq = max(r.seq, o.ID)
		}
		r.apply(rec)
	case typeBoot:
		r.boots[rec.Part] = *rec.Boot
	case typeIntent:
		r.begin(rec.Seq, *rec.Body)
	case typeDone:
		r.done(rec)
	case typeUndone, typeForget:
		delete(s.open, rec.Intent)
	case typeSet:
		r.apply(rec)
	}
}

func (r *replay) begin(id uint64, in Intent) {
	size, _ := json.Marshal(in) // for the room that its outcome may need
	r.store.open[id] = &Write{store: r.store, id: id, intent: in, size: int64(len(size))}
}

func (r *replay) done(rec *record) {
	w := r.store.open[rec.Intent]
	delete(r.store.open, rec.Intent)
	if w != nil && rec.Changes == nil {
		rec.Changes = w.intent.Changes
	}
	r.apply(rec)
	for id, other := range r.store.open { // as settle does while the daemon runs
		if w != nil && w.intent.Subject != "" && other.intent.Class == Report &&
			other.intent.Subject == w.intent.Subject && id < w.id {
			delete(r.store.open, id)
		}
	}
}

// end sorts out what was cut off.
func (r *replay) end() {
	s := r.store
	for id, w := range s.open {
		if w.intent.Class == Finish {
			s.pending = append(s.pending, w)
			continue
		}
		s.interrupted[id] = Unfinished{ID: id, Intent: w.intent}
		delete(s.open, id)
	}
	slices.SortFunc(s.pending, func(a, b *Write) int { return cmp.Compare(a.id, b.id) })
}

// apply makes those changes which the registry's file does not have yet.
func (r *replay) apply(rec *record) {
	for _, c := range rec.Changes {
		if t := r.store.tableOf(c.Registry); rec.Seq > t.seq {
			t.change(c)
		}
	}
}

// nothing is the folder of a store that has none.
type nothing struct{}

func (nothing) List() ([]string, error)     { return nil, nil }
func (nothing) Read(string) ([]byte, error) { return nil, fs.ErrNotExist }
func (nothing) Open(string) (File, error)   { return nil, fs.ErrNotExist }
func (nothing) Rename(string, string) error { return fs.ErrNotExist }
func (nothing) Remove(string) error         { return fs.ErrNotExist }
func (nothing) Sync() error                 { return fs.ErrNotExist }
func (nothing) Close() error                { return nil }
