// Command gen writes the generated files of pkg/registry and docs/methods.md. It is run by `go generate ./...`; what it
// writes is said in package registrygen.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/geomind/my_os_server/internal/registrygen"
)

func main() {
	spec := flag.String("spec", "", "the OpenRPC document to read")
	out := flag.String("out", "", "the folder to write Go to")
	reference := flag.String("reference", "", "the page to write for people")
	flag.Parse()
	if err := run(*spec, *out, *reference); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(spec, out, reference string) error {
	b, err := os.ReadFile(spec)
	if err != nil {
		return err
	}
	files, err := registrygen.Generate(b)
	if err != nil {
		return fmt.Errorf("%s: %w", spec, err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(out, name), text, 0o644); err != nil {
			return err
		}
	}
	page, err := registrygen.Reference(b)
	if err != nil {
		return err
	}
	return os.WriteFile(reference, page, 0o644)
}
