package testhost

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Tree unpacks a captured host, testdata/host/NAME.tree, into a folder of its own and returns that: it
// stands for / of the host. The form of the file is told in testdata/host/capture. It is one file
// because a tree of sysfs can be no part of a Go module: it has colons in its names, empty folders
// and links.
func Tree(t testing.TB, name string) (root string) {
	t.Helper()
	root = t.TempDir()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "host", name+".tree"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unpack(root, string(text)); err != nil {
		t.Fatalf("%s.tree: %v", name, err)
	}
	return root
}

func unpack(root, text string) error {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		last := i
		for last+1 < len(lines) && strings.HasPrefix(lines[last+1], "\t") {
			last++
		}
		if err := unpackEntry(root, line, lines[i+1:last+1]); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		i = last
	}
	return nil
}

// unpackEntry makes what one line, with the indented ones below it, stands for.
func unpackEntry(root, line string, below []string) error {
	if path, target, ok := strings.Cut(line, " -> "); ok {
		path, err := place(root, path)
		if err != nil {
			return err
		}
		return os.Symlink(target, path)
	}
	if path, value, ok := strings.Cut(line, " = "); ok {
		text := value + "\n"
		if strings.HasPrefix(value, `"`) {
			var err error
			if text, err = strconv.Unquote(value); err != nil {
				return err
			}
		}
		return write(root, path, text)
	}
	if path, ok := strings.CutSuffix(line, ":"); ok {
		text := ""
		for _, l := range below {
			text += strings.TrimPrefix(l, "\t") + "\n"
		}
		return write(root, path, text)
	}
	if path, ok := strings.CutSuffix(line, "/"); ok {
		return os.MkdirAll(filepath.Join(root, path), 0o755)
	}
	return fmt.Errorf("%q is none of the forms", line)
}

// place is where a path goes, with the folders above it made.
func place(root, path string) (string, error) {
	path = filepath.Join(root, path)
	return path, os.MkdirAll(filepath.Dir(path), 0o755)
}

func write(root, path, text string) error {
	path, err := place(root, path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
