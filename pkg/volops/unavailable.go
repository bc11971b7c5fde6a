package volops

import (
	"errors"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Unavailable lists the vol.* methods that cannot work here: those that are
// not built, and those whose ground the host lacks.
func (v *Vol) Unavailable() []registry.UnavailableMethod {
	list := unbuilt(v)
	_, noMounts := mount.Read(v.mountinfo())
	s, err := blk.Open(v.root)
	if err == nil {
		s.Close()
	}
	noDevices := errors.Is(err, blk.ErrNoSysfs)
	for _, method := range []string{"vol.list_mounts", "vol.usage"} {
		if noMounts != nil {
			list = append(list, withoutGround(method, "/proc/self/mountinfo"))
		}
	}
	// The holders of devices are mounts too; of arrays there may be none.
	for _, method := range []string{
		"vol.list_disks", "vol.list_partitions", "vol.list_filesystems", "vol.list_free_space", "vol.inventory", "vol.feasible_topologies",
		"vol.list_md_arrays", "vol.md_detail",
	} {
		switch {
		case noDevices:
			list = append(list, withoutGround(method, "/sys/block"))
		case noMounts != nil && method != "vol.list_md_arrays":
			list = append(list, withoutGround(method, "/proc/self/mountinfo"))
		}
	}
	return append(append(list, v.unavailableArrays()...), v.unavailableWrites()...)
}

// unavailableWrites lists the writes that lack their only program, or a place where others would see them. A
// filesystem may be made of any type whose program is there.
func (v *Vol) unavailableWrites() (list []registry.UnavailableMethod) {
	if hostexec.MkfsBtrfs.Installed() != nil {
		list = append(list, registry.UnavailableMethod{
			Method: "vol.create_btrfs_raid", Kind: registry.UnavailableKindToolMissing, Missing: registry.Some(hostexec.MkfsBtrfs.Name()),
		})
	}
	var unsupported *registry.UnsupportedError
	if errors.As(v.mayMount(), &unsupported) {
		list = append(list, registry.UnavailableMethod{
			Method: "vol.mount", Kind: registry.UnavailableKindUnsupported, Reason: registry.Some(unsupported.Reason), Missing: unsupported.Missing,
		})
	}
	return list
}

// unbuilt lists the methods that Vol only inherits from registry.NotBuiltVol.
func unbuilt(v *Vol) []registry.UnavailableMethod {
	type inherited struct{ registry.NotBuiltVol }
	type own struct { // hides what is only inherited: see registry.UnbuiltVol
		*Vol
		inherited
	}
	var list []registry.UnavailableMethod
	for _, method := range registry.UnbuiltVol(own{Vol: v}) {
		list = append(list, registry.UnavailableMethod{
			Method: method,
			Kind:   registry.UnavailableKindUnsupported,
			Reason: registry.Some(registry.UnsupportedReasonNotBuiltYet),
		})
	}
	return list
}

func withoutGround(method, missing string) registry.UnavailableMethod {
	return registry.UnavailableMethod{
		Method:  method,
		Kind:    registry.UnavailableKindUnsupported,
		Reason:  registry.Some(registry.UnsupportedReasonPlatform),
		Missing: registry.Some(missing),
	}
}
