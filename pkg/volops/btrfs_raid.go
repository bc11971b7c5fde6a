package volops

import (
	"context"
	"fmt"

	"github.com/geomind/my_os_server/pkg/registry"
)

// leastDevices is how many devices a profile needs.
var leastDevices = map[registry.BtrfsProfile]int{
	registry.BtrfsProfileSingle: 1, registry.BtrfsProfileDup: 1, registry.BtrfsProfileRaid0: 2, registry.BtrfsProfileRaid1: 2,
	registry.BtrfsProfileRaid10: 2, registry.BtrfsProfileRaid5: 2, registry.BtrfsProfileRaid1c3: 3, registry.BtrfsProfileRaid6: 3,
	registry.BtrfsProfileRaid1c4: 4,
}

// CreateBtrfsRaid answers vol.create_btrfs_raid.
func (v *Vol) CreateBtrfsRaid(ctx context.Context, p *registry.VolCreateBtrfsRaidParams) (*registry.VolCreateBtrfsRaidResult, error) {
	metadata := p.MetadataLevel.Or(defaultMetadata(p.Level, len(p.Devices)))
	if err := checkRaid(p, metadata); err != nil {
		return nil, err
	}
	options := &registry.FilesystemOptions{DataProfile: registry.Some(p.Level), MetadataProfile: registry.Some(metadata)}
	m, err := newMkfs(registry.FilesystemTypeBtrfs, p.Label, p.UUID, options)
	if err != nil {
		return nil, err
	}
	h, err := v.devicesOf(ctx, "devices", p.Devices, p.Expect)
	if err != nil {
		return nil, notApplied(err)
	}
	defer h.close()
	w := &formatting{v: v, method: "vol.create_btrfs_raid", targets: h.targets, mkfs: m, force: p.Force.Or(false)}
	created, err := w.run(ctx)
	if err != nil {
		return nil, err
	}
	row, err := v.filesystemRow(ctx, h.targets)
	if err != nil {
		return nil, err
	}
	return &registry.VolCreateBtrfsRaidResult{Created: created, Filesystem: *row}, nil
}

// defaultMetadata is the profile of metadata where the call names none: never less safe than that of data.
func defaultMetadata(data registry.BtrfsProfile, devices int) registry.BtrfsProfile {
	switch {
	case data == registry.BtrfsProfileRaid6:
		return registry.BtrfsProfileRaid1c3
	case data != registry.BtrfsProfileSingle && data != registry.BtrfsProfileRaid0:
		return data
	case devices > 1:
		return registry.BtrfsProfileRaid1
	}
	return registry.BtrfsProfileDup
}

// checkRaid holds the levels against the number of devices, and refuses those that lose data at a power cut.
func checkRaid(p *registry.VolCreateBtrfsRaidParams, metadata registry.BtrfsProfile) error {
	var faults []registry.Fault
	for _, c := range []struct {
		param string
		level registry.BtrfsProfile
	}{{"level", p.Level}, {"metadata_level", metadata}} {
		if least := leastDevices[c.level]; len(p.Devices) < least {
			faults = append(faults, registry.Fault{Path: "devices", Message: fmt.Sprintf("must be at least %d for %s %s, not %d", least, c.param, c.level, len(p.Devices))})
		}
	}
	if p.Expect != nil && len(p.Expect) != len(p.Devices) {
		faults = append(faults, registry.Fault{Path: "expect", Message: fmt.Sprintf("must have one element for each of the %d devices, not %d", len(p.Devices), len(p.Expect))})
	}
	if len(faults) > 0 {
		return &registry.ParamsError{Faults: faults}
	}
	for _, level := range []registry.BtrfsProfile{p.Level, metadata} {
		if (level == registry.BtrfsProfileRaid5 || level == registry.BtrfsProfileRaid6) && !p.Force.Or(false) {
			return refused("raid56", "force", fmt.Sprintf("%s loses data at a power cut", level))
		}
	}
	return nil
}
