package netops

import (
	"fmt"
	"testing"
)

// BenchmarkWrites makes and deletes one object beside so many others of its kind: the cost must not grow
// with their number.
func BenchmarkWrites(b *testing.B) {
	for _, others := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprintf("route/beside=%d", others), func(b *testing.B) {
			m := newMaker(b)
			m.call("net.bridge.add", object{"name": "br0", "addresses": []string{"10.1.0.1/16"}})
			for i := range others {
				m.call("net.routes.add", object{"dst": fmt.Sprintf("172.%d.%d.0/24", 16+i>>8, i&255), "gateway": "10.1.0.2"})
			}
			for b.Loop() {
				m.call("net.routes.add", object{"dst": "192.168.0.0/24", "gateway": "10.1.0.2"})
				m.call("net.routes.delete", object{"dst": "192.168.0.0/24"})
			}
		})
	}
	for _, others := range []int{0, 500} {
		b.Run(fmt.Sprintf("tap/beside=%d", others), func(b *testing.B) {
			m := newMaker(b)
			m.call("net.bridge.add", object{"name": "br0"})
			for i := range others {
				m.call("net.vm.create_tap", object{"vm_id": fmt.Sprint("vm-", i), "bridge": "br0"})
			}
			for b.Loop() {
				m.call("net.vm.create_tap", object{"vm_id": "one", "name": "one", "bridge": "br0"})
				m.call("net.vm.delete_tap", object{"name": "one"})
			}
		})
	}
}
