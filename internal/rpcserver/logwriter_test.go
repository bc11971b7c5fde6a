package rpcserver

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

func TestLogWriterKeepsOrder(t *testing.T) {
	b := new(testhost.Log)
	l := NewLogWriter(b)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%50))
		want.WriteString(line)
		if n, err := io.WriteString(l, line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if b.String() != want.String() || l.Dropped() != 0 {
		t.Errorf("%d bytes of %d came, %d lines were dropped", len(b.String()), want.Len(), l.Dropped())
	}
}

// A line must not wait for the next one to come.
func TestLogWriterDoesNotSleepThroughALine(t *testing.T) {
	b := new(testhost.Log)
	l := NewLogWriter(b)
	defer l.Close()
	for i := range 2000 {
		fmt.Fprintf(l, "%d\n", i)
		for end := time.Now().Add(5 * time.Second); !strings.HasSuffix(b.String(), fmt.Sprintf("%d\n", i)); {
			if time.Now().After(end) {
				t.Fatalf("line %d does not come", i)
			}
		}
	}
}

// stuck is a writer whose taker is gone.
type stuck chan struct{}

func (s stuck) Write(p []byte) (int, error) {
	<-s
	return 0, errors.New("nobody reads")
}

func TestLogWriterNeverWaits(t *testing.T) {
	w := make(stuck)
	l := NewLogWriter(w)
	const lines = 3 * queuedLines
	start := time.Now()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range lines / 3 {
				io.WriteString(l, "a line\n")
			}
		})
	}
	wg.Wait()
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	if n := l.Dropped(); n < lines-queuedLines-1 || n > lines-queuedLines {
		t.Errorf("%d of %d lines were dropped, and %d wait", n, lines, queuedLines)
	}
	start = time.Now()
	l.Close()
	if d := time.Since(start); d < closeWait || d > closeWait+5*time.Second {
		t.Errorf("Close took %v", d)
	}
	before := l.Dropped()
	io.WriteString(l, "after the end\n")
	if l.Dropped() != before+1 {
		t.Error("a line after Close is not counted")
	}
	close(w)
	testhost.Eventually(t, "every line is accounted for", func() bool { return l.Dropped() == lines+1 })
}

func BenchmarkLogWriter(b *testing.B) {
	l := NewLogWriter(io.Discard)
	defer l.Close()
	line := []byte(strings.Repeat("x", 200) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		l.Write(line)
	}
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
}
