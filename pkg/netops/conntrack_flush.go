package netops

import (
	"context"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ConntrackFlush handles net.conntrack.flush. What the kernel knows of filters for a deletion differs from
// version to version, and older ones pass over a zone: the entries are compared here and deleted one by one.
func (n *Net) ConntrackFlush(ctx context.Context, p *registry.NetConntrackFlushParams) (*registry.NetConntrackFlushResult, error) {
	filter, wanted, err := flushFilter(p)
	if err != nil {
		return nil, err
	}
	count, err := n.forgetFlows(ctx, filter, wanted)
	if err != nil {
		return nil, conntrackError(err)
	}
	return &registry.NetConntrackFlushResult{Flushed: int64(count)}, nil
}

// flushFilter makes the params a filter, and what it cannot say a function.
func flushFilter(p *registry.NetConntrackFlushParams) (ct.Filter, func(*ct.Entry) bool, error) {
	state, ofState := p.State.Get()
	wanted := func(e *ct.Entry) bool { return !ofState || e.Info.StateName() == state }
	filtered := p.Zone.IsSet() || p.Family.IsSet() || p.Protocol.IsSet() || p.Source.IsSet() || p.Destination.IsSet() ||
		ofState || p.Mark.IsSet() || p.MarkMask.IsSet()
	var f faults
	switch {
	case p.All.Or(false) && filtered:
		f.add("all", "goes with no filter")
	case !p.All.Or(false) && !filtered:
		f.add("all", "must be true where there is no filter")
	}
	if err := f.err(); err != nil {
		return ct.Filter{}, nil, err
	}
	filter, err := conntrackFilter(&registry.NetConntrackParams{
		Zone: p.Zone, Family: p.Family, Protocol: p.Protocol, Source: p.Source, Destination: p.Destination,
		Mark: p.Mark, MarkMask: p.MarkMask,
	})
	return filter, wanted, err
}

// forgetFlows deletes the entries of the connection tracking table that a filter and a function want, and
// counts them. A caller who goes away does not stop it half way.
func (n *Net) forgetFlows(ctx context.Context, filter ct.Filter, wanted func(*ct.Entry) bool) (count int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	reader, err := n.conntracks.Get()
	if err != nil {
		return 0, err
	}
	defer n.conntracks.Put(reader)
	deleter, err := n.conntracks.Get()
	if err != nil {
		return 0, err
	}
	defer n.conntracks.Put(deleter)
	_, err = wire.Each(reader.Entries(ctx, filter), func(e *ct.Entry) error {
		if !wanted(e) {
			return nil
		}
		gone, err := deleter.Delete(ctx, e)
		if gone {
			count++
		}
		return err
	})
	return count, err
}
