package netconf

import (
	"strings"
)

// token is a word of ISC's configuration language.
type token struct {
	text   string
	quoted bool
	line   int
}

// statement is words up to a semicolon, or words and a block in braces.
type statement struct {
	words []token
	block []*statement
	line  int
}

// word is the word at a place; "" beyond the last.
func (s *statement) word(i int) string {
	if i >= len(s.words) {
		return ""
	}
	return s.words[i].text
}

// list are the words from a place on without the commas between them.
func (s *statement) list(from int) []string {
	var list []string
	for i := from; i < len(s.words); i++ {
		if w := s.words[i]; w.quoted || w.text != "," {
			list = append(list, w.text)
		}
	}
	return list
}

// maxNesting bounds blocks within blocks; three levels are in use.
const maxNesting = 16

// parseISC reads the language of dhclient.conf(5) and dhclient.leases(5): statements of words that end in a
// semicolon or a block in braces; comments from # to the line's end.
func parseISC(d *document) []*statement {
	p := iscParser{document: d, text: d.text, line: 1}
	list := p.statements(0)
	return list
}

type iscParser struct {
	*document
	text string
	at   int
	line int
}

// statements reads up to the brace that closes the block, or to the end of the text.
func (p *iscParser) statements(depth int) []*statement {
	var list []*statement
	s := &statement{}
	for {
		t, ok := p.next()
		if !ok {
			if depth > 0 || len(s.words) > 0 {
				p.fault(p.line, "ends within a statement")
			}
			return list
		}
		if len(s.words) == 0 {
			s.line = t.line
		}
		switch {
		case t.quoted:
			s.words = append(s.words, t)
			continue
		case t.text == ";":
			if len(s.words) > 0 {
				list = append(list, s)
			}
		case t.text == "{":
			if depth == maxNesting {
				p.fault(t.line, "more than %d blocks within each other", maxNesting)
				p.at = len(p.text)
				return list
			}
			s.block = p.statements(depth + 1)
			list = append(list, s)
		case t.text == "}":
			if depth > 0 {
				return list
			}
			p.fault(t.line, "closing brace without a block")
		default:
			s.words = append(s.words, t)
			continue
		}
		s = &statement{}
	}
}

const iscMarks = ";{},"

// next returns the next token.
func (p *iscParser) next() (token, bool) {
	p.skip()
	if p.at >= len(p.text) {
		return token{}, false
	}
	t := token{line: p.line}
	c := p.text[p.at]
	switch {
	case c == '"':
		t.text, t.quoted = p.quoted(), true
	case strings.IndexByte(iscMarks, c) >= 0:
		t.text = string(c)
		p.at++
	default:
		from := p.at
		for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n\"#"+iscMarks, rune(p.text[p.at])) {
			p.at++
		}
		t.text = p.text[from:p.at]
	}
	return t, true
}

// skip passes over blanks and comments.
func (p *iscParser) skip() {
	for ; p.at < len(p.text); p.at++ {
		switch p.text[p.at] {
		case '\n':
			p.line++
		case ' ', '\t', '\r':
		case '#':
			for p.at+1 < len(p.text) && p.text[p.at+1] != '\n' {
				p.at++
			}
		default:
			return
		}
	}
}

// quoted reads a text in quotes: \NNN is a byte in octal, \n \t \r \b are control characters, any other
// character behind a backslash is itself.
func (p *iscParser) quoted() string {
	var out strings.Builder
	begin := p.line
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case '"':
			p.at++
			return out.String()
		case '\\':
			p.escape(&out)
		default:
			if c == '\n' {
				p.line++
			}
			out.WriteByte(c)
		}
	}
	p.fault(begin, "quoted text has no end")
	return out.String()
}

// escape reads what stands behind a backslash and stops at its last character.
func (p *iscParser) escape(out *strings.Builder) {
	digits := 0
	value := 0
	for digits < 3 && p.at+1 < len(p.text) && p.text[p.at+1] >= '0' && p.text[p.at+1] <= '7' {
		p.at++
		value = value*8 + int(p.text[p.at]-'0')
		digits++
	}
	if digits > 0 {
		out.WriteByte(byte(value))
		return
	}
	if p.at+1 >= len(p.text) {
		return
	}
	p.at++
	c := p.text[p.at]
	if i := strings.IndexByte("ntrb", c); i >= 0 {
		c = "\n\t\r\b"[i]
	}
	out.WriteByte(c)
}
