package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Name is what the program is called.
const Name = "my-os-ctl"

// Main is the whole program: it runs what the arguments say and returns the exit code, one of those told in
// docs/cli.md.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends what does not look at the first
	s := newSession(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	return s.run(ctx, args)
}

// session is one run of the program.
type session struct {
	in, out, errs *os.File
	getenv        func(string) string
	global        globalFlags
	paint         painter // for out
	misspelt      error   // what was wrong with a command line that asked for help
	paintErrs     painter // for errs
}

// globalFlags are the flags that every verb takes.
type globalFlags struct {
	output     outputFormat
	socket     string
	context    string
	nodes      []string
	group      string
	timeout    time.Duration
	serverUIDs []uint
}

func newSession(in, out, errs *os.File, getenv func(string) string) *session {
	s := &session{in: in, out: out, errs: errs, getenv: getenv}
	s.paint = newPainter(out, getenv)
	s.paintErrs = newPainter(errs, getenv)
	return s
}

// run runs one command line.
func (s *session) run(ctx context.Context, args []string) int {
	if len(args) > 1 && (args[0] == "-h" || args[0] == "--help") {
		args = append(slices.Clone(args[1:]), args[0]) // help is for the verb, wherever it is asked for
	}
	args = spelledOut(args)
	root := s.commandFor(args)
	root.SetArgs(args)
	root.SetContext(ctx)
	err := cmp.Or(root.ExecuteContext(ctx), s.misspelt)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if err != nil {
		s.report(err)
	}
	return exitCode(err)
}

// commandFor is the tree for one command line. Where that runs a verb of the table, the tree has this verb and
// those below it: to make the others, only to leave them aside, takes longer than the call.
func (s *session) commandFor(args []string) *cobra.Command {
	wanted := mayMean(args)
	root := s.root()
	for i := range verbs {
		if wanted(&verbs[i]) {
			s.addVerb(root, &verbs[i], true)
		}
	}
	s.addPictures(root)
	finish(root)
	if c, _, err := root.Find(args); err == nil && c.Annotations[annotationGroup] == "" {
		return root
	}
	return s.command(wanted)
}

// command is the tree of all verbs. Those that are wanted are ready to run; of the others there is what help
// lists: making a flag of every param of every method takes longer than most calls.
func (s *session) command(wanted func(*verb) bool) *cobra.Command {
	root := s.root()
	for i := range verbs {
		s.addVerb(root, &verbs[i], wanted(&verbs[i]))
	}
	s.addPictures(root)
	root.AddCommand(s.toolCommands()...)
	finish(root)
	return root
}

// root is the tree without a verb.
func (s *session) root() *cobra.Command {
	root := &cobra.Command{
		Use:               Name,
		Short:             "Networking and storage of Linux nodes, by their my_os_server.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	s.addGlobalFlags(root)
	root.SetOut(s.out)
	root.SetErr(s.errs)
	root.SetHelpFunc(s.help)
	root.SetUsageFunc(func(*cobra.Command) error { return nil })
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if wrong := misspelt(c, c.Flags().Args()); wrong != nil {
			return wrong
		}
		return &usageError{c.CommandPath(), err.Error() + flagSuggestion(c, err.Error())}
	})
	root.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	root.InitDefaultHelpFlag() // before arguments are looked at: -h would be taken for a flag with a value
	root.Version = version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.InitDefaultVersionFlag()
	root.CompletionOptions.DisableDefaultCmd = true
	s.addGlobalCompletions(root)
	return root
}

func (s *session) addPictures(root *cobra.Command) {
	child(root, "net", "").AddCommand(s.pictureCommand("Draw the interfaces as a tree.",
		"Ports hang from their bridge or bond, VLANs from their parent, addresses from what bears them.", s.netTree))
	child(root, "vol", "").AddCommand(s.pictureCommand("Draw the storage as a tree.",
		"Disks with partitions, what stands on them, how full that is and where it is mounted; arrays, subvolumes, swap.", s.volTree))
}

func (s *session) addGlobalFlags(root *cobra.Command) {
	g := &s.global
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.VarP(&g.output, "output", "o", "how to print: table, wide, json, jsonl, yaml, name")
	flags.StringVar(&g.socket, "socket", "", "socket of the server, instead of a context's")
	flags.StringVar(&g.context, "context", "", "the context to use, instead of the current one")
	flags.StringSliceVar(&g.nodes, "nodes", nil, "run on each of these contexts, side by side")
	flags.StringVar(&g.group, "group", "", "run on each context of this group, side by side")
	flags.Var((*duration)(&g.timeout), "timeout", "how long a call may take, as in 5s or 2m; 0 is as long as the server gives it")
	flags.UintSliceVar(&g.serverUIDs, "server-uid", nil, "a user beside root and oneself whose server may see credentials")
}

// all wants every verb.
func all(*verb) bool { return true }

// mayMean wants the verbs that a command line may run, or complete: those whose first words stand in it.
func mayMean(args []string) func(*verb) bool {
	if slices.Contains(args, "man") {
		return all
	}
	return func(v *verb) bool {
		words := v.words()
		return slices.Contains(args, words[0]) && slices.Contains(args, words[1])
	}
}

// annotationGroup is what a command bears that only has others below it.
const annotationGroup = "group"

// finish gives every command what all have in common.
func finish(c *cobra.Command) {
	c.DisableFlagsInUseLine = true
	if !c.Runnable() {
		c.Annotations = map[string]string{annotationGroup: "yes"}
		c.Args = cobra.ArbitraryArgs
		c.RunE = runGroup
	}
	for _, child := range c.Commands() {
		finish(child)
	}
}

// runGroup is what a command does that only has others below it.
func runGroup(c *cobra.Command, args []string) error {
	if err := misspelt(c, args); err != nil {
		return err
	}
	return c.Help()
}

// misspelt is what is wrong with words behind a command that only has others below it.
func misspelt(c *cobra.Command, args []string) error {
	if !isGroup(c) || len(args) == 0 {
		return nil
	}
	return &usageError{c.CommandPath(), "there is no verb " + quoted(args[0]) + suggestion(c, args[0])}
}
