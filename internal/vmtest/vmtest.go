// Package vmtest is the tier of tests that need another kernel than the one that the tests run on: MD
// arrays, vfat, partitions that the kernel finds by itself. All cases of the tier run in one boot of
// Debian's kernel in QEMU (scripts/second-kernel), as root, on top of this machine's own files.
//
// A case is written in the package that it tests:
//
//	//go:build vmtest
//
//	package volops
//
//	// In a file that ends in _vm_test.go.
//	func TestArrayIsDetailed(t *testing.T) {
//		vmtest.Guest(t)
//		array := …
//	}
//
// That is all: TestSecondKernel finds the file, builds the package's tests for the guest, runs there
// each test that such files declare, in the order of the files and of the tests in them, and reports it
// as a subtest. To work on one of them:
//
//	go test ./internal/vmtest -v -run 'TestSecondKernel/pkg/volops/TestArrayIsDetailed'
//
// What a case may count on: it is root, in its package's folder, with every program of this machine and
// whatever modules Debian's kernel has, which load on demand; it has the environment of the tests (CI,
// TEST_SEED, TEST_ROUNDS). What it writes is in memory (2 GB for all) and gone afterwards. All cases
// share that one host, so each takes away what it made. There is no network beyond lo, no udev, and
// SECOND_KERNEL is 1. Programs start slowly there, some 0.1 s each, and compute 30 times slower: a case
// should take seconds. What it needs of programs goes to scripts/test-deps.
package vmtest

import (
	"os"
	"testing"
)

// Guest is the first statement of each case of the tier: where the case does not run in the second
// kernel it is skipped, because it changes the host that it runs on.
func Guest(t testing.TB) {
	t.Helper()
	if os.Getenv("SECOND_KERNEL") != "1" {
		t.Skip("runs in the second kernel only: go test ./internal/vmtest")
	}
}
