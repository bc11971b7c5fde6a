package daemon

import (
	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/config"
)

// reload reads both files again, as SIGHUP asks for.
func (d *daemon) reload() {
	d.notify.reloading()
	d.reloadConfig()
	d.reloadRules()
	d.notify.ready()
}

// reloadRules puts the ACL file's rules in force. Where the file is gone or has a fault, those of before
// stay.
func (d *daemon) reloadRules() {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if d.config.ACL == "" {
		return
	}
	policy, err := d.rules.source.Load()
	if err != nil {
		d.log.Error().Err(err).Msg("ACL file refused, the rules of before stay in force")
		return
	}
	d.rules.policy = policy
	d.server.SetPolicy(policy)
	d.logRules("rule, reloaded")
}

// reloadConfig takes over what can be changed while the daemon runs, and says what cannot.
func (d *daemon) reloadConfig() {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	next, err := d.flags.configuration()
	if err != nil {
		d.log.Error().Err(err).Msg("configuration refused, what was in force stays")
		return
	}
	taken, waiting := config.Changed(&d.config, &next)
	d.config.Log.Level = next.Log.Level
	d.config.Firewall, d.config.Reconcile = next.Firewall, next.Reconcile
	setLevel(next.Log.Level)
	d.log.Info().Strs("changed", taken).Msg("configuration reloaded")
	for _, f := range d.reloaded {
		f(d.config)
	}
	if len(waiting) > 0 {
		d.log.Warn().Strs("keys", waiting).Msg("these changes wait for a restart")
	}
}

// setLevel sets what is logged, of all loggers: each holds a copy of its own, and copies know nothing
// of each other.
func setLevel(name string) {
	if level, err := zerolog.ParseLevel(name); err == nil { // config has seen to it
		zerolog.SetGlobalLevel(level)
	}
}
