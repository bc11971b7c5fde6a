package state

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type thing struct {
	Name string `json:"name"`
	Size int    `json:"size,omitempty"`
}

var bootA = Boot{ID: "a", InitStart: 1, MountNS: "mnt:[1]", NetNS: "net:[1]"}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Boot == (Boot{}) {
		o.Boot = bootA
	}
	if o.FoldIdle == 0 {
		o.FoldIdle = -1
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t testing.TB, s *Store, in Intent) *Write {
	t.Helper()
	w, err := s.Begin(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteIsSeenOnceDoneAndAfterEveryKindOfEnd(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	things := Register[thing](s, "things")
	w := begin(t, s, Intent{Method: "m.add", Changes: []Change{things.Put("a", thing{"a", 1})}})
	if things.Has("a") {
		t.Error("seen before it was done")
	}
	must(t, w.Done())
	if v, ok := things.Get("a"); !ok || v.Size != 1 {
		t.Errorf("got %v %v", v, ok)
	}
	w = begin(t, s, Intent{Method: "m.add", Changes: []Change{things.Put("b", thing{"b", 1})}})
	must(t, w.Done(things.Put("b", thing{"b", 2}), things.Remove("a")))
	w = begin(t, s, Intent{Method: "m.add", Changes: []Change{things.Put("c", thing{"c", 1})}})
	must(t, w.Undone(errors.New("the kernel refused")))
	must(t, s.Set(things.Put("d", thing{"d", 4})))

	check := func(s *Store) {
		t.Helper()
		var got []thing
		for key, v := range Register[thing](s, "things").All() {
			if key != v.Name {
				t.Errorf("%s has %s", key, v.Name)
			}
			got = append(got, v)
		}
		if !slices.Equal(got, []thing{{"b", 2}, {"d", 4}}) {
			t.Errorf("got %v", got)
		}
	}
	check(s)
	killed := open(t, dir, Options{}) // as after kill -9: nothing was closed or folded
	check(killed)
	must(t, s.Close())
	if _, err := os.Stat(filepath.Join(dir, "things.json")); err != nil {
		t.Error("not folded at the end:", err)
	}
	last := open(t, dir, Options{})
	check(last)
	if len(last.Problems()) > 0 || len(last.Pending()) > 0 {
		t.Errorf("problems %v, pending %v", last.Problems(), last.Pending())
	}
}

func TestCutOffWritesArePendingOrReported(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	things := Register[thing](s, "things")
	begin(t, s, Intent{Method: "m.add", Changes: []Change{things.Put("a", thing{"a", 1})}})
	begin(t, s, Intent{Method: "m.format", Class: Report, Subject: "disk/1"})
	must(t, s.Fold()) // a new journal has them too

	s = open(t, dir, Options{})
	things = Register[thing](s, "things")
	pending, interrupted := s.Pending(), s.Interrupted()
	if len(pending) != 1 || len(interrupted) != 1 {
		t.Fatalf("pending %v, interrupted %v", pending, interrupted)
	}
	if v, ok := things.Value(pending[0].Intent().Changes[0]); !ok || v.Name != "a" {
		t.Errorf("the pending write puts %v %v", v, ok)
	}
	must(t, pending[0].Done())
	if !things.Has("a") || len(s.Pending()) > 0 {
		t.Errorf("not done: %v", s.Pending())
	}
	if again := open(t, dir, Options{}); len(again.Interrupted()) != 1 || len(again.Pending()) != 0 {
		t.Error("an interrupted write is listed until a later one on the same is done")
	}
	must(t, begin(t, s, Intent{Method: "m.format", Class: Report, Subject: "disk/1"}).Done())
	if again := open(t, dir, Options{}); len(s.Interrupted())+len(again.Interrupted()) > 0 {
		t.Error("still listed")
	}
	w := begin(t, s, Intent{Method: "m.format", Class: Report, Subject: "disk/2"})
	s = open(t, dir, Options{})
	must(t, s.Forget(w.ID()))
	if again := open(t, dir, Options{}); len(s.Interrupted())+len(again.Interrupted()) > 0 {
		t.Error("listed though forgotten")
	}
}

func TestBootIsTheSameOnceRestored(t *testing.T) {
	dir := t.TempDir()
	start := func(boot Boot, want bool) *Store {
		t.Helper()
		s := open(t, dir, Options{Boot: boot})
		if s.SameBoot("net") != want || s.SameBoot("vol") {
			t.Errorf("same boot: net %v, vol %v", s.SameBoot("net"), s.SameBoot("vol"))
		}
		return s
	}
	s := start(bootA, false)
	must(t, s.Restored("net"))
	if names, _ := filepath.Glob(dir + "/*"); s.SameBoot("net") || len(names) > 0 {
		t.Errorf("the answer changed while the store was open, or something was written: %v", names)
	}
	must(t, s.Set(Register[thing](s, "things").Put("a", thing{})))
	must(t, s.Fold()) // a new journal has it too
	s = start(bootA, true)
	must(t, s.Restored("net"))
	other := bootA
	other.InitStart++
	start(other, false)
	start(bootA, true)
	s = start(other, false)
	must(t, s.Restored("net"))
	start(other, true)
	start(bootA, false)
}

func TestReadBoot(t *testing.T) {
	b, err := ReadBoot("/proc")
	must(t, err)
	if again, _ := ReadBoot("/proc"); again != b || !b.known() || b.InitStart == 0 && !strings.HasPrefix(b.NetNS, "net:[") {
		t.Errorf("%+v, then %+v", b, again)
	}
	if _, err := ReadBoot(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without /proc: %v", err)
	}
	if n, err := startTime("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 77 1 2"); err != nil || n != 77 {
		t.Errorf("a name with blanks and parentheses: %d %v", n, err)
	}
}

func TestReadOnlyStoreReadsAndRefusesWrites(t *testing.T) {
	why := errors.New("mkdir /var/lib/x: read-only file system")
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		if s, err := Open(dir, Options{Boot: bootA, FoldIdle: -1}); err == nil {
			must(t, s.Set(Register[thing](s, "things").Put("a", thing{Name: "a"})))
		}
		s := OpenReadOnly(dir, why, Options{Boot: bootA})
		things := Register[thing](s, "things")
		if _, err := s.Begin(t.Context(), Intent{Method: "m.add"}); !errors.Is(err, ErrReadOnly) || !errors.Is(err, why) {
			t.Errorf("Begin: %v", err)
		}
		if err := s.Set(things.Remove("a")); !errors.Is(err, ErrReadOnly) {
			t.Errorf("Set: %v", err)
		}
		if want := filepath.Base(dir) != "missing"; things.Has("a") != want {
			t.Errorf("%s: reads what is there: %v, want %v", dir, things.Has("a"), want)
		}
		must(t, s.Close())
	}
}

func TestIndexFollowsEveryWrite(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	things := Register[thing](s, "things")
	must(t, s.Set(things.Put("a", thing{"x", 1}), things.Put("b", thing{"x", 2})))
	byName := things.IndexBy(func(_ string, v thing) string { return v.Name })
	must(t, s.Set(things.Put("c", thing{"y", 3}), things.Put("b", thing{"y", 2}), things.Remove("a"), things.Put("d", thing{})))
	if x, y := byName.Keys("x"), byName.Keys("y"); len(x) > 0 || !slices.Equal(y, []string{"b", "c"}) || byName.Len("y") != 2 || byName.Len("") != 0 {
		t.Errorf("x %v, y %v", x, y)
	}
}

func TestFoldHappensByItself(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{FoldSize: 4 << 10, FoldIdle: time.Millisecond})
	defer s.Close()
	things := Register[thing](s, "things")
	for range 200 {
		must(t, s.Set(things.Put("a", thing{strings.Repeat("x", 100), 1})))
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		journals, _ := filepath.Glob(filepath.Join(dir, journalPrefix+"*"))
		if len(journals) == 1 && journals[0] != filepath.Join(dir, journalName(1)) {
			if info, err := os.Stat(journals[0]); err == nil && info.Size() < 4<<10 {
				return
			}
		}
	}
	t.Error("the journal was never folded")
}

func TestChangeThatCannotBeKeptIsRefused(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	things := Register[thing](s, "things")
	broken := Register[func()](s, "functions")
	for _, c := range []Change{
		things.Put("", thing{}), things.Put("\xff", thing{}), things.Put(strings.Repeat("k", maxKey+1), thing{}),
		broken.Put("a", func() {}), {Registry: "../x", Key: "a"}, {Registry: "things", Key: "a", Value: []byte("{")},
	} {
		if _, err := s.Begin(t.Context(), Intent{Method: "m.add", Changes: []Change{c}}); err == nil {
			t.Errorf("%.50q %.20q was taken", c.Registry, c.Key)
		}
	}
	if err := s.Set(things.Put("a", thing{})); err != nil {
		t.Error("a good one afterwards:", err)
	}
}

// TestWriteThatIsLeftIsReportedUntilALaterOneIsDone: at once, after a start, and through folds.
func TestWriteThatIsLeftIsReportedUntilALaterOneIsDone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	format := Intent{Method: "vol.create_filesystem", Class: Report, Subject: "/dev/sdb"}
	begin(t, s, format).Left()
	other := format
	other.Subject = "/dev/sdc"
	begin(t, s, other).Left()
	subjects := func(s *Store) (list []string) {
		for _, u := range s.Interrupted() {
			list = append(list, u.Subject)
		}
		return list
	}
	left := []string{"/dev/sdb", "/dev/sdc"}
	must(t, s.Fold())
	if again := open(t, dir, Options{}); !slices.Equal(subjects(s), left) || !slices.Equal(subjects(again), left) {
		t.Errorf("%v, after a start %v", subjects(s), subjects(again))
	}
	must(t, begin(t, s, format).Done())
	for _, fold := range []bool{false, true} {
		if fold {
			must(t, s.Fold())
		}
		if again := open(t, dir, Options{}); !slices.Equal(subjects(s), left[1:]) || !slices.Equal(subjects(again), left[1:]) {
			t.Errorf("folded %v: %v, after a start %v", fold, subjects(s), subjects(again))
		}
	}
}
