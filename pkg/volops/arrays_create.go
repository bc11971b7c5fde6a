package volops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/gpt"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// CreateMDArray answers vol.create_md_array.
func (v *Vol) CreateMDArray(ctx context.Context, p *registry.VolCreateMDArrayParams) (*registry.VolCreateMDArrayResult, error) {
	want, err := parseWantArray(p)
	if err != nil {
		return nil, err
	}
	if err := v.needArrays(want.level); err != nil {
		return nil, err
	}
	if err := hostexec.Mdadm.Installed(); err != nil {
		return nil, toolError(err, registry.AppliedNo)
	}
	h, err := v.devicesOf(ctx, "devices", p.Devices, p.Expect, state.Exclusive(arrayObject(want.name)))
	if err != nil {
		return nil, notApplied(err)
	}
	defer h.close()
	c := &arrayCreation{v: v, want: want, targets: h.targets, metadataGiven: p.Metadata.IsSet()}
	c.wiping = &formatting{v: v, method: "vol.create_md_array", targets: h.targets, mkfs: &mkfs{}, force: p.Force.Or(false)}
	stands, err := c.standing(ctx)
	if err != nil {
		return nil, notApplied(err)
	}
	if stands != nil {
		if err := c.adopt(stands); err != nil {
			return nil, appliedAs(err, registry.AppliedYes)
		}
		return &registry.VolCreateMDArrayResult{Created: false, Array: *stands}, nil
	}
	row, err := c.run(ctx)
	if err != nil {
		return nil, err
	}
	v.settle(h.targets)
	return &registry.VolCreateMDArrayResult{Created: true, Array: *row}, nil
}

// adopt enters an array into the registry that a call like this one made and was cut off before it could.
func (c *arrayCreation) adopt(a *registry.MdArray) error {
	for _, u := range c.v.state.Interrupted() {
		var detail deviceDetail
		if u.Method != "vol.create_md_array" || json.Unmarshal(u.Detail, &detail) != nil || detail.Name != arrayFolder+c.want.name || detail.UUID == "" || detail.UUID != a.UUID.Or("") {
			continue
		}
		if err := c.v.state.Set(c.v.arraySpecs.Put(c.want.name, c.spec(detail.UUID))); err != nil {
			return err
		}
		a.Managed = true
		return c.v.state.Forget(u.ID)
	}
	return nil
}

// spec is what the registry is to keep.
func (c *arrayCreation) spec(uuid string) arraySpec {
	return arraySpec{UUID: uuid, Level: c.want.levelText(), Devices: len(c.targets), Boot: c.v.state.Boot().Mark()}
}

// arrayCreation makes one array.
type arrayCreation struct {
	v             *Vol
	want          *wantArray
	metadataGiven bool
	targets       []*target
	wiping        *formatting // takes away what stood on the devices
}

// standing is the row of the array where it stands already. Another one of that name is a conflict, also where
// it is registered and does not run now.
func (c *arrayCreation) standing(ctx context.Context) (*registry.MdArray, error) {
	list, err := c.v.arrayRows(ctx)
	if err != nil {
		return nil, err
	}
	spec, registered := c.v.arraySpecs.Get(c.want.name)
	for i := range list {
		a := &list[i]
		if a.Link.Or("") != arrayFolder+c.want.name && !(registered && a.UUID.Or("") == spec.UUID) {
			continue
		}
		if differences := c.differences(a); len(differences) > 0 {
			return nil, c.conflict(differences, a.Managed)
		}
		return a, nil
	}
	if registered {
		for _, t := range c.targets {
			if s := t.contents.Signature; s == nil || s.UUID != spec.UUID {
				return nil, c.conflict([]registry.Difference{{Field: "uuid", Existing: spec.UUID}}, true)
			}
		}
	}
	return nil, nil
}

// differences are those between an array that there is and what is asked for.
func (c *arrayCreation) differences(a *registry.MdArray) (list []registry.Difference) {
	var members, asked []string
	for _, m := range a.Members {
		members = append(members, m.Path)
	}
	for _, t := range c.targets {
		asked = append(asked, t.path())
	}
	slices.Sort(members)
	slices.Sort(asked)
	if !slices.Equal(members, asked) {
		list = append(list, registry.Difference{Field: "devices", Existing: strings.Join(members, ","), Asked: strings.Join(asked, ",")})
	}
	if a.Level != c.want.levelText() {
		list = append(list, registry.Difference{Field: "level", Existing: a.Level, Asked: c.want.levelText()})
	}
	if have := a.Metadata.Or(""); c.metadataGiven && have != string(c.want.metadata) {
		list = append(list, registry.Difference{Field: "metadata", Existing: have, Asked: string(c.want.metadata)})
	}
	return list
}

func (c *arrayCreation) conflict(differences []registry.Difference, managed bool) error {
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "array", ID: c.want.name, Differences: differences, Managed: registry.Some(managed)},
		Message:      fmt.Sprintf("there is an array %s already, with another %s", c.want.name, differences[0].Field),
	}
}

// run makes the array.
func (c *arrayCreation) run(ctx context.Context) (*registry.MdArray, error) {
	for i, t := range c.targets {
		if err := t.guard(ctx); err != nil {
			return nil, notApplied(err)
		}
		if err := c.wiping.overwrites(t); err != nil {
			return nil, err
		}
		if t.size < leastMember {
			return nil, invalid(fmt.Sprintf("devices[%d]", i), fmt.Sprintf("must have at least %d bytes, not %d", leastMember, t.size))
		}
	}
	before, err := c.edges(ctx)
	if err != nil {
		return nil, notApplied(err)
	}
	c.want.uuid = gpt.RandomGUID().String()
	record, err := c.v.beginAs(ctx, "vol.create_md_array", c.targets, deviceDetail{Name: arrayFolder + c.want.name, UUID: c.want.uuid})
	if err != nil {
		return nil, notApplied(err)
	}
	if err := c.apply(ctx); err != nil {
		return nil, c.failed(ctx, err, before, record)
	}
	row, err := c.made(ctx)
	if err != nil { // what is there is not what was asked for
		record.Left()
		return nil, appliedAs(err, registry.AppliedYes)
	}
	if err := record.Done(c.v.arraySpecs.Put(c.want.name, c.spec(c.want.uuid))); err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	row.Managed = true
	return row, nil
}

// apply ends what stands on the devices, and has mdadm make the array. mdadm opens each device exclusively
// before it writes: whoever took one since the guard looked keeps it.
func (c *arrayCreation) apply(ctx context.Context) error {
	if c.wiping.mkfs.overwrite {
		fault.Point("wipe members")
		if err := c.wipe(ctx); err != nil {
			return err
		}
	}
	var paths []string
	bitmap := true
	for _, t := range c.targets {
		paths = append(paths, c.v.root+t.path())
		bitmap = bitmap && t.size >= bitmapSize
	}
	fault.Point("run mdadm")
	_, err := c.v.run(ctx, hostexec.Mdadm, nil, c.want.createArguments(paths, bitmap)...)
	fault.Point("mdadm has run")
	return err
}

// wipe takes away the marks of what stood on the devices. With some versions of the metadata the array begins
// where the devices do, and would bear them.
func (c *arrayCreation) wipe(ctx context.Context) error {
	devices, err := c.wiping.claim()
	defer closeAll(devices)
	if err != nil {
		return err
	}
	for i, t := range c.targets {
		_, err := hang.Do(ctx, c.v.calls, t.number, func() (struct{}, error) {
			return struct{}{}, errors.Join(c.wiping.wipe(t, devices[i]), devices[i].Sync())
		})
		if err != nil {
			return waiting(err, t.path())
		}
	}
	return nil
}

func (c *arrayCreation) edges(ctx context.Context) (list []string, err error) {
	for _, t := range c.targets {
		e, err := t.edges(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// failed is the answer where mdadm failed. MD keeps all that it writes at an end of its members: where these
// are as they were, nothing was written.
func (c *arrayCreation) failed(ctx context.Context, err error, before []string, record *state.Write) error {
	after, edgeErr := c.edges(ctx)
	if edgeErr != nil || !slices.Equal(after, before) {
		record.Left()
		return appliedAs(toolError(err, registry.AppliedUnknown), registry.AppliedUnknown)
	}
	cause := notApplied(toolError(err, registry.AppliedNo))
	for _, t := range c.targets {
		if busy := t.free(ctx, t.claimants()); isBusy(busy) {
			cause = busy
			break
		}
	}
	if err := record.Undone(err); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// made is the row of the array that was made.
func (c *arrayCreation) made(ctx context.Context) (*registry.MdArray, error) {
	list, err := c.v.arrayRows(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(a registry.MdArray) bool { return a.UUID.Or("") == c.want.uuid })
	if i < 0 {
		return nil, fmt.Errorf("read back the array %s: %w", c.want.name, unix.ENOENT)
	}
	if differences := c.differences(&list[i]); len(differences) > 0 {
		return nil, fmt.Errorf("read back the array %s: it has another %s: %w", c.want.name, differences[0].Field, unix.EIO)
	}
	return &list[i], nil
}

// arrayRows are the rows of all arrays.
func (v *Vol) arrayRows(ctx context.Context) ([]registry.MdArray, error) {
	list, err := v.ListMDArrays(ctx, &registry.VolListMDArraysParams{})
	if err != nil {
		return nil, err
	}
	return list.Arrays, nil
}
