package aclfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// step is one name on the way to a file whose change makes the path lead elsewhere.
type step struct {
	folder string // without symbolic links
	name   string
	target string // what the name leads to where it is a symbolic link, else empty
}

// maxLinks ends a trail that leads in a circle (path_resolution(7)).
const maxLinks = 40

// trail lists the symbolic links on the way to path and, last, the file itself or the first name that is
// missing. Whoever watches each step's folder for its name learns of every file that takes the place of
// the one at path: renamed over it, put behind a link that is turned (as Kubernetes does with the folder
// of a mounted file), or in a folder that is yet to come.
//
// Plain folders on the way are no steps: a mv of one of those goes unnoticed.
func trail(path string) []step {
	var steps []step
	at, todo := "/", components(path)
	for links := 0; len(todo) > 0; {
		s := step{folder: at, name: todo[0]}
		todo = todo[1:]
		next := filepath.Join(at, s.name)
		info, err := os.Lstat(next)
		if err == nil && info.Mode().Type() == os.ModeSymlink && links < maxLinks {
			links++
			s.target, err = os.Readlink(next)
		}
		switch {
		case err != nil:
			return append(steps, s)
		case s.target != "":
			steps = append(steps, s)
			if filepath.IsAbs(s.target) {
				at = "/"
			}
			todo = append(components(s.target), todo...)
		case len(todo) == 0:
			return append(steps, s)
		default:
			at = next
		}
	}
	return steps
}

func components(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}
