package netconf

import "strings"

// entry is one assignment of a file in sections.
type entry struct {
	section string
	key     string
	value   string
	line    int
}

// iniStyle says how a dialect of the format differs from the others.
type iniStyle struct {
	comments     string // characters that begin a comment line
	continuation bool   // a backslash at the end of a line joins the next
	unescape     bool   // \s, \n, \t, \r and \\ stand for characters (GKeyFile)
}

var (
	// systemd.syntax(7): Key=value, # and ; at the line's beginning, joining lines with a blank.
	unitStyle = iniStyle{comments: "#;", continuation: true}
	// GKeyFile, as NetworkManager writes it.
	keyfileStyle = iniStyle{comments: "#", unescape: true}
	// Files of KEY=value without sections, as systemd's daemons write below /run.
	stateStyle = iniStyle{comments: "#;"}
)

// parseIni splits a document of [Section] lines and Key=value lines. What is neither is a fault of the
// document and passed over.
func parseIni(d *document, style iniStyle) []entry {
	var entries []entry
	section := ""
	lines := strings.Split(d.text, "\n")
	for i := 0; i < len(lines); i++ {
		number := i + 1
		line := strings.TrimSpace(strings.TrimSuffix(lines[i], "\r"))
		if line == "" || strings.ContainsRune(style.comments, rune(line[0])) {
			continue
		}
		if style.continuation {
			line, i = joinLines(lines, i, line, style.comments)
		}
		if strings.HasPrefix(line, "[") {
			name, rest, ok := strings.Cut(line[1:], "]")
			if !ok || strings.TrimSpace(rest) != "" {
				d.fault(number, "section header has no end: %.60q", line)
				continue
			}
			section = name
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.TrimSpace(key) == "" {
			d.fault(number, "neither a section nor an assignment: %.60q", withoutValue(line))
			continue
		}
		value = strings.TrimSpace(value)
		if style.unescape {
			value = unescapeKeyfile(value)
		}
		entries = append(entries, entry{section: section, key: strings.TrimSpace(key), value: value, line: number})
	}
	return entries
}

// withoutValue is the first word of a line that is no assignment: the rest might be a secret.
func withoutValue(line string) string {
	word, _, _ := strings.Cut(line, " ")
	return word
}

// joinLines appends the lines that follow one that ends in a backslash, with a blank for each backslash,
// passing over comments between them, and returns the last one's index.
func joinLines(lines []string, i int, line, comments string) (joined string, last int) {
	for strings.HasSuffix(line, "\\") {
		line = strings.TrimSuffix(line, "\\") + " "
		for i++; i < len(lines); i++ {
			next := strings.TrimSpace(lines[i])
			if next == "" || !strings.ContainsRune(comments, rune(next[0])) {
				line += next
				break
			}
		}
	}
	return strings.TrimSpace(line), i
}

var keyfileEscapes = strings.NewReplacer(`\\`, `\`, `\s`, " ", `\n`, "\n", `\t`, "\t", `\r`, "\r")

func unescapeKeyfile(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return keyfileEscapes.Replace(s)
}

// values maps the keys of a file without sections to their values, the last of a key.
func values(entries []entry) map[string]string {
	m := make(map[string]string, len(entries))
	for _, e := range entries {
		m[e.key] = e.value
	}
	return m
}

// unquote takes the quotes from a word of systemd's: "a b", 'a b'.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
