package netops

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/unixctl"
	"github.com/geomind/my_os_server/pkg/netops/internal/ovsrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// openFlowVersions are those that may be spoken: the newest that a bridge speaks is taken. What older ones lack is
// absent: the importance before 1.4, the ages in 1.1 to 1.4.
const openFlowVersions = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"

// openFlowTables is how many tables there can be. The number after the last stands for all of them (OFPTT_ALL), and
// is the number of none.
const openFlowTables = 255

// Flows handles net.flows. ovs-ofctl is asked because it reads every field and every action of every extension; its
// text is taken as it comes.
func (n *Net) Flows(ctx context.Context, p *registry.NetFlowsParams, rows *registry.Stream[registry.OvsFlow]) (*registry.NetFlowsEnd, error) {
	d, ctx, cancel, err := n.vswitchd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	bridges, err := n.linesOf(ctx, d, "ofproto/list")
	if err != nil {
		return nil, err
	}
	if name, ok := p.Bridge.Get(); ok {
		if !slices.Contains(bridges, name) {
			return nil, noBridge(name)
		}
		bridges = []string{name}
	}
	if p.Table.Or(0) >= openFlowTables {
		return &registry.NetFlowsEnd{}, nil
	}
	out := wire.LimitedTo(rows, p.Limit)
	for _, bridge := range bridges {
		err := n.bridgeFlows(ctx, d, bridge, p.Table, out)
		if errors.Is(err, wire.ErrEnough) {
			return &registry.NetFlowsEnd{}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return &registry.NetFlowsEnd{}, nil
}

// bridgeFlows sends the flows of one bridge.
func (n *Net) bridgeFlows(ctx context.Context, d *unixctl.Daemon, bridge string, table registry.Opt[int64], out wire.Limited[registry.OvsFlow]) error {
	args := []string{"-O", openFlowVersions, "dump-flows", "unix:" + n.ovsRunFile(bridge+".mgmt")}
	if number, ok := table.Get(); ok {
		args = append(args, "table="+strconv.FormatInt(number, 10))
	}
	err := hostexec.Stream(ctx, hostexec.OvsOfctl, func(r io.Reader) error { return ovsrow.SendFlows(r, bridge, out) }, args...)
	var exit *hostexec.Exit
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return n.noFlows(d, bridge, context.DeadlineExceeded)
	case errors.As(err, &exit) && strings.Contains(exit.Stderr, "onnect"): // Connection refused, failed to connect, connecting to
		return n.noFlows(d, bridge, errors.New(exit.Stderr))
	}
	return toolError(err)
}

// noFlows is the answer where the management socket of a bridge is of no use. The daemon serves it only as long as it
// has its database.
func (n *Net) noFlows(d *unixctl.Daemon, bridge string, cause error) error {
	err := n.switchError(&unixctl.Unavailable{Program: d.Program, PID: d.PID, Socket: n.ovsRunFile(bridge + ".mgmt"), Err: cause})
	var gone *registry.UpstreamUnavailableError
	if conn, lost := net.DialTimeout("unix", n.ovsRunFile(ovsDBSocket), 100*time.Millisecond); lost == nil {
		conn.Close()
	} else if errors.As(err, &gone) {
		const why = "; it serves no flows without its database, which is gone"
		gone.Cause += why
		gone.Message += why
	}
	return err
}
