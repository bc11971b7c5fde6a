package unixctl

import "io"

const (
	batchSize = 64 << 10 // bytes of lines that are handed on at a time
	batches   = 3        // one being filled, one being worked on, one in between
)

// batch is some lines.
type batch struct {
	text []byte
	ends []int // of each line in text
}

// overlapped reads an answer and calls f for each of its lines, while the next ones are received and decoded on
// another goroutine, which has ended when it returns. What f returned comes second.
func overlapped(conn io.ReadCloser, f func(line string) error) (refusal *string, ended, err error) {
	p := &producer{full: make(chan *batch, batches), free: make(chan *batch, batches), stop: make(chan struct{})}
	for range batches {
		p.free <- &batch{}
	}
	go func() {
		defer close(p.full)
		refusal, err = p.read(conn)
	}()
	for b := range p.full {
		if ended == nil {
			if ended = b.each(f); ended != nil {
				close(p.stop)
				conn.Close()
			}
		}
		p.free <- b
	}
	return refusal, ended, err
}

// each calls f for each line. One string holds them all: one a line would cost as much as to read the line.
func (b *batch) each(f func(line string) error) error {
	text, begin := string(b.text), 0
	for _, end := range b.ends {
		if err := f(text[begin:end]); err != nil {
			return err
		}
		begin = end
	}
	b.text, b.ends = b.text[:0], b.ends[:0]
	return nil
}

// producer fills batches.
type producer struct {
	full, free chan *batch
	stop       chan struct{} // closed when nobody wants more
	now        *batch        // nil: none is being filled
}

// read reads an answer to its end; lines that came before an error are handed on too.
func (p *producer) read(r io.Reader) (refusal *string, err error) {
	refusal, err = newReply(r, p.add).read()
	if p.now != nil {
		p.full <- p.now // it has room for all there are
	}
	return refusal, err
}

func (p *producer) add(line []byte) error {
	if p.now == nil {
		select {
		case p.now = <-p.free:
		case <-p.stop:
			return io.ErrClosedPipe
		}
	}
	p.now.text = append(p.now.text, line...)
	p.now.ends = append(p.now.ends, len(p.now.text))
	if len(p.now.text) >= batchSize {
		p.full <- p.now
		p.now = nil
	}
	return nil
}
