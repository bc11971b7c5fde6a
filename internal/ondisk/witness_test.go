package ondisk

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

// image is a disk in a file, on which formats are made at random. No tool here needs to be root.
type image struct {
	t    testing.TB
	r    *rand.Rand
	path string
	size int64
}

func newImage(t testing.TB, r *rand.Rand, size int64) *image {
	m := &image{t, r, filepath.Join(t.TempDir(), "disk"), size}
	f, err := os.Create(m.path)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *image) read() *Contents {
	m.t.Helper()
	f, err := os.Open(m.path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	c, err := Read(f, m.size, 512)
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func (m *image) run(name string, args ...string) {
	m.t.Helper()
	testhost.Command(m.t, name, append(args, m.path)...)
}

func (m *image) label(most int) string {
	letters := "abcdefghijklmnopqrstuvwxyz-_0123456789"
	b := make([]byte, 1+m.r.IntN(most))
	for i := range b {
		b[i] = letters[m.r.IntN(len(letters))]
	}
	return string(b)
}

func (m *image) one(choices ...string) string { return choices[m.r.IntN(len(choices))] }

// makers make one format each, at random.
var makers = map[string]struct {
	tool, pkg string
	make      func(m *image)
}{
	"btrfs": {"mkfs.btrfs", "btrfs-progs", func(m *image) {
		m.run("mkfs.btrfs", "-q", "-f", "-L", m.label(255), "--csum", m.one("crc32c", "xxhash", "sha256", "blake2"), "-n", m.one("4096", "16384", "65536"))
	}},
	"ext": {"mkfs.ext4", "e2fsprogs", func(m *image) {
		m.run("mkfs."+m.one("ext2", "ext3", "ext4"), "-q", "-F", "-L", m.label(16), "-b", m.one("1024", "2048", "4096"))
	}},
	"ext features": {"mkfs.ext4", "e2fsprogs", func(m *image) {
		m.run("mkfs.ext4", "-q", "-F", "-O", m.one("^has_journal", "64bit", "^64bit,^metadata_csum", "metadata_csum_seed", "^extents,^64bit"))
	}},
	"journal": {"mkfs.ext4", "e2fsprogs", func(m *image) { m.run("mke2fs", "-q", "-F", "-O", "journal_dev", "-L", m.label(16), "-b", "4096") }},
	"xfs": {"mkfs.xfs", "xfsprogs", func(m *image) {
		m.run("mkfs.xfs", "-q", "-f", "-L", m.label(12), "-b", "size="+m.one("1024", "4096"), "-m", "crc="+m.one("0", "1"))
	}},
	"vfat": {"mkfs.vfat", "dosfstools", func(m *image) {
		m.run("mkfs.vfat", "-F", m.one("12", "16", "32"), "-n", strings.ToUpper(m.label(11)), "-i", fmt.Sprintf("%08x", m.r.Uint32()), "-S", m.one("512", "2048"))
	}},
	"vfat without a name": {"mkfs.vfat", "dosfstools", func(m *image) { m.run("mkfs.vfat") }},
	"swap":                {"mkswap", "util-linux", func(m *image) { m.run("mkswap", "-q", "-L", m.label(15), "-p", m.one("4096", "16384", "65536")) }},
	"exfat":               {"mkfs.exfat", "exfatprogs", func(m *image) { m.run("mkfs.exfat", "-L", m.label(11), "-c", m.one("4096", "32768")) }},
	"ntfs": {"mkntfs", "ntfs-3g", func(m *image) {
		m.run("mkntfs", "-q", "-F", "-f", "-L", m.label(30), "-c", m.one("512", "4096", "65536"))
	}},
	"squashfs": {"mksquashfs", "squashfs-tools", func(m *image) {
		out := m.path + ".squashfs"
		testhost.Command(m.t, "mksquashfs", "/etc/passwd", out, "-quiet", "-noappend", "-no-progress", "-b", m.one("4096", "131072"))
		m.take(out)
	}},
	"iso9660": {"genisoimage", "genisoimage", func(m *image) {
		out, args := m.path+".iso", []string{"-quiet", "-V", m.label(30)}
		if m.r.IntN(2) == 0 {
			args = append(args, "-J", "-publisher", "some publisher", "-A", "an application")
		}
		testhost.Command(m.t, "genisoimage", append(args, "-o", out, "/etc/passwd")...)
		m.take(out)
	}},
	"luks": {"cryptsetup", "cryptsetup-bin", func(m *image) {
		args := []string{"luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "/etc/passwd", "--keyfile-size", "16"}
		if m.r.IntN(2) == 0 {
			args = append(args, "--type", "luks1")
		} else {
			args = append(args, "--type", "luks2", "--label", m.label(40), "--subsystem", m.label(40))
		}
		m.run("cryptsetup", args...)
	}},
	"md 0.90": {"blkid", "util-linux", func(m *image) { m.write(m.size&^0xffff-0x10000, mdSuper0(m.r, uint32(m.size>>11))) }},
	"md 1.0":  {"blkid", "util-linux", func(m *image) { m.writeMD1(m.size&^0xfff - 0x2000) }},
	"md 1.1":  {"blkid", "util-linux", func(m *image) { m.writeMD1(0) }},
	"md 1.2":  {"blkid", "util-linux", func(m *image) { m.writeMD1(4096) }},
	"lvm": {"blkid", "util-linux", func(m *image) {
		sector := int64(m.r.IntN(4))
		m.write(sector*512, lvmLabel(m.r, sector))
	}},
}

// take puts another file's contents at the start of the disk.
func (m *image) take(path string) {
	m.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(0, b)
}

func (m *image) write(at int64, b []byte) {
	m.t.Helper()
	f, err := os.OpenFile(m.path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(b, at)
		f.Close()
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *image) writeMD1(at int64) { m.write(at, mdSuper1(m.r, at)) }

// blkid is what the witness says; ambivalent where it cannot decide.
func (m *image) blkid() (facts map[string]string, ambivalent bool) {
	m.t.Helper()
	out, err := exec.Command("blkid", "-p", "-o", "export", m.path).Output()
	if exit, ok := err.(*exec.ExitError); ok {
		if exit.ExitCode() == 8 {
			return nil, true
		}
		if exit.ExitCode() != 2 { // 2: nothing found
			m.t.Fatalf("blkid: %v: %s", err, exit.Stderr)
		}
	}
	facts = make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		facts[key] = strings.ReplaceAll(value, `\`, "")
	}
	delete(facts, "DEVNAME")
	return facts, false
}

// asBlkid writes a signature under blkid's names; only those that the witness has, since each of its
// versions tells more than the last.
func asBlkid(c *Contents, known map[string]string) map[string]string {
	facts := make(map[string]string)
	put := func(key, value string) {
		if _, ok := known[key]; ok || value != "" && slices.Contains(always, key) {
			facts[key] = value
		}
	}
	number := func(key string, v int64) {
		if v != 0 {
			put(key, strconv.FormatInt(v, 10))
		}
	}
	if s := c.Signature; s != nil {
		put("TYPE", s.Type)
		put("USAGE", string(s.Usage))
		put("VERSION", s.Version)
		put("LABEL", s.Label)
		put("UUID", s.UUID)
		put("UUID_SUB", s.UUIDSub)
		put("LOGUUID", s.UUIDLog)
		put("EXT_JOURNAL", s.UUIDLog)
		put("SEC_TYPE", s.SecType)
		put("LABEL_FATBOOT", s.LabelFATBoot)
		number("BLOCK_SIZE", s.BlockSize)
		number("FSBLOCKSIZE", s.FSBlockSize)
		number("FSSIZE", s.Size)
		number("FSLASTBLOCK", s.LastBlock)
		for key, value := range s.Further {
			put(strings.ToUpper(key), value)
		}
	}
	if c.Table != nil {
		put("PTTYPE", c.Table.Type)
		put("PTUUID", c.Table.UUID)
	}
	for key, value := range facts {
		if value == "" {
			delete(facts, key)
		}
	}
	return facts
}

// always are the facts that every version of blkid tells.
var always = []string{"TYPE", "USAGE", "VERSION", "LABEL", "UUID", "UUID_SUB", "SEC_TYPE", "PTTYPE", "PTUUID"}

func (m *image) compare(what string) {
	m.t.Helper()
	want, ambivalent := m.blkid()
	c := m.read()
	if c.Ambivalent != ambivalent {
		m.t.Errorf("%s: ambivalent %v, blkid says %v", what, c.Ambivalent, ambivalent)
	}
	if ambivalent {
		return
	}
	if want["TYPE"] == "exfat" { // before 2.40 blkid takes its boot sector for a table
		delete(want, "PTTYPE")
	}
	if diff := cmp.Diff(want, asBlkid(c, want)); diff != "" {
		m.t.Errorf("%s (-blkid +ours)\n%s", what, diff)
	}
	m.compareMagic(what, c.Signature)
}

// compareMagic holds the mark's place against wipefs, which lists what it would wipe.
func (m *image) compareMagic(what string, s *Signature) {
	m.t.Helper()
	if s == nil {
		return
	}
	var out struct {
		Signatures []struct{ Type, Offset string }
	}
	if err := json.Unmarshal([]byte(testhost.Command(m.t, "wipefs", "-J", m.path)), &out); err != nil {
		m.t.Fatal(err)
	}
	for _, found := range out.Signatures {
		if at, err := strconv.ParseInt(found.Offset, 0, 64); err == nil && at == s.MagicOffset && found.Type == s.Type {
			return
		}
	}
	m.t.Errorf("%s: our mark of %s at %#x, wipefs has %v", what, s.Type, s.MagicOffset, out.Signatures)
}

func TestAgainstBlkid(t *testing.T) {
	for _, tool := range []string{"blkid", "wipefs"} {
		testhost.Tool(t, tool, "util-linux")
	}
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	for range testhost.Rounds(2 * len(makers)) {
		name := sortedMakers[r.IntN(len(sortedMakers))]
		maker := makers[name]
		t.Run(name, func(t *testing.T) {
			testhost.Tool(t, maker.tool, maker.pkg)
			m := newImage(t, r, 320<<20+r.Int64N(64)*4096)
			if strings.HasPrefix(name, "vfat") {
				m = newImage(t, r, 40<<20+r.Int64N(64)*4096) // FAT12 takes no more
			}
			maker.make(m)
			m.compare(name)
			if r.IntN(3) == 0 { // what is there is not wiped
				second := sortedMakers[r.IntN(len(sortedMakers))]
				testhost.Tool(t, makers[second].tool, makers[second].pkg)
				if !needsMore[second] && !needsMore[name] {
					makers[second].make(m)
					m.compare(second + " on " + name)
				}
			}
		})
	}
}

// TestSecondLUKSHeader: where the first header is overwritten the second still makes the disk LUKS, whatever
// the headers' size.
func TestSecondLUKSHeader(t *testing.T) {
	testhost.Tool(t, "cryptsetup", "cryptsetup-bin")
	r := rand.New(rand.NewPCG(testhost.Seed(t), 2))
	for _, size := range []string{"16k", "32k", "64k", "128k", "256k", "512k", "1024k", "2048k", "4096k"} {
		m := newImage(t, r, 64<<20)
		m.run("cryptsetup", "luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "/etc/passwd",
			"--keyfile-size", "16", "--type", "luks2", "--label", "kept", "--luks2-metadata-size", size)
		m.write(0, make([]byte, 4096))
		m.compare("headers of " + size)
		if s := m.read().Signature; s == nil || s.Type != "crypto_LUKS" || s.Label != "kept" {
			t.Errorf("headers of %s, the first gone: %+v", size, s)
		}
	}
}

var sortedMakers = func() (names []string) {
	for name := range makers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

// needsMore are the formats that do not go with the sizes of others.
var needsMore = map[string]bool{"vfat": true, "vfat without a name": true, "xfs": true, "btrfs": true,
	"exfat": true} // its checksum, which old versions of blkid do not look at, covers more than a mark
