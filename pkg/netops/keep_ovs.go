package netops

import "github.com/geomind/my_os_server/pkg/registry"

// backed says whose bridge an object is, or is at: the kernel's own, or Open vSwitch's.
type backed struct {
	Backend registry.BridgeBackend `json:"backend,omitempty"` // "": the kernel's own
}

// ovs tells whether the object stands in Open vSwitch's database.
func (b backed) ovs() bool { return b.Backend == registry.BridgeBackendOvs }
