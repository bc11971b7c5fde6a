package netops

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// faults gathers what is wrong with the params of a call beyond what the table can say.
type faults []registry.Fault

func (f *faults) add(path, format string, args ...any) {
	*f = append(*f, registry.Fault{Path: path, Message: fmt.Sprintf(format, args...)})
}

// err is the error for all of them, nil where there are none.
func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return &registry.ParamsError{Faults: f}
}

// comparison gathers how the params of a call differ from what is registered. What was not given is not
// compared.
type comparison []registry.Difference

func given[T comparable](c *comparison, field string, asked registry.Opt[T], existing T) {
	if v, ok := asked.Get(); ok && v != existing {
		*c = append(*c, registry.Difference{Field: field, Existing: valueText(existing), Asked: valueText(v)})
	}
}

// valueText is a value as a difference tells it: none where nothing is set.
func valueText[T comparable](v T) string {
	if text := fmt.Sprint(v); text != "" && any(v) != any(netip.Addr{}) {
		return text
	}
	return "none"
}

// givenList compares a list in whatever order; nil was not given.
func givenList[T interface{ String() string }](c *comparison, field string, asked, existing []T) {
	if asked == nil {
		return
	}
	if a, e := listText(asked), listText(existing); a != e {
		*c = append(*c, registry.Difference{Field: field, Existing: valueText(e), Asked: valueText(a)})
	}
}

func listText[T interface{ String() string }](list []T) string {
	var words []string
	for _, v := range list {
		words = append(words, v.String())
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}

// plain is a text that is compared as it is.
type plain string

func (p plain) String() string { return string(p) }

// vlansOf are VLAN ids and ranges as the fewest ranges, so that two lists of the same VLANs are the same; nil was not given.
func vlansOf(list []string) []plain {
	if list == nil {
		return nil
	}
	var ids []uint16
	for _, r := range list {
		ids = slices.AppendSeq(ids, vlanIDs(r))
	}
	slices.Sort(ids)
	out := make([]plain, 0, len(list))
	for i, j := 0, 0; i < len(ids); i = j {
		for j = i + 1; j < len(ids) && ids[j] <= ids[j-1]+1; j++ {
		}
		out = append(out, plain(owntable.PortsText(int(ids[i]), int(ids[j-1]))))
	}
	return out
}

// conflict is the answer where an object of ours stands and has other properties.
func (c comparison) conflict(resource, id string) error {
	if len(c) == 0 {
		return nil
	}
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: resource, ID: id, Managed: registry.Some(true), Differences: c},
		Message:      fmt.Sprintf("%s %s stands with other properties: %s", resource, id, c.fields()),
	}
}

func (c comparison) fields() string {
	var names []string
	for _, d := range c {
		names = append(names, d.Field)
	}
	return strings.Join(names, ", ")
}

// foreign is the answer where something stands that this daemon did not make.
func foreign(resource, id, message string) error {
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: resource, ID: id, Managed: registry.Some(false)},
		Message:      message,
	}
}

// taken is the answer where the name of a link is taken.
func taken(resource string, l *heldLink) error {
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: resource, ID: l.Name, Managed: registry.Some(markedAs[l.Alias] != "")},
		Message:      foreignLink(l) + ": choose another name, or remove it",
	}
}

func refused(rule, override, format string, args ...any) error {
	return &registry.RefusedError{
		RefusedData: registry.RefusedData{Rule: rule, Override: registry.NonZero(override)},
		Message:     fmt.Sprintf(format, args...),
	}
}

func notFound(resource, id string) error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: resource, ID: id},
		Message:      fmt.Sprintf("there is no %s %s", resource, id),
	}
}

// nodeID is what tells this node from others and stays the same over reboots: machine-id(5), else the host
// name.
func (n *Net) nodeID() string {
	if b, err := os.ReadFile(filepath.Join("/", n.options.Root, "etc/machine-id")); err == nil && len(b) >= 32 {
		return string(b[:32])
	}
	name, _ := os.Hostname()
	return name
}

// digest is a hash of some words, in hexadecimal.
func digest(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:])
}

// macFor is the address that is asked for, else one that is derived.
func (n *Net) macFor(asked registry.Opt[string], words ...string) string {
	if mac, given := asked.Get(); given {
		return mac
	}
	return n.derivedMAC(words...)
}

// derivedMAC is a locally administered unicast address, the same for the same words on the same node.
func (n *Net) derivedMAC(words ...string) string {
	d := digest(append([]string{n.nodeID()}, words...)...)
	return "02:" + d[:2] + ":" + d[2:4] + ":" + d[4:6] + ":" + d[6:8] + ":" + d[8:10]
}

// checkMAC notes what is wrong with an address that an interface is to have.
func (f *faults) checkMAC(path, mac string) {
	b := wire.MACBytes(mac)
	switch {
	case len(b) != wire.MACSize:
		f.add(path, "must be six bytes as hexadecimal pairs with colons, got %q", mac)
	case b[0]&1 != 0:
		f.add(path, "must be a unicast address, got the group address %s", mac)
	case mac == "00:00:00:00:00:00":
		f.add(path, "must not be all zero")
	}
}

// checkNewName notes what is wrong with the name of an interface that is to be made. What the kernel takes to find an
// interface by is more than what it takes here (__dev_alloc_name, inetdev_init).
func (f *faults) checkNewName(path, name string) {
	switch {
	case strings.Contains(name, "%"):
		f.add(path, "must not have a percent sign, for which the kernel puts a number, got %q", name)
	case name == "all", name == "default":
		f.add(path, "must not be %s, where the kernel keeps the settings of no single interface", name)
	}
}

// checkVLANs notes what is wrong with the VLANs of a port.
func (f *faults) checkVLANs(pvid registry.Opt[int64], vlans, untagged []string) {
	pass := map[uint16]bool{}
	if id, ok := pvid.Get(); ok {
		pass[uint16(id)] = true
	}
	for i, r := range vlans {
		if _, _, ok := vlanBounds(r); !ok {
			f.add("vlans["+strconv.Itoa(i)+"]", "must be an id from 1 to %d or a rising range of them, got %q", maxVLAN, r)
		}
		for id := range vlanIDs(r) {
			pass[id] = true
		}
	}
	for i, r := range untagged {
		path := "untagged[" + strconv.Itoa(i) + "]"
		if _, _, ok := vlanBounds(r); !ok {
			f.add(path, "must be an id from 1 to %d or a rising range of them, got %q", maxVLAN, r)
		}
		for id := range vlanIDs(r) {
			if !pass[id] {
				f.add(path, "must be among vlans or pvid; %d is not", id)
				break
			}
		}
	}
}
