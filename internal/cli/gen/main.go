// Command gen writes docs/cli.md. It is run by `go generate ./...`, behind the generator that makes the verbs.
package main

import (
	"fmt"
	"os"

	"github.com/geomind/my_os_server/internal/cli"
)

func main() {
	if err := os.WriteFile(os.Args[1], cli.Reference(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
