package daemon

import (
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/internal/unixsock"
)

// openSockets takes over what a service manager passed and listens on the rest.
func (d *daemon) openSockets() error {
	passed, err := unixsock.Activated()
	if err != nil {
		return err
	}
	var served []string
	for _, l := range passed {
		d.keep(l)
		served = append(served, l.Addr().String())
		d.log.Info().Str("socket", l.Addr().String()).Msg("listening on a socket of the service manager")
	}
	env, wish := d.place()
	paths, err := wanted(env, wish, len(passed) > 0)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if slices.Contains(served, path) {
			continue
		}
		if err := d.listen(path); slices.Contains(env.Hero(wish), path) && err != nil {
			return fmt.Errorf("%w (--no-hero-socket does without this one)", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// wanted lists the paths to listen on. Sockets that were passed stand in for the default.
func wanted(env unixsock.Env, wish unixsock.Wish, activated bool) ([]string, error) {
	if !activated {
		return env.Server(wish)
	}
	paths, err := env.Asked(wish)
	return append(paths, env.Hero(wish)...), err
}

func (d *daemon) listen(path string) error {
	l, err := unixsock.Listen(path, d.socketMode())
	if err != nil {
		return err
	}
	d.keep(l)
	d.log.Info().Str("socket", l.Path()).Str("mode", fmt.Sprintf("%04o", d.socketMode())).Msg("listening")
	return nil
}

// keep has a listener served, and closed where serving never begins.
func (d *daemon) keep(l net.Listener) {
	d.sockets = append(d.sockets, l)
	d.closers = append(d.closers, func() error { l.Close(); return nil }) // closed twice, mostly
}

// nodeName is the configured one, else the host's, unless that is everyone's; then there is none.
func (d *daemon) nodeName() string {
	if d.config.NodeName != "" {
		return d.config.NodeName
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return ownName(host)
}

func ownName(host string) string {
	everyones := []string{"localhost", "localhost.localdomain", "(none)"}
	if slices.Contains(everyones, host) || !config.IsNodeName(host) {
		return ""
	}
	return host
}

func limits(l config.Limits) rpcserver.Limits {
	return rpcserver.Limits{
		Conns: l.Connections, ConnsPerUID: l.ConnectionsPerUser,
		Calls: l.Calls, CallsPerUID: l.CallsPerUser,
		Streams: l.Streams, StreamsPerUID: l.StreamsPerUser,
		Bodies: l.Bodies, BodiesPerUID: l.BodiesPerUser,
		BodyBytes: l.Body, HeaderBytes: l.Header,
		BatchCalls: l.BatchCalls, MemberBytes: l.BatchResult,
		RemoteCallsPerSecond: l.RemotePace,
	}
}

func deadlines(d config.Deadlines) rpcserver.Deadlines {
	return rpcserver.Deadlines{
		Read: config.Seconds(d.Read), Write: config.Seconds(d.Write),
		Header: config.Seconds(d.Header), Idle: config.Seconds(d.Idle),
		Stall: config.Seconds(d.Stall), Drain: config.Seconds(d.Drain),
	}
}
