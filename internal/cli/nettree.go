package cli

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// pictureCommand is a verb that draws what a client reads.
func (s *session) pictureCommand(short, long string, draw func(context.Context, *client.Client) (*branch, error)) *cobra.Command {
	every := ""
	c := &cobra.Command{
		Use:   "tree",
		Short: short,
		Long:  long,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			nodes, err := s.nodes()
			if err != nil {
				return err
			}
			defer nodes.close()
			run := func(ctx context.Context, out io.Writer) error { return s.drawAll(ctx, out, nodes, draw) }
			if every != "" {
				return s.watch(c.Context(), every, run)
			}
			return run(c.Context(), s.out)
		},
	}
	c.Flags().StringVar(&every, "watch", "", "draw again and again, every TIME, until interrupted")
	c.Flags().Lookup("watch").NoOptDefVal = "2s"
	return c
}

// drawAll draws the picture of each node.
func (s *session) drawAll(ctx context.Context, out io.Writer, nodes *nodes, draw func(context.Context, *client.Client) (*branch, error)) error {
	ctx, cancel := s.deadline(ctx, fanOutTime)
	defer cancel()
	w := newBuffered(out)
	failure := &nodeErrors{all: len(nodes.list)}
	for _, n := range nodes.list {
		err := n.err
		var root *branch
		if err == nil {
			root, err = draw(ctx, n.client)
		}
		if err != nil && !nodes.several {
			return err
		}
		if err != nil {
			s.report(err)
			failure.failed, failure.worst = failure.failed+1, max(failure.worst, exitCode(err))
			continue
		}
		if nodes.several {
			root.text = n.name
		}
		root.draw(w, s.columns())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if failure.failed > 0 {
		return failure
	}
	return nil
}

// netTree draws interfaces: what is part of another, a port of a bridge or a bond, hangs from it, and so does
// what stands on another, a VLAN on its parent. Addresses hang from what bears them.
func (s *session) netTree(ctx context.Context, c *client.Client) (*branch, error) {
	rows, err := c.NetInterfaces(ctx, nil)
	if err != nil {
		return nil, err
	}
	var all []*registry.Interface
	for i, err := range rows.All() {
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	slices.SortStableFunc(all, func(a, b *registry.Interface) int { return cmp.Compare(a.Name, b.Name) })
	below := map[string][]*registry.Interface{}
	for _, i := range all {
		below[above(i)] = append(below[above(i)], i)
	}
	p := &netPicture{session: s, below: below, taps: tapsOf(ctx, c), drawn: map[string]bool{}}
	root := &branch{text: "network"}
	for _, i := range below[""] {
		p.hang(root, i)
	}
	for _, i := range all { // what hangs from nothing that is here, or in a circle
		if !p.drawn[i.Name] {
			p.hang(root, i)
		}
	}
	return root, nil
}

// netPicture is what is known while the interfaces are drawn.
type netPicture struct {
	session *session
	below   map[string][]*registry.Interface
	taps    map[string]registry.VmTap
	drawn   map[string]bool
}

// tapsOf are the taps of virtual machines by their names. Where they cannot be told, for want of a right say, the
// picture goes without.
func tapsOf(ctx context.Context, c *client.Client) map[string]registry.VmTap {
	taps := map[string]registry.VmTap{}
	result, err := c.NetVMList(ctx, nil)
	if err != nil {
		return taps
	}
	for _, tap := range result.Taps {
		taps[tap.Name] = tap
	}
	return taps
}

// above is the name of the interface that i hangs from, "" for none. The parent of a veth is its peer, which
// it does not stand on.
func above(i *registry.Interface) string {
	if master, ok := i.Master.Get(); ok {
		return master
	}
	if i.Kind.Or("") == "veth" || i.LinkNetnsid.IsSet() {
		return ""
	}
	return i.Parent.Or("")
}

func (p *netPicture) hang(from *branch, i *registry.Interface) {
	if p.drawn[i.Name] {
		return
	}
	p.drawn[i.Name] = true
	b := from.add(p.text(i))
	for _, a := range i.Addresses {
		b.add(p.session.paint.dim(a.Address.String()))
	}
	for _, child := range p.below[i.Name] {
		p.hang(b, child)
	}
}

// text is an interface in one line. A loopback's address of zeros, and a state that a device without one is in while it
// is up, say nothing.
func (p *netPicture) text(i *registry.Interface) string {
	paint := p.session.paint
	parts := []string{paint.bold(clean(i.Name))}
	if kind, ok := i.Kind.Get(); ok {
		parts = append(parts, clean(kind))
	} else if i.LinkType == "loopback" {
		parts = append(parts, i.LinkType)
	}
	if tap, ok := p.taps[i.Name]; ok {
		parts = append(parts, "of "+clean(tap.VMID)+" nic "+decimal(tap.Nic))
	}
	if id, ok := i.VlanID.Get(); ok {
		parts = append(parts, "vlan "+cellText("", []byte(decimal(id))))
	}
	if i.OperState != registry.OperStateUnknown || !i.AdminUp {
		parts = append(parts, paint.mood(string(i.OperState)))
	}
	if !i.AdminUp {
		parts = append(parts, "(not set up)")
	}
	if parent, ok := i.Parent.Get(); ok && i.Kind.Or("") == "veth" && !i.LinkNetnsid.IsSet() {
		parts = append(parts, "peer "+clean(parent))
	}
	if mac, ok := i.MAC.Get(); ok && mac != noMAC {
		parts = append(parts, mac)
	}
	parts = append(parts, "mtu "+decimal(i.MTU))
	if speed, ok := i.SpeedBps.Get(); ok {
		parts = append(parts, rateText(speed))
	}
	if i.Managed {
		parts = append(parts, "managed")
	}
	return strings.Join(parts, " ")
}

// noMAC is the hardware address of a device that has none, as the kernel tells it.
const noMAC = "00:00:00:00:00:00"
