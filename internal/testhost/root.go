package testhost

import (
	"os"
	"testing"
)

// Root asks for a test to run as root. Where it does not, the test is skipped, except in CI
// (environment variable CI=true), where it fails: there nothing may go untested.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root")
	}
}

// Missing skips the test for want of something that the host lacks, or fails it in CI.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test needs %s, and CI must have it", what)
	}
	t.Skipf("needs %s", what)
}
