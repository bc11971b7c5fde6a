package volops

import (
	"errors"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Unavailable lists the vol.* methods that cannot work here: those that are
// not built, and those whose ground the host lacks.
func (v *Vol) Unavailable() []registry.UnavailableMethod {
	list := unbuilt(v)
	if _, err := mount.Read(v.mountinfo()); err != nil {
		list = append(list, withoutGround("vol.list_mounts", "/proc/self/mountinfo"), withoutGround("vol.usage", "/proc/self/mountinfo"))
	}
	s, err := blk.Open(v.root)
	if errors.Is(err, blk.ErrNoSysfs) {
		list = append(list, withoutGround("vol.list_disks", "/sys/block"))
	}
	if err == nil {
		s.Close()
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
