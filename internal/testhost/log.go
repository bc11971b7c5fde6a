package testhost

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Log keeps what a process or a logger writes, and can be read meanwhile. Its zero value is empty.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is of [io.Writer]; it never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Has tells whether a line contains all of the words.
func (l *Log) Has(words ...string) bool {
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// Await waits until a line contains all of the words, as [Eventually] does.
func (l *Log) Await(t testing.TB, words ...string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the log:\n%s", l)
		}
	}()
	Eventually(t, fmt.Sprintf("the log has a line with %q", words), func() bool { return l.Has(words...) })
}
