package volops

import (
	"context"

	"github.com/geomind/my_os_server/pkg/registry"
)

// DeviceStats answers vol.device_stats.
func (v *Vol) DeviceStats(ctx context.Context, p *registry.VolDeviceStatsParams) (*registry.VolDeviceStatsResult, error) {
	f, err := v.btrfsAt(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.deviceStats(ctx)
	if err != nil {
		return nil, err
	}
	return &registry.VolDeviceStatsResult{FilesystemUUID: f.uuid(), Devices: list}, nil
}

// deviceStats reads the error counters of all members.
func (f *openBtrfs) deviceStats(ctx context.Context) ([]registry.BtrfsDeviceStats, error) {
	devices, err := f.Devices(ctx)
	if err != nil {
		return nil, err
	}
	list := []registry.BtrfsDeviceStats{}
	for i := range devices {
		d := &devices[i]
		s, err := f.Filesystem.DeviceStats(ctx, d.ID)
		if isNoDevice(err) { // gone since it was listed
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, registry.BtrfsDeviceStats{
			Devid:          clip(d.ID),
			Path:           f.devicePath(d),
			Missing:        f.missing(d),
			WriteIoErrs:    clip(s.WriteErrors),
			ReadIoErrs:     clip(s.ReadErrors),
			FlushIoErrs:    clip(s.FlushErrors),
			CorruptionErrs: clip(s.CorruptionErrors),
			GenerationErrs: clip(s.GenerationErrors),
		})
	}
	return list, nil
}

// FSDF answers vol.fs_df.
func (v *Vol) FSDF(ctx context.Context, p *registry.VolFSDFParams) (*registry.VolFSDFResult, error) {
	f, err := v.btrfsAt(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	spaces, err := f.Spaces(ctx)
	if err != nil {
		return nil, err
	}
	r := &registry.VolFSDFResult{FilesystemUUID: f.uuid(), Spaces: []registry.BtrfsSpaceInfo{}}
	for _, s := range spaces {
		r.Spaces = append(r.Spaces, registry.BtrfsSpaceInfo{
			Type:       s.Flags.Type(),
			Profile:    s.Flags.Profile(),
			Flags:      flagDigits(uint64(s.Flags)),
			TotalBytes: clip(s.Total),
			UsedBytes:  clip(s.Used),
		})
	}
	return r, nil
}
