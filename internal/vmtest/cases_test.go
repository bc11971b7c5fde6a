package vmtest

import (
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// suffix ends the name of a file that declares cases.
const suffix = "_vm_test.go"

// packageCases are the cases of one package.
type packageCases struct {
	path    string // below the module's root
	tests   []string
	results *results // nil until they have run
}

// findCases reads which cases the module has.
func findCases(t *testing.T, root string) (list []*packageCases) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name() == "testdata" || d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, suffix):
			return nil
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if len(list) == 0 || list[len(list)-1].path != folder {
			list = append(list, &packageCases{path: folder})
		}
		last := list[len(list)-1]
		last.tests = append(last.tests, declaredTests(t, path)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// declaredTests lists the tests of one file, which must bear the tag: without it they would run on this
// machine too.
func declaredTests(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if !tagged(file) {
		t.Errorf("%s: lacks the line //go:build vmtest", path)
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

func tagged(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if x, err := constraint.Parse(c.Text); err == nil && c.Pos() < file.Package {
				tag, ok := x.(*constraint.TagExpr)
				return ok && tag.Tag == "vmtest"
			}
		}
	}
	return false
}
