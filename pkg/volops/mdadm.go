package volops

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/hostinfo"
	"github.com/geomind/my_os_server/pkg/registry"
)

// What mdadm is told (mdadm(8)). It never reads its configuration, which could name other arrays, and finds no
// devices by itself: they are those that passed the guard, or that bear the UUID. Each value stands behind its
// option's equals sign, or is a path below /dev of ours: none can be taken for an option.

const (
	// arrayFolder holds the links to arrays.
	arrayFolder = "/dev/md/"
	// leastMember is the least size of a member. Metadata and what it is aligned to leave little of less.
	leastMember = 4 << 20
	// bitmapSize is from where on a member has a bitmap, so that a power cut is not followed by hours of
	// reading; mdadm takes it so too.
	bitmapSize = 100 << 30
)

// leastMembers is how many members a level takes.
var leastMembers = map[int64]int{0: 2, 1: 2, 4: 2, 5: 3, 6: 4, 10: 2}

// wantArray is an array as a call asks for it.
type wantArray struct {
	name     string
	level    int64
	metadata registry.MdMetadata
	uuid     string // 8-4-4-4-12
}

// parseWantArray checks what does not depend on the host.
func parseWantArray(p *registry.VolCreateMDArrayParams) (*wantArray, error) {
	w := &wantArray{name: p.Name, level: p.Level.Or(1), metadata: p.Metadata.Or(registry.MdMetadata12)}
	var faults []registry.Fault
	fault := func(path, format string, args ...any) {
		faults = append(faults, registry.Fault{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	if !isArrayName(p.Name) {
		fault("name", "must be 1 to 32 letters, digits, and after the first of these . _ -, not %.64q", p.Name)
	}
	least, known := leastMembers[w.level]
	if !known {
		fault("level", "must be 0, 1, 4, 5, 6 or 10, not %d", w.level)
	} else if len(p.Devices) < least {
		fault("devices", "must be at least %d for level %d, not %d", least, w.level, len(p.Devices))
	}
	if p.Expect != nil && len(p.Expect) != len(p.Devices) {
		fault("expect", "must have one element for each of the %d devices, not %d", len(p.Devices), len(p.Expect))
	}
	if len(faults) > 0 {
		return nil, &registry.ParamsError{Faults: faults}
	}
	return w, nil
}

// isArrayName tells whether a text can stand below /dev/md and be nothing else.
func isArrayName(s string) bool {
	alphanumeric := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }
	if s == "" || len(s) > 32 || !alphanumeric(s[0]) {
		return false
	}
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return !alphanumeric(c) && c != '.' && c != '_' && c != '-' })
}

// levelText is a level as rows have it.
func (w *wantArray) levelText() string { return fmt.Sprintf("raid%d", w.level) }

// createArguments are those that make the array of the devices. --run keeps it from asking.
func (w *wantArray) createArguments(devices []string, bitmap bool) []string {
	args := []string{
		"--create", arrayFolder + w.name, "--config=none", "--run", "--quiet",
		fmt.Sprintf("--level=%d", w.level), "--metadata=" + string(w.metadata), fmt.Sprintf("--raid-devices=%d", len(devices)),
		"--name=" + w.name, "--uuid=" + mdadmUUID(w.uuid),
	}
	if bitmap && w.level != 0 {
		args = append(args, "--bitmap=internal")
	}
	return append(args, devices...)
}

// assembleArguments are those that bring an array back from its members. Without --run or --scan mdadm starts it
// only where as many are there as when it last ran; that this is all of them, chooseMembers sees to.
func assembleArguments(name, uuid string, devices []string) []string {
	args := []string{"--assemble", arrayFolder + name, "--config=none", "--quiet", "--uuid=" + mdadmUUID(uuid)}
	return append(args, devices...)
}

// stopArguments are those that take an array, by its node, out of the kernel.
func stopArguments(node string) []string { return []string{"--stop", "--quiet", node} }

// mdadmUUID writes a UUID as mdadm does: four groups of eight digits.
func mdadmUUID(uuid string) string {
	digits := strings.ReplaceAll(uuid, "-", "")
	var groups []string
	for group := range slices.Chunk([]byte(digits), 8) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, ":")
}

// hasArrays tells whether the kernel has MD, or can load it.
func (v *Vol) hasArrays() bool {
	_, err := os.Stat(v.root + "/proc/mdstat")
	return err == nil || hostinfo.HasModule(v.root, "md_mod")
}

// needArrays refuses where the kernel has no MD, or not the level; -1 for any.
func (v *Vol) needArrays(level int64) error {
	missing := "md_mod"
	if v.hasArrays() {
		missing = fmt.Sprintf("raid%d", level)
		// One module has three levels.
		if level < 0 || hostinfo.HasArrayLevel(v.root, missing) || level >= 4 && level <= 6 && hostinfo.HasModule(v.root, "raid456") {
			return nil
		}
	}
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonKernel, Missing: registry.Some(missing)},
		Message:         fmt.Sprintf("this kernel neither has MD arrays of that kind nor a module for them (%s)", missing),
	}
}

// unavailableArrays lists the writes of arrays where they cannot work.
func (v *Vol) unavailableArrays() (list []registry.UnavailableMethod) {
	for _, method := range []string{"vol.create_md_array", "vol.stop_md_array"} {
		row := registry.UnavailableMethod{Method: method}
		switch {
		case !v.hasArrays():
			row.Kind, row.Reason, row.Missing = registry.UnavailableKindUnsupported, registry.Some(registry.UnsupportedReasonKernel), registry.Some("md_mod")
		case hostexec.Mdadm.Installed() != nil:
			row.Kind, row.Missing = registry.UnavailableKindToolMissing, registry.Some(hostexec.Mdadm.Name())
		default:
			continue
		}
		list = append(list, row)
	}
	return list
}
