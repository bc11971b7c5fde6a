package acl

import (
	"cmp"
	"fmt"
	"slices"
)

// ParseError says why a file is no ACL file. It never repeats what stands in the file where that might be a
// secret.
type ParseError struct {
	File   string // as given to Parse
	Line   int    // counted from 1
	Reason string
}

// Error is file:line: reason.
func (e *ParseError) Error() string {
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// faults collects what is wrong with a file, so that the first fault in the file is reported whatever order
// the checks run in.
type faults []fault

type fault struct {
	line   int
	reason string
}

func (f *faults) add(line int, format string, args ...any) {
	*f = append(*f, fault{line, fmt.Sprintf(format, args...)})
}

// first is the fault with the lowest line as a *ParseError, or nil where there is none.
func (f faults) first(file string) error {
	if len(f) == 0 {
		return nil
	}
	first := slices.MinFunc(f, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
	return &ParseError{File: file, Line: first.line, Reason: first.reason}
}
