package volops

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/pkg/registry"
)

// mkfs is a filesystem to be made: what a call asks for, checked, as arguments of the program that makes it.
// Nothing that a caller wrote becomes an option: each argument is one of ours or the value of one of ours.
type mkfs struct {
	typ     string
	label   registry.Opt[string]
	uuid    string // "" until one is made up
	options *registry.FilesystemOptions
	program hostexec.Program
	args    []string // all but label, UUID and device
	faults  []registry.Fault

	extended  []string // of ext4
	overwrite bool     // what stands there may be overwritten
}

// formatOf says by type what runs, and how long a label may be, in bytes.
var formatOf = map[registry.FilesystemType]struct {
	program hostexec.Program
	label   int
}{
	registry.FilesystemTypeBtrfs:    {hostexec.MkfsBtrfs, 255},
	registry.FilesystemTypeExt4:     {hostexec.MkfsExt4, 16},
	registry.FilesystemTypeVfat:     {hostexec.MkfsVfat, 11},
	registry.FilesystemTypeSwap:     {hostexec.Mkswap, 16},
	registry.FilesystemTypeBcachefs: {hostexec.MkfsBcachefs, 32},
}

// newMkfs checks what a call asks for. The error has every fault.
func newMkfs(typ registry.FilesystemType, label, uuid registry.Opt[string], o *registry.FilesystemOptions) (*mkfs, error) {
	m := &mkfs{typ: string(typ), label: label, uuid: uuid.Or(""), options: o, program: formatOf[typ].program}
	if o == nil {
		m.options = &registry.FilesystemOptions{}
	}
	m.checkNames(formatOf[typ].label)
	m.addOptions()
	if len(m.faults) > 0 {
		return nil, &registry.ParamsError{Faults: m.faults}
	}
	return m, nil
}

func (m *mkfs) fault(path, format string, args ...any) {
	m.faults = append(m.faults, registry.Fault{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (m *mkfs) checkNames(most int) {
	if label, given := m.label.Get(); given {
		switch {
		case !utf8.ValidString(label):
			m.fault("label", "must be valid UTF-8")
		case len(label) > most:
			m.fault("label", "must be at most %d bytes for %s, not %d", most, m.typ, len(label))
		case m.typ == "vfat" && !isFATLabel(label):
			m.fault("label", `must be upper case and ASCII for vfat, without any of "*+,./:;<=>?[\]|, blanks at an end, or NO NAME`)
		}
	}
	if isNilUUID(m.uuid) {
		m.fault("uuid", nilUUIDFault)
	}
	if m.uuid != "" && (len(m.uuid) == 9) != (m.typ == "vfat") {
		if m.typ == "vfat" {
			m.fault("uuid", "must be of the form XXXX-XXXX for vfat")
		} else {
			m.fault("uuid", "must be of the form 8-4-4-4-12 for %s", m.typ)
		}
	}
}

// nilUUIDFault is what is wrong with a nil UUID: superblocks and tables say by it that there is none, so that a call could not be
// known again by it.
const nilUUIDFault = "must not be all zeros, which stands for none"

// isNilUUID tells whether a UUID, or vfat's volume id, is the nil UUID (RFC 9562, 5.9).
func isNilUUID(s string) bool { return s != "" && strings.Trim(s, "0-") == "" }

// isFATLabel tells what a volume label may be (Microsoft's FAT specification, version 1.03, page 24).
func isFATLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || 'a' <= c && c <= 'z' || strings.IndexByte(`"*+,./:;<=>?[\]|`, c) >= 0 {
			return false
		}
	}
	return s != "NO NAME" && s == strings.TrimSpace(s)
}

// mkfsOption is one member of the options: the types that have it, and what it becomes.
type mkfsOption struct {
	name  string
	types string // parted by blanks
	given bool
	add   func(m *mkfs)
}

// addOptions turns the options into arguments, and finds those that do not belong to the type.
func (m *mkfs) addOptions() {
	for _, option := range mkfsOptions(m.options) {
		switch {
		case !option.given:
		case !hasWord(option.types, m.typ):
			m.fault("options."+option.name, "does not belong to %s, only to %s", m.typ, strings.Join(strings.Fields(option.types), ", "))
		default:
			option.add(m)
		}
	}
	if len(m.extended) > 0 {
		m.add("-E", strings.Join(m.extended, ","))
	}
	o := m.options
	if o.InodeCount.IsSet() && o.InodeRatioBytes.IsSet() {
		m.fault("options.inode_count", "must not be given together with inode_ratio_bytes")
	}
}

func hasWord(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if w == word {
			return true
		}
	}
	return false
}

// valued is an option with a value; powers of two are held to that.
func valued(name, types, flag string, value registry.Opt[int64], power bool) mkfsOption {
	return mkfsOption{name, types, value.IsSet(), func(m *mkfs) {
		v := value.Or(0)
		if power && v&(v-1) != 0 {
			m.fault("options."+name, "must be a power of two, not %d", v)
		}
		m.add(flag, strconv.FormatInt(v, 10))
	}}
}

// add appends an option with its value: as two arguments, or as one where the option ends in an equals sign.
func (m *mkfs) add(flag, value string) {
	if strings.HasSuffix(flag, "=") {
		m.args = append(m.args, flag+value)
		return
	}
	m.args = append(m.args, flag, value)
}

func word[T ~string](name, types, flag string, value registry.Opt[T]) mkfsOption {
	return mkfsOption{name, types, value.IsSet(), func(m *mkfs) { m.add(flag, string(value.Or(""))) }}
}

func mkfsOptions(o *registry.FilesystemOptions) []mkfsOption {
	return []mkfsOption{
		word("data_profile", "btrfs", "-d", o.DataProfile),
		word("metadata_profile", "btrfs", "-m", o.MetadataProfile),
		{"mixed", "btrfs", o.Mixed.IsSet(), func(m *mkfs) { m.addFlag("-M", o.Mixed.Or(false)) }},
		word("checksum", "btrfs", "--csum", o.Checksum),
		valued("node_size_bytes", "btrfs", "-n", o.NodeSizeBytes, true),
		{"sector_size_bytes", "btrfs vfat", o.SectorSizeBytes.IsSet(), func(m *mkfs) {
			valued("sector_size_bytes", "", map[string]string{"btrfs": "-s", "vfat": "-S"}[m.typ], o.SectorSizeBytes, true).add(m)
		}},
		{"features", "btrfs ext4", len(o.Features) > 0, func(m *mkfs) { m.addFeatures(o.Features) }},
		{"discard", "btrfs ext4 bcachefs", o.Discard.IsSet(), func(m *mkfs) { m.addDiscard(o.Discard.Or(true)) }},
		{"block_size_bytes", "ext4 bcachefs", o.BlockSizeBytes.IsSet(), func(m *mkfs) {
			valued("block_size_bytes", "", map[string]string{"ext4": "-b", "bcachefs": "--block_size="}[m.typ], o.BlockSizeBytes, true).add(m)
		}},
		valued("inode_ratio_bytes", "ext4", "-i", o.InodeRatioBytes, false),
		valued("inode_count", "ext4", "-N", o.InodeCount, false),
		valued("inode_size_bytes", "ext4", "-I", o.InodeSizeBytes, true),
		{"reserved_percent", "ext4", o.ReservedPercent.IsSet(), func(m *mkfs) {
			m.add("-m", strconv.FormatFloat(o.ReservedPercent.Or(0), 'f', -1, 64))
		}},
		{"journal_size_bytes", "ext4", o.JournalSizeBytes.IsSet(), func(m *mkfs) { m.addJournal(o.JournalSizeBytes.Or(0)) }},
		valued("cluster_size_bytes", "ext4", "-C", o.ClusterSizeBytes, true),
		extended("stride_blocks", "stride=", o.StrideBlocks),
		extended("stripe_width_blocks", "stripe_width=", o.StripeWidthBlocks),
		{"lazy_init", "ext4", o.LazyInit.IsSet(), func(m *mkfs) {
			bit := map[bool]int{true: 1}[o.LazyInit.Or(true)]
			m.extended = append(m.extended, fmt.Sprintf("lazy_itable_init=%d,lazy_journal_init=%d", bit, bit))
		}},
		word("errors", "ext4", "-e", o.Errors),
		{"fat_bits", "vfat", o.FatBits.IsSet(), func(m *mkfs) { m.addFATBits(o.FatBits.Or(0)) }},
		valued("cluster_sectors", "vfat", "-s", o.ClusterSectors, true),
		valued("fat_count", "vfat", "-f", o.FatCount, false),
		valued("reserved_sectors", "vfat", "-R", o.ReservedSectors, false),
		valued("root_entries", "vfat", "-r", o.RootEntries, false),
		valued("page_size_bytes", "swap", "-p", o.PageSizeBytes, true),
		valued("data_replicas", "bcachefs", "--data_replicas=", o.DataReplicas, false),
		valued("metadata_replicas", "bcachefs", "--metadata_replicas=", o.MetadataReplicas, false),
		word("data_checksum", "bcachefs", "--data_checksum=", o.DataChecksum),
		word("metadata_checksum", "bcachefs", "--metadata_checksum=", o.MetadataChecksum),
		word("compression", "bcachefs", "--compression=", o.Compression),
		word("background_compression", "bcachefs", "--background_compression=", o.BackgroundCompression),
		valued("bucket_size_bytes", "bcachefs", "--bucket_size=", o.BucketSizeBytes, true),
	}
}

func (m *mkfs) addFlag(flag string, set bool) {
	if set {
		m.args = append(m.args, flag)
	}
}

// addFeatures gives the features as one list. The names are checked by the table; those by which mkfs prints
// what it knows and makes nothing are refused.
func (m *mkfs) addFeatures(names []string) {
	for i, name := range names {
		if name == "list-all" || name == "zoned" {
			m.fault(fmt.Sprintf("options.features[%d]", i), "must be a feature of ordinary devices, not %s", name)
		}
	}
	m.add("-O", strings.Join(names, ","))
}

func (m *mkfs) addDiscard(discard bool) {
	switch m.typ {
	case "ext4":
		m.extended = append(m.extended, map[bool]string{true: "discard", false: "nodiscard"}[discard])
	case "bcachefs":
		m.addFlag("--discard", discard)
	} // of btrfs we do it ourselves
}

func (m *mkfs) addJournal(bytes int64) {
	if bytes%(1<<20) != 0 {
		m.fault("options.journal_size_bytes", "must be a multiple of %d, not %d", 1<<20, bytes)
	}
	m.add("-J", fmt.Sprintf("size=%d", bytes>>20))
}

func (m *mkfs) addFATBits(bits int64) {
	if bits != 12 && bits != 16 && bits != 32 {
		m.fault("options.fat_bits", "must be 12, 16 or 32, not %d", bits)
	}
	m.add("-F", strconv.FormatInt(bits, 10))
}

// extended is an option that goes into the one list behind -E.
func extended(name, key string, value registry.Opt[int64]) mkfsOption {
	return mkfsOption{name, "ext4", value.IsSet(), func(m *mkfs) {
		m.extended = append(m.extended, key+strconv.FormatInt(value.Or(0), 10))
	}}
}

// arguments are those of the program for devices; whole says that these are no partitions.
func (m *mkfs) arguments(whole bool, devices ...string) []string {
	var args []string
	label, labelled := m.label.Get()
	switch m.typ {
	case "btrfs":
		args = append([]string{"-q", "-K"}, m.args...)
		if labelled {
			args = append(args, "-L", label)
		}
		if m.uuid != "" { // with it mkfs reads every device of the host, to see that none bears it
			args = append(args, "-U", m.uuid)
		}
	case "ext4":
		args = append([]string{"-q"}, m.args...)
		if labelled {
			args = append(args, "-L", label)
		}
		args = append(args, "-U", m.uuid)
	case "vfat":
		args = append(args, m.args...)
		if whole { // it takes whole disks by this flag only, which also lets partitions on them pass: see the guard
			args = append(args, "-I")
		}
		if labelled {
			args = append(args, "-n", label)
		}
		args = append(args, "-i", strings.ReplaceAll(m.uuid, "-", ""))
	case "swap":
		args = append(args, m.args...)
		if labelled {
			args = append(args, "-L", label)
		}
		args = append(args, "-U", m.uuid)
	case "bcachefs":
		args = append(args, m.args...)
		if m.overwrite {
			args = append(args, "--force")
		}
		if labelled {
			args = append(args, "--fs_label="+label)
		}
		args = append(args, "--uuid="+m.uuid)
	}
	return append(append(args, "--"), devices...)
}
