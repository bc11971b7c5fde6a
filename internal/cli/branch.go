package cli

import (
	"bufio"
	"strings"
)

// branch is a line of a picture with those that hang from it.
type branch struct {
	text  string
	below []*branch
}

// add hangs a line from the branch and returns it.
func (b *branch) add(text string) *branch {
	made := &branch{text: text}
	b.below = append(b.below, made)
	return made
}

// draw draws the tree in lines of at most room cells; 0 is no limit.
func (b *branch) draw(w *bufio.Writer, room int) {
	w.WriteString(cutPainted(b.text, room) + "\n")
	b.drawBelow(w, "", room)
}

func (b *branch) drawBelow(w *bufio.Writer, indent string, room int) {
	for i, child := range b.below {
		twig, further := "├─ ", "│  "
		if i == len(b.below)-1 {
			twig, further = "└─ ", "   "
		}
		left := 0
		if room > 0 {
			left = max(room-cells(indent)-cells(twig), 10)
		}
		w.WriteString(indent + twig + cutPainted(child.text, left) + "\n")
		child.drawBelow(w, indent+further, room)
	}
}

// cutPainted is cut for text that may have colours in it, which take no room.
func cutPainted(text string, room int) string {
	if room == 0 || !strings.Contains(text, "\x1b") {
		if room == 0 {
			return text
		}
		return cut(text, room)
	}
	var b strings.Builder
	used, escape := 0, false
	for _, r := range text {
		switch {
		case escape:
			escape = r != 'm'
		case r == '\x1b':
			escape = true
		default:
			if used += runeCells(r); used > room-1 {
				return b.String() + "…\x1b[0m"
			}
		}
		b.WriteRune(r)
	}
	return text
}

// useBar is a bar of how much is used, with the figures.
func (p painter) useBar(used, total int64) string {
	if total <= 0 {
		return ""
	}
	const n = 16
	full := int((used*n + total/2) / total)
	full = min(max(full, 0), n)
	bar := strings.Repeat("█", full) + strings.Repeat("░", n-full)
	switch percent := used * 100 / total; {
	case percent >= 95:
		bar = p.bad(bar)
	case percent >= 80:
		bar = p.warn(bar)
	default:
		bar = p.good(bar)
	}
	return bar + " " + sizeText(used) + " of " + sizeText(total)
}
