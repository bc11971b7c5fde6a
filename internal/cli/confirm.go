package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// confirm asks before a call that may end something which no call brings back. It names what would be ended:
// devices with serial number and size as the node tells them now. What has been shown then goes with the
// call as its expectation, so that another device that has taken the name meanwhile is left alone.
func (s *session) confirm(ctx context.Context, nodes *nodes, call *call) error {
	if call.yes {
		return nil
	}
	if !isTerminal(s.in) || !isTerminal(s.errs) {
		return &usageError{Name + " " + strings.Join(call.verb.words(), " "),
			"may destroy what it names, and there is no terminal to ask at: add --yes to do it all the same"}
	}
	fmt.Fprintf(s.errs, "%s %s\n", s.paintErrs.bad(call.verb.method), call.verb.summary)
	for _, v := range call.values {
		if v.set() && v.param.format != formatDevice && v.param.name != "expect" {
			fmt.Fprintf(s.errs, "  %s: %s\n", v.param.flag(), clean(v.String()))
		}
	}
	for _, n := range nodes.list {
		if n.err != nil {
			continue
		}
		if nodes.several {
			fmt.Fprintf(s.errs, "  on %s\n", s.paintErrs.bold(n.name))
		}
		seen := s.showDevices(ctx, n.client, call)
		if !nodes.several {
			call.expect(seen)
		}
	}
	return s.ask(ctx, "Go on?")
}

// formatDevice is the format of params that name devices.
const formatDevice = "device"

// ask asks a question whose answer is no unless it is yes. To interrupt is no answer: it ends the program.
func (s *session) ask(ctx context.Context, question string) error {
	fmt.Fprintf(s.errs, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() {
		answer, err := bufio.NewReader(s.in).ReadString('\n')
		if err != nil && answer == "" {
			fmt.Fprintln(s.errs)
		}
		answers <- answer
	}()
	select {
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		}
		return errDeclined
	case <-ctx.Done():
		fmt.Fprintln(s.errs)
		return ctx.Err()
	}
}

// showDevices prints the devices that the call names and returns them, in their order.
func (s *session) showDevices(ctx context.Context, c *client.Client, call *call) (all []device) {
	for _, v := range call.values {
		if !v.set() || v.param.format != formatDevice {
			continue
		}
		for _, name := range strings.Split(v.String(), ",") {
			d := s.look(ctx, c, name)
			fmt.Fprintf(s.errs, "  %s: %s\n", v.param.flag(), clean(d.String()))
			all = append(all, d)
		}
	}
	return all
}

// device is what is known of a device that a call names.
type device struct {
	name, path          string
	what                string // disk, loop, partition 2 of /dev/sda, …
	size                int64
	model, serial, uuid string
	holds               []string
	unread              string // why not all that it holds is known; empty: it is
	err                 error
}

// String is one line.
func (d device) String() string {
	if d.err != nil {
		return fmt.Sprintf("%s (what it is could not be found out: %v)", d.name, d.err)
	}
	parts := []string{d.what, sizeText(d.size)}
	if d.model != "" {
		parts = append(parts, "model "+d.model)
	}
	if d.serial != "" {
		parts = append(parts, "serial "+d.serial)
	} else {
		parts = append(parts, "no serial number")
	}
	name := d.name
	if d.path != d.name {
		name += " -> " + d.path
	}
	return fmt.Sprintf("%s (%s), %s", name, strings.Join(parts, ", "), d.holding())
}

// holding tells what stands on the device. One that could not be read is not taken for empty.
func (d *device) holding() string {
	holds := strings.Join(d.holds, "; ")
	switch {
	case holds == "" && d.unread == "":
		return "holds nothing that is known"
	case holds == "":
		return "what it holds could not be read (" + d.unread + ")"
	case d.unread == "":
		return "holds " + holds
	}
	return "holds " + holds + ", and what could not be read (" + d.unread + ")"
}

// look asks the node what the device of that name is.
func (s *session) look(ctx context.Context, c *client.Client, name string) device {
	ctx, cancel := s.deadline(ctx, lookTime)
	defer cancel()
	d := device{name: name}
	rows, err := c.VolListDisks(ctx, &registry.VolListDisksParams{Path: registry.Some(name)})
	if err != nil {
		d.err = err
		return d
	}
	for disk, err := range rows.All() {
		if err != nil {
			d.err = err
			return d
		}
		d.disk(disk)
	}
	partitions, err := c.VolListPartitions(ctx, &registry.VolListPartitionsParams{Disk: registry.Some(name)})
	if err != nil {
		d.unread = err.Error()
		return d
	}
	d.partitions(partitions.Partitions)
	return d
}

// disk takes over what is known of a whole disk.
func (d *device) disk(disk *registry.Disk) {
	d.path, d.what, d.size = disk.Path, disk.Type.Or(disk.Kind), disk.SizeBytes
	d.model, d.serial = disk.Model.Or(""), disk.Serial.Or("")
	d.holds, d.unread = nil, disk.ProbeError.Or("")
	if t := disk.PartitionTable; t != nil {
		d.holds = append(d.holds, "a partition table ("+t.Type+")")
	}
	if f := disk.Signature; f != nil {
		d.holds, d.uuid = append(d.holds, signatureText(f)), f.UUID.Or("")
	}
}

// partitions turns to the partition, where it is one that is named, or names those on the disk.
func (d *device) partitions(list []registry.Partition) {
	for _, p := range list {
		if d.names(&p) {
			d.path, d.what, d.size, d.uuid = p.Path, fmt.Sprintf("partition %d of %s", p.Number, p.Disk), p.SizeBytes, p.UUID.Or("")
			d.holds, d.unread = nil, p.ProbeError.Or("")
			if p.Filesystem != nil {
				d.holds = append(d.holds, signatureText(p.Filesystem))
			}
			return
		}
	}
	for _, p := range list {
		text := p.Path + " " + sizeText(p.SizeBytes)
		if p.Filesystem != nil {
			text += " " + signatureText(p.Filesystem)
		}
		d.holds = append(d.holds, text)
		d.unread = cmp.Or(d.unread, p.ProbeError.Or(""))
	}
}

// names tells whether the name that was given is the partition's.
func (d *device) names(p *registry.Partition) bool {
	uuid, byUUID := strings.CutPrefix(d.name, "PARTUUID=")
	return d.name == p.Path || slices.Contains(p.StableIds, d.name) || byUUID && strings.EqualFold(uuid, p.UUID.Or(""))
}

func signatureText(f *registry.Signature) string {
	text := f.Type
	if label := f.Label.Or(""); label != "" {
		text += " " + quoted(label)
	}
	return text
}

// expect lets the call take the devices for what was shown, where it has a param for that which was not given.
func (c *call) expect(seen []device) {
	v := c.value("expect")
	if v == nil || v.set() || len(seen) == 0 || v.param.schema != "DeviceExpectation" {
		return
	}
	for _, d := range seen {
		e := registry.DeviceExpectation{Serial: registry.NonZero(d.serial), UUID: registry.NonZero(d.uuid)}
		if d.err == nil {
			e.SizeBytes = registry.Some(d.size)
		}
		if v.param.list {
			v.elements = append(v.elements, e.AppendJSON(nil))
		} else {
			v.whole = e.AppendJSON(nil)
		}
	}
}
