package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// contents is what the registries of a scripted run hold: registry/key to value.
type contents map[string]int

func contentsOf(s *Store) contents {
	c := contents{}
	for _, name := range []string{"bridges", "taps"} {
		for key, v := range Register[thing](s, name).All() {
			c[name+"/"+key] = v.Size
		}
	}
	return c
}

// script is a run on a simDisk that remembers, for every step of the disk, what may be found after it.
type script struct {
	t       *testing.T
	store   *Store
	regs    map[string]*Registry[thing]
	rng     *rand.Rand
	disk    *simDisk
	moments []moment
}

// moment is what a call did: between the steps from and to either content may be found, from to on only after.
type moment struct {
	from, to      int
	before, after contents
}

func newScript(t *testing.T, rng *rand.Rand, disk *simDisk) *script {
	s := &script{t: t, rng: rng, disk: disk}
	s.reopen()
	return s
}

func (s *script) reopen() {
	s.store = open(s.t, "", Options{FS: s.disk, FoldSize: 2 << 10})
	s.regs = map[string]*Registry[thing]{}
	for _, name := range []string{"bridges", "taps"} {
		s.regs[name] = Register[thing](s.store, name)
	}
}

// step makes one random call.
func (s *script) step(n int) {
	m := moment{from: s.disk.steps(), before: contentsOf(s.store), after: contentsOf(s.store)}
	name := []string{"bridges", "taps"}[s.rng.IntN(2)]
	key := fmt.Sprintf("k%d", s.rng.IntN(6))
	change := s.regs[name].Put(key, thing{"x", n})
	if s.rng.IntN(3) == 0 {
		change = s.regs[name].Remove(key)
	}
	effect := func() {
		if change.Removes() {
			delete(m.after, name+"/"+key)
		} else {
			m.after[name+"/"+key] = n
		}
	}
	switch s.rng.IntN(8) {
	case 0:
		if s.store.Set(change) == nil {
			effect()
		}
	case 1:
		w, err := s.store.Begin(s.t.Context(), Intent{Method: "m.x", Changes: []Change{change}})
		if err == nil {
			// What is undone may be found done only until Undone returns.
			m.before, m.after = maps.Clone(m.before), maps.Clone(m.before)
			done := maps.Clone(m.before)
			if change.Removes() {
				delete(done, name+"/"+key)
			} else {
				done[name+"/"+key] = n
			}
			if err := w.Undone(errors.New("no")); err == nil {
				s.moments = append(s.moments, moment{m.from, s.disk.steps(), m.before, done})
			}
		}
	case 2:
		if err := s.store.Fold(); err != nil && s.disk.fail == nil {
			s.t.Fatal(err)
		}
	case 3:
		if s.store.Close() == nil {
			s.reopen()
		}
	default:
		w, err := s.store.Begin(s.t.Context(), Intent{Method: "m.x", Changes: []Change{change}})
		if err == nil {
			_ = w.Done()
			effect()
		}
	}
	m.to = s.disk.steps()
	s.moments = append(s.moments, m)
}

// TestEveryPowerCutStartsCleanAndLosesNothing cuts the power after each step of the disk in a random run.
func TestEveryPowerCutStartsCleanAndLosesNothing(t *testing.T) {
	rng, rounds := rand.New(rand.NewPCG(testhost.Seed(t), 1)), testhost.Rounds(20)
	prefixes := 0
	for range min(rounds, 40) {
		s := newScript(t, rng, newSimDisk())
		for n := 1; n <= 60; n++ {
			s.step(n)
		}
		for cut := 0; cut <= s.disk.steps(); cut++ {
			for _, keep := range []string{keepNone, keepAll, keepSome} {
				prefixes++
				checkCut(t, s, cut, keep)
			}
		}
	}
	t.Logf("%d prefixes", prefixes)
}

// checkCut starts on what a power cut left, finishes what was cut off, and compares.
func checkCut(t *testing.T, s *script, cut int, keep string) {
	t.Helper()
	var want []contents // any of them
	for _, m := range s.moments {
		switch {
		case m.to <= cut:
			want = []contents{m.after}
			if m.to == m.from { // nothing was written: still what it was
				want = []contents{m.before, m.after}
			}
		case m.from < cut:
			want = append(want, m.before, m.after)
		}
	}
	if len(want) == 0 {
		want = []contents{{}}
	}
	disk := s.disk.cutPower(cut, keep, s.rng)
	for start := range 2 { // the second finds what the first left
		store := open(t, "", Options{FS: disk})
		if p := store.Problems(); len(p) > 0 {
			t.Fatalf("cut after %d (%s), start %d: %+v", cut, keep, start, p)
		}
		contentsOf(store) // registers
		for _, w := range store.Pending() {
			must(t, w.Done())
		}
		got := contentsOf(store)
		if !slices.ContainsFunc(want, func(w contents) bool { return maps.Equal(w, got) }) {
			t.Fatalf("cut after %d (%s), start %d: got %v, want one of %v", cut, keep, start, got, want)
		}
		want = []contents{got}
		if start == 0 {
			must(t, store.Set(Register[thing](store, "taps").Put("new", thing{"x", -1})))
			want[0]["taps/new"] = -1
		}
	}
}

// TestDiskErrorsLoseNothingThatWasAcknowledged lets any step of the disk fail.
func TestDiskErrorsLoseNothingThatWasAcknowledged(t *testing.T) {
	rng, rounds := rand.New(rand.NewPCG(testhost.Seed(t), 1)), testhost.Rounds(20)
	errs := 0
	for range rounds {
		disk := newSimDisk()
		s := newScript(t, rng, disk)
		failing := rng.IntN(4)
		faults := rand.New(rand.NewPCG(rng.Uint64(), 2)) // of its own: the store folds beside this
		disk.failBy(func(op string) error {
			if faults.IntN(12) == 0 && failing > 0 {
				errs++
				return []error{errDisk, syscall.ENOSPC}[faults.IntN(2)]
			}
			return nil
		})
		want := contents{}
		var refused []contents // may be found until the disk takes something again
		for n := 1; n <= 50; n++ {
			key := fmt.Sprintf("k%d", rng.IntN(6))
			change := s.regs["taps"].Put(key, thing{"x", n})
			w, err := s.store.Begin(t.Context(), Intent{Method: "m.x", Changes: []Change{change}})
			with := maps.Clone(want)
			with["taps/"+key] = n
			if err == nil {
				_ = w.Done() // seen all the same
				want, refused = with, nil
			} else {
				refused = append(refused, with)
			}
			if got := contentsOf(s.store); !maps.Equal(got, want) {
				t.Fatalf("in memory: got %v, want %v", got, want)
			}
			if rng.IntN(5) == 0 {
				foundAfterCut(t, disk, rng, append([]contents{want}, refused...))
			}
		}
		disk.failBy(nil)
		must(t, s.store.Set(s.regs["bridges"].Put("last", thing{"x", 0}))) // the disk is well again
		want["bridges/last"] = 0
		foundAfterCut(t, disk, rng, []contents{want})
	}
	t.Logf("%d errors", errs)
}

// foundAfterCut cuts the power now, in every way, and starts on what is left: one of want.
func foundAfterCut(t *testing.T, disk *simDisk, rng *rand.Rand, want []contents) {
	t.Helper()
	for _, keep := range []string{keepNone, keepAll, keepSome} {
		store := open(t, "", Options{FS: disk.cutPower(disk.steps(), keep, rng)})
		contentsOf(store) // registers
		for _, w := range store.Pending() {
			must(t, w.Done())
		}
		got := contentsOf(store)
		if !slices.ContainsFunc(want, func(w contents) bool { return maps.Equal(w, got) }) {
			t.Fatalf("after a power cut (%s): got %v, want one of %v", keep, got, want)
		}
	}
}

// TestJournalThatWasNotStarted: what stays of a journal that could not be started hides nothing that was
// acknowledged since, whichever steps of its start and of its removal fail.
func TestJournalThatWasNotStarted(t *testing.T) {
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 1))
	for faults := range 1 << 7 {
		disk := newSimDisk()
		s := newScript(t, rng, disk)
		add := func(key string, n int) {
			w, err := s.store.Begin(t.Context(), Intent{Method: "m.x", Changes: []Change{s.regs["taps"].Put(key, thing{"x", n})}})
			must(t, err)
			must(t, w.Done())
		}
		left, err := s.store.Begin(t.Context(), Intent{Method: "m.x", Changes: []Change{s.regs["taps"].Put("a", thing{"x", 1})}})
		must(t, err)
		step := -1
		disk.failBy(func(string) error {
			if step++; step < 7 && faults>>step&1 == 1 {
				return errDisk
			}
			return nil
		})
		_ = s.store.Fold()
		disk.failBy(nil)
		must(t, left.Done())
		add("a", 2)
		add("b", 3)
		foundAfterCut(t, disk, rng, []contents{{"taps/a": 2, "taps/b": 3}})
	}
}

// TestRefusedForWantOfRoom: a write that is refused says nothing of whether those before it are on the disk.
func TestRefusedForWantOfRoom(t *testing.T) {
	disk := newSimDisk()
	disk.free = 8 << 10
	s := newScript(t, nil, disk)
	want := contents{}
	for n := range 1000 {
		w, err := s.store.Begin(t.Context(), Intent{Method: "m.x", Changes: []Change{s.regs["taps"].Put(fmt.Sprint(n), thing{"x", n})}})
		if err != nil {
			break
		}
		must(t, w.Done())
		want[fmt.Sprintf("taps/%d", n)] = n
	}
	if len(want) == 0 || len(want) == 1000 {
		t.Fatalf("%d were done", len(want))
	}
	from := disk.steps()
	disk.mu.Lock() // the store folds beside this
	disk.free = 1 << 20
	disk.mu.Unlock()
	must(t, s.store.Fold())
	for cut := from; cut <= disk.steps(); cut++ {
		store := open(t, "", Options{FS: disk.cutPower(cut, keepNone, nil)})
		contentsOf(store)
		for _, w := range store.Pending() {
			must(t, w.Done())
		}
		if got := contentsOf(store); !maps.Equal(got, want) {
			t.Fatalf("cut after %d: got %v, want %v", cut, got, want)
		}
	}
}

// TestFullDiskRefusesBeforeAndTakesOutcomes: what began can always be ended.
func TestFullDiskRefusesBeforeAndTakesOutcomes(t *testing.T) {
	disk := newSimDisk()
	disk.free = 8 << 10
	s := newScript(t, rand.New(rand.NewPCG(1, 1)), disk)
	var began []*Write
	for n := range 1000 {
		w, err := s.store.Begin(t.Context(), Intent{Method: "m.x", Class: Report, Changes: []Change{s.regs["taps"].Put(fmt.Sprint(n), thing{"x", n})}})
		if err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
		began = append(began, w)
	}
	if len(began) < 2 || len(began) == 1000 {
		t.Fatalf("%d began", len(began))
	}
	for i, w := range began {
		must(t, w.Done(s.regs["taps"].Put(fmt.Sprint(i), thing{"a longer name than it had", i})))
	}
	store := open(t, "", Options{FS: disk.cutPower(disk.steps(), keepNone, nil)})
	if got := len(contentsOf(store)); got != len(began) || len(store.Interrupted()) > 0 {
		t.Errorf("%d of %d outcomes are there, %d interrupted", got, len(began), len(store.Interrupted()))
	}
}

// TestSideBySide: many callers at once, one fsync for many, and each finds what it wrote.
func TestSideBySide(t *testing.T) {
	disk := newSimDisk()
	s := newScript(t, rand.New(rand.NewPCG(1, 1)), disk)
	var wg sync.WaitGroup
	for caller := range 64 {
		wg.Go(func() {
			for n := range 20 {
				key := fmt.Sprintf("c%d", caller)
				unlock, err := s.store.Lock(t.Context(), Exclusive(key), Shared("all"))
				if err != nil {
					t.Error(err)
					return
				}
				w, err := s.store.Begin(t.Context(), Intent{Method: "m.x", Changes: []Change{s.regs["taps"].Put(key, thing{"x", n})}})
				if err == nil {
					err = w.Done()
				}
				if v, _ := s.regs["taps"].Get(key); err != nil || v.Size != n {
					t.Errorf("%s: %v, %v after %d", key, err, v, n)
				}
				if n%7 == 6 {
					if err := s.store.Fold(); err != nil {
						t.Error(err)
					}
				}
				unlock()
			}
		})
	}
	wg.Wait()
	if len(s.store.locks.held) > 0 {
		t.Errorf("locks left: %v", s.store.locks.held)
	}
	store := open(t, "", Options{FS: disk.cutPower(disk.steps(), keepAll, nil)})
	got := contentsOf(store)
	for caller := range 64 {
		if got[fmt.Sprintf("taps/c%d", caller)] != 19 {
			t.Errorf("caller %d: %d", caller, got[fmt.Sprintf("taps/c%d", caller)])
		}
	}
}
