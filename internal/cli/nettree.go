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
	root := &branch{text: "network"}
	drawn := map[string]bool{}
	for _, i := range below[""] {
		s.hangInterface(root, i, below, drawn)
	}
	for _, i := range all { // what hangs from nothing that is here, or in a circle
		if !drawn[i.Name] {
			s.hangInterface(root, i, below, drawn)
		}
	}
	return root, nil
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

func (s *session) hangInterface(from *branch, i *registry.Interface, below map[string][]*registry.Interface, drawn map[string]bool) {
	if drawn[i.Name] {
		return
	}
	drawn[i.Name] = true
	b := from.add(s.interfaceText(i))
	for _, a := range i.Addresses {
		b.add(s.paint.dim(a.Address.String()))
	}
	for _, child := range below[i.Name] {
		s.hangInterface(b, child, below, drawn)
	}
}

// interfaceText is an interface in one line.
func (s *session) interfaceText(i *registry.Interface) string {
	p := s.paint
	parts := []string{p.bold(clean(i.Name))}
	if kind, ok := i.Kind.Get(); ok {
		parts = append(parts, clean(kind))
	}
	if id, ok := i.VlanID.Get(); ok {
		parts = append(parts, "vlan "+cellText("", []byte(decimal(id))))
	}
	parts = append(parts, p.mood(string(i.OperState)))
	if !i.AdminUp {
		parts = append(parts, "(not set up)")
	}
	if parent, ok := i.Parent.Get(); ok && i.Kind.Or("") == "veth" && !i.LinkNetnsid.IsSet() {
		parts = append(parts, "peer "+clean(parent))
	}
	if mac, ok := i.MAC.Get(); ok {
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
