package netops

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"time"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/pkg/netops/internal/ovsrow"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ovsDatabase is the database of Open vSwitch's configuration (ovs-vswitchd.conf.db(5)).
const ovsDatabase = "Open_vSwitch"

// How long the database server may take to answer: less just after it has not, so that who asks for several things,
// as net.verify does, does not wait for each.
const (
	ovsPatience  = 5 * time.Second
	hungPatience = time.Second
	hungTime     = 2 * time.Second
)

// askOVS has the database server carry out operations. It waits no longer than for most of what is left to the
// call, so that the caller is told what is wrong and not that time is over.
func (n *Net) askOVS(ctx context.Context, ops ...ovsdb.Operation) ([]ovsdb.Result, error) {
	patience := ovsPatience
	if last := n.ovsHung.Load(); last != 0 && time.Since(time.Unix(0, last)) < hungTime {
		patience = hungPatience
	}
	bound, cancel := context.WithTimeout(ctx, mostOf(ctx, patience))
	defer cancel()
	begun := time.Now()
	results, err := n.database.Transact(bound, ovsDatabase, ops...)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			n.ovsWaited.Add(int64(time.Since(begun)))
		}
		if errors.Is(err, context.DeadlineExceeded) && patience == ovsPatience {
			n.ovsHung.Store(time.Now().UnixNano())
		}
		return nil, n.ovsError(err)
	}
	n.ovsHung.Store(0)
	return results, nil
}

// mostOf is how long something may take that is to end before the context does.
func mostOf(ctx context.Context, most time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(most, time.Until(deadline)*9/10)
	}
	return most
}

// ovsError is an error of the database server in the table's words. Whether something was changed is for the
// caller to say.
func (n *Net) ovsError(err error) error {
	var gone *ovsdb.Unavailable
	var refused *ovsdb.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return err
	case errors.Is(err, syscall.ENOENT) && n.runsOVS() != nil:
		return n.runsOVS()
	case errors.As(err, &gone) && errors.Is(err, context.DeadlineExceeded):
		return ovsGone(n.database.Socket(), "it does not answer", gone.Sent)
	case errors.As(err, &gone):
		return ovsGone(n.database.Socket(), gone.Err.Error(), gone.Sent)
	case ovsdb.IsTag(err, ovsdb.TagNotAllowed):
		return ovsGone(n.database.Socket(), "its database is read-only", false)
	case errors.As(err, &refused):
		return &registry.OSError{
			OsErrorData: registry.OsErrorData{
				Op: refused.Operation + " in " + ovsDatabase, Errno: errnoName(refusalErrno(refused.Tag)),
				Text: registry.Some(strings.TrimSpace(refused.Tag + " " + refused.Details)), Applied: registry.Some(registry.AppliedNo),
			},
			Message: "ovsdb-server refused: " + err.Error(),
		}
	}
	return err
}

// refusalErrno is what comes nearest to a word of the database server.
func refusalErrno(tag string) syscall.Errno {
	switch tag {
	case ovsdb.TagIO:
		return syscall.EIO
	case ovsdb.TagExhausted:
		return syscall.ENOMEM
	case ovsdb.TagPermission:
		return syscall.EPERM
	case ovsdb.TagTimedOut, ovsdb.TagCanceled:
		return syscall.EAGAIN // what it was to find has changed
	}
	return syscall.EINVAL
}

func ovsGone(socket, cause string, sent bool) *registry.UpstreamUnavailableError {
	applied := registry.AppliedNo
	if sent {
		applied = registry.AppliedUnknown
	}
	return &registry.UpstreamUnavailableError{
		UpstreamUnavailableData: registry.UpstreamUnavailableData{
			Upstream: "ovsdb-server", Socket: registry.Some(socket), Cause: cause, Applied: registry.Some(applied),
		},
		Message: "Open vSwitch's database cannot be used: " + cause,
	}
}

// OVS handles net.ovs: all tables that have to do with bridges, of one moment.
func (n *Net) OVS(ctx context.Context, p *registry.NetOVSParams) (*registry.NetOvsResult, error) {
	d, err := n.readOVS(ctx)
	if err != nil {
		return nil, err
	}
	result := d.System()
	for _, b := range d.Bridges() {
		if b.Name == p.Bridge.Or(b.Name) {
			n.tellOVS(&b)
			result.Bridges = append(result.Bridges, b)
		}
	}
	if name, ok := p.Bridge.Get(); ok && len(result.Bridges) == 0 {
		return nil, noBridge(name)
	}
	return result, nil
}

// readOVS reads all that net.ovs tells.
func (n *Net) readOVS(ctx context.Context) (*ovsrow.Database, error) {
	results, err := n.askOVS(ctx, ovsrow.Selects()...)
	if err != nil {
		return nil, err
	}
	return ovsrow.NewDatabase(results), nil
}

// tellOVS adds to a bridge of the database what is registered of it.
func (n *Net) tellOVS(b *registry.OvsBridge) {
	if spec, ok := n.kept.bridges.Get(b.Name); ok && spec.ovs() && b.ExternalIds[ovsMark] == markOVSBridge {
		b.Managed, b.Tag = true, registry.NonZero(spec.Tag)
	}
	for i := range b.Ports {
		p := &b.Ports[i]
		p.Managed = n.ourOVSPort(b.Name, p.Name, p.ExternalIds[ovsMark])
	}
}
