package gpt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

const linuxType = "0fc63daf-8483-4772-8e79-3d69d8477de4"

// image is a disk in memory that knows which writes were not flushed yet.
type image struct {
	stable  []byte
	pending []Write
}

func (m *image) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m.stable)) {
		return 0, fmt.Errorf("write of %d bytes at %d: outside", len(b), at)
	}
	m.pending = append(m.pending, Write{at, bytes.Clone(b)})
	return len(b), nil
}

func (m *image) Sync() error {
	for _, w := range m.pending {
		copy(m.stable[w.Offset:], w.Bytes)
	}
	m.pending = nil
	return nil
}

func (m *image) reader() *bytes.Reader { return bytes.NewReader(m.stable) }

// randomName has characters of one and of two units.
func randomName(rng *rand.Rand) string {
	alphabet := []rune("abcXYZ 019-_.é漢字😀/,")
	var name []rune
	for range rng.IntN(12) {
		name = append(name, alphabet[rng.IntN(len(alphabet))])
	}
	return strings.TrimSpace(string(name))
}

func mustParse(t testing.TB, s string) GUID {
	t.Helper()
	g, err := ParseGUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// fill adds up to n random partitions, of some units of bytes each, to a table and returns them by number.
func fill(t testing.TB, rng *rand.Rand, table *Table, n int, unit uint64) map[int]Entry {
	t.Helper()
	added := map[int]Entry{}
	step := unit / uint64(table.sector)
	at, last := table.Usable()
	at = (at + step - 1) / step * step
	for range n {
		e := Entry{Type: mustParse(t, linuxType), UUID: RandomGUID(), First: at + rng.Uint64N(2)*step, Attributes: rng.Uint64() & 7, Name: randomName(rng)}
		e.Last = e.First + (1+rng.Uint64N(3))*step - 1
		if e.Last > last {
			break
		}
		number, err := table.Add(e)
		if err != nil {
			t.Fatal(err)
		}
		if !table.Used(number) {
			t.Fatalf("partition %d is not in use", number)
		}
		added[number], at = e, e.Last+1
	}
	return added
}

func writeTable(t testing.TB, m *image, table *Table) {
	t.Helper()
	if err := Apply(m, table.Phases()); err != nil {
		t.Fatal(err)
	}
}

// TestWitnesses holds random tables, made and then changed, against sfdisk and sgdisk.
func TestWitnesses(t *testing.T) {
	testhost.Tool(t, "sfdisk", "fdisk")
	testhost.Tool(t, "sgdisk", "gdisk")
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 1))
	for range testhost.Rounds(20) {
		size := int64(8+rng.IntN(40)) << 20
		m := &image{stable: make([]byte, size)}
		table, err := New(size, 512, RandomGUID())
		if err != nil {
			t.Fatal(err)
		}
		want := fill(t, rng, table, rng.IntN(4), 1<<20)
		writeTable(t, m, table)
		if rng.IntN(2) == 0 { // the disk grows
			size += int64(rng.IntN(20)) << 20
			m.stable = append(m.stable, make([]byte, size-int64(len(m.stable)))...)
		}
		table, err = Read(m.reader(), size, 512)
		if err != nil {
			t.Fatal(err)
		}
		table.ToEnd()
		addBehind(t, rng, table, want)
		growLast(t, rng, table, want)
		writeTable(t, m, table)
		witness(t, m.stable, want)
	}
}

// addBehind adds a partition behind all others where there is room.
func addBehind(t testing.TB, rng *rand.Rand, table *Table, want map[int]Entry) {
	t.Helper()
	end := uint64(2047)
	for _, e := range want {
		end = max(end, e.Last)
	}
	_, last := table.Usable()
	if end+1<<20/uint64(table.sector) > last {
		return
	}
	e := Entry{Type: mustParse(t, linuxType), UUID: RandomGUID(), First: end + 1, Last: end + 1<<20/uint64(table.sector), Name: randomName(rng)}
	number, err := table.Add(e, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if number < 3 {
		t.Fatalf("partition %d, which was claimed", number)
	}
	want[number] = e
}

// growLast grows the last partition to the end.
func growLast(t testing.TB, rng *rand.Rand, table *Table, want map[int]Entry) {
	t.Helper()
	number, end := 0, uint64(0)
	for n, e := range want {
		if e.Last > end {
			number, end = n, e.Last
		}
	}
	if number == 0 || rng.IntN(2) == 0 {
		return
	}
	_, last := table.Usable()
	if err := table.Grow(number, last); err != nil {
		t.Fatal(err)
	}
	if err := table.Grow(number, last+1); !errors.Is(err, ErrOverlap) {
		t.Fatalf("grown past the end: %v", err)
	}
	e := want[number]
	e.Last = last
	want[number] = e
}

// witness asks sgdisk for problems and sfdisk for the partitions.
func witness(t testing.TB, disk []byte, want map[int]Entry) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := testhost.Command(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	var got struct {
		PartitionTable struct {
			Label      string
			Partitions []struct {
				Node, Type, UUID, Name string
				Start, Size            uint64
			}
		}
	}
	if err := json.Unmarshal([]byte(testhost.Command(t, "sfdisk", "-J", path)), &got); err != nil {
		t.Fatal(err)
	}
	if got.PartitionTable.Label != "gpt" || len(got.PartitionTable.Partitions) != len(want) {
		t.Fatalf("sfdisk: %+v, want %d partitions", got, len(want))
	}
	for _, p := range got.PartitionTable.Partitions {
		var number int
		fmt.Sscanf(strings.TrimPrefix(p.Node, path), "%d", &number)
		e := want[number]
		if p.Start != e.First || p.Size != e.Last-e.First+1 || strings.ToLower(p.UUID) != e.UUID.String() || p.Name != e.Name || strings.ToLower(p.Type) != linuxType {
			t.Errorf("sfdisk has %+v, want %+v (%s)", p, e, e.UUID)
		}
	}
}

// entriesOf decodes what a table read from a disk has, by another way than its own.
func entriesOf(t *Table) string {
	var b strings.Builder
	for n := 1; n <= t.Entries(); n++ {
		if e := t.at(n); t.Used(n) {
			fmt.Fprintf(&b, "%d:%x-%x ", n, binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:]))
		}
	}
	return b.String()
}

// TestNoCutLosesTheTable cuts a change off behind every one of its writes, drops or tears any of those that
// were not flushed, and asks for either the old table or the new one, before mending and after it.
func TestNoCutLosesTheTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 2))
	points := 0
	for range testhost.Rounds(50) {
		sector := []int64{512, 4096}[rng.IntN(2)]
		size := int64(2+rng.IntN(2)) << 20
		disk := make([]byte, size)
		var before string
		table, err := New(size, sector, RandomGUID())
		if err != nil {
			t.Fatal(err)
		}
		blank := rng.IntN(4) == 0
		if !blank {
			fill(t, rng, table, 2, 32<<10)
			m := &image{stable: disk}
			writeTable(t, m, table)
			if rng.IntN(2) == 0 {
				disk = append(disk, make([]byte, 2<<20)...)
				size += 2 << 20
			}
			if table, err = Read(bytes.NewReader(disk), size, sector); err != nil {
				t.Fatal(err)
			}
			before = entriesOf(table)
			table.ToEnd()
		}
		addBehind(t, rng, table, map[int]Entry{0: {Last: 1<<19/uint64(sector) - 1}})
		points += cuts(t, rng, disk, sector, table, before, blank)
	}
	t.Logf("%d points", points)
}

// cuts tries all places to cut a change off at and returns how many there were.
func cuts(t *testing.T, rng *rand.Rand, disk []byte, sector int64, table *Table, before string, blank bool) (points int) {
	t.Helper()
	after := entriesOf(table)
	stable := bytes.Clone(disk)
	for _, phase := range table.Phases() {
		for issued := 0; issued <= len(phase); issued++ {
			for kept := range 1 << issued {
				for _, torn := range []bool{false, true} {
					crashed := bytes.Clone(stable)
					for i, w := range phase[:issued] {
						if kept>>i&1 == 1 {
							copy(crashed[w.Offset:], w.Bytes)
						} else if torn {
							tear(rng, crashed, w, sector)
						}
					}
					points++
					checkCrashed(t, crashed, sector, before, after, blank)
				}
			}
		}
		for _, w := range phase {
			copy(stable[w.Offset:], w.Bytes)
		}
	}
	if table, err := Read(bytes.NewReader(stable), int64(len(stable)), sector); err != nil || entriesOf(table) != after {
		t.Errorf("written whole: %v, %v", table, err)
	}
	return points
}

// tear has some of the sectors of a write reach the disk.
func tear(rng *rand.Rand, disk []byte, w Write, sector int64) {
	for at := int64(0); at < int64(len(w.Bytes)); at += sector {
		if rng.IntN(2) == 0 {
			copy(disk[w.Offset+at:], w.Bytes[at:min(at+sector, int64(len(w.Bytes)))])
		}
	}
}

func checkCrashed(t *testing.T, disk []byte, sector int64, before, after string, blank bool) {
	t.Helper()
	size := int64(len(disk))
	table, err := read(bytes.NewReader(disk), size, sector)
	if blank && (errors.Is(err, ErrNone) || isZero(disk[:512])) {
		return // without the protective entry the disk is blank still
	}
	if err != nil {
		t.Fatalf("cut off: %v", err)
	}
	if got := entriesOf(table); got != before && got != after {
		t.Fatalf("cut off: %q, neither %q nor %q", got, before, after)
	}
	phases, _, err := Mend(bytes.NewReader(disk), size, sector)
	if err != nil {
		t.Fatal(err)
	}
	m := &image{stable: bytes.Clone(disk)}
	if err := Apply(m, phases); err != nil {
		t.Fatal(err)
	}
	mended, err := Read(m.reader(), size, sector)
	if err != nil || !mended.identical {
		t.Fatalf("mended: %v, %v", mended, err)
	}
	if got := entriesOf(mended); got != entriesOf(table) {
		t.Fatalf("mending changed %q to %q", entriesOf(table), got)
	}
	if phases, what, err := Mend(m.reader(), size, sector); err != nil || what != Whole || len(phases) > 0 {
		t.Fatalf("mended twice: %v %v", what, err)
	}
}

func TestRefusals(t *testing.T) {
	size := int64(16 << 20)
	table, err := New(size, 512, RandomGUID())
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Type: mustParse(t, linuxType), UUID: RandomGUID(), First: 2048, Last: 4095}
	if _, err := table.Add(e); err != nil {
		t.Fatal(err)
	}
	first, last := table.Usable()
	for _, c := range [][2]uint64{{4095, 5000}, {2048, 4095}, {100, 2048}, {first - 1, first}, {last, last + 1}, {9, 8}, {3000, 3001}} {
		e.First, e.Last = c[0], c[1]
		if _, err := table.Add(e); !errors.Is(err, ErrOverlap) {
			t.Errorf("%v: %v", c, err)
		}
	}
	e.First, e.Last, e.Name = 4096, 4097, strings.Repeat("😀", 19)
	if _, err := table.Add(e); err == nil {
		t.Error("a name of 38 units was taken")
	}
	e.Name = strings.Repeat("😀", 18)
	for n := 2; n <= 128; n++ {
		if got, err := table.Add(e); err != nil || got != n {
			t.Fatalf("%d: %d, %v", n, got, err)
		}
		e.First, e.Last = e.First+2, e.Last+2
	}
	if _, err := table.Add(e); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	m := &image{stable: make([]byte, size)}
	writeTable(t, m, table)
	m.stable[512+60] ^= 1 // the primary's header
	if _, err := Read(m.reader(), size, 512); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	if _, err := Read(bytes.NewReader(make([]byte, size)), size, 512); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
	for _, c := range [][2]int64{{size, 100}, {16 << 10, 512}, {size, 513}} {
		if _, err := New(c[0], c[1], GUID{}); !errors.Is(err, ErrLayout) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// What is not known here stays as it is.
func TestUnknownBytesStay(t *testing.T) {
	size := int64(16 << 20)
	table, err := New(size, 512, RandomGUID())
	if err != nil {
		t.Fatal(err)
	}
	table.entry, table.entries = 256, make([]byte, 256*64) // larger entries, with something behind the name
	le.PutUint32(table.header[80:], 64)
	le.PutUint32(table.header[84:], 256)
	if _, err := table.Add(Entry{Type: mustParse(t, linuxType), UUID: RandomGUID(), First: 2048, Last: 2049, Name: "x"}); err != nil {
		t.Fatal(err)
	}
	copy(table.at(1)[128:], "beyond")
	m := &image{stable: make([]byte, size)}
	writeTable(t, m, table)
	again, err := Read(m.reader(), size, 512)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := again.Add(Entry{Type: mustParse(t, linuxType), UUID: RandomGUID(), First: 4096, Last: 4097}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	writeTable(t, m, again)
	if again, err = Read(m.reader(), size, 512); err != nil || string(again.at(1)[128:134]) != "beyond" || again.Entries() != 64 {
		t.Errorf("%v %v", again, err)
	}
}

func TestGUID(t *testing.T) {
	g := mustParse(t, linuxType)
	if fmt.Sprintf("%x", g[:4]) != "af3dc60f" || g.String() != linuxType {
		t.Errorf("%x %s", g, g)
	}
	for _, bad := range []string{"", "0fc63daf84834772-8e79-3d69d8477de4", "0fc63daf-8483-4772-8e79-3d69d8477dex", linuxType + "0"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if r := RandomGUID(); r.String()[14] != '4' || r == RandomGUID() {
		t.Errorf("%s", r)
	}
}

// FuzzRead reads any bytes; what it takes for a table it can write back, and finds again.
func FuzzRead(f *testing.F) {
	table, _ := New(64<<10, 512, GUID{1})
	table.Add(Entry{Type: GUID{1}, UUID: GUID{2}, First: 40, Last: 50, Name: "a"})
	m := &image{stable: make([]byte, 64<<10)}
	Apply(m, table.Phases())
	f.Add(m.stable[:40*512], m.stable[len(m.stable)-33*512:])
	f.Add(m.stable[:1024], []byte{})
	f.Fuzz(func(t *testing.T, start, end []byte) {
		disk := make([]byte, 64<<10)
		copy(disk, start)
		if len(end) < len(disk) {
			copy(disk[len(disk)-len(end):], end)
		}
		size := int64(len(disk))
		phases, what, err := Mend(bytes.NewReader(disk), size, 512)
		if err != nil {
			return
		}
		m := &image{stable: disk}
		if err := Apply(m, phases); err != nil {
			t.Fatal(err)
		}
		table, err := Read(m.reader(), size, 512)
		if err != nil {
			t.Fatalf("mended (%s): %v", what, err)
		}
		before := entriesOf(table)
		writeTable(t, m, table)
		if table, err = Read(m.reader(), size, 512); err != nil || entriesOf(table) != before {
			t.Fatalf("written back: %v", err)
		}
	})
}
