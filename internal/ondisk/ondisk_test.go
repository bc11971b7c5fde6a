package ondisk

import (
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

func TestZFSLabel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := make(memory, 64<<20)
	copy(m, zfsLabelOf(r, "tank"))
	s := m.read(t).Signature
	if s == nil || s.Type != "zfs_member" || s.Label != "tank" || s.Version != "5000" || s.UUID == "" || s.UUIDSub == "" || s.BlockSize != 4096 || s.MagicOffset != zfsPairs {
		t.Fatalf("%+v", s)
	}
	clear(m[:zfsLabel])
	if s := m.read(t).Signature; s != nil {
		t.Errorf("without a label: %+v", s)
	}
	copy(m[len(m)-zfsLabel:], zfsLabelOf(r, "last"))
	if s := m.read(t).Signature; s == nil || s.Label != "last" {
		t.Errorf("the last label: %+v", s)
	}
}

// bcachefsSuper is a superblock of the second of two devices.
func bcachefsSuper() []byte {
	const fields = 16 + 2*56
	b := make([]byte, bcachefsFields+fields)
	le.PutUint16(b[16:], 1<<10|20)
	copy(b[24:], bcachefsMark)
	copy(b[40:], "internal uuid...")
	copy(b[56:], "0123456789abcdef")
	copy(b[72:], "data")
	le.PutUint64(b[104:], 8)
	le.PutUint16(b[120:], 8)
	b[122], b[123] = 1, 2
	le.PutUint32(b[124:], fields/8)
	le.PutUint64(b[144:], 1<<2) // crc32c
	f := b[bcachefsFields:]
	le.PutUint32(f, fields/8)
	le.PutUint32(f[4:], 11)
	le.PutUint16(f[8:], 56)
	for i, id := range []string{"first device....", "second device..."} {
		m := f[16+56*i:]
		copy(m, id)
		le.PutUint64(m[16:], 1000)
		le.PutUint16(m[26:], 256)
	}
	le.PutUint32(b, crc32.Checksum(b[16:], castagnoli))
	return b
}

func TestBcachefs(t *testing.T) {
	m := make(memory, 4<<20)
	copy(m[bcacheOffset:], bcachefsSuper())
	want := &Signature{Type: "bcachefs", Usage: Filesystem, Version: "1.20", Label: "data", UUID: "30313233-3435-3637-3839-616263646566",
		UUIDSub: uuid([]byte("second device...")), Devices: 2, BlockSize: 4096, FSBlockSize: 4096, Size: 2 * 1000 * 256 * 512,
		MagicOffset: bcacheMagic, Magic: []byte(bcachefsMark)}
	if diff := cmp.Diff(want, m.read(t).Signature); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	m[bcacheOffset+80]++
	if s := m.read(t).Signature; s != nil {
		t.Errorf("with a wrong checksum: %+v", s)
	}
}

func TestBtrfsBeyondTheSignature(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	m := newImage(t, r, 320<<20)
	makers["btrfs"].make(m)
	f := m.read().Signature.Btrfs
	if f.Device != 1 || f.Devices != 1 || f.DeviceSize != uint64(m.size) || f.Total != uint64(m.size) || f.Used == 0 || f.DeviceUsed < f.Used ||
		f.Generation == 0 || f.SectorSize != 4096 || f.Checksum == "" || len(f.Features) == 0 {
		t.Errorf("%+v", f)
	}
}

func TestErrorsOfTheDeviceAreTold(t *testing.T) {
	broken := errors.New("input/output error")
	for _, good := range []int64{0, headSize, 1 << 20} {
		if _, err := Read(failing{broken, good}, 1<<30, 512); !errors.Is(err, broken) {
			t.Errorf("behind %d bytes: %v, want %v", good, err, broken)
		}
	}
}

// failing reads zeros, and fails behind the first good bytes.
type failing struct {
	err  error
	good int64
}

func (f failing) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > f.good {
		return 0, f.err
	}
	clear(b)
	return len(b), nil
}

// A buffer holds what another device had there. Nothing of that may be taken for this one's.
func TestBuffersAreNotReadBeyondTheDevice(t *testing.T) {
	full := make(memory, 1<<20)
	for i := range full {
		full[i] = byte(i)
	}
	full.read(t)
	for _, size := range []int64{0, 100, 512, 4096, headSize, headSize + 100} {
		d := newDevice(make(memory, size), 1<<20) // ends early
		for _, at := range []int64{0, 64, 448, 4000, headSize - 64, headSize, headSize + 64, 1<<20 - 64} {
			b := d.at(at, 64)
			if (b != nil) != (at+64 <= size) || !isZero(b) {
				t.Errorf("of %d bytes at %d: %x", size, at, b)
			}
		}
		d.close()
	}
}

func TestSmallAndEmptyDevices(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 1023, 4096, 65535, 65536, 1 << 20} {
		if c := make(memory, size).read(t); c.Signature != nil || c.Table != nil || c.Ambivalent {
			t.Errorf("%d zeros hold %+v", size, c)
		}
	}
}

// A device may say that it is larger than what can be read of it.
func TestDeviceThatEndsEarly(t *testing.T) {
	c, err := Read(make(memory, 100), 1<<30, 512)
	if err != nil || c.Signature != nil || c.Table != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

// fuzzDisks are the disks that fuzzing begins with: what stands at the start of each, and its size.
func fuzzDisks(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	add := func(at int64, b []byte) {
		m := make([]byte, at+int64(len(b)))
		copy(m[at:], b)
		f.Add(m, uint32(1<<20))
	}
	add(0, mdSuper1(r, 0))
	add(4096, mdSuper1(r, 4096))
	add(512, lvmLabel(r, 1))
	add(0, zfsLabelOf(r, "tank"))
	add(bcacheOffset, bcachefsSuper())
	for name, length := range map[string]int{"ext": 2 << 10, "xfs": 512, "vfat": 4 << 10, "swap": 4 << 10, "btrfs": 68 << 10, "exfat": 8 << 10,
		"ntfs": 32 << 10, "squashfs": 96, "iso9660": 48 << 10, "luks": 4 << 10} {
		testhost.Tool(f, makers[name].tool, makers[name].pkg)
		m := newImage(f, r, 320<<20)
		if name == "vfat" {
			m = newImage(f, r, 40<<20)
		}
		makers[name].make(m)
		start := make([]byte, length)
		file, err := os.Open(m.path)
		if err == nil {
			_, err = file.ReadAt(start, 0)
			file.Close()
		}
		if err != nil {
			f.Fatal(err)
		}
		f.Add(start, uint32(m.size))
	}
}

func FuzzSignature(f *testing.F) {
	fuzzDisks(f)
	f.Fuzz(func(t *testing.T, b []byte, size uint32) {
		d := newDevice(memory(b), int64(size))
		for i := range formats {
			s := formats[i].probe(d) // each alone: a checksum before it hides nothing
			if s == nil {
				continue
			}
			if s.Size < 0 || s.BlockSize < 0 || s.FSBlockSize < 0 || s.LastBlock < 0 || s.MagicOffset < 0 || len(s.Magic) == 0 {
				t.Errorf("%s: %+v", formats[i].name, s)
			}
		}
		if _, err := Read(memory(b), int64(size), 512); err != nil {
			t.Error(err)
		}
	})
}
