package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
)

// runVerb is what a verb does: it puts the call together, asks where something would be destroyed, makes it,
// and prints what comes.
func (s *session) runVerb(c *cobra.Command, call *call, args []string) error {
	err := call.arguments(args)
	if err == nil {
		err = call.check()
	} else if len(args) > 0 {
		err = s.misplaced(c, call, args[0], err)
	}
	if err != nil {
		return &usageError{c.CommandPath(), err.Error()}
	}
	nodes, err := s.nodes()
	if err != nil {
		return err
	}
	defer nodes.close()
	ctx := c.Context()
	if call.verb.effect == "destroy" {
		if err := s.confirm(ctx, nodes, call); err != nil {
			return err
		}
	}
	params := call.params()
	run := func(ctx context.Context, out io.Writer) error { return s.callAll(ctx, out, nodes, call.verb, params) }
	switch {
	case call.watch != "":
		return s.watch(ctx, call.watch, run)
	case call.wait:
		return s.callAndWait(ctx, nodes, call)
	}
	return run(ctx, s.out)
}

// misplaced is the error of an argument that a verb does not take, with what it may have been meant for: a verb below
// this one, or the value of a flag.
func (s *session) misplaced(c *cobra.Command, call *call, word string, err error) error {
	if near := suggestion(c, word); near != "" && c.HasSubCommands() {
		return errors.New("there is no verb " + quoted(word) + " here" + near)
	}
	if flag := call.flagFor(word); flag != "" {
		return fmt.Errorf("%w; %s %s may be meant", err, flag, clean(word))
	}
	return err
}

// callAll makes the call on the one node that is meant, or on each of several.
func (s *session) callAll(ctx context.Context, out io.Writer, nodes *nodes, v *verb, params []byte) error {
	if nodes.several {
		return s.fanOut(ctx, out, nodes, v, params)
	}
	return s.callOne(ctx, out, nodes.list[0], v, params)
}

// callOne makes the call on one node and prints its result as it comes.
func (s *session) callOne(ctx context.Context, out io.Writer, n *node, v *verb, params []byte) error {
	ctx, cancel := s.deadline(ctx, 0)
	defer cancel()
	a, err := s.callInWords(ctx, n, v, params)
	if err != nil {
		return err
	}
	w := &output{session: s, w: newBuffered(out), verb: v}
	err = w.print(a)
	if flushed := w.w.Flush(); err == nil {
		err = flushed
	}
	return err
}

// deadline bounds a call by --timeout, or by what stands for it where that is not given; 0 is no bound of
// ours: the server has its own.
func (s *session) deadline(ctx context.Context, otherwise time.Duration) (context.Context, context.CancelFunc) {
	timeout := s.global.timeout
	if timeout == 0 {
		timeout = otherwise
	}
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// toolCommands are the verbs that are no rows of the table.
func (s *session) toolCommands() []*cobra.Command {
	return []*cobra.Command{
		s.callCommand(), s.discoverCommand(), s.healthCommand(),
		s.contextCommand(), s.serverCommand(), s.keyCommand(), s.tokenCommand(), s.aclCommand(),
		s.completionCommand(), s.manCommand(), s.helpCommand(),
	}
}

func (s *session) callCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "call METHOD [JSON|-]",
		Short:   "Call any method with params as they are.",
		Long:    "Sends the params, a JSON object or array, and prints the result's bytes as they come. With - the params are read from standard input; without them the call has none. Nothing is asked before something is destroyed.",
		Example: Name + " call net.routes '{\"family\":\"ipv4\",\"limit\":2}'\necho '{\"path\":\"/\"}' | " + Name + " call vol.usage -",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return &usageError{c.CommandPath(), "takes METHOD and, where there are params, JSON or -"}
			}
			params, err := s.readParams(args[1:])
			if err != nil {
				return &usageError{c.CommandPath(), err.Error()}
			}
			return s.callRaw(c.Context(), verbOf(args[0]), params)
		},
		ValidArgsFunction: completeMethods,
	}
}

// readParams reads the params of a raw call.
func (s *session) readParams(args []string) ([]byte, error) {
	if len(args) == 0 {
		return nil, nil
	}
	params := []byte(args[0])
	if args[0] == "-" {
		var err error
		if params, err = io.ReadAll(s.in); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
	}
	if err := jsonwire.Valid(params); err != nil {
		return nil, fmt.Errorf("the params are not JSON: %w", err)
	}
	if k := jsonwire.KindOf(params); k != jsonwire.Object && k != jsonwire.Array {
		return nil, fmt.Errorf("the params must be an object or an array, not %s", k)
	}
	return params, nil
}

// verbOf is the verb of a method, or one without a name for a method that this program does not know.
func verbOf(method string) *verb {
	for i := range verbs {
		if verbs[i].method == method {
			return &verbs[i]
		}
	}
	return &verb{method: method}
}

// callRaw makes a call for what stands outside of the table's verbs: what comes is printed as JSON where no
// other form is asked for.
func (s *session) callRaw(ctx context.Context, v *verb, params []byte) error {
	nodes, err := s.nodes()
	if err != nil {
		return err
	}
	defer nodes.close()
	if s.global.output == "" {
		s.global.output = formatJSON
	}
	return s.callAll(ctx, s.out, nodes, v, params)
}

func (s *session) discoverCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "discover",
		Short: "Print the server's whole table as OpenRPC 1.3.2.",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return s.callRaw(c.Context(), verbOf("rpc.discover"), nil) },
	}
}

func (s *session) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Say whether the server takes calls.",
		Long:  "Needs no right. Whether the node is well is for `net health` and `vol inventory` to say.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			nodes, err := s.nodes()
			if err != nil {
				return err
			}
			defer nodes.close()
			return s.callAll(c.Context(), s.out, nodes, verbOf("rpc.health"), nil)
		},
	}
}

// isServer tells an error that a server has answered from all others.
func isServer(err error) (*client.Error, bool) {
	var e *client.Error
	ok := errors.As(err, &e)
	return e, ok
}
