package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// Exit statuses of Main, besides 0 and 128 + the number of a signal.
const (
	exitFailed = 1 // could not start, or a listener failed
	exitUsage  = 2 // the command line was not understood
)

// Main runs the program with the arguments of the process and returns its exit status.
func (p Program) Main() int {
	started := time.Now()
	f, err := parseFlags(p, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
		return exitUsage
	case f.version:
		fmt.Printf("%s %s (table %s, %s %s/%s)\n", p.Name, Version(), registry.TableVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	}
	if err := p.run(f, started); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
		return exitFailed
	}
	return 0
}

// run is the life of a daemon.
func (p Program) run(f *flags, started time.Time) error {
	c, err := f.configuration()
	if err != nil {
		return err
	}
	// A log that nobody reads any more must not end the daemon: a write to it fails instead (os/signal).
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	log := newLogger(os.Stderr, c.Log)
	defer log.Close()
	d, err := open(p, f, c, log, started)
	defer func() {
		if err := d.close(); err != nil {
			d.log.Warn().Err(err).Msg("not everything was put away")
		}
	}()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go d.obey(signals, stop)
	if err := d.serve(ctx); err != nil {
		return err
	}
	d.log.Info().Msg(p.Name + " has ended")
	return nil
}

// obey does what signals ask for. The first that asks for the end calls stop; the second does not wait.
func (d *daemon) obey(signals <-chan os.Signal, stop func()) {
	stopping := false
	for s := range signals {
		switch {
		case s == syscall.SIGHUP:
			d.reload()
		case stopping:
			os.Exit(128 + int(s.(syscall.Signal)))
		default:
			stopping = true
			d.log.Info().Stringer("signal", s).Msg("stopping: running calls come to their end; a second signal ends them")
			d.notify.stopping()
			stop()
		}
	}
}
