package netops

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/internal/ovstext"
	"github.com/geomind/my_os_server/internal/unixctl"
	"github.com/geomind/my_os_server/pkg/netops/internal/ovsrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// OVSConntrack handles net.ovs.conntrack: the entries of each datapath as they come.
func (n *Net) OVSConntrack(ctx context.Context, p *registry.NetOVSConntrackParams, rows *registry.Stream[registry.OvsConntrackEntry]) (*registry.NetOVSConntrackEnd, error) {
	d, ctx, cancel, err := n.vswitchd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	datapaths, err := n.datapaths(ctx, d)
	if err != nil {
		return nil, err
	}
	out := wire.LimitedTo(rows, p.Limit)
	for _, datapath := range datapaths {
		row := ovsrow.Connection{Datapath: datapath}
		err := d.Lines(ctx, func(line string) error {
			if line == "" {
				return nil
			}
			if err := row.Read(line); err != nil {
				return err
			}
			return out.Send(&row.Row)
		}, "dpctl/dump-conntrack", append([]string{"-m", "-s", datapath}, zoneArgument(p.Zone)...)...)
		if errors.Is(err, wire.ErrEnough) {
			return &registry.NetOVSConntrackEnd{}, nil
		}
		if err != nil {
			return nil, n.switchError(err)
		}
	}
	return &registry.NetOVSConntrackEnd{}, nil
}

// zoneArgument is what has a command look at one zone alone.
func zoneArgument(zone registry.Opt[int64]) []string {
	number, ok := zone.Get()
	if !ok {
		return nil
	}
	return []string{"zone=" + strconv.FormatInt(number, 10)}
}

// OVSConntrackStats handles net.ovs.conntrack.stats. What a datapath has not is absent.
func (n *Net) OVSConntrackStats(ctx context.Context, p *registry.NetOVSConntrackStatsParams) (*registry.NetOvsConntrackStatsResult, error) {
	d, ctx, cancel, err := n.vswitchd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	datapaths, err := n.datapaths(ctx, d)
	if err != nil {
		return nil, err
	}
	result := &registry.NetOvsConntrackStatsResult{Datapaths: make([]registry.OvsConntrackStats, 0, len(datapaths))}
	for _, datapath := range datapaths {
		row, err := ovsStats(ctx, d, datapath, p.Zone)
		if err != nil {
			return nil, n.switchError(err)
		}
		result.Datapaths = append(result.Datapaths, *row)
	}
	return result, nil
}

func ovsStats(ctx context.Context, d *unixctl.Daemon, datapath string, zone registry.Opt[int64]) (*registry.OvsConntrackStats, error) {
	text, err := d.Text(ctx, "dpctl/ct-stats-show", append([]string{"-m", datapath}, zoneArgument(zone)...)...)
	if err != nil {
		return nil, err
	}
	stats, err := ovstext.ReadStats(text)
	if err != nil {
		return nil, ovsrow.Garbled("ovs-vswitchd prints what are no statistics", err.Error())
	}
	row := &registry.OvsConntrackStats{
		Datapath: datapath, Count: stats.Count, Protocols: lowerNames(stats.Protocols), TcpStates: lowerNames(stats.TCPStates),
	}
	countOthers(row)
	if text, ok, err := offered(ctx, d, "dpctl/ct-get-maxconns", datapath); err != nil {
		return nil, err
	} else if most, bad := strconv.ParseUint(strings.TrimSpace(text), 10, 32); ok && bad == nil {
		row.Max = registry.Some(int64(most))
	}
	if text, ok, err := offered(ctx, d, "dpctl/ct-get-tcp-seq-chk", datapath); err != nil {
		return nil, err
	} else if ok {
		row.TcpSequenceCheck = registry.Some(strings.HasSuffix(strings.TrimSpace(text), "enabled"))
	}
	return row, ovsLimits(ctx, d, datapath, zone, row)
}

// countOthers counts what Open vSwitch counts under no protocol, as it does ICMPv6.
func countOthers(row *registry.OvsConntrackStats) {
	others := row.Count
	for _, count := range row.Protocols {
		others -= count
	}
	if others > 0 {
		row.Protocols["other"] += others
	}
}

// ovsLimits adds the limits of zones.
func ovsLimits(ctx context.Context, d *unixctl.Daemon, datapath string, zone registry.Opt[int64], row *registry.OvsConntrackStats) error {
	text, ok, err := offered(ctx, d, "dpctl/ct-get-limits", append([]string{datapath}, zoneArgument(zone)...)...)
	if err != nil || !ok {
		return err
	}
	byDefault, zones, err := ovstext.ReadLimits(text)
	if err != nil {
		return ovsrow.Garbled("ovs-vswitchd prints what are no limits", err.Error())
	}
	row.DefaultLimit = ovsrow.Counted(byDefault)
	for _, z := range zones {
		row.ZoneLimits = append(row.ZoneLimits, registry.OvsZoneLimit{Zone: int64(z.Zone), Limit: int64(z.Limit), Count: registry.Some(int64(z.Count))})
	}
	return nil
}

// offered asks for what not every datapath and not every version has.
func offered(ctx context.Context, d *unixctl.Daemon, command string, args ...string) (text string, ok bool, err error) {
	text, err = d.Text(ctx, command, args...)
	var refused *unixctl.Refused
	if errors.As(err, &refused) {
		return "", false, nil
	}
	return text, err == nil, err
}

func lowerNames(m map[string]int64) map[string]int64 {
	lower := make(map[string]int64, len(m))
	for name, v := range m {
		lower[strings.ToLower(name)] = v
	}
	return lower
}

// OVSConntrackFlush handles net.ovs.conntrack.flush.
func (n *Net) OVSConntrackFlush(ctx context.Context, p *registry.NetOVSConntrackFlushParams) (*registry.NetOvsConntrackFlushResult, error) {
	d, ctx, cancel, err := n.vswitchd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	datapaths, err := n.datapaths(ctx, d)
	if err != nil {
		return nil, err
	}
	for i, datapath := range datapaths {
		args := zoneArgument(p.Zone)
		if len(datapaths) > 1 { // where it is the only one it must not be named: version 3.1 takes a name for a tuple
			args = append([]string{datapath}, args...)
		}
		if _, err := d.Text(ctx, "dpctl/flush-conntrack", args...); err != nil {
			return nil, flushedBefore(i, n.switchError(err))
		}
	}
	return &registry.NetOvsConntrackFlushResult{Flushed: len(datapaths) > 0}, nil
}

// flushedBefore is an error of a flush behind others that were carried out.
func flushedBefore(others int, err error) error {
	var gone *registry.UpstreamUnavailableError
	if others > 0 && errors.As(err, &gone) {
		gone.Applied = registry.Some(registry.AppliedUnknown)
	}
	return err
}
