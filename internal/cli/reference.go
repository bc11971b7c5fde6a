package cli

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// exitMeaning is an exit code with what it says.
type exitMeaning struct {
	code    int
	meaning string
}

// exitMeanings are all exit codes, in order.
func exitMeanings() []exitMeaning {
	out := []exitMeaning{
		{exitOK, "done"},
		{exitFailed, "anything that has no code of its own: a file, the terminal"},
		{exitUsage, "the command line cannot be run as it stands"},
		{exitDeclined, "a question was answered with no: nothing was done"},
		{exitUnreachable, "no server answers"},
		{exitBroken, "the answer broke off: what was printed is not all"},
		{exitInterrupted, "interrupted"},
	}
	for kind, code := range exitCodes {
		out = append(out, exitMeaning{code, "the server answered " + kind})
	}
	slices.SortFunc(out, func(a, b exitMeaning) int { return cmp.Compare(a.code, b.code) })
	return out
}

// Reference returns docs/cli.md: the command line for people, every verb with its examples.
func Reference() []byte {
	s := newSession(os.Stdin, os.Stdout, os.Stderr, func(string) string { return "" })
	var b strings.Builder
	b.WriteString("<!-- Made from the verbs of internal/cli by go generate; do not edit. -->\n\n# my-os-ctl\n\n")
	b.WriteString(referenceHead)
	b.WriteString("\n## Exit codes\n\nWhere several nodes were asked the highest of theirs counts.\n\n| code | |\n|---|---|\n")
	for _, e := range exitMeanings() {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.meaning)
	}
	b.WriteString("\n## Verbs\n")
	referenceOf(&b, s.command(all))
	return []byte(b.String())
}

// referenceOf writes the section of every command below c that does something.
func referenceOf(b *strings.Builder, c *cobra.Command) {
	for _, child := range shown(c) {
		method := child.Annotations[annotationMethod]
		if method != "" || !isGroup(child) {
			fmt.Fprintf(b, "\n### %s\n\n%s", strings.TrimPrefix(child.CommandPath(), Name+" "), child.Short)
			if method != "" {
				fmt.Fprintf(b, " Flags are the params of [%s](methods.md#%s).", method, strings.ReplaceAll(method, ".", ""))
			} else if child.Long != "" {
				b.WriteString(" " + child.Long)
			}
			b.WriteString("\n\n")
			for _, line := range usageLines(child) {
				b.WriteString("    " + line + "\n")
			}
			if child.Example != "" {
				b.WriteString("\n")
				for _, line := range strings.Split(child.Example, "\n") {
					b.WriteString("    " + line + "\n")
				}
			}
		}
		referenceOf(b, child)
	}
}

// referenceHead is what is to be said of all verbs.
const referenceHead = `One command for everything that the daemon does. Each method of [the table](methods.md) is a verb, spelled as its name with blanks for dots and
underscores: net.routes.add is ` + "`my-os-ctl net routes add`" + `, vol.create_subvolume is ` + "`my-os-ctl vol create subvolume`" + `. The method's own spelling is understood too
(` + "`my-os-ctl net.routes.add`" + `), and a verb that lists may have ` + "`list`" + ` behind it. Params are flags with hyphens for underscores; those that a
method requires may also be given in order without their flags:

    my-os-ctl net routes add --dst 10.20.0.0/16 --gateway 192.0.2.1
    my-os-ctl net routes add 10.20.0.0/16 --gateway 192.0.2.1

- Sizes take units: ` + "`--size-bytes 10G`" + ` is 10 GiB; KB, MB, GB are decimal.
- Lists take commas, or the flag several times, or a JSON array: ` + "`--addresses 10.0.0.1/24,10.0.1.1/24`" + `.
- Objects take KEY=VALUE with commas, dots for objects within, or JSON: ` + "`--filters data.usage_max=50,metadata.usage_max=20`" + `. A list of objects takes
  the flag once for each.

## Output

| --output | |
|---|---|
| table | for people: columns that fit the terminal (or $COLUMNS), sizes and times with units. What does not fit is left out from the right |
| wide | the same with every member that the rows have, whatever the width |
| json | the result's bytes as they came, and a line feed |
| jsonl | a row of the list in each line; any other result in one |
| yaml | YAML |
| name | what each row is called by, a line each |

Long lists go row by row, in constant memory, in every format. Colour is for terminals only, and not where $NO_COLOR is set. Results go to standard
output, all else to standard error. With json and jsonl an error is a line of JSON there: code, message, data. What has more members than
anybody reads, as a bridge has, is told by those that are columns of tables; wide tells all. As tables, ` + "`net firewall`" + ` tells its rules in the words of nft,
where the node has it; ` + "`--text=false`" + ` leaves them out.

## Care

A method whose effect is ` + "`destroy`" + ` names what would be ended, devices with serial number and size, and asks; ` + "`--yes`" + ` answers beforehand. Without a terminal and
without ` + "`--yes`" + ` it is an error. What was shown goes with the call as its ` + "`expect`" + `: another device that has taken the name meanwhile is left alone.

Reads take ` + "`--watch`" + ` (` + "`--watch=500ms`" + `): again and again, until interrupted; on a terminal as much as it shows. ` + "`vol scrub start`" + `, ` + "`vol balance start`" + ` and ` + "`vol create md array`" + ` take ` + "`--wait`" + `: they stay until what
they started has ended, with a bar on a terminal. ` + "`vol md detail --wait`" + ` does so for a rebuild that runs already.

## Servers

Without more, the daemon of this machine is looked for where it may listen ([operations.md](operations.md)); ` + "`--socket`" + ` names another. Contexts remember servers:

    my-os-ctl context add lab1 --socket /srv/lab1/rpc.sock --node lab1 --key ~/.config/my-os-ctl/key --in lab
    my-os-ctl --context lab1 net routes
    my-os-ctl --group lab net verify

They lie in ~/.config/my-os-ctl/config.toml ($XDG_CONFIG_HOME is followed); ` + "`--context`" + `, then $MY_OS_CTL_CONTEXT, then the current one counts. With ` + "`--nodes A,B`" + ` or
` + "`--group NAME`" + ` the call goes to each, 32 at a time, under one deadline (` + "`--timeout`" + `, 30s where it is absent). Rows bear the node's name; as JSON each node is a line,
` + "`{\"node\":…,\"result\":…}`" + ` or ` + "`{\"node\":…,\"error\":…}`" + `; as jsonl each row of a list is one, ` + "`{\"node\":…,\"row\":…}`" + `, as soon as it comes and among those of
other nodes, and an error ends the rows of its node. Long results that wait for their turn lie in $TMPDIR and not in memory. A context with a key signs each request for the node that it names; one with a token file shows the
token. Both are shown only to a server that runs as root, as oneself, or as a user of ` + "`--server-uid`" + `.
`
