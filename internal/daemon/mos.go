package daemon

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/internal/unixsock"
	"github.com/geomind/my_os_server/pkg/proxy"
)

// defineMOS defines the flags of a program that passes calls on, or that can stand in for a daemon which calls
// are passed on to.
func (f *flags) defineMOS(set *flag.FlagSet, p Program) {
	f.upstreams = map[string]string{}
	for _, u := range p.Upstreams {
		set.Func(u.Prefix+"-socket", "`PATH` where the daemon of "+u.Namespace+".* listens", func(s string) error {
			f.upstreams[u.Prefix] = s
			return filled(s)
		})
	}
	if len(p.ServesAs) == 0 {
		return
	}
	var names, what []string
	for _, n := range p.ServesAs {
		names = append(names, n.Prefix)
		what = append(what, n.Namespace+".* as "+n.Prefix+".*")
	}
	set.Func("serve-as", "stand in for a daemon of a MOS node, `NAME` "+strings.Join(names, " or ")+": serve only "+strings.Join(what, " or ")+", on that one's socket with mode 0600", func(s string) error {
		i := slices.Index(names, s)
		if i < 0 {
			return errors.New("must be " + strings.Join(names, " or "))
		}
		f.serveAs = &p.ServesAs[i]
		return nil
	})
}

func (f *flags) noteMode(s string) (string, error) {
	f.mode = true
	return s, nil
}

// refuseMode says that a stand-in's sockets have the mode that they have: who may connect there may do all.
func (f *flags) refuseMode() error {
	if f.serveAs != nil && f.mode {
		return fmt.Errorf("--socket-mode does not go with --serve-as, whose sockets have the mode 0600; %w", errUsage)
	}
	return nil
}

// alias is what the server is called in the place of another daemon.
func (f *flags) alias() rpcserver.Alias {
	if f.serveAs == nil {
		return rpcserver.Alias{}
	}
	return rpcserver.Alias{Namespace: f.serveAs.Namespace, Prefix: f.serveAs.Prefix}
}

// stateDir is where a stand-in keeps its state: by default beside the server's own, since both may run here.
func (f *flags) stateDir(configured string) (string, error) {
	if f.serveAs == nil || configured != "" {
		return configured, nil
	}
	path, err := statePath("", os.Geteuid(), os.Getenv)
	return path + "-" + f.serveAs.Prefix, err
}

// upstreamSocket is what the configuration file says of where a daemon of a MOS node listens.
func upstreamSocket(c *config.Config, prefix string) []string {
	path := map[string]string{"mosnet": c.MosnetSocket, "storage": c.StorageSocket}[prefix]
	if path == "" {
		return nil
	}
	return []string{path}
}

// place is whose sockets the server listens on, and what the operator said of them.
func (d *daemon) place() (unixsock.Env, unixsock.Wish) {
	env := unixsock.Host()
	wish := unixsock.Wish{Flags: d.flags.sockets, File: d.config.Sockets, NoHero: !d.config.HeroSocket}
	if as := d.flags.serveAs; as != nil {
		env.Service = as.Service
		wish.File = upstreamSocket(&d.config, as.Prefix)
	}
	return env, wish
}

// socketMode is the mode of the socket files.
func (d *daemon) socketMode() os.FileMode {
	if d.flags.serveAs != nil {
		return 0o600
	}
	return d.config.Mode()
}

// upstreams finds out where the daemons may be that calls are passed on to.
func (d *daemon) upstreams() ([]proxy.Upstream, error) {
	var all []proxy.Upstream
	for _, names := range d.program.Upstreams {
		env := unixsock.Host()
		env.Service = names.Service
		wish := unixsock.Wish{File: upstreamSocket(&d.config, names.Prefix)}
		if path := d.flags.upstreams[names.Prefix]; path != "" {
			wish.Flags = []string{path}
		}
		paths, err := env.Asked(wish)
		if err == nil && len(paths) == 0 {
			paths, err = env.Client("")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", names.Prefix, err)
		}
		d.log.Info().Str("upstream", names.Prefix).Str("namespace", names.Namespace).Strs("sockets", paths).Msg("passing calls on")
		all = append(all, proxy.Upstream{Names: names, Sockets: paths})
	}
	return all, nil
}
