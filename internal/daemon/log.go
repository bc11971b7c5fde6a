package daemon

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/internal/rpcserver"
)

// logger is the daemon's log. A call never waits for a line to be written.
type logger struct {
	zerolog.Logger
	lines *rpcserver.LogWriter
}

// newLogger begins a log on out, which a person reads where it is a terminal and nothing else was asked.
func newLogger(out *os.File, c config.Log) *logger {
	var w io.Writer = out
	if c.Format == "console" || c.Format == "auto" && isTerminal(out) {
		w = zerolog.ConsoleWriter{Out: out, TimeFormat: time.TimeOnly, NoColor: !isTerminal(out) || os.Getenv("NO_COLOR") != ""}
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	zerolog.TimestampFunc = func() time.Time { return time.Now().UTC() }
	setLevel(c.Level)
	lines := rpcserver.NewLogWriter(w)
	return &logger{zerolog.New(lines).With().Timestamp().Logger(), lines}
}

// Close writes out what is queued.
func (l *logger) Close() error { return l.lines.Close() }

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
