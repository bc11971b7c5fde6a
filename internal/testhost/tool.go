package testhost

import (
	"os/exec"
	"testing"
)

// Tool asks for a program that a test uses as a witness; pkg is the Debian package that has it. See
// Missing for what happens without it.
func Tool(t testing.TB, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		Missing(t, program+" (Debian package "+pkg+")")
	}
}
