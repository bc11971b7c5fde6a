package netops

import (
	"context"
	"errors"

	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ruleTexts has nft(8) print the rules, of one family or (0) of all. Nothing that a caller gave is among
// its arguments: nft reads them as a script.
func (n *Net) ruleTexts(ctx context.Context, family uint8) (map[nft.RuleRef]string, error) {
	args := []string{"--handle", "list", "ruleset"}
	if family != 0 {
		args = append(args, nft.Family.Name(uint32(family)))
	}
	var out []byte
	err := n.inside(func() (err error) {
		out, err = hostexec.Run(ctx, hostexec.Nft, args...)
		return err
	})
	if err != nil {
		return nil, toolError(err)
	}
	return nft.ParseListing(out)
}

// toolError turns what is wrong with a program of the host into the answer that says so.
func toolError(err error) error {
	var missing *hostexec.ToolMissing
	if errors.As(err, &missing) {
		return &registry.ToolMissingError{ToolMissingData: registry.ToolMissingData{
			Tool:    missing.Tool,
			Package: registry.Some(missing.Package),
		}}
	}
	var exit *hostexec.Exit
	if errors.As(err, &exit) {
		return &registry.OSError{OsErrorData: registry.OsErrorData{
			Op:    "run " + exit.Tool,
			Errno: "EIO", // a program has no errno; it failed, and what it said is in Text
			Text:  registry.NonZero(exit.Stderr),
		}}
	}
	return err
}
