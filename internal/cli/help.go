package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how wide help is where the terminal does not say, and at most.
const (
	helpWidth    = 80
	maxHelpWidth = 110
)

// help prints what a command is for. Of a word that is no verb there is nothing to print.
func (s *session) help(c *cobra.Command, _ []string) {
	if s.misspelt = misspelt(c, c.Flags().Args()); s.misspelt != nil {
		return
	}
	width := s.columns()
	if width == 0 {
		width = helpWidth
	}
	fmt.Fprint(s.out, s.helpText(c, min(width, maxHelpWidth)))
}

// helpText is the help of a command in lines of the given width.
func (s *session) helpText(c *cobra.Command, width int) string {
	var b strings.Builder
	c.InitDefaultHelpFlag()
	paragraph(&b, cmp.Or(c.Short, "Verbs of "+c.CommandPath()+"."), width)
	if c.Long != "" && c.Long != c.Short {
		b.WriteByte('\n')
		paragraph(&b, c.Long, width)
	}
	s.section(&b, "Usage:")
	for _, line := range usageLines(c) {
		b.WriteString("  " + line + "\n")
	}
	if list := shown(c); len(list) > 0 {
		s.section(&b, "Verbs:")
		writeVerbs(&b, list, width)
	}
	if flags := c.LocalNonPersistentFlags(); flags.HasAvailableFlags() && c.HasParent() {
		s.section(&b, "Flags:")
		writeFlags(&b, flags, width)
	}
	s.section(&b, "Flags of every verb:")
	writeFlags(&b, c.Root().PersistentFlags(), width)
	if c.Example != "" {
		s.section(&b, "Examples:")
		for _, line := range strings.Split(c.Example, "\n") {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}

func (s *session) section(b *strings.Builder, title string) {
	b.WriteString("\n" + s.paint.bold(title) + "\n")
}

func paragraph(b *strings.Builder, text string, width int) {
	for _, line := range wrap(text, width) {
		b.WriteString(line + "\n")
	}
}

// usageLines are the forms in which the command can be typed.
func usageLines(c *cobra.Command) (lines []string) {
	path := c.CommandPath()
	if v := verbOf(c.Annotations[annotationMethod]); v.method != "" {
		line := path
		for _, p := range v.params {
			if p.required {
				line += " " + strings.ToUpper(p.flag())
				if p.list {
					line += "…"
				}
			}
		}
		lines = append(lines, line+" [flags]")
	} else if c.Runnable() && !isGroup(c) {
		lines = append(lines, strings.TrimSuffix(path, c.Name())+c.Use+" [flags]")
	}
	if len(shown(c)) > 0 {
		lines = append(lines, path+" VERB [flags]")
	}
	return lines
}

// isGroup tells whether a command does nothing but hold others.
func isGroup(c *cobra.Command) bool {
	return c.HasSubCommands() && c.Annotations[annotationMethod] == ""
}

// shown are the commands below c that help lists.
func shown(c *cobra.Command) (list []*cobra.Command) {
	for _, child := range c.Commands() {
		if child.IsAvailableCommand() {
			list = append(list, child)
		}
	}
	return list
}

func writeVerbs(b *strings.Builder, list []*cobra.Command, width int) {
	longest := 0
	names := make([]string, len(list))
	for i, c := range list {
		names[i], list[i] = onlyVerb(c)
		longest = max(longest, len(names[i]))
	}
	for i, c := range list {
		hang(b, "  "+pad(names[i], longest, false)+"  ", groupShort(c), width)
	}
}

// onlyVerb is what to list for a command: where it only holds a single other one, that, with both their names.
func onlyVerb(c *cobra.Command) (string, *cobra.Command) {
	name := c.Name()
	for c.Short == "" && len(shown(c)) == 1 {
		c = shown(c)[0]
		name += " " + c.Name()
	}
	return name, c
}

// groupShort is what a command is for; of one that only holds others and says nothing itself, those.
func groupShort(c *cobra.Command) string {
	if c.Short != "" {
		return c.Short
	}
	var names []string
	for _, child := range shown(c) {
		names = append(names, child.Name())
	}
	return strings.Join(names, ", ")
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet, width int) {
	var heads []string
	var texts []string
	longest := 0
	flags.SortFlags = false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		head := "      --" + f.Name
		if f.Shorthand != "" {
			head = "  -" + f.Shorthand + ", --" + f.Name
		}
		head += flagValue(f)
		heads, texts = append(heads, head), append(texts, flagUsage(f))
		longest = max(longest, cells(head))
	})
	for i, head := range heads {
		hang(b, pad(head, min(longest, 36), false)+"  ", texts[i], width)
	}
}

// flagUsage is what a flag is for.
func flagUsage(f *pflag.Flag) string {
	if f.Name == "help" {
		return "this text" // cobra's own says less in more words
	}
	return f.Usage
}

// flagValue is what stands behind a flag's name.
func flagValue(f *pflag.Flag) string {
	word := flagWord(f)
	switch {
	case word == "":
		return ""
	case f.NoOptDefVal != "":
		return "[=" + word + "]"
	}
	return " " + word
}

// flagWord stands for a flag's value.
func flagWord(f *pflag.Flag) string {
	switch t := f.Value.Type(); t {
	case "string":
		if f.Name == "watch" {
			return "TIME"
		}
		return "TEXT"
	case "bool":
		return ""
	case "stringSlice":
		return "A,B,…"
	case "duration":
		return "TIME"
	case "uintSlice", "int", "uint":
		return "N"
	default:
		return t
	}
}

// hang writes text behind a head, further lines below its beginning.
func hang(b *strings.Builder, head, text string, width int) {
	room := max(width-cells(head), 24)
	for i, line := range wrap(text, room) {
		if i > 0 {
			head = strings.Repeat(" ", cells(head))
		}
		b.WriteString(strings.TrimRight(head+line, " ") + "\n")
	}
}
