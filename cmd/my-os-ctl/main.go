// Command my-os-ctl is the command line of my_os_server. What it can do is told by its help, its man pages
// and docs/cli.md.
package main

import (
	"os"

	"github.com/geomind/my_os_server/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
