//go:build faultpoints

package fault

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

// What a test sets in the environment of the process that it wants dead.
const (
	killAt = "MY_OS_SERVER_FAULT_AT"  // the moment at which it dies: its number, counted from 1, or its name
	armBy  = "MY_OS_SERVER_FAULT_ARM" // file that must be there for a moment to count; absent: all count
	trace  = "MY_OS_SERVER_FAULT_LOG" // file that each moment is appended to, a line each
)

var (
	passed  atomic.Int64
	last, _ = strconv.ParseInt(os.Getenv(killAt), 10, 64)
	arm     = os.Getenv(armBy)
	log     = openTrace(os.Getenv(trace))
)

// Point marks a moment, in words. At the one that the environment chose the process kills itself, as
// kill -9 would: no deferred function runs and no buffer is flushed.
func Point(name string) {
	if !armed() {
		return
	}
	n := passed.Add(1)
	if log != nil {
		_, _ = log.WriteString(name + "\n")
	}
	if n == last || name == os.Getenv(killAt) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

func armed() bool {
	if arm == "" {
		return true
	}
	_, err := os.Stat(arm)
	return err == nil
}

func openTrace(path string) *os.File {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	return f
}
