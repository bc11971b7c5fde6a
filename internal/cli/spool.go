package cli

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
)

// spooling is how much of what waits for its turn is kept in memory, of all nodes together. The rest goes to files
// in $TMPDIR, which are gone as soon as the program is.
const spooling = 4 << 20

// spool keeps a result of any length until it is its turn to be printed.
type spool struct {
	room *atomic.Int64 // bytes that may still be kept in memory, shared by all spools
	kept net.Buffers
	size int64    // of kept
	file *os.File // nil as long as it all fits in memory
}

// Write keeps more.
func (s *spool) Write(b []byte) (int, error) {
	if s.file == nil && s.room.Add(-int64(len(b))) >= 0 {
		s.kept = append(s.kept, bytes.Clone(b))
		s.size += int64(len(b))
		return len(b), nil
	}
	if s.file == nil {
		s.room.Add(int64(len(b)))
		if err := s.toFile(); err != nil {
			return 0, err
		}
	}
	return s.file.Write(b)
}

// toFile moves what is kept to a file without a name.
func (s *spool) toFile() error {
	f, err := os.CreateTemp("", Name+".*")
	if err != nil {
		return fmt.Errorf("keep a result until its turn: %w", err)
	}
	s.file = f
	err = os.Remove(f.Name())
	if _, wrote := s.kept.WriteTo(f); err == nil {
		err = wrote
	}
	s.forget()
	return err
}

// forget gives the memory back.
func (s *spool) forget() {
	s.room.Add(s.size)
	s.kept, s.size = nil, 0
}

// reader reads what has been kept, from its beginning, once.
func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return &s.kept, nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

// close lets go of what is kept.
func (s *spool) close() error {
	s.forget()
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// inLine lets nothing through that would end a line. In JSON line ends stand between values only.
type inLine struct{ w io.Writer }

func (l inLine) Write(b []byte) (int, error) {
	if bytes.ContainsAny(b, "\r\n") {
		b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\n"), []byte(" ")), []byte("\r"), []byte(" "))
	}
	return l.w.Write(b)
}
