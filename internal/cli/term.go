package cli

import (
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/text/width"
)

// isTerminal tells whether a person is at the other end of f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// columns is how many characters fit into a line of out: what the terminal says, or $COLUMNS; 0 is no limit.
func (s *session) columns() int {
	if size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		return int(size.Col)
	}
	if n, err := strconv.Atoi(s.getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return 0
}

// lines is how many lines the terminal has that out is; 0 is not known.
func (s *session) lines() int {
	if size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ); err == nil {
		return int(size.Row)
	}
	return 0
}

// painter gives text a colour, on terminals only, and not where $NO_COLOR (no-color.org) or a dumb terminal
// speak against it.
type painter struct{ on bool }

func newPainter(f *os.File, getenv func(string) string) painter {
	return painter{on: isTerminal(f) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

func (p painter) with(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p painter) bold(text string) string { return p.with("1", text) }
func (p painter) good(text string) string { return p.with("32", text) }
func (p painter) bad(text string) string  { return p.with("1;31", text) }
func (p painter) warn(text string) string { return p.with("33", text) }
func (p painter) dim(text string) string  { return p.with("2", text) }

// moods are the words of states that are worth a colour.
var moods = map[string]func(painter, string) string{
	"ok": painter.good, "up": painter.good, "in_sync": painter.good, "active": painter.good, "running": painter.good, "clean": painter.good,
	"established": painter.good, "reachable": painter.good, "bound": painter.good, "finished": painter.good,
	"degraded": painter.warn, "unknown": painter.warn, "stale": painter.dim, "timeout": painter.bad,
	"failed": painter.bad, "down": painter.bad, "missing": painter.bad, "faulty": painter.bad, "lowerlayerdown": painter.bad,
}

// mood paints a cell whose text is the word of a state; padding around it stays as it is.
func (p painter) mood(cell string) string {
	if !p.on {
		return cell
	}
	word := strings.TrimSpace(cell)
	if paint := moods[word]; paint != nil {
		return strings.Replace(cell, word, paint(p, word), 1)
	}
	return cell
}

// clean makes text from elsewhere fit for a terminal: what could move the cursor, change colours or turn the
// direction of writing is shown as its escape. Labels of disks are written by strangers.
func clean(text string) string {
	safe := func(r rune) bool { return r != utf8.RuneError && (unicode.IsPrint(r) || r == ' ') }
	if strings.IndexFunc(text, func(r rune) bool { return !safe(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if safe(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// quoted is text in quotes for a message, cut where it is long.
func quoted(text string) string {
	if len(text) > 64 {
		text = strings.ToValidUTF8(text[:64], "") + "…"
	}
	return strconv.Quote(text)
}

// cells is how many cells of a terminal the text takes.
func cells(text string) int {
	n := 0
	for _, r := range text {
		n += runeCells(r)
	}
	return n
}

func runeCells(r rune) int {
	if r < 0x300 {
		return 1
	}
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut makes text fit into n cells, the last of which tells that there was more.
func cut(text string, n int) string {
	if cells(text) <= n {
		return text
	}
	used := 0
	for i, r := range text {
		w := runeCells(r)
		if used+w > n-1 {
			return text[:i] + "…"
		}
		used += w
	}
	return text
}

// pad makes text n cells wide, right or left.
func pad(text string, n int, right bool) string {
	space := strings.Repeat(" ", max(n-cells(text), 0))
	if right {
		return space + text
	}
	return text + space
}

// wrap breaks text into lines of at most n cells at white space.
func wrap(text string, n int) (lines []string) {
	for _, paragraph := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && cells(line)+1+cells(word) > n {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return lines
}
