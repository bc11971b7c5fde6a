package testhost

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Rounds is how often a test against random hosts goes round: TEST_ROUNDS where that is set, 200 in
// CI (CI=true), else usual.
func Rounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("TEST_ROUNDS")); err == nil && n > 0 {
		return n
	}
	if os.Getenv("CI") == "true" {
		return 200
	}
	return usual
}

// Seed is what a test's random choices start from: TEST_SEED where that is set, else another one each
// time. It is logged, so that a failure can be had again.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("TEST_SEED=%d", seed)
	return seed
}
