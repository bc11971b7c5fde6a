package btrfs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// capacityCase is a btrfs to be made.
type capacityCase struct {
	sizes          []int64
	data, metadata BlockGroup
}

func (c *capacityCase) String() string {
	return fmt.Sprintf("data %s, metadata %s, sizes %d", c.data.Profile(), c.metadata.Profile(), c.sizes)
}

func (c *capacityCase) capacity() uint64 {
	devices := make([]uint64, len(c.sizes))
	for i, size := range c.sizes {
		devices[i] = uint64(size)
	}
	return Capacity(devices, c.data, c.metadata)
}

// randomCapacity is one of profiles and sizes that go together: close to each other, far from each
// other, about the sizes where the rules change.
func randomCapacity(rng *rand.Rand) *capacityCase {
	all := []BlockGroup{0, DUP, RAID0, RAID1, RAID1C3, RAID1C4, RAID10}
	c := &capacityCase{data: all[rng.IntN(len(all))], metadata: all[1+rng.IntN(len(all)-1)]}
	n := max(layouts[c.data].least, layouts[c.metadata].least)
	n += rng.IntN(5)
	spread := []int64{1, 3, 16, 60, 500, 4000}[rng.IntN(6)]
	for range n {
		size := int64(CapacityLeast) + rng.Int64N(spread<<30)
		if rng.IntN(4) == 0 {
			size = []int64{8, 10, 25, 50, 64, 100}[rng.IntN(6)] << 30
		}
		c.sizes = append(c.sizes, size-size%512)
	}
	return c
}

// TestCapacityAgainstTheKernel makes filesystems of unequal devices and takes all that can be had.
func TestCapacityAgainstTheKernel(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 1))
	var worst float64
	for range testhost.Rounds(20) {
		c := randomCapacity(rng)
		var taken int64
		t.Run("", func(t *testing.T) {
			b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Sizes: c.sizes, Data: c.data.Profile(), Metadata: c.metadata.Profile()})
			taken = b.TakeAll("file")
		})
		if taken == 0 {
			t.Fatalf("%v: nothing could be taken", c)
		}
		off := math.Abs(float64(c.capacity())/float64(taken) - 1)
		worst = max(worst, off)
		if off > 0.005 {
			t.Errorf("%v: %d, the kernel gives %d", c, c.capacity(), taken)
		}
	}
	t.Logf("worst: %.3f %%", worst*100)
}

// TestCapacityProperties: never more than the devices have, whatever their order; more is never less;
// and an answer comes soon even where a device claims to be as large as a number can be.
func TestCapacityProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 2))
	for range testhost.Rounds(2000) {
		c := randomCapacity(rng)
		var raw uint64
		for _, size := range c.sizes {
			raw += uint64(size)
		}
		got := c.capacity()
		if got == 0 || got > raw/uint64(layouts[c.data].copies) {
			t.Fatalf("%v: %d of %d", c, got, raw)
		}
		grown := *c
		grown.sizes = slices.Clone(c.sizes)
		for i := range grown.sizes {
			grown.sizes[i] += grown.sizes[i] / 4
		}
		if more := grown.capacity(); more < got {
			t.Fatalf("%v: %d; devices a quarter larger: %d", c, got, more)
		}
	}
	for _, data := range []BlockGroup{0, RAID1, RAID10} {
		start := time.Now()
		huge := slices.Repeat([]uint64{math.MaxInt64 / 256}, 256)
		want := float64(math.MaxInt64) / float64(layouts[data].copies)
		if got := float64(Capacity(huge, data, RAID1)); math.Abs(got/want-1) > 0.01 {
			t.Errorf("%s over 8 EiB: %.0f, want about %.0f", data.Profile(), got, want)
		}
		if d := time.Since(start); d > 2*time.Minute { // chunk by chunk it would take hours
			t.Errorf("%s over 8 EiB took %v", data.Profile(), d)
		}
	}
}

// TestCapacityUnknown: where it knows nothing it says nothing.
func TestCapacityUnknown(t *testing.T) {
	const size = CapacityLeast
	for what, got := range map[string]uint64{
		"none":      Capacity(nil, 0, DUP),
		"too small": Capacity([]uint64{size, size - 1}, RAID1, RAID1),
		"too few":   Capacity([]uint64{size}, RAID1, RAID1),
		"single":    Capacity([]uint64{size}, 0, 0),
		"raid5":     Capacity([]uint64{size, size, size}, RAID5, RAID1),
		"two":       Capacity([]uint64{size, size}, RAID0|RAID1, RAID1),
	} {
		if got != 0 {
			t.Errorf("%s: %d", what, got)
		}
	}
	if Capacity([]uint64{size}, 0, DUP) == 0 {
		t.Error("one device: nothing")
	}
}
