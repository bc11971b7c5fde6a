package testhost

import (
	"testing"

	"golang.org/x/sys/unix"
)

// WithoutCapabilities runs f on a thread that has no capability, as a daemon in a container runs. f
// must not end the test, nor start what is to have capabilities.
func WithoutCapabilities(t testing.TB, f func()) {
	t.Helper()
	var err error
	onOwnThread(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&header, &none[0]); err == nil {
			f()
		}
	})
	if err != nil {
		t.Fatalf("drop capabilities: %v", err)
	}
}
