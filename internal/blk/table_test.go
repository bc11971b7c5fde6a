package blk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

// image is a disk in memory.
type image struct {
	b      []byte
	sector int64
}

func newImage(sectors, sectorSize int64) *image {
	return &image{make([]byte, sectors*sectorSize), sectorSize}
}

func (m *image) at(lba int64) []byte { return m.b[lba*m.sector:] }

func (m *image) read(t *testing.T) *Table {
	t.Helper()
	table, err := ReadTable(bytes.NewReader(m.b), int64(len(m.b)), m.sector)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// mbr writes a boot record with these partition types.
func (m *image) mbr(types ...byte) {
	for i, typ := range types {
		m.b[mbrEntries+i*mbrEntrySize+4] = typ
	}
	m.b[510], m.b[511] = 0x55, 0xaa
}

// gpt writes a table with one partition, both copies.
func (m *image) gpt() {
	m.mbr(typeGPT)
	last := int64(len(m.b))/m.sector - 1
	entrySectors := 128 * 128 / m.sector
	for _, c := range []struct{ own, other, entries int64 }{{1, last, 2}, {last, 1, last - entrySectors}} {
		e := m.at(c.entries)
		copy(e, "TYPEGUIDTYPEGUID"+"PARTGUIDPARTGUID")
		binary.LittleEndian.PutUint64(e[32:], 40)
		binary.LittleEndian.PutUint64(e[40:], 50)
		copy(e[56:], "o\x00n\x00e\x00")
		h := m.at(c.own)
		le := binary.LittleEndian
		copy(h, "EFI PART")
		le.PutUint32(h[8:], 0x10000)
		le.PutUint32(h[12:], headerMin)
		le.PutUint64(h[24:], uint64(c.own))
		le.PutUint64(h[32:], uint64(c.other))
		le.PutUint64(h[40:], 34)
		le.PutUint64(h[48:], uint64(last-34))
		copy(h[56:], "DISKGUIDDISKGUID")
		le.PutUint64(h[72:], uint64(c.entries))
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(e[:128*128]))
		le.PutUint32(h[16:], 0)
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerMin]))
	}
}

func TestGPT(t *testing.T) {
	whole := func() *image { m := newImage(4096, 512); m.gpt(); return m }
	flags := func(primary, backup, atEnd bool) *Table {
		return &Table{Type: "gpt", UUID: "4b534944-5547-4449-4449-534b47554944", SectorSize: 512, GPT: &GPT{
			FirstLBA: 34, LastLBA: 4061, Entries: 128, PrimaryValid: primary, BackupValid: backup, BackupAtEnd: atEnd,
			Partitions: []Entry{{Index: 1, TypeGUID: "45505954-5547-4449-5459-504547554944", GUID: "54524150-5547-4449-5041-525447554944", FirstLBA: 40, LastLBA: 50, Name: "one"}},
		}}
	}
	tests := []struct {
		name   string
		change func(m *image)
		want   *Table
	}{
		{"whole", func(*image) {}, flags(true, true, true)},
		{"primary header damaged", func(m *image) { m.at(1)[40]++ }, flags(false, true, true)},
		{"primary entries damaged", func(m *image) { m.at(2)[0]++ }, flags(false, true, true)},
		{"backup damaged", func(m *image) { m.at(4095)[40]++ }, flags(true, false, false)},
		{"both damaged", func(m *image) { m.at(1)[40]++; m.at(4095)[40]++ }, nil},
		{"disk has grown", func(m *image) { m.b = append(m.b, make([]byte, 1<<20)...) }, flags(true, true, false)},
		{"no protective record", func(m *image) { m.b[mbrEntries+4] = 0x83 }, &Table{Type: "dos", SectorSize: 512}},
		{"hybrid record", func(m *image) { m.mbr(0x0c, typeGPT) }, flags(true, true, true)},
		{"no boot mark", func(m *image) { m.b[510] = 0 }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := whole()
			tt.change(m)
			if diff := cmp.Diff(tt.want, m.read(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGPTWithLargeSectors(t *testing.T) {
	m := newImage(512, 4096)
	m.gpt()
	table := m.read(t)
	if table == nil || table.SectorSize != 4096 || !table.GPT.PrimaryValid || !table.GPT.BackupAtEnd {
		t.Errorf("%+v", table)
	}
	m.sector = 512 // the same bytes where the disk has small sectors
	if table := m.read(t); table != nil {
		t.Errorf("with other sectors: %+v", table)
	}
}

// seal makes a header's checksum hold again after a change.
func seal(h []byte) {
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerMin]))
}

// TestGPTLies: headers whose checksum holds and which say what cannot be.
func TestGPTLies(t *testing.T) {
	le := binary.LittleEndian
	tests := map[string]func(h []byte){
		"it stands elsewhere":       func(h []byte) { le.PutUint64(h[24:], 7) },
		"last before first":         func(h []byte) { le.PutUint64(h[48:], 3) },
		"last behind the end":       func(h []byte) { le.PutUint64(h[48:], 1<<60) },
		"entries behind the end":    func(h []byte) { le.PutUint64(h[72:], 1<<63) },
		"no entries":                func(h []byte) { le.PutUint32(h[80:], 0) },
		"too many entries":          func(h []byte) { le.PutUint32(h[80:], 1<<31); le.PutUint32(h[84:], 1<<31) },
		"tiny entries":              func(h []byte) { le.PutUint32(h[84:], 16) },
		"checksum of other entries": func(h []byte) { h[88]++ },
	}
	for name, lie := range tests {
		t.Run(name, func(t *testing.T) {
			m := newImage(4096, 512)
			m.gpt()
			lie(m.at(1))
			seal(m.at(1))
			if table := m.read(t); table == nil || table.GPT.PrimaryValid || !table.GPT.BackupValid {
				t.Errorf("%+v", table)
			}
		})
	}
}

func TestDos(t *testing.T) {
	tests := []struct {
		name   string
		change func(b []byte)
		want   *Table
	}{
		{"with a signature", func(b []byte) { copy(b[mbrSignature:], "\x78\x56\x34\x12") }, &Table{Type: "dos", UUID: "12345678", SectorSize: 512}},
		{"without", func([]byte) {}, &Table{Type: "dos", SectorSize: 512}},
		{"active partition", func(b []byte) { b[mbrEntries] = 0x80 }, &Table{Type: "dos", SectorSize: 512}},
		{"no such boot mark", func(b []byte) { b[mbrEntries] = 0x7f }, nil},
		{"NTFS", func(b []byte) { copy(b[3:], "NTFS    ") }, nil},
		{"exFAT", func(b []byte) { copy(b[3:], "EXFAT   ") }, nil},
		{"AIX", func(b []byte) { copy(b, "\xc9\xc2\xd4\xc1") }, nil},
		{"FAT", fatBlock, nil},
		{"what OS/2 puts there for JFS", func(b []byte) { fatBlock(b); copy(b[54:], "JFS ") }, &Table{Type: "dos", SectorSize: 512}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newImage(64, 512)
			m.mbr(0x83)
			tt.change(m.b)
			if diff := cmp.Diff(tt.want, m.read(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fatBlock writes the parameter block of a FAT16.
func fatBlock(b []byte) {
	copy(b, "\xeb\x3c\x90mkfs.fat")
	binary.LittleEndian.PutUint16(b[11:], 512)
	b[13], b[16], b[21] = 4, 2, 0xf8
	binary.LittleEndian.PutUint16(b[14:], 1)
	binary.LittleEndian.PutUint16(b[22:], 32)
}

func TestPartUUID(t *testing.T) {
	m := newImage(4096, 512)
	m.gpt()
	gpt := m.read(t)
	if gpt.PartUUID(1) != "54524150-5547-4449-5041-525447554944" || gpt.PartLabel(1) != "one" || gpt.PartUUID(2) != "" || gpt.PartLabel(2) != "" {
		t.Errorf("gpt: %q %q", gpt.PartUUID(1), gpt.PartLabel(1))
	}
	dos := &Table{Type: "dos", UUID: "12345678"}
	if dos.PartUUID(12) != "12345678-0c" || dos.PartLabel(1) != "" || (&Table{Type: "dos"}).PartUUID(1) != "" {
		t.Errorf("dos: %q", dos.PartUUID(12))
	}
}

type brokenDisk struct{ good int64 }

var errBroken = errors.New("broken")

// ReadAt fails behind the first good bytes.
func (d brokenDisk) ReadAt(b []byte, at int64) (int, error) {
	if at >= d.good {
		return 0, errBroken
	}
	m := newImage(1, 512)
	m.mbr(typeGPT)
	return copy(b, m.b[at:]), nil
}

func TestReadTableErrors(t *testing.T) {
	for _, good := range []int64{0, 512} {
		if _, err := ReadTable(brokenDisk{good}, 1<<20, 512); !errors.Is(err, errBroken) {
			t.Errorf("good %d: %v", good, err)
		}
		if _, err := ReadTags(brokenDisk{good}); !errors.Is(err, errBroken) {
			t.Errorf("tags, good %d: %v", good, err)
		}
	}
	for _, size := range []int64{0, 512, 1023} {
		if table, err := ReadTable(brokenDisk{0}, size, 512); table != nil || err != nil {
			t.Errorf("size %d: %v, %v", size, table, err)
		}
	}
	if table, err := ReadTable(brokenDisk{0}, 1<<20, 0); table != nil || err != nil {
		t.Errorf("no sector size: %v, %v", table, err)
	}
}

// FuzzReadTable: no disk makes the reader panic, read without bound, or answer with a table that its
// own bytes do not hold.
func FuzzReadTable(f *testing.F) {
	m := newImage(80, 512)
	m.gpt()
	f.Add(m.b, uint8(0))
	f.Add(m.b[:1024], uint8(0))
	large := newImage(12, 4096)
	large.gpt()
	f.Add(large.b, uint8(3))
	dos := newImage(2, 512)
	dos.mbr(0x83, 0x05)
	f.Add(dos.b, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, shift uint8) {
		sector := int64(512) << (shift % 8)
		table, err := ReadTable(bytes.NewReader(b), int64(len(b)), sector)
		if err != nil {
			t.Fatal(err)
		}
		if table != nil && table.GPT != nil && !table.GPT.PrimaryValid && !table.GPT.BackupValid {
			t.Errorf("neither copy holds: %+v", table.GPT)
		}
		if _, err := ReadTags(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTagsAgainstBlkid makes filesystems in files and has blkid say what they are called.
func TestTagsAgainstBlkid(t *testing.T) {
	testhost.Tool(t, "blkid", "util-linux")
	const uuid = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	tests := []struct {
		program, pkg string
		args         []string
		size         int64
	}{
		{"mkfs.ext4", "e2fsprogs", []string{"-q", "-F", "-U", uuid, "-L", "with blank"}, 8 << 20},
		{"mkfs.ext4", "e2fsprogs", []string{"-q", "-F", "-t", "ext2", "-b", "1024"}, 8 << 20},
		{"mkfs.xfs", "xfsprogs", []string{"-q", "-f", "-m", "uuid=" + uuid, "-L", "twelve bytes"}, 320 << 20},
		{"mkfs.btrfs", "btrfs-progs", []string{"-q", "-U", uuid, "-L", "a b"}, 128 << 20},
		{"mkfs.vfat", "dosfstools", []string{"-i", "1a2b3c4d", "-n", "EFI SYSTEM"}, 8 << 20},
		{"mkfs.vfat", "dosfstools", []string{"-F", "32"}, 64 << 20},
		{"mkswap", "util-linux", []string{"-q", "-U", uuid, "-L", "swap space"}, 8 << 20},
		{"mkswap", "util-linux", []string{"-q", "-p", "65536"}, 8 << 20},
		{"true", "coreutils", nil, 1 << 20},
		{"true", "coreutils", nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.program+" "+strings.Join(tt.args, " "), func(t *testing.T) {
			testhost.Tool(t, tt.program, tt.pkg)
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, tt.size); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(tt.program, append(tt.args, path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := ReadTags(f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(blkidTags(path), got); diff != "" {
				t.Errorf("(-blkid +got):\n%s", diff)
			}
		})
	}
}

func blkidTags(path string) (tags Tags) {
	out, _ := exec.Command("blkid", "-p", "-o", "export", path).Output() // it fails where it finds nothing
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		value = strings.ReplaceAll(value, `\ `, " ")
		switch key {
		case "UUID":
			tags.UUID = value
		case "LABEL":
			tags.Label = value
		case "UUID_SUB":
			tags.Member = value
		}
	}
	return tags
}

var _ io.ReaderAt = brokenDisk{}
