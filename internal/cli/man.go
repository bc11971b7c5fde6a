package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completionCommand prints what makes a shell complete this program's command lines.
func (s *session) completionCommand() *cobra.Command {
	c := tool{
		use: "completion bash|zsh|fish", short: "Print the script that lets a shell complete verbs, flags and live values.", least: 1, most: 1,
		long: "Values come from the server that the command line is meant for: interfaces, bridges, disks, ids of rules.",
		example: Name + " completion bash >/etc/bash_completion.d/" + Name + "\n" +
			Name + " completion zsh >/usr/local/share/zsh/site-functions/_" + Name + "\n" +
			Name + " completion fish >~/.config/fish/completions/" + Name + ".fish",
		run: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				_, err := fmt.Fprint(s.out, bashScript)
				return err
			case "zsh":
				return c.Root().GenZshCompletion(s.out)
			case "fish":
				return c.Root().GenFishCompletion(s.out, true)
			}
			return &usageError{c.CommandPath(), "there is no shell " + quoted(args[0]) + "; there are bash, zsh, fish"}
		},
	}.command()
	c.ValidArgsFunction = cobra.FixedCompletions([]string{"bash", "zsh", "fish"}, cobra.ShellCompDirectiveNoFileComp)
	return c
}

// bashScript completes in bash, without the package bash-completion. The program itself knows what fits: it
// is asked with the words up to the cursor and answers a candidate a line, then a colon and cobra's directive
// (1: an error, 2: no blank behind it, 4: no names of files). What bash would replace is only what stands
// behind the last of $COMP_WORDBREAKS, so the rest is taken off again.
const bashScript = `# bash completion for my-os-ctl
_my_os_ctl() {
	local line=${COMP_LINE:0:COMP_POINT} words answer directive word last typed head
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	answer=$("${words[0]}" __completeNoDesc "${words[@]:1}" 2>/dev/null) || return
	directive=${answer##*:}
	answer=${answer%:*}
	COMPREPLY=()
	(( directive & 1 )) && return
	typed=${COMP_WORDS[COMP_CWORD]}
	[[ $typed == [=:] ]] && typed=
	last=${words[-1]}
	[[ $last == -*=* ]] && last=${last#*=}
	head=${last%"$typed"}
	while IFS= read -r word; do
		[[ -n $word && $word == "$last"* ]] && COMPREPLY+=("${word#"$head"}")
	done <<<"$answer"
	(( directive & 2 )) && compopt -o nospace
	(( directive & 4 )) || compopt -o default
}
complete -F _my_os_ctl my-os-ctl
`

// manCommand prints manual pages, or writes all of them.
func (s *session) manCommand() *cobra.Command {
	dir := ""
	c := tool{
		use: "man [VERB…]", short: "Print the manual page of a verb, or write all pages to a folder.", most: 8,
		example: Name + " man net routes add | man -l -\n" + Name + " man --dir /usr/local/share/man/man1",
		run: func(c *cobra.Command, args []string) error {
			if dir == "" {
				page, rest, err := c.Root().Find(args)
				if err != nil || len(rest) > 0 {
					return &usageError{c.CommandPath(), "there is no verb " + quoted(strings.Join(args, " "))}
				}
				_, err = fmt.Fprint(s.out, manPage(page))
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			return writeManPages(c.Root(), dir)
		},
	}.command()
	c.Flags().StringVar(&dir, "dir", "", "write the pages of all verbs to this folder, made where it is missing")
	return c
}

// writeManPages writes the page of c and of all below it.
func writeManPages(c *cobra.Command, dir string) error {
	if c.Hidden {
		return nil
	}
	path := filepath.Join(dir, pageName(c)+".1")
	if err := os.WriteFile(path, []byte(manPage(c)), 0o644); err != nil {
		return err
	}
	for _, child := range shown(c) {
		if err := writeManPages(child, dir); err != nil {
			return err
		}
	}
	return nil
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage is a manual page in the macros of man(7).
func manPage(c *cobra.Command) string {
	c.InitDefaultHelpFlag()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH \"%s\" 1\n.nh\n.ad l\n", roff(strings.ToUpper(pageName(c))))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(c)), roff(strings.TrimSuffix(groupShort(c), ".")))
	b.WriteString(".SH SYNOPSIS\n")
	for _, line := range usageLines(c) {
		fmt.Fprintf(&b, ".B %s\n.br\n", roff(line))
	}
	if c.Long != "" {
		fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roff(c.Long))
	}
	if list := shown(c); len(list) > 0 {
		b.WriteString(".SH VERBS\n")
		for _, child := range list {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(child.Name()), roff(groupShort(child)))
		}
	}
	manFlags(&b, "OPTIONS", c.LocalNonPersistentFlags())
	manFlags(&b, "OPTIONS OF EVERY VERB", c.Root().PersistentFlags())
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	if !c.HasParent() {
		manExitCodes(&b)
	}
	b.WriteString(".SH SEE ALSO\n")
	if c.HasParent() {
		fmt.Fprintf(&b, ".BR %s (1)\n", roff(pageName(c.Parent())))
	} else {
		b.WriteString("docs/cli.md, docs/methods.md\n")
	}
	return b.String()
}

func manFlags(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		head := "--" + f.Name
		if f.Shorthand != "" {
			head = "-" + f.Shorthand + ", " + head
		}
		head += flagValue(f)
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(head), roff(flagUsage(f)))
	})
}

func manExitCodes(b *strings.Builder) {
	b.WriteString(".SH EXIT STATUS\n")
	for _, e := range exitMeanings() {
		fmt.Fprintf(b, ".TP\n.B %d\n%s\n", e.code, roff(e.meaning))
	}
}

// roff makes text fit for a line of roff: what would be an escape or a macro is not, and what is not ASCII is
// named (groff_char(7)), whatever encoding the page is read in.
func roff(text string) string {
	var b strings.Builder
	lineStart := true
	for _, r := range text {
		switch {
		case lineStart && (r == '.' || r == '\''):
			b.WriteString(`\&` + string(r))
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
		lineStart = r == '\n'
	}
	return b.String()
}
