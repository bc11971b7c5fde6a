package rpcserver

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// LogWriter takes log lines without ever making the writer wait: a reader of the log that stalls (a full
// pipe, a hung disk) costs lines, not calls. Lines go to the underlying writer one by one, in order, from
// a goroutine that sleeps while there are none. Those that find the queue full are dropped and counted.
//
// zerolog's own diode does the same with less: its waiting form can sleep through a line that comes just
// as it falls asleep, until the next one comes, and its polling form wakes an idle daemon.
type LogWriter struct {
	lines   chan *[]byte
	done    chan struct{}
	dropped atomic.Uint64
	buffers sync.Pool

	mu     sync.RWMutex // taken for writing by Close only
	closed bool
}

// queuedLines is how many lines wait for a slow taker, at most.
const queuedLines = 4096

// NewLogWriter begins to write to w what is written to the LogWriter. Close ends it.
func NewLogWriter(w io.Writer) *LogWriter {
	l := &LogWriter{
		lines:   make(chan *[]byte, queuedLines),
		done:    make(chan struct{}),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
	go l.copy(w)
	return l
}

// Write takes one line. It never waits and never fails.
func (l *LogWriter) Write(p []byte) (int, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		l.dropped.Add(1)
		return len(p), nil
	}
	line := l.buffers.Get().(*[]byte)
	*line = append((*line)[:0], p...)
	select {
	case l.lines <- line:
	default:
		l.buffers.Put(line)
		l.dropped.Add(1)
	}
	return len(p), nil
}

// keptLine is the largest buffer that is kept for another line.
const keptLine = 8 << 10

func (l *LogWriter) copy(w io.Writer) {
	defer close(l.done)
	for line := range l.lines {
		if _, err := w.Write(*line); err != nil {
			l.dropped.Add(1)
		}
		if cap(*line) <= keptLine {
			l.buffers.Put(line)
		}
	}
}

// Dropped is how many lines were lost so far.
func (l *LogWriter) Dropped() uint64 { return l.dropped.Load() }

// closeWait is how long Close waits for the last lines to be taken.
const closeWait = time.Second

// Close writes out what is queued and ends the LogWriter. Where nobody takes the lines it waits for a
// second and leaves them behind. What is written later is dropped.
func (l *LogWriter) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.lines)
	}
	l.mu.Unlock()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	}
	return nil
}
