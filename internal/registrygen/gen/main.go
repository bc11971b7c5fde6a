// Command gen writes the generated files of pkg/registry. It is run by `go generate ./...`; what it
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
	out := flag.String("out", "", "the folder to write to")
	flag.Parse()
	if err := run(*spec, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(spec, out string) error {
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
	return nil
}
