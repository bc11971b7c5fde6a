package state

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// filled is a disk with registry files and a journal after them.
func filled(t testing.TB) *simDisk {
	disk := newSimDisk()
	s := open(t, "", Options{FS: disk})
	taps, bridges := Register[thing](s, "taps"), Register[thing](s, "bridges")
	for n := range 4 {
		must(t, s.Set(taps.Put(fmt.Sprint("t", n), thing{"x", n}), bridges.Put(fmt.Sprint("b", n), thing{"x", n})))
	}
	must(t, s.Fold())
	for n := range 6 {
		must(t, begin(t, s, Intent{Method: "m.x", Changes: []Change{taps.Put(fmt.Sprint("t", n), thing{"y", 10 + n})}}).Done())
	}
	return disk.cutPower(disk.steps(), keepAll, nil)
}

// TestAnyDamageIsSetAsideAndNeverFatal changes bytes of files at random.
func TestAnyDamageIsSetAsideAndNeverFatal(t *testing.T) {
	rng, rounds := rand.New(rand.NewPCG(testhost.Seed(t), 1)), testhost.Rounds(200)
	intact := contentsOf(open(t, "", Options{FS: filled(t)}))
	for range 20 * rounds {
		disk := filled(t)
		names, _ := disk.List()
		name := names[rng.IntN(len(names))]
		damaged := slices.Clone(disk.names[name].data)
		damaged[rng.IntN(len(damaged))] ^= byte(1 + rng.IntN(255))
		must(t, writeFile(disk, name, damaged))
		store := open(t, "", Options{FS: disk})
		got := contentsOf(store)
		if len(store.Problems()) == 0 { // white space, or the end of the last line, as a crash may leave it
			for _, w := range store.Pending() {
				must(t, w.Done())
			}
			if got = contentsOf(store); !maps.Equal(got, intact) {
				t.Fatalf("%s damaged and nobody was told: %v", name, got)
			}
			continue
		}
		problems := store.Problems()
		if len(problems) != 1 || problems[0].File != name {
			t.Fatalf("%s damaged: %+v, %v", name, problems, got)
		}
		if aside, err := disk.Read(problems[0].SetAside); err != nil || !bytes.Equal(aside, damaged) {
			t.Fatalf("%s is not what was damaged: %v", problems[0].SetAside, err)
		}
		if n, _ := journalNumber(name); n > 0 && len(got) < len(intact)-2 { // two lines, if it was the newline between them
			t.Fatalf("one damaged line of the journal took more with it: %v", got)
		}
		again := open(t, "", Options{FS: disk.cutPower(disk.steps(), keepNone, nil)})
		if found := contentsOf(again); !maps.Equal(found, got) || len(again.Problems()) > 0 {
			t.Fatalf("the next start: %v, %+v, not %v", found, again.Problems(), got)
		}
	}
}

// TestNewerFilesAreLeftAlone: a daemon that was put back finds files that it cannot know.
func TestNewerFilesAreLeftAlone(t *testing.T) {
	disk := filled(t)
	names, _ := disk.List()
	texts := map[string]string{}
	for _, name := range names {
		if _, ok := journalNumber(name); ok {
			var line []byte
			line = appendLine(line, 99, []byte(`{"type":"journal","journal":{"version":2,"boot":{}}}`))
			texts[name] = string(line)
		} else {
			texts[name] = strings.Replace(string(disk.names[name].data), `"version": 1`, `"version": 2`, 1)
		}
		disk.names[name].data = []byte(texts[name])
	}
	store := open(t, "", Options{FS: disk})
	if got := contentsOf(store); len(got) > 0 || len(store.Problems()) != len(names) {
		t.Errorf("%v, %+v", got, store.Problems())
	}
	must(t, store.Set(Register[thing](store, "taps").Put("new", thing{"x", 1})))
	must(t, store.Fold())
	for name, text := range texts {
		if b, err := disk.Read(name + ".newer-1"); err != nil || string(b) != text {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// TestAsideNamesAreNeverTaken: the second damage leaves what the first set aside.
func TestAsideNamesAreNeverTaken(t *testing.T) {
	disk := filled(t)
	for i := range 3 {
		f, err := disk.Open("taps.json")
		must(t, err)
		_, err = f.WriteAt(fmt.Append(nil, "damage ", i), 0)
		must(t, err)
		open(t, "", Options{FS: disk})
	}
	for i := range 3 {
		if b, err := disk.Read(fmt.Sprint("taps.json.corrupt-", i+1)); err != nil || !strings.HasPrefix(string(b), fmt.Sprint("damage ", i)) {
			t.Errorf("%d: %.20q, %v", i, b, err)
		}
	}
}

// FuzzJournal: whatever stands in a journal, a start succeeds, and the next one finds the same.
func FuzzJournal(f *testing.F) {
	disk := filled(f)
	names, _ := disk.List()
	for _, name := range names {
		if _, ok := journalNumber(name); ok {
			f.Add(disk.names[name].data)
		}
	}
	for _, body := range []string{`{"type":"done","intent":7}`, `{"type":"set","changes":[{"registry":"taps","key":"a","value":1}]}`, `{"type":"intent","write":{"method":"m","at":"2026-01-01T00:00:00Z"}}`, `{"type":"x"}`} {
		f.Add(appendLine(appendLine(nil, 1, []byte(`{"type":"journal","journal":{"version":1,"boot":{}}}`)), 2, []byte(body)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most changes break a checksum: what the checks behind it do is seen with the lines signed anew.
		for _, b := range [][]byte{data, signed(data)} {
			disk := newSimDisk()
			disk.names[journalName(1)] = &simFile{id: -1, data: slices.Clone(b)}
			checkStarts(t, disk)
		}
	})
}

// signed gives every line of a journal the checksum that fits it.
func signed(b []byte) []byte {
	var out []byte
	for n, line := range bytes.Split(b, []byte("\n")) {
		if len(line) > lineHead && bytes.HasPrefix(line[lineHead:], []byte(`"seq":`)) {
			_, body, _ := bytes.Cut(line[lineHead:], []byte(","))
			out = appendLine(out, uint64(n+1), append([]byte("{"), body...))
			continue
		}
		out = append(append(out, line...), '\n')
	}
	return out
}

// FuzzRegistry: whatever stands in the file of a registry, a start succeeds, and the next one finds the same.
func FuzzRegistry(f *testing.F) {
	f.Add(filled(f).names["taps.json"].data)
	f.Add([]byte(`{"version":1,"registry":"taps","seq":0,"crc":"","entries":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		disk := newSimDisk()
		disk.names["taps.json"] = &simFile{id: -1, data: slices.Clone(data)}
		checkStarts(t, disk)
	})
}

func checkStarts(t *testing.T, disk *simDisk) {
	t.Helper()
	store := open(t, "", Options{FS: disk})
	before := contentsOf(store)
	for _, w := range store.Pending() {
		_ = w.Undone(nil)
	}
	if err := store.Set(Register[thing](store, "bridges").Put("new", thing{"x", 1})); err != nil {
		t.Fatal(err)
	}
	before["bridges/new"] = 1
	again := open(t, "", Options{FS: disk})
	for _, p := range again.Problems() {
		if p.SetAside != "" {
			t.Fatalf("what the first start left is damaged: %+v", p)
		}
	}
	if after := contentsOf(again); !maps.Equal(before, after) {
		t.Fatalf("first %v, then %v", before, after)
	}
}

func TestLocksAreTakenInTurn(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	lock := func(objects ...Object) func() {
		t.Helper()
		unlock, err := s.Lock(t.Context(), objects...)
		must(t, err)
		return unlock
	}
	one, two := lock(Shared("a"), Exclusive("x")), lock(Shared("a"), Shared("a")) // side by side
	came := make(chan string, 3)
	wait := func(name string, objects ...Object) {
		go func() {
			unlock, err := s.Lock(context.Background(), objects...)
			if err != nil {
				t.Error(err)
			}
			came <- name
			unlock()
		}()
		time.Sleep(20 * time.Millisecond) // until it stands in the queue
	}
	wait("exclusive", Exclusive("a"), Shared("b"))
	wait("shared later", Shared("a"))
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(short, Exclusive("b"), Exclusive("a")); err == nil {
		t.Error("a lock that is held was taken")
	}
	one()
	select {
	case name := <-came:
		t.Errorf("%s came in while another shares", name)
	case <-time.After(20 * time.Millisecond):
	}
	two()
	if first, second := <-came, <-came; first != "exclusive" || second != "shared later" {
		t.Errorf("%s, then %s", first, second)
	}
	lock(Exclusive("a"), Exclusive("b"), Exclusive("x"))() // all is free
	s.locks.mu.Lock()
	defer s.locks.mu.Unlock()
	if len(s.locks.held) > 0 {
		t.Errorf("left: %v", s.locks.held)
	}
}
