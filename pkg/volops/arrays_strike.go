package volops

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// strike is for a name that leads to no device: nothing is stopped. An array that is registered under it is so no
// longer, and what bears its superblocks forgets it where that is asked for.
func (s *arrayStop) strike(ctx context.Context) (*registry.VolStopMDArrayResult, error) {
	v := s.v
	r := &registry.VolStopMDArrayResult{Zeroed: []string{}}
	name, below := strings.CutPrefix(filepath.Clean(s.params.Device), arrayFolder)
	if !below || !isArrayName(name) {
		return r, nil
	}
	if err := s.holdRegistered(ctx, name); err != nil {
		return nil, notApplied(err)
	}
	if s.name != "" {
		if err := s.giveUp(ctx); err != nil {
			return nil, err
		}
		r.Unregistered, r.Zeroed = registry.Some(true), s.zeroed
	}
	v.settleStops(arrayFolder+name, s.uuid)
	r.LinkRemoved = v.removeDangling(arrayFolder + name)
	return r, nil
}

// holdRegistered waits for its turn on a registered array that does not run, and on those devices that bear its
// superblock and are to forget it.
func (s *arrayStop) holdRegistered(ctx context.Context, name string) (err error) {
	spec, registered := s.v.arraySpecs.Get(name)
	if registered && s.params.ZeroSuperblocks.Or(false) {
		members, _, err := s.v.arrayMembers(ctx, spec.UUID)
		for _, m := range members {
			s.members = append(s.members, m.target) // closed with the rest
		}
		if err != nil {
			return err
		}
	}
	if s.unlock, err = s.v.takeTurn(ctx, s.members, state.Exclusive(arrayObject(name))); err != nil {
		return err
	}
	if now, still := s.v.arraySpecs.Get(name); !still || now != spec {
		return nil // given up by another call meanwhile
	}
	s.name, s.uuid = name, spec.UUID
	if e := s.params.Expect; e != nil && !strings.EqualFold(e.UUID.Or(s.uuid), s.uuid) {
		return refused("expectation", "", fmt.Sprintf("the registered array %s is another than expected: its uuid is %s, not %s", name, s.uuid, e.UUID.Or("")))
	}
	for _, m := range s.members {
		if err := m.look(ctx); err != nil {
			return err
		}
		if err := m.guard(ctx); err != nil {
			return err
		}
	}
	return nil
}

// giveUp strikes the array off the registry, and wipes the superblocks of the members that are held.
func (s *arrayStop) giveUp(ctx context.Context) error {
	off := s.v.arraySpecs.Remove(s.name)
	if len(s.members) == 0 {
		return notApplied(s.v.state.Set(off))
	}
	record, err := s.v.beginAs(ctx, "vol.stop_md_array", s.members, deviceDetail{Name: arrayFolder + s.name, UUID: s.uuid})
	if err != nil {
		return notApplied(err)
	}
	for _, t := range s.members {
		if err := s.zero(ctx, t); err != nil {
			record.Left()
			return appliedAs(err, registry.AppliedUnknown)
		}
	}
	return appliedAs(record.Done(off), registry.AppliedYes)
}
