package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
)

// How several nodes are asked.
const (
	// atOnce is how many are asked at the same time.
	atOnce = 32
	// fanOutTime bounds each node's call where --timeout says nothing: one that hangs must not keep the rest.
	fanOutTime = 30 * time.Second
)

// nodeErrors says that some of several nodes failed; each has been told already.
type nodeErrors struct {
	failed, all int
	worst       int // the highest exit code of them
}

// Error counts them.
func (e *nodeErrors) Error() string { return fmt.Sprintf("%d of %d nodes failed", e.failed, e.all) }

// outcome is what one node has answered.
type outcome struct {
	kept *spool
	err  error
}

// fanOut makes the call on each node, some at a time. What they answer is printed in the order in which they were
// named, as soon as those before have been printed; rows as lines are printed as they come. One deadline is for
// all of them, so that the whole takes no longer than the slowest may.
func (s *session) fanOut(ctx context.Context, out io.Writer, nodes *nodes, v *verb, params []byte) error {
	ctx, cancel := s.deadline(ctx, fanOutTime)
	defer cancel()
	p := s.newPrinter(out, nodes, v)
	outcomes := make([]chan outcome, len(nodes.list))
	turns := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i, n := range nodes.list {
		outcomes[i] = make(chan outcome, 1)
		group.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if p.lines {
				outcomes[i] <- outcome{err: p.stream(ctx, n, params)}
				return
			}
			outcomes[i] <- n.ask(ctx, v.method, params, &p.room)
		})
	}
	defer group.Wait()
	failure := &nodeErrors{all: len(nodes.list)}
	for i, n := range nodes.list {
		o := <-outcomes[i]
		if err := p.print(n, o); err != nil {
			cancel()
			return err
		}
		if o.err != nil {
			failure.failed++
			failure.worst = max(failure.worst, exitCode(o.err))
		}
	}
	if err := p.end(); err != nil {
		return err
	}
	if failure.failed > 0 {
		return failure
	}
	return nil
}

// call makes the call on the node.
func (n *node) call(ctx context.Context, method string, params []byte) (*client.Answer, error) {
	if n.err != nil {
		return nil, n.err
	}
	return n.client.Call(ctx, method, params)
}

// ask makes the call on the node and keeps the whole result.
func (n *node) ask(ctx context.Context, method string, params []byte, room *atomic.Int64) outcome {
	a, err := n.call(ctx, method, params)
	if err != nil {
		return outcome{err: err}
	}
	kept := &spool{room: room}
	if _, err := a.WriteTo(kept); err != nil {
		_ = kept.close()
		return outcome{err: err}
	}
	return outcome{kept: kept}
}

// printer prints what several nodes answer to one call: as data each is an object with the node's name, and each row
// of a list where rows are lines; for people lists are one table, whose rows bear it.
type printer struct {
	session *session
	out     io.Writer
	w       *bufio.Writer
	verb    *verb
	shared  *table       // nil where each node has something of its own
	lines   bool         // rows are printed as they come
	room    atomic.Int64 // for results that wait for their turn
	mu      sync.Mutex   // held to print lines
}

func (s *session) newPrinter(out io.Writer, nodes *nodes, v *verb) *printer {
	p := &printer{session: s, out: out, w: newBuffered(out), verb: v, lines: s.global.output == formatJSONL && v.list != ""}
	p.room.Store(spooling)
	if v.list != "" {
		p.shared = (&output{session: s, w: p.w, verb: v}).newTable(v.row(v.list))
		for _, n := range nodes.list {
			p.shared.setNodes(n.name)
		}
	}
	return p
}

// stream makes the call on one node and prints its rows as lines, many at a time, among those of others. An error is
// a line too; behind rows it says that there should have been more.
func (p *printer) stream(ctx context.Context, n *node, params []byte) error {
	err := p.rows(ctx, n, params)
	if err != nil {
		_ = p.flush(appendOutcome(nil, n, err)) // who reads the lines is gone, where this fails
	}
	return err
}

func (p *printer) rows(ctx context.Context, n *node, params []byte) error {
	a, err := n.call(ctx, p.verb.method, params)
	if err != nil {
		return err
	}
	head := append(jsonwire.AppendString([]byte(`{"node":`), n.name), `,"row":`...)
	var lines []byte
	for row, err := range a.Rows(p.verb.list) {
		if err == nil && len(lines) >= bufferSize {
			err = p.flush(lines)
			lines = lines[:0]
		}
		if err != nil {
			return errors.Join(err, p.flush(lines))
		}
		lines = append(append(append(lines, head...), oneLine(row)...), "}\n"...)
	}
	if err := p.flush(lines); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	(&output{session: p.session, w: p.w, verb: p.verb, node: n.name}).warn(a.Rest())
	return nil
}

// flush prints whole lines.
func (p *printer) flush(lines []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.out.Write(lines)
	return err
}

// print prints one node's result or error, unless that has been done.
func (p *printer) print(n *node, o outcome) error {
	if p.lines {
		return nil
	}
	format := p.session.global.output
	asData := format == formatJSON || format == formatJSONL || format == formatYAML
	var err error
	switch {
	case o.err == nil:
		err = p.result(n, o.kept)
	case !asData:
		_ = p.w.Flush()
		fmt.Fprintf(p.session.errs, "%s: ", n.name)
		p.session.report(o.err)
	case format == formatYAML:
		p.w.WriteString("---\n")
		p.w.Write(appendYAML(nil, bytes.TrimSpace(appendOutcome(nil, n, o.err)), 0))
	default:
		p.w.Write(appendOutcome(nil, n, o.err))
	}
	if flushed := p.w.Flush(); err == nil {
		err = flushed
	}
	return err
}

// result prints what a node has answered.
func (p *printer) result(n *node, kept *spool) error {
	defer kept.close()
	from, err := kept.reader()
	if err != nil {
		return err
	}
	a := client.Kept(p.verb.method, from)
	out := &output{session: p.session, w: p.w, verb: p.verb, node: n.name}
	switch p.session.global.output {
	case formatJSON, formatJSONL:
		p.w.Write(append(jsonwire.AppendString([]byte(`{"node":`), n.name), `,"result":`...))
		if _, err := a.WriteTo(inLine{p.w}); err != nil {
			return err
		}
		_, err := p.w.WriteString("}\n")
		return err
	case formatYAML:
		return out.nodeYAML(a)
	case formatName:
		return out.names(a)
	}
	if p.shared != nil {
		p.shared.node = n.name
		if err := out.rows(p.shared, a); err != nil {
			return err
		}
		out.warn(a.Rest())
		return nil
	}
	raw, err := a.Bytes()
	if err == nil {
		out.details(raw)
	}
	return err
}

// end prints what still waits.
func (p *printer) end() error {
	if p.shared != nil {
		p.shared.end()
	}
	return p.w.Flush()
}

// appendOutcome is the line {"node":…,"error":{…}}. An error that no server answered has no code, and a kind of its own.
func appendOutcome(b []byte, n *node, err error) []byte {
	b = append(jsonwire.AppendString(append(b, `{"node":`...), n.name), `,"error":`...)
	if e, ok := isServer(err); ok {
		return append(appendError(b, e), "}\n"...)
	}
	b = jsonwire.AppendString(append(b, `{"message":`...), err.Error())
	b = jsonwire.AppendInt(append(b, `,"exit_code":`...), int64(exitCode(err)))
	return append(b, "}}\n"...)
}
