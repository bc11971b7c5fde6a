package cli

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

// linked is the version that the linker was told: -X github.com/geomind/my_os_server/internal/cli.linked=v1.2.3.
var linked string

// version is the program's own version: what the linker was told, else what the toolchain has made of the checkout.
func version() string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "unknown"
}

// helpCommand is --help for those who type it as a word.
func (s *session) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [VERB…]", Short: "Say what a verb is for, as its --help does.", Args: cobra.ArbitraryArgs,
		Example: Name + " help net routes add",
		RunE: func(c *cobra.Command, args []string) error {
			named, rest, err := c.Root().Find(spelledOut(args))
			if err == nil && len(rest) > 0 {
				return &usageError{c.CommandPath(), "there is no verb " + quoted(rest[0]) + suggestion(named, rest[0])}
			}
			if err != nil {
				return &usageError{c.CommandPath(), err.Error()}
			}
			return named.Help()
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (words []string, _ cobra.ShellCompDirective) {
			if named, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				for _, child := range shown(named) {
					words = append(words, child.Name()+"\t"+groupShort(child))
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
