package testhost

import (
	"net"
	"testing"
	"time"
)

// patience is for how long [Eventually] waits: far longer than anything takes on a machine that is busy
// with other tests too, since only what never comes to be waits it out.
const patience = 2 * time.Minute

// Eventually waits until holds does, and ends the test where that does not come to be within two minutes. what
// says what is waited for. It looks often at first, for what comes at once, and then less often, since a look may
// be a program that runs. It must be called by the test's own goroutine.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	pause := time.Millisecond
	for end := time.Now().Add(patience); !holds(); time.Sleep(pause) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		pause = min(pause*5/4, 50*time.Millisecond)
	}
}

// Listening waits until somebody listens on a Unix socket. log is what the one who is to listen says.
func Listening(t testing.TB, socket string, log *Log) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the log:\n%s", log)
		}
	}()
	Eventually(t, "somebody listens on "+socket, func() bool {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// FreeAddress is an address of the loopback, host:port, on which nobody listens for TCP.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
