package cli

import (
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggestion names the verb that may have been meant by a word behind c: one that stands there and is spelled much
// the same, else one further below that has the word in it, as `vol list disks` has disks.
func suggestion(c *cobra.Command, word string) string {
	var names []string
	for _, child := range shown(c) {
		names = append(names, child.Name())
	}
	near, far := nearest(word, names)
	line, deep := deeper(strings.Fields(c.CommandPath())[1:], word)
	switch {
	case line != "" && (near == "" || deep == 0):
		return "; `" + line + "` is one"
	case near != "" && far < unlike:
		return "; " + near + " is one"
	}
	return ""
}

// deeper is the verb whose words begin with those of above and have one like the word among the others, and how
// unlike that is; of several the shortest.
func deeper(above []string, word string) (line string, least int) {
	least = unlike
	for i := range verbs {
		words := verbs[i].words()
		if len(words) <= len(above) || !slices.Equal(words[:len(above)], above) {
			continue
		}
		_, d := nearest(word, words[len(above):])
		if text := Name + " " + strings.Join(words, " "); d < least || d == least && line != "" && len(text) < len(line) {
			line, least = text, d
		}
	}
	return line, least
}

// flagSuggestion is the same of flags, for the error of a flag that there is not.
func flagSuggestion(c *cobra.Command, message string) string {
	name, unknown := strings.CutPrefix(message, "unknown flag: --")
	if !unknown {
		return ""
	}
	var names []string
	visit := func(f *pflag.Flag) { names = append(names, f.Name) }
	c.Flags().VisitAll(visit)
	c.InheritedFlags().VisitAll(visit)
	if near, _ := nearest(name, names); near != "" {
		return "; --" + near + " is one"
	}
	return ""
}

// unlike is how unlike words are that have nothing to do with each other.
const unlike = 1 << 10

// nearest is the name that is most like the word, "" where none is, and how unlike it is: 0 is the same.
func nearest(word string, names []string) (best string, least int) {
	least = unlike
	for _, name := range names {
		if d := unlikeness(strings.ToLower(word), name); d < least {
			best, least = name, d
		}
	}
	return best, least
}

// unlikeness is how unlike a name what was typed is: the same, its beginning or what begins with it, made of it by a
// slip or two of the hand, or short for it.
func unlikeness(word, name string) int {
	d := slips(word, name)
	switch {
	case d == 0:
		return 0
	case len(word) > 1 && strings.HasPrefix(name, word), len(name) > 2 && strings.HasPrefix(word, name):
		return 1
	case len(word) > 2 && d <= len(word)/3: // any two letters are two slips from any others
		return 1 + d
	case shortened(word, name):
		return 10
	}
	return unlike
}

// shortened tells whether the word is the name with letters left out, as ls and ifaces are.
func shortened(word, name string) bool {
	if len(word) < 2 || name == "" || word[0] != name[0] {
		return false
	}
	for i := 0; i < len(name) && word != ""; i++ {
		if name[i] == word[0] {
			word = word[1:]
		}
	}
	return word == ""
}

// slips is how many letters must be put in, left out, changed, or changed for their neighbour to make b of a: the
// distance of Damerau and Levenshtein, by which no letter is moved twice.
func slips(a, b string) int {
	var before, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			changed := above[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			row[j] = min(above[j]+1, row[j-1]+1, changed)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// flagFor is the flag that a word without one may have been meant for, "" where none suggests itself: that of a
// network where it looks like one, else the first that takes a name, a path or a device.
func (c *call) flagFor(word string) string {
	fits := map[string]bool{"ifname": true, "device": true, "abs-path": true}
	if strings.ContainsAny(word, ".:") && strings.IndexFunc(word, unicode.IsDigit) >= 0 && !strings.HasPrefix(word, "/") {
		fits = map[string]bool{"ip": true, "ip-prefix": true, "ip-interface": true}
	}
	for _, v := range c.values {
		if !v.param.required && !v.set() && fits[v.param.format] {
			return "--" + v.param.flag()
		}
	}
	return ""
}
