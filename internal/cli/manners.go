package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// lookTime bounds what is asked of a server on the side, for a question or a completion.
const lookTime = 5 * time.Second

// addManners gives a verb the flags that do not go to the server.
func (s *session) addManners(c *cobra.Command, v *verb, call *call) {
	flags := c.Flags()
	switch {
	case v.effect == "destroy":
		flags.BoolVar(&call.yes, "yes", false, "do not ask: destroy what the call names")
	case v.effect == "read" && v.right != "none":
		flags.StringVar(&call.watch, "watch", "", "call again and again, every TIME, until interrupted")
		f := flags.Lookup("watch")
		f.NoOptDefVal = "2s"
	}
	if waits[v.method] != nil {
		flags.BoolVar(&call.wait, "wait", false, "stay until it has ended, and show how far it is")
	}
}

// wordy are the verbs whose rows can be told in words, by which param. For a person they are, since fields of
// registers and masks are for programs.
var wordy = map[string]string{"net.firewall": "text"}

// callInWords makes the call, in words where people read it, did not speak about that, and the node can: it takes
// another program there.
func (s *session) callInWords(ctx context.Context, n *node, v *verb, params []byte) (*client.Answer, error) {
	param, format := wordy[v.method], s.global.output
	if param == "" || format != "" && format != formatTable && format != formatWide || params != nil && memberOf(params, param) != nil {
		return n.client.Call(ctx, v.method, params)
	}
	with := append(jsonwire.AppendString([]byte{'{'}, param), ":true"...)
	if params != nil {
		with = append(with, ',')
		with = append(with, params[1:]...)
	} else {
		with = append(with, '}')
	}
	a, err := n.client.Call(ctx, v.method, with)
	if e, answered := isServer(err); answered && slices.Contains([]string{registry.KindToolMissing, registry.KindNoPrivilege}, kindOf(e)) {
		return n.client.Call(ctx, v.method, params)
	}
	return a, err
}

// watch runs a call again and again. On a terminal each result takes the place of the one before; elsewhere
// they follow each other.
func (s *session) watch(ctx context.Context, every string, run func(context.Context, io.Writer) error) error {
	period, err := parseDuration(every)
	if err != nil || period < 100*time.Millisecond {
		return &usageError{Name, "--watch: " + quoted(every) + " is not a time of 100ms or more, as in --watch=2s"}
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		if err := s.frame(ctx, run); err != nil {
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // interrupting is how one stops watching
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// frame shows one result. On a terminal it is put together first, so that nothing flickers.
func (s *session) frame(ctx context.Context, run func(context.Context, io.Writer) error) error {
	if !isTerminal(s.out) {
		return run(ctx, s.out)
	}
	var frame bytes.Buffer
	if err := run(ctx, &frame); err != nil {
		return err
	}
	text := fitted(frame.Bytes(), s.lines())
	// Home, then each line with what the old one had behind its end, then the lines below (ECMA-48 CUP, EL, ED).
	text = bytes.ReplaceAll(text, []byte("\n"), []byte("\x1b[K\n"))
	_, err := fmt.Fprintf(s.out, "\x1b[H%s\x1b[J", text)
	return err
}

// fitted is as much of a text as a terminal of so many lines shows without losing what stands on top, and how much
// more there is. 0 is a terminal that does not say.
func fitted(text []byte, lines int) []byte {
	all := bytes.Count(text, []byte("\n"))
	if lines < 3 || all < lines {
		return text
	}
	end := 0
	for range lines - 2 {
		end += bytes.IndexByte(text[end:], '\n') + 1
	}
	return fmt.Appendf(bytes.Clone(text[:end]), "… %d more lines\n", all-lines+2)
}
