// Package daemon is what every server binary shares: flags and configuration, the state folder and its
// lock, the rules of the ACL file, sockets, signals, and what a service manager wants to be told. The
// binary adds the backend that runs the calls.
//
// It refuses to start on any doubt (a flag, a key, a rule, a folder that does not fit) and says which;
// once it runs, a file that became unusable changes nothing.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/aclfile"
	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/proxy"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Program is what tells one server binary from another.
type Program struct {
	Name      string        // of the binary
	Upstreams []proxy.Names // the daemons that it passes calls on to
	ServesAs  []proxy.Names // the daemons in whose place it can be run
	// Open makes what runs the calls, and what is to be done once the last one has ended.
	Open func(Setup) (backend rpcserver.Backend, closeBackend func() error, err error)
}

// Setup is what a backend gets to know of the daemon around it.
type Setup struct {
	Version   string         // of the daemon
	StartedAt time.Time      // when its process began its work
	StateDir  string         // where it may keep what it must remember; locked for it
	State     *state.Store   // what is kept there; closed after the backend
	Log       zerolog.Logger // never makes the writer wait

	Interfaces    []config.Interface // whose addresses the daemon looks after
	EtcResolvConf bool               // /etc/resolv.conf is the daemon's to write
	Firewall      config.Firewall    // what happens to what comes in
	Listen        []string           // where callers from elsewhere are listened for, and stays open
	Reconcile     config.Reconcile   // what is done about what others change
	Bridge        config.Bridge      // what net.bridge.add makes where a call does not say

	// OnReload has a function called with each configuration that is taken over while the daemon runs.
	OnReload func(func(config.Config))

	AllowPrivateMounts bool   // mounts are made in whatever mount namespace the daemon lives in
	OVSRunDir          string // where the daemons of Open vSwitch have their sockets; "": where they usually are

	ServeAs      string           // the one namespace that is served, in the place of its daemon; "": all
	Upstreams    []proxy.Upstream // where Program.Upstreams may be found
	UpstreamUIDs []uint32         // whom they may run as besides
}

// daemon is one server from its start to its end.
type daemon struct {
	program Program
	flags   *flags
	config  config.Config
	log     zerolog.Logger
	rules   rules
	server  *rpcserver.Server
	sockets []net.Listener
	notify  notifier
	closers []func() error // in the order of opening

	reloading sync.Mutex // held by one reload at a time
	reloaded  []func(config.Config)
}

// open brings a daemon to where it can serve. The caller closes what comes back, with an error too.
func open(p Program, f *flags, c config.Config, log *logger, started time.Time) (*daemon, error) {
	d := &daemon{program: p, flags: f, config: c, log: log.Logger, notify: newNotifier()}
	stateDir, err := f.stateDir(c.StateDir)
	if err != nil {
		return d, err
	}
	folder, err := d.openState(stateDir)
	if err != nil {
		return d, err
	}
	if err := d.openRules(); err != nil {
		return d, err
	}
	upstreams, err := d.upstreams()
	if err != nil {
		return d, err
	}
	backend, closeBackend, err := p.Open(Setup{
		Version: Version(), StartedAt: started, StateDir: folder.path, State: folder.store, Log: d.log, AllowPrivateMounts: c.AllowPrivateMounts, OVSRunDir: c.OVSRunDir,
		Interfaces: c.Interfaces, EtcResolvConf: c.DNS.EtcResolvConf,
		Firewall: c.Firewall, Listen: c.Listen, Reconcile: c.Reconcile, Bridge: c.Bridge,
		OnReload: func(f func(config.Config)) { d.reloaded = append(d.reloaded, f) },
		ServeAs:  f.alias().Namespace, Upstreams: upstreams, UpstreamUIDs: c.UpstreamUIDs,
	})
	if err != nil {
		return d, err
	}
	d.closers = append(d.closers, closeBackend)
	if err := d.openServer(backend, log); err != nil {
		return d, err
	}
	if err := d.openTLS(folder.path); err != nil {
		return d, err
	}
	if err := d.openSockets(); err != nil {
		return d, err
	}
	ready := d.log.Info().Str("version", Version()).Int("pid", os.Getpid()).Str("state_dir", folder.path)
	known(ready, "node", d.nodeName())
	known(ready, "config", f.readConfig)
	ready.Msg(p.Name + " is ready")
	return d, nil
}

// openState opens the state folder, and tells what is amiss there and does not keep the daemon from running.
func (d *daemon) openState(path string) (*stateFolder, error) {
	boot, err := state.ReadBoot("/proc")
	if err != nil {
		d.log.Warn().Err(err).Msg("every start is taken for one after a boot")
	}
	folder, err := openState(path, os.Getenv, boot)
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, folder.Close)
	if folder.why != nil {
		d.log.Error().Err(folder.why).Msg("the state folder cannot be written: calls that write are refused")
		return folder, nil
	}
	for _, p := range folder.store.Problems() {
		line := d.log.Error().Str("cause", p.Cause)
		known(line, "file", p.File)
		known(line, "set_aside", p.SetAside)
		line.Msg("part of the state could not be read")
	}
	return folder, nil
}

// known adds a field to a log line where there is something to say.
func known(line *zerolog.Event, key, value string) {
	if value != "" {
		line.Str(key, value)
	}
}

func (d *daemon) openServer(backend rpcserver.Backend, log *logger) (err error) {
	d.server, err = rpcserver.New(rpcserver.Options{
		Version:    Version(),
		Node:       d.nodeName(),
		Backend:    backend,
		Policy:     d.rules.policy,
		DaemonUID:  uint32(os.Geteuid()),
		Log:        d.log,
		LogDropped: log.lines.Dropped,
		Limits:     limits(d.config.Limits),
		Deadlines:  deadlines(d.config.Deadlines),
		Alias:      d.flags.alias(),
	})
	return err
}

// serve answers calls until ctx ends and the last call has, and reloads the ACL file meanwhile.
func (d *daemon) serve(ctx context.Context) error {
	watching, done := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { d.watchRules(watching) })
	d.notify.ready()
	err := d.server.Serve(ctx, d.sockets...)
	done()
	wg.Wait()
	return err
}

// close gives back what open took, last first.
func (d *daemon) close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	return errors.Join(errs...)
}

// methods is the table as pkg/acl sees it.
func methods() []acl.Method {
	var all []acl.Method
	for _, m := range registry.All() {
		all = append(all, acl.Method{Name: m.Name, Exposes: m.Exposes})
	}
	return all
}

// rules are those in force, and where they come from.
type rules struct {
	source  aclfile.Source
	watcher *aclfile.Watcher // nil without a file, or where it cannot be watched
	policy  *acl.Policy
}

// openRules loads the ACL file, or takes the built-in rules. The watch begins before the first look, so
// that no change falls in between.
func (d *daemon) openRules() error {
	uid := uint32(os.Geteuid())
	d.rules.source = aclfile.Source{Path: d.config.ACL, DaemonUID: uid, Methods: methods()}
	if d.config.ACL == "" {
		d.rules.policy = acl.Default(uid)
		d.logRules("built-in rule")
		return nil
	}
	var err error
	if d.rules.watcher, err = aclfile.Watch(d.config.ACL); err != nil {
		d.log.Warn().Err(err).Str("acl", d.config.ACL).Msg("changes of the ACL file will not be noticed: send SIGHUP after each")
	} else {
		d.closers = append(d.closers, d.rules.watcher.Close)
	}
	if d.rules.policy, err = d.firstRules(); err != nil {
		return fmt.Errorf("acl: %w", err)
	}
	d.logRules("rule")
	return nil
}

// writersTime is how long a start waits for whoever is writing the ACL file. A file counts as being written too
// while a child of its writer has yet to become another program.
const writersTime = 2 * time.Second

// firstRules loads the ACL file at the start, when there are no rules of before to stay with.
func (d *daemon) firstRules() (*acl.Policy, error) {
	for end := time.Now().Add(writersTime); ; time.Sleep(20 * time.Millisecond) {
		policy, err := d.rules.source.Load()
		if !errors.Is(err, aclfile.ErrUnfinished) || time.Now().After(end) {
			return policy, err
		}
	}
}

// logRules tells what is allowed to whom, a line each.
func (d *daemon) logRules(message string) {
	for _, line := range d.rules.policy.Summary(time.Now()) {
		event := d.log.Info().Str("grants", line)
		known(event, "acl", d.config.ACL)
		event.Msg(message)
	}
}

// watchRules reloads the ACL file whenever another one has taken its place, until ctx ends.
func (d *daemon) watchRules(ctx context.Context) {
	if d.rules.watcher == nil {
		return
	}
	if err := d.rules.watcher.Run(ctx, d.reloadRules); err != nil {
		d.log.Error().Err(err).Msg("changes of the ACL file will no longer be noticed: send SIGHUP after each")
	}
}
