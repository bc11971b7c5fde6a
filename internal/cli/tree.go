package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// spaces says what the first words of verbs stand for.
var spaces = map[string]string{
	"net": "Networking: interfaces, routes, bridges, firewall, NAT, connections.",
	"vol": "Storage: disks, partitions, filesystems, arrays, subvolumes, mounts.",
	"rpc": "The server itself.",
}

// addVerb puts a verb into the tree, and the commands above it where they are not there yet. A method whose
// name begins another's is both: `net routes` runs, and `net routes add` stands below it.
func (s *session) addVerb(root *cobra.Command, v *verb, ready bool) {
	c := root
	words := v.words()
	for i, word := range words {
		c = child(c, word, spaces[strings.Join(words[:i+1], " ")])
	}
	c.Short = v.summary
	c.Annotations = map[string]string{annotationMethod: v.method}
	c.Args = cobra.ArbitraryArgs
	c.RunE = runGroup
	if !ready {
		return
	}
	s.makeVerb(c, v)
	if v.list != "" && !strings.Contains(v.method, "list") {
		alias := child(c, "list", "")
		s.makeVerb(alias, v)
		alias.Hidden = true
	}
}

// child is the command of that name below c, made where there is none.
func child(c *cobra.Command, word, short string) *cobra.Command {
	for _, other := range c.Commands() {
		if other.Name() == word {
			return other
		}
	}
	made := &cobra.Command{Use: word, Short: short}
	c.AddCommand(made)
	return made
}

// makeVerb lets c run a verb.
func (s *session) makeVerb(c *cobra.Command, v *verb) {
	c.Short = v.summary
	c.Flags().SortFlags = false
	c.Long = v.description
	c.Annotations = map[string]string{annotationMethod: v.method}
	var lines []string
	for _, e := range v.examples {
		lines = append(lines, "# "+e.name, Name+" "+e.line+yesFor(v))
	}
	c.Example = strings.Join(lines, "\n")
	call := newCall(v)
	call.addFlags(c.Flags())
	s.addManners(c, v, call)
	c.Args = cobra.ArbitraryArgs
	c.ValidArgsFunction = s.completeArgs(call)
	c.RunE = func(c *cobra.Command, args []string) error { return s.runVerb(c, call, args) }
	s.addCompletions(c, call)
}

// annotationMethod is where a command keeps the name of its method.
const annotationMethod = "method"

// yesFor is what an example of a verb that asks needs in a script.
func yesFor(v *verb) string {
	if v.effect == "destroy" {
		return " --yes"
	}
	return ""
}

// spelledOut takes the name of a method apart where it stands for a verb, so that what the table and messages call
// net.routes.add or vol.create_subvolume can be typed as it is, and in part: `net vm create_tap`, `vol list-disks`.
// Only flags of every verb stand before a verb.
func spelledOut(args []string) []string {
	from := 0
	for from < len(args) && strings.HasPrefix(args[from], "-") {
		if takesNext(args[from]) {
			from++
		}
		from++
	}
	to := min(from, len(args))
	for to < len(args) && !strings.HasPrefix(args[to], "-") {
		to++
	}
	for ; to > from; to-- {
		name := strings.ReplaceAll(strings.Join(args[from:to], "."), "-", "_")
		if v := verbOf(name); v.lookedUp() {
			return slices.Concat(args[:from], v.words(), args[to:])
		}
	}
	return args
}

// takesNext tells whether a flag of every verb has its value in the word behind it.
func takesNext(flag string) bool {
	if strings.HasPrefix(flag, "--") {
		return !strings.Contains(flag, "=") && flag != "--help"
	}
	return len(flag) == 2 && flag != "-h" // with more behind it the value is there already
}
