// Command gen writes the generated files of pkg/registry, pkg/client and internal/cli, and docs/methods.md. It is run
// by `go generate ./...`; what it writes is said in package registrygen.
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
	out := flag.String("out", "", "the folder to write the registry to")
	single := map[string]*string{
		"client":    flag.String("client", "", "the file to write the client's methods to"),
		"verbs":     flag.String("verbs", "", "the file to write the verbs of the command line to"),
		"reference": flag.String("reference", "", "the page to write for people"),
	}
	flag.Parse()
	if err := run(*spec, *out, single); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// makers make one file each.
var makers = map[string]func(spec []byte) ([]byte, error){
	"client":    registrygen.Client,
	"verbs":     registrygen.Verbs,
	"reference": registrygen.Reference,
}

func run(spec, out string, single map[string]*string) error {
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
	for what, path := range single {
		text, err := makers[what](b)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := os.WriteFile(*path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
