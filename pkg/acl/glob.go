package acl

import "strings"

// match reports whether the whole name fits the glob, in which * stands for any run of characters, dots too,
// and every other character for itself.
func match(glob, name string) bool {
	parts := strings.Split(glob, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return glob == name
	}
	rest, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	// The earliest place for each part leaves the most room for those that follow.
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, last)
}
