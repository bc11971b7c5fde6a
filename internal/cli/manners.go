package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

// addManners gives a verb the flags that do not go to the server.
func (s *session) addManners(c *cobra.Command, v *verb, call *call) {
	if v.effect == "destroy" {
		c.Flags().BoolVar(&call.yes, "yes", false, "do not ask: destroy what the call names")
	}
}

func (s *session) watch(ctx context.Context, every string, run func(context.Context, io.Writer) error) error {
	return nil
}
func (s *session) callAndWait(ctx context.Context, nodes *nodes, call *call) error { return nil }
func (s *session) fanOut(ctx context.Context, out io.Writer, nodes *nodes, v *verb, params []byte) error {
	return nil
}
func (s *session) confirm(ctx context.Context, nodes *nodes, call *call) error { return nil }

type nodeErrors struct{ worst int }

func (e *nodeErrors) Error() string { return "" }
func (s *session) completeArgs(call *call) cobra.CompletionFunc {
	return nil
}
func (s *session) addCompletions(c *cobra.Command, call *call) {}
func completeMethods(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, 0
}
