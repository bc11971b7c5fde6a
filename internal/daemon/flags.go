package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/pkg/proxy"
)

// flags is the command line. It is kept: a reload reads the file again and lays the flags over it again.
type flags struct {
	version    bool
	sockets    []string
	listen     []string
	configPath string
	readConfig string                 // the file that was read; empty where there was none
	overrides  []func(*config.Config) // what was said, in its order

	upstreams map[string]string // where daemons listen that calls are passed on to, by their names
	serveAs   *proxy.Names      // the daemon in whose place this one is; nil: none
	mode      bool              // --socket-mode was given
}

// errUsage says that the command line was not understood; why has been written with it.
var errUsage = errors.New("see --help")

// parseFlags reads the arguments behind the name of p. It returns flag.ErrHelp where help was asked
// for and written to out.
func parseFlags(p Program, args []string, out io.Writer) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard) // package flag writes with one dash and the whole help behind each error
	f.define(set)
	f.defineMOS(set, p)
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(out, set)
		return nil, err
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("%q is not expected here", set.Arg(0))
	}
	if err != nil {
		return nil, fmt.Errorf("%w; %w", err, errUsage)
	}
	return f, f.refuseMode()
}

func (f *flags) define(set *flag.FlagSet) {
	set.Func("socket", "listen on the Unix socket `PATH`; may be given several times", func(s string) error {
		f.sockets = append(f.sockets, s)
		return filled(s)
	})
	f.setting(set, "socket-mode", "`MODE` of the socket files, octal (default 0666)", f.noteMode, func(c *config.Config, s string) { c.SocketMode = s })
	f.toggle(set, "no-hero-socket", "do not listen in ~/hero/var/sockets", func(c *config.Config, on bool) { c.HeroSocket = !on })
	set.Func("listen", "listen for TLS at `[ADDRESS]:PORT`; may be given several times (default: nowhere)", func(s string) error {
		f.listen = append(f.listen, s)
		f.overrides = append(f.overrides, func(c *config.Config) { c.Listen = f.listen })
		return filled(s)
	})
	f.setting(set, "tls-certificate", "`FILE` of the server's certificate (default: one of its own making)", filepath.Abs, func(c *config.Config, s string) { c.TLS.Certificate = s })
	f.setting(set, "tls-key", "`FILE` of the certificate's key", filepath.Abs, func(c *config.Config, s string) { c.TLS.Key = s })
	f.setting(set, "tls-client-ca", "`FILE` of who must have issued clients' certificates (default: anyone)", filepath.Abs, func(c *config.Config, s string) { c.TLS.ClientCA = s })
	f.setting(set, "state-dir", "`FOLDER` for what the daemon must remember (default /var/lib/my_os_server; as a user $XDG_STATE_HOME/my_os_server)", filepath.Abs, func(c *config.Config, s string) { c.StateDir = s })
	f.toggle(set, "allow-private-mounts", "mount for callers also where nobody outside of this mount namespace sees it", func(c *config.Config, on bool) { c.AllowPrivateMounts = on })
	f.setting(set, "ovs-run-dir", "`FOLDER` where the daemons of Open vSwitch have their sockets (default /run/openvswitch)", filepath.Abs, func(c *config.Config, s string) { c.OVSRunDir = s })
	f.setting(set, "acl", "`FILE` that says who may do what (default: root and the daemon's user all, other local users read)", filepath.Abs, func(c *config.Config, s string) { c.ACL = s })
	set.Func("config", "configuration `FILE` (default "+config.DefaultPath+" where it exists)", func(s string) error {
		f.configPath = s
		return filled(s)
	})
	f.setting(set, "node-name", "`NAME` that signed requests and JWTs must be made for (default: the host name)", asIs, func(c *config.Config, s string) { c.NodeName = s })
	f.setting(set, "log-format", "`FORMAT` of the log: auto, console or json (default auto)", asIs, func(c *config.Config, s string) { c.Log.Format = s })
	for _, name := range []string{"v", "verbose"} {
		f.toggle(set, name, "log debug messages too", func(c *config.Config, on bool) {
			if on {
				c.Log.Level = "debug"
			}
		})
	}
	set.BoolVar(&f.version, "version", false, "print the version and exit")
}

// setting defines a flag that sets a key of the configuration.
func (f *flags) setting(set *flag.FlagSet, name, usage string, convert func(string) (string, error), assign func(*config.Config, string)) {
	set.Func(name, usage, func(s string) error {
		if err := filled(s); err != nil {
			return err
		}
		value, err := convert(s)
		f.overrides = append(f.overrides, func(c *config.Config) { assign(c, value) })
		return err
	})
}

// toggle is setting for a flag without a value.
func (f *flags) toggle(set *flag.FlagSet, name, usage string, assign func(*config.Config, bool)) {
	set.BoolFunc(name, usage, func(s string) error {
		if s != "true" && s != "false" {
			return errors.New("must be true or false")
		}
		f.overrides = append(f.overrides, func(c *config.Config) { assign(c, s == "true") })
		return nil
	})
}

func asIs(s string) (string, error) { return s, nil }

// filled refuses an empty value, which an unset variable in a script leaves: --acl "" must not mean that
// there are no rules.
func filled(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// configuration is the file with the flags laid over it, checked.
func (f *flags) configuration() (config.Config, error) {
	c, file, err := config.Load(f.configPath)
	if err != nil {
		return c, err
	}
	f.readConfig = file
	for _, override := range f.overrides {
		override(&c)
	}
	if faults := c.Faults(); len(faults) > 0 { // the file's own have been told of
		return c, fmt.Errorf("--%s: %s", faults[0].Key.Flag, faults[0].Reason)
	}
	return c, nil
}

// help writes what the flags are.
func help(out io.Writer, set *flag.FlagSet) {
	fmt.Fprintf(out, "Usage: %s [FLAGS]\n\nServes JSON-RPC over a Unix socket. All flags are optional.\n\n", set.Name())
	set.VisitAll(func(f *flag.Flag) {
		if len(f.Name) == 1 {
			return // shown with its long form
		}
		name, usage := flag.UnquoteUsage(f)
		short := ""
		if f.Name == "verbose" {
			short = "-v, "
		}
		fmt.Fprintf(out, "  %s--%s\n        %s\n", short, strings.TrimSpace(f.Name+" "+name), usage)
	})
}
