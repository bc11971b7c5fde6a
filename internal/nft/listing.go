package nft

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
)

// RuleRef finds a rule: handles are unique in a table.
type RuleRef struct {
	Family string // by its name, as in inet
	Table  string
	Handle uint64
}

// ParseListing reads what nft --handle list ruleset prints, and returns each rule's text:
//
//	table inet filter { # handle 1
//		chain input { # handle 2
//			type filter hook input priority filter; policy drop;
//			tcp dport 22 accept # handle 5
//		}
//	}
//
// A rule stands in a chain, two tabs deep, and ends in its handle; elements of a set of its own may
// take several lines.
func ParseListing(out []byte) (map[RuleRef]string, error) {
	p := listing{texts: map[RuleRef]string{}}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, len(out)+1)
	for lines.Scan() {
		p.line(lines.Text())
	}
	return p.texts, lines.Err()
}

// listing is the state of reading one.
type listing struct {
	texts   map[RuleRef]string
	at      RuleRef
	inChain bool
	rule    []string // the lines of a rule so far
}

func (p *listing) line(line string) {
	text := strings.TrimLeft(line, "\t")
	words := strings.Fields(text)
	switch depth := len(line) - len(text); {
	case depth == 0 && len(words) > 3 && words[0] == "table":
		p.at = RuleRef{Family: words[1], Table: words[2]}
	case depth == 1:
		p.inChain = len(words) > 1 && words[0] == "chain"
		p.rule = nil
	case depth > 1 && p.inChain:
		p.inside(strings.TrimSpace(text))
	}
}

// inside takes a line of a chain: a property of it, a rule, or a part of one.
func (p *listing) inside(text string) {
	rule, handle, ended := cutHandle(text)
	p.rule = append(p.rule, rule)
	if ended {
		p.at.Handle = handle
		p.texts[p.at] = strings.Join(p.rule, " ")
	}
	if ended || strings.HasSuffix(rule, ";") || strings.HasPrefix(rule, "comment ") {
		p.rule = nil
	}
}

// cutHandle takes " # handle N" off the end.
func cutHandle(line string) (rule string, handle uint64, ok bool) {
	i := strings.LastIndex(line, " # handle ")
	if i < 0 {
		return line, 0, false
	}
	handle, err := strconv.ParseUint(line[i+len(" # handle "):], 10, 64)
	if err != nil {
		return line, 0, false
	}
	return line[:i], handle, true
}
