package netops

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// conntrackSubsystem is what a kernel without connection tracking lacks.
const conntrackSubsystem = "nf_conntrack_netlink"

// Conntrack handles net.conntrack: one dump, filtered by the kernel as far as it can, each entry sent as
// it comes.
func (n *Net) Conntrack(ctx context.Context, p *registry.NetConntrackParams, rows *registry.Stream[registry.ConntrackEntry]) (*registry.NetConntrackEnd, error) {
	filter, err := conntrackFilter(p)
	if err != nil {
		return nil, err
	}
	conn, err := n.conntracks.Get()
	if err != nil {
		return nil, conntrackError(err)
	}
	defer n.conntracks.Put(conn)
	out, row := wire.LimitedTo(rows, p.Limit), kernelrow.Conntrack{}
	state, ofState := p.State.Get()
	consistent, err := wire.Consistently(rows, func() (bool, error) {
		interrupted, err := wire.Each(conn.Entries(ctx, filter), func(e *ct.Entry) error {
			if ofState && e.Info.StateName() != state {
				return nil
			}
			return out.Send(row.Of(e))
		})
		return interrupted, wire.UnlessEnough(err)
	})
	return &registry.NetConntrackEnd{Consistent: consistent}, conntrackError(err)
}

// conntrackError turns a kernel without connection tracking into the answer that says so.
func conntrackError(err error) error {
	if errors.Is(err, ct.ErrNoConntrack) {
		return &registry.UnsupportedError{UnsupportedData: registry.UnsupportedData{
			Reason:  registry.UnsupportedReasonKernel,
			Missing: registry.Some(conntrackSubsystem),
		}}
	}
	return err
}

// conntrackFilter makes the params, but for the state and the limit, a filter.
func conntrackFilter(p *registry.NetConntrackParams) (f ct.Filter, err error) {
	if zone, ok := p.Zone.Get(); ok {
		id := uint16(zone)
		f.Zone = &id
	}
	if family, ok := p.Family.Get(); ok {
		f.Family = wire.FamilyNumber(family)
	}
	f.Source, _ = p.Source.Get()
	f.Destination, _ = p.Destination.Get()
	var faults []registry.Fault
	fault := func(path, format string, args ...any) {
		faults = append(faults, registry.Fault{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	if name, ok := p.Protocol.Get(); ok {
		number, known := ct.ProtocolNumber(name)
		if !known {
			fault("protocol", "must be the name of an IP protocol or a number from 0 to 255, got %q", name)
		}
		f.Protocol = &number
	}
	mark, marked := p.Mark.Get()
	mask, masked := p.MarkMask.Get()
	if masked && !marked {
		fault("mark_mask", "goes with mark")
	}
	if marked {
		f.Mark, f.MarkMask = markBits("mark", mark, fault), ^uint32(0)
	}
	if masked {
		f.MarkMask = markBits("mark_mask", mask, fault)
		f.Mark &= f.MarkMask
	}
	if len(faults) > 0 {
		err = &registry.ParamsError{Faults: faults}
	}
	return f, err
}

func markBits(path, text string, fault func(path, format string, args ...any)) uint32 {
	v, err := strconv.ParseUint(text, 16, 32)
	if err != nil {
		fault(path, "must be at most 32 bits, got %q", text)
	}
	return uint32(v)
}
