package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/geomind/my_os_server/internal/jsonwire"
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
	result []byte
	err    error
}

// fanOut makes the call on each node, some at a time, and prints what they answer in the order in which they
// were named, as soon as those before have been printed. One deadline is for all of them, so that the whole
// takes no longer than the slowest may.
func (s *session) fanOut(ctx context.Context, out io.Writer, nodes *nodes, v *verb, params []byte) error {
	ctx, cancel := s.deadline(ctx, fanOutTime)
	defer cancel()
	outcomes := make([]chan outcome, len(nodes.list))
	room := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i, n := range nodes.list {
		outcomes[i] = make(chan outcome, 1)
		group.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			outcomes[i] <- n.ask(ctx, v.method, params)
		})
	}
	defer group.Wait()
	failure := &nodeErrors{all: len(nodes.list)}
	p := s.newPrinter(out, nodes, v)
	for i, n := range nodes.list {
		o := <-outcomes[i]
		if err := p.print(n, o); err != nil {
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

// ask makes the call on the node and takes the whole result.
func (n *node) ask(ctx context.Context, method string, params []byte) (o outcome) {
	if n.err != nil {
		return outcome{err: n.err}
	}
	a, err := n.client.Call(ctx, method, params)
	if err != nil {
		return outcome{err: err}
	}
	o.result, o.err = a.Bytes()
	return o
}

// printer prints what several nodes answer to one call: as data each is an object with the node's name; for
// people lists are one table, whose rows bear it.
type printer struct {
	session *session
	w       *bufio.Writer
	verb    *verb
	shared  *table // nil where each node has something of its own
}

func (s *session) newPrinter(out io.Writer, nodes *nodes, v *verb) *printer {
	p := &printer{session: s, w: newBuffered(out), verb: v}
	if v.list != "" {
		p.shared = (&output{session: s, w: p.w, verb: v}).newTable(v.row(v.list))
		for _, n := range nodes.list {
			p.shared.setNodes(n.name)
		}
	}
	return p
}

// print prints one node's result or error.
func (p *printer) print(n *node, o outcome) error {
	s := p.session
	out := &output{session: s, w: p.w, verb: p.verb, node: n.name}
	switch format := s.global.output; {
	case format == formatJSON, format == formatJSONL:
		p.w.Write(append(appendOutcome(nil, n, o), '\n'))
	case format == formatYAML:
		p.w.WriteString("---\n")
		p.w.Write(appendYAML(nil, appendOutcome(nil, n, o), 0))
	case o.err != nil:
		_ = p.w.Flush()
		fmt.Fprintf(s.errs, "%s: ", n.name)
		s.report(o.err)
	case format == formatName:
		out.name(o.result)
	case p.shared != nil:
		p.shared.node = n.name
		out.listOnly(p.shared, o.result)
	default:
		out.details(o.result)
	}
	return p.w.Flush()
}

// end prints what still waits.
func (p *printer) end() error {
	if p.shared != nil {
		p.shared.end()
	}
	return p.w.Flush()
}

// appendOutcome is {"node":…,"result":…} or {"node":…,"error":{…}}. An error that no server answered has no
// code, and a kind of its own.
func appendOutcome(b []byte, n *node, o outcome) []byte {
	b = jsonwire.AppendString(append(b, `{"node":`...), n.name)
	if o.err == nil {
		return append(append(append(b, `,"result":`...), oneLine(o.result)...), '}')
	}
	b = append(b, `,"error":`...)
	if e, ok := isServer(o.err); ok {
		return append(appendError(b, e), '}')
	}
	b = jsonwire.AppendString(append(b, `{"message":`...), o.err.Error())
	b = jsonwire.AppendInt(append(b, `,"exit_code":`...), int64(exitCode(o.err)))
	return append(b, "}}"...)
}
