package volops

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// mountOptions are options as a call gives them, ready for the kernel.
type mountOptions struct {
	attributes int // of the mount
	super      []mount.Option
}

// attributeOptions are the options that belong to the mount, not to the filesystem: what they set and what
// they clear.
var attributeOptions = map[string][2]int{
	"rw": {0, unix.MOUNT_ATTR_RDONLY}, "ro": {unix.MOUNT_ATTR_RDONLY, 0},
	"exec": {0, unix.MOUNT_ATTR_NOEXEC}, "noexec": {unix.MOUNT_ATTR_NOEXEC, 0},
	"suid": {0, unix.MOUNT_ATTR_NOSUID}, "nosuid": {unix.MOUNT_ATTR_NOSUID, 0},
	"dev": {0, unix.MOUNT_ATTR_NODEV}, "nodev": {unix.MOUNT_ATTR_NODEV, 0},
	"relatime": {unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR__ATIME}, "noatime": {unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
	"strictatime": {unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME}, "nodiratime": {unix.MOUNT_ATTR_NODIRATIME, 0},
	"nosymfollow": {unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
}

// superOptions are those that every filesystem takes for itself.
var superOptions = []string{"rw", "ro", "lazytime", "sync", "dirsync"}

// typeOptions are the further ones of each type. Nothing else passes: an option that names another file,
// device or identity is not among them.
var typeOptions = map[string][]string{
	"btrfs": strings.Fields(`compress compress-force autodefrag noautodefrag discard nodiscard ssd ssd_spread nossd space_cache
		nospace_cache clear_cache commit datacow nodatacow datasum nodatasum degraded flushoncommit max_inline metadata_ratio rescue
		skip_balance thread_pool acl noacl fatal_errors`),
	"ext4": strings.Fields(`data commit barrier nobarrier discard nodiscard errors delalloc nodelalloc journal_checksum noload norecovery
		auto_da_alloc noauto_da_alloc stripe usrquota grpquota prjquota noquota init_itable noinit_itable max_batch_time min_batch_time
		dax acl noacl user_xattr`),
	"xfs": strings.Fields(`allocsize discard nodiscard inode64 inode32 largeio nolargeio logbsize logbufs norecovery nouuid sunit swidth
		swalloc noalign uquota gquota pquota noquota dax`),
	"vfat": strings.Fields(`uid gid umask dmask fmask allow_utime codepage iocharset utf8 shortname check errors discard flush quiet tz
		time_offset rodir`),
	"bcachefs": strings.Fields(`degraded very_degraded compression background_compression data_replicas metadata_replicas data_checksum
		metadata_checksum fsck fix_errors norecovery read_only discard errors`),
}

// parseMountOptions checks the options of a call against those of the type. Every mount is nosuid and nodev
// unless the caller holds admin and asks for something else.
func parseMountOptions(ctx context.Context, fstype string, list []string) (*mountOptions, error) {
	o := &mountOptions{attributes: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	var faults []registry.Fault
	for i, text := range list {
		key, value, hasValue := strings.Cut(text, "=")
		bits, isAttribute := attributeOptions[key]
		isAttribute = isAttribute && !hasValue
		isSuper := slices.Contains(superOptions, key) && !hasValue || slices.Contains(typeOptions[fstype], key)
		if !isAttribute && !isSuper {
			faults = append(faults, registry.Fault{Path: fmt.Sprintf("options[%d]", i), Message: fmt.Sprintf("must be an option that %s may be mounted with, not %q", fstype, text)})
			continue
		}
		if registry.CallerFrom(ctx).Right < registry.RightAdmin && (key == "suid" || key == "dev" || stopsTheHost(key, value)) {
			return nil, adminOnly(ctx, text)
		}
		if isAttribute {
			o.attributes = o.attributes&^bits[1] | bits[0]
		}
		if isSuper {
			o.super = append(o.super, mount.Option{Key: key, Value: value, HasValue: hasValue})
		}
	}
	if len(faults) > 0 {
		return nil, &registry.ParamsError{Faults: faults}
	}
	return o, nil
}

// stopsTheHost tells whether an option has the kernel panic where the filesystem is damaged, as whoever wrote to its
// device can have made it.
func stopsTheHost(key, value string) bool {
	return (key == "errors" || key == "fatal_errors") && strings.Contains(value, "panic")
}

// namesOwners tells whether options say whose the files are on a filesystem that does not know.
func (o *mountOptions) namesOwners() bool {
	return slices.ContainsFunc(o.super, func(s mount.Option) bool {
		return slices.Contains([]string{"uid", "gid", "umask", "dmask", "fmask"}, s.Key)
	})
}

func adminOnly(ctx context.Context, option string) error {
	c := registry.CallerFrom(ctx)
	return &registry.PermissionDeniedError{
		PermissionDeniedData: registry.PermissionDeniedData{Method: "vol.mount", Required: registry.RightNameAdmin, Granted: registry.RightName(c.Right.String()), Caller: c.Name},
		Message:              fmt.Sprintf("the option %s needs the right admin", option),
	}
}

// parseSubvolume turns the param into an option of btrfs.
func parseSubvolume(fstype, subvolume string) (mount.Option, error) {
	key, value := "subvol", "/"+strings.Trim(subvolume, "/")
	if id, byID := strings.CutPrefix(subvolume, "subvolid="); byID {
		key, value = "subvolid", id
		if strings.Trim(id, "0123456789") != "" || id == "" || len(id) > 20 {
			return mount.Option{}, invalid("subvolume", fmt.Sprintf("must be subvolid= and a number, not %q", subvolume))
		}
	}
	switch {
	case fstype != "btrfs":
		return mount.Option{}, invalid("subvolume", "does not belong to "+fstype+", only to btrfs")
	case slices.Contains(strings.Split(value, "/"), ".."):
		return mount.Option{}, invalid("subvolume", `must not have ".." in it`)
	case len(value) > 255: // fsconfig(2) takes no more
		return mount.Option{}, invalid("subvolume", "must be at most 254 bytes; name it by subvolid=")
	}
	return mount.Option{Key: key, Value: value, HasValue: true}, nil
}
