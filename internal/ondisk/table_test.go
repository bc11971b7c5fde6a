package ondisk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

// sfdiskTable is what sfdisk -J prints.
type sfdiskTable struct {
	PartitionTable struct {
		Label, ID         string
		FirstLBA, LastLBA uint64
		SectorSize        int64
		Partitions        []sfdiskPartition
	}
}

type sfdiskPartition struct {
	Node                          string
	Start, Size                   int64
	Type, UUID, Name, Attrs, GUID string
	Bootable                      bool
}

func (m *image) sfdisk() *sfdiskTable {
	m.t.Helper()
	t := new(sfdiskTable)
	if err := json.Unmarshal([]byte(testhost.Command(m.t, "sfdisk", "-J", m.path)), t); err != nil {
		m.t.Fatal(err)
	}
	return t
}

// asSfdisk writes a table as sfdisk does.
func asSfdisk(path string, t *Table) *sfdiskTable {
	s := new(sfdiskTable)
	p := &s.PartitionTable
	p.Label, p.ID, p.FirstLBA, p.LastLBA, p.SectorSize = t.Type, t.UUID, t.FirstLBA, t.LastLBA, t.SectorSize
	if t.Type == "gpt" {
		p.ID = strings.ToUpper(p.ID)
	} else {
		p.ID = "0x" + p.ID
	}
	for _, e := range t.Partitions {
		q := sfdiskPartition{Node: fmt.Sprint(path, e.Number), Start: e.Start / t.SectorSize, Size: e.Size / t.SectorSize,
			Type: strings.TrimPrefix(e.Type, "0x"), Name: e.Name, Bootable: e.Bootable, Attrs: strings.Join(AttributeNames(e.Attributes), " ")}
		if t.Type == "gpt" {
			q.Type, q.UUID = strings.ToUpper(e.Type), strings.ToUpper(e.UUID)
		}
		p.Partitions = append(p.Partitions, q)
	}
	return s
}

// randomTable is a script for sfdisk.
func (m *image) randomTable() string {
	if m.r.IntN(2) == 0 {
		return m.randomGPT()
	}
	return m.randomDOS()
}

func (m *image) randomGPT() string {
	script := "label: gpt\n"
	for n := range 1 + m.r.IntN(8) {
		line := fmt.Sprintf("size=%dKiB, name=\"%s é %d\"", 4+m.r.IntN(20000), m.label(20), n)
		line += ", type=" + m.one("linux", "uefi", "swap", "home", "raid", "lvm", "21686148-6449-6E6F-744E-656564454649", "933AC7E1-2EB4-4F13-B844-0E14E2AEF915")
		if m.r.IntN(3) == 0 {
			line += ", attrs=\"" + m.one("RequiredPartition", "LegacyBIOSBootable", "GUID:60", "NoBlockIOProtocol,GUID:48,GUID:63") + "\""
		}
		if m.r.IntN(4) == 0 {
			line = fmt.Sprint(20+n, ": ", line) // numbers need not follow each other
		}
		script += line + "\n"
	}
	return script
}

func (m *image) randomDOS() string {
	script := fmt.Sprintf("label: dos\nlabel-id: %#08x\n", m.r.Uint32()|1)
	for range m.r.IntN(4) {
		line := fmt.Sprintf("size=%dKiB, type=%s", 4+m.r.IntN(20000), m.one("83", "82", "c", "fd", "8e", "7"))
		if m.r.IntN(3) == 0 {
			line += ", bootable"
		}
		script += line + "\n"
	}
	if m.r.IntN(2) == 0 {
		script += "type=" + m.one("5", "f", "85") + "\n"
		for range m.r.IntN(12) {
			script += fmt.Sprintf("size=%dKiB, type=%s\n", 4+m.r.IntN(5000), m.one("83", "82", "b"))
		}
	}
	return script
}

func TestTableAgainstSfdisk(t *testing.T) {
	testhost.Tool(t, "sfdisk", "fdisk")
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	for range testhost.Rounds(30) {
		m := newImage(t, r, 256<<20+r.Int64N(64)*512)
		script := m.randomTable()
		cmd := exec.Command("sfdisk", "-q", m.path)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v: %s\nof\n%s", err, out, script)
		}
		m.compareTable(script)
		m.compare(script)
	}
}

func (m *image) compareTable(script string) {
	m.t.Helper()
	got := m.read().Table
	if got == nil {
		m.t.Fatalf("no table after\n%s", script)
	}
	want := m.sfdisk()
	if got.Type == "gpt" && !(got.PrimaryValid && got.BackupValid && got.BackupAtEnd) {
		m.t.Errorf("valid %v, copy %v, at the end %v", got.PrimaryValid, got.BackupValid, got.BackupAtEnd)
	}
	sort := func(t *sfdiskTable) map[string]sfdiskPartition {
		byNode := make(map[string]sfdiskPartition)
		for _, p := range t.PartitionTable.Partitions {
			byNode[p.Node] = p
		}
		t.PartitionTable.Partitions = nil
		return byNode
	}
	ours := asSfdisk(m.path, got)
	wantBy, gotBy := sort(want), sort(ours)
	for node, p := range wantBy { // sfdisk writes GUID bits once, with commas
		p.Attrs = spreadGUID(p.Attrs)
		wantBy[node] = p
	}
	if diff := cmp.Diff(want, ours) + cmp.Diff(wantBy, gotBy); diff != "" {
		m.t.Errorf("(-sfdisk +ours)\n%s\nof\n%s", diff, script)
	}
}

// spreadGUID writes GUID:48,63 as two words.
func spreadGUID(attrs string) string {
	var words []string
	for _, word := range strings.Fields(attrs) {
		bits, isGUID := strings.CutPrefix(word, "GUID:")
		if !isGUID {
			words = append(words, word)
			continue
		}
		for _, bit := range strings.Split(bits, ",") {
			words = append(words, "GUID:"+bit)
		}
	}
	return strings.Join(words, " ")
}

// memory is a disk in memory.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error) { return bytes.NewReader(m).ReadAt(b, at) }

func (m memory) read(t testing.TB) *Contents {
	t.Helper()
	c, err := Read(m, int64(len(m)), 512)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// gptDisk is a disk of 4 MiB with a GPT of two partitions, as sfdisk makes it.
func gptDisk(t testing.TB) memory {
	t.Helper()
	testhost.Tool(t, "sfdisk", "fdisk")
	path := t.TempDir() + "/disk"
	testhost.Command(t, "sh", "-ec", `truncate -s 4M "$0"; printf 'label: gpt\nsize=1MiB\nsize=1MiB\n' | sfdisk -q "$0"`, path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamagedGPT(t *testing.T) {
	whole := gptDisk(t)
	at := func(offset int, b byte) func(memory) memory {
		return func(m memory) memory { m[offset] ^= b; return m }
	}
	end := len(whole) - 512
	for name, c := range map[string]struct {
		damage                 func(memory) memory
		primary, backup, atEnd bool
	}{
		"whole":             {at(0, 0), true, true, true},
		"first header":      {at(512+40, 1), false, true, true},
		"first entries":     {at(1024+3, 1), false, true, true},
		"copy":              {at(end+30, 1), true, false, false},
		"copy's entries":    {at(end-1, 1), true, false, false},
		"a disk that grew":  {func(m memory) memory { return append(m, make([]byte, 1<<20)...) }, true, true, false},
		"a disk cut short":  {func(m memory) memory { return m[:len(m)-512] }, true, false, false},
		"both":              {func(m memory) memory { return at(end+30, 1)(at(512+40, 1)(m)) }, false, false, false},
		"nothing announced": {at(510, 1), false, false, false},
	} {
		got := c.damage(bytes.Clone(whole)).read(t).Table
		if got == nil {
			if c.primary || c.backup {
				t.Errorf("%s: no table", name)
			}
			continue
		}
		if got.PrimaryValid != c.primary || got.BackupValid != c.backup || got.BackupAtEnd != c.atEnd || len(got.Partitions) != 2 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// sealGPT makes the checksum of a header hold again after a change.
func sealGPT(h []byte) {
	clear(h[16:20])
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:gptHeader]))
}

// TestGPTLies: first headers whose checksum holds and which say what cannot be. The copy counts then.
func TestGPTLies(t *testing.T) {
	whole := gptDisk(t)
	for name, lie := range map[string]func(h []byte){
		"it stands elsewhere":       func(h []byte) { le.PutUint64(h[24:], 7) },
		"last before first":         func(h []byte) { le.PutUint64(h[48:], 3) },
		"last behind the end":       func(h []byte) { le.PutUint64(h[48:], 1<<60) },
		"entries behind the end":    func(h []byte) { le.PutUint64(h[72:], 1<<63) },
		"no entries":                func(h []byte) { le.PutUint32(h[80:], 0) },
		"too many entries":          func(h []byte) { le.PutUint32(h[80:], 1<<31); le.PutUint32(h[84:], 1<<31) },
		"tiny entries":              func(h []byte) { le.PutUint32(h[84:], 16) },
		"checksum of other entries": func(h []byte) { h[88]++ },
	} {
		m := memory(bytes.Clone(whole))
		lie(m[512:])
		sealGPT(m[512:])
		if got := m.read(t).Table; got == nil || got.PrimaryValid || !got.BackupValid || len(got.Partitions) != 2 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWhatAnnouncesAGPT(t *testing.T) {
	hybrid := memory(gptDisk(t))
	hybrid[dosFirst+4], hybrid[dosFirst+16+4] = 0x0c, dosGPT
	if got := hybrid.read(t).Table; got == nil || got.Type != "gpt" || !got.PrimaryValid {
		t.Errorf("behind another entry: %+v", got)
	}
	hybrid[dosFirst+16+4] = 0x83
	if got := hybrid.read(t).Table; got == nil || got.Type != "dos" {
		t.Errorf("not announced: %+v", got)
	}
}

func TestGPTWithLargeSectors(t *testing.T) {
	const sector = 4096
	m := make(memory, 512*sector)
	m[dosFirst+4], m[510], m[511] = dosGPT, 0x55, 0xaa
	last := int64(len(m)/sector - 1)
	for _, c := range []struct{ own, other, entries int64 }{{1, last, 2}, {last, 1, last - 4}} {
		e, h := m[c.entries*sector:][:128*gptEntry], m[c.own*sector:]
		copy(e, "TYPEGUIDTYPEGUIDPARTGUIDPARTGUID")
		le.PutUint64(e[32:], 40)
		le.PutUint64(e[40:], 49)
		copy(h, "EFI PART")
		for at, v := range map[int]int64{24: c.own, 32: c.other, 40: 6, 48: last - 5, 72: c.entries} {
			le.PutUint64(h[at:], uint64(v))
		}
		for at, v := range map[int]uint32{12: gptHeader, 80: 128, 84: gptEntry, 88: crc32.ChecksumIEEE(e)} {
			le.PutUint32(h[at:], v)
		}
		sealGPT(h)
	}
	c, err := Read(m, int64(len(m)), sector)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Table.Entry(1)
	if p == nil || p.Start != 40*sector || p.Size != 10*sector || p.UUID != "54524150-5547-4449-5041-525447554944" || !c.Table.PrimaryValid || !c.Table.BackupAtEnd {
		t.Errorf("%+v", c.Table)
	}
	if c.Table.Entry(2) != nil {
		t.Errorf("a second entry: %+v", c.Table)
	}
	if got := m.read(t).Table; got != nil { // the same bytes where the disk has small sectors
		t.Errorf("with other sectors: %+v", got)
	}
}

func TestDOS(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b []byte)
		want   *Table
	}{
		{"with a signature", func(b []byte) { copy(b[dosSignature:], "\x78\x56\x34\x12") }, &Table{Type: "dos", UUID: "12345678", SectorSize: 512}},
		{"without", func([]byte) {}, &Table{Type: "dos", SectorSize: 512}},
		{"active", func(b []byte) { b[dosFirst] = 0x80 }, &Table{Type: "dos", SectorSize: 512}},
		{"neither active nor not", func(b []byte) { b[dosFirst] = 0x7f }, nil},
		{"of AIX", func(b []byte) { copy(b, dosAIX) }, nil},
		{"a FAT's", fatParameters, nil},
		{"what OS/2 puts there for JFS", func(b []byte) { fatParameters(b); copy(b[54:], "JFS     ") }, &Table{Type: "dos", SectorSize: 512}},
	} {
		m := make(memory, 4<<20)
		m[510], m[511] = 0x55, 0xaa
		c.change(m)
		if diff := cmp.Diff(c.want, m.read(t).Table); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.name, diff)
		}
	}
}

// fatParameters writes the parameters of a FAT16 of 4 MiB.
func fatParameters(b []byte) {
	copy(b, "\xeb\x3c\x90mkfs.fat")
	le.PutUint16(b[11:], 512)
	b[13], b[16], b[21] = 1, 2, 0xf8
	le.PutUint16(b[14:], 1)
	le.PutUint16(b[17:], 512)
	le.PutUint16(b[19:], 8192)
	le.PutUint16(b[22:], 32)
}

func TestEntryOfNoTable(t *testing.T) {
	var none *Table
	if e := none.Entry(1); e != nil {
		t.Errorf("%+v", e)
	}
}

func TestLogicalPartitionsThatRunInCircles(t *testing.T) {
	m := make(memory, 1<<20)
	entry := func(sector, slot int, typ byte, start, count uint32) {
		b := m[512*sector+dosFirst+16*slot:]
		b[4] = typ
		le.PutUint32(b[8:], start)
		le.PutUint32(b[12:], count)
		m[512*sector+510], m[512*sector+511] = 0x55, 0xaa
	}
	entry(0, 0, 5, 100, 1000)
	entry(100, 0, 0x83, 1, 10)
	entry(100, 1, 5, 50, 50)
	entry(150, 0, 0x83, 1, 10)
	entry(150, 1, 5, 50, 50) // leads to itself
	got := m.read(t).Table
	if got == nil || len(got.Partitions) != 3 || got.Partitions[2].Number != 6 || got.Partitions[2].Start != 151*512 || !got.Partitions[0].Extended {
		t.Errorf("%+v", got)
	}
}

func FuzzTable(f *testing.F) {
	seed := gptDisk(f)
	f.Add([]byte(seed[:34*512]))
	dos := make([]byte, 4096)
	dos[510], dos[511], dos[dosFirst+4], dos[dosFirst+12] = 0x55, 0xaa, 5, 9
	f.Add(dos)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 1024 {
			return
		}
		checkTable(t, memory(b).read(t).Table)
		bare := newDevice(memory(b), int64(len(b)))
		checkTable(t, bare.table(512))
		if h := parseGPTHeader(b); h != nil {
			h.entries = b
			if h.size >= gptEntry {
				h.partitions(512)
			}
		}
	})
}

func checkTable(t *testing.T, table *Table) {
	t.Helper()
	if table == nil {
		return
	}
	numbers := make(map[int]bool)
	for _, p := range table.Partitions {
		if p.Number < 1 || numbers[p.Number] || p.Start < 0 || p.Size < 0 {
			t.Errorf("partition %+v", p)
		}
		numbers[p.Number] = true
	}
}
