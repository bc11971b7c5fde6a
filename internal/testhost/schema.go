package testhost

import (
	"testing"

	"github.com/geomind/my_os_server/pkg/registry/registrytest"
)

// ValidateResult fails the test where result, the JSON of a method's result, is not what the
// specification says that the method answers.
func ValidateResult(t testing.TB, method string, result []byte) {
	t.Helper()
	if err := registrytest.CheckResult(method, result); err != nil {
		t.Fatalf("result of %s: %v", method, err)
	}
}
