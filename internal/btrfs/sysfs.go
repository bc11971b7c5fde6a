package btrfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Sysfs reads /sys/fs/btrfs, which tells everybody about mounted filesystems and touches no disk.
type Sysfs struct{ root string }

// NewSysfs takes the folder that sysfs is mounted on.
func NewSysfs(root string) Sysfs { return Sysfs{filepath.Join(root, "fs/btrfs")} }

// Filesystems lists the mounted filesystems by UUID; empty without the btrfs module.
func (s Sysfs) Filesystems() ([]UUID, error) {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var uuids []UUID
	for _, e := range entries { // features stands among them
		if u, err := ParseUUID(e.Name()); err == nil {
			uuids = append(uuids, u)
		}
	}
	return uuids, nil
}

// Text is an attribute of a filesystem, as in "exclusive_operation" or "devinfo/1/missing", without
// its line feed; false where there is none.
func (s Sysfs) Text(filesystem UUID, attribute string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(s.root, filesystem.String(), attribute))
	return strings.TrimSuffix(string(b), "\n"), err == nil
}

// Flag is an attribute that is 0 or 1; false where there is none too.
func (s Sysfs) Flag(filesystem UUID, attribute string) bool {
	text, _ := s.Text(filesystem, attribute)
	return text == "1"
}

// Number is an attribute that is a decimal number; false where there is none.
func (s Sysfs) Number(filesystem UUID, attribute string) (uint64, bool) {
	text, ok := s.Text(filesystem, attribute)
	n, err := strconv.ParseUint(text, 10, 64)
	return n, ok && err == nil
}

// Features names the features that a filesystem uses, sorted.
func (s Sysfs) Features(filesystem UUID) []string {
	return s.names(filesystem, "features")
}

// Devices lists the kernel's names of a filesystem's devices, sorted; missing ones are not there.
func (s Sysfs) Devices(filesystem UUID) []string {
	return s.names(filesystem, "devices")
}

func (s Sysfs) names(filesystem UUID, folder string) []string {
	entries, err := os.ReadDir(filepath.Join(s.root, filesystem.String(), folder))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	return names
}

// Profiles names the profiles of a filesystem's chunks of one type: data, metadata, system or mixed.
func (s Sysfs) Profiles(filesystem UUID, typ string) []string {
	names := s.names(filesystem, "allocation/"+typ)
	return slices.DeleteFunc(names, func(name string) bool {
		return name != "single" && !slices.Contains(profileNames[:], name)
	})
}

// DeviceState is what devinfo tells of a member.
type DeviceState struct {
	InMetadata, Missing, ReplaceTarget, Writeable bool
	// Filesystem that the member belongs to: another one where it is a seed.
	Filesystem UUID
}

// Device tells the state of a member; false where the kernel is too old (before 5.6) or there is none.
func (s Sysfs) Device(filesystem UUID, device uint64) (DeviceState, bool) {
	at := "devinfo/" + strconv.FormatUint(device, 10) + "/"
	missing, ok := s.Text(filesystem, at+"missing")
	if !ok {
		return DeviceState{}, false
	}
	state := DeviceState{
		Missing:       missing == "1",
		InMetadata:    s.Flag(filesystem, at+"in_fs_metadata"),
		ReplaceTarget: s.Flag(filesystem, at+"replace_target"),
		Writeable:     s.Flag(filesystem, at+"writeable"),
		Filesystem:    filesystem,
	}
	if text, ok := s.Text(filesystem, at+"fsid"); ok {
		if u, err := ParseUUID(text); err == nil {
			state.Filesystem = u
		}
	}
	return state, true
}

// Quotas tells whether quotas are on, are simple ones, and can be relied upon; false where the kernel
// is too old to tell (before 5.9).
func (s Sysfs) Quotas(filesystem UUID) (QuotaStatus, bool) {
	if _, err := os.Stat(filepath.Join(s.root, filesystem.String(), "qgroups")); err != nil {
		// The folder comes and goes with quotas; it tells only where the rest of the files is there.
		_, err := os.Stat(filepath.Join(s.root, filesystem.String(), "exclusive_operation"))
		return QuotaStatus{}, err == nil
	}
	mode, _ := s.Text(filesystem, "qgroups/mode")
	return QuotaStatus{
		On:           s.Flag(filesystem, "qgroups/enabled"),
		Simple:       mode == "squota",
		Inconsistent: s.Flag(filesystem, "qgroups/inconsistent"),
	}, true
}
