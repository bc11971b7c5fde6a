package volops

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/internal/ondisk"
)

const mib = 1 << 20

func TestFreeExtents(t *testing.T) {
	gpt := func(parts ...ondisk.Partition) *ondisk.Table {
		return &ondisk.Table{Type: "gpt", SectorSize: 512, FirstLBA: 34, LastLBA: 100*2048 - 34, Partitions: parts}
	}
	dos := func(parts ...ondisk.Partition) *ondisk.Table {
		return &ondisk.Table{Type: "dos", SectorSize: 512, Partitions: parts}
	}
	part := func(start, end int64) ondisk.Partition { return ondisk.Partition{Start: start, Size: end - start} }
	extended := ondisk.Partition{Start: 50 * mib, Size: 30 * mib, Extended: true}
	for name, c := range map[string]struct {
		sector int64
		table  *ondisk.Table
		taken  []stretch
		want   []stretch
	}{
		"blank":                    {512, nil, nil, []stretch{{mib, 99 * mib}}},
		"blank, large sectors":     {4096, nil, nil, []stretch{{mib, 99 * mib}}},
		"blank, but for a device":  {512, nil, []stretch{{10 * mib, 20 * mib}}, []stretch{{mib, 10 * mib}, {20 * mib, 99 * mib}}},
		"empty GPT":                {512, gpt(), nil, []stretch{{mib, 99 * mib}}},
		"unaligned":                {512, gpt(part(5*mib+512, 7*mib+512)), []stretch{{5*mib + 512, 7*mib + 512}}, []stretch{{mib, 5 * mib}, {8 * mib, 99 * mib}}},
		"full":                     {512, gpt(part(17408, 100*mib-17408)), []stretch{{17408, 100*mib - 17408}}, nil},
		"a gap of less than 1 MiB": {512, gpt(), []stretch{{mib, 10 * mib}, {10*mib + mib/2, 99 * mib}}, nil},
		"in no order":              {512, gpt(), []stretch{{50 * mib, 60 * mib}, {2 * mib, 3 * mib}}, []stretch{{mib, 2 * mib}, {3 * mib, 50 * mib}, {60 * mib, 99 * mib}}},
		"overlapping":              {512, gpt(), []stretch{{2 * mib, 60 * mib}, {10 * mib, 20 * mib}}, []stretch{{mib, 2 * mib}, {60 * mib, 99 * mib}}},
		"empty dos table":          {512, dos(), nil, []stretch{{mib, 100 * mib}}},
		"an extended partition": {512, dos(extended), []stretch{{60 * mib, 61 * mib}},
			[]stretch{{mib, 50 * mib}, {51 * mib, 60 * mib}, {62 * mib, 80 * mib}, {80 * mib, 100 * mib}}},
	} {
		got := freeExtents(100*mib, c.sector, c.table, c.taken)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(stretch{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

// What is free is aligned, in order, inside the disk and taken by nothing; and all that is none of it is
// either taken, or too little at an end.
func TestFreeExtentsAreFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(4*mib, 200*mib).Draw(t, "size") &^ 511
		taken := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) stretch {
			start := rapid.Int64Range(0, size).Draw(t, "start") &^ 511
			return stretch{start, start + rapid.Int64Range(0, 20*mib).Draw(t, "length")&^511}
		}), 0, 8).Draw(t, "taken")
		free := freeExtents(size, 512, nil, taken)
		isTaken := func(at int64) bool {
			for _, s := range taken {
				if at >= s.start && at < s.end {
					return true
				}
			}
			return false
		}
		isFree := func(at int64) bool {
			for _, s := range free {
				if at >= s.start && at < s.end {
					return true
				}
			}
			return false
		}
		for at := int64(mib); at+mib <= size-17*1024; at += mib {
			whole := true
			for i := at; i < at+mib; i += 512 {
				whole = whole && !isTaken(i)
			}
			if whole != isFree(at) {
				t.Fatalf("the MiB at %d is free %v, listed %v", at, whole, isFree(at))
			}
		}
		for i, e := range free {
			if e.start%mib != 0 || e.end%mib != 0 || e.start >= e.end || e.end > size || i > 0 && e.start < free[i-1].end {
				t.Fatalf("extent %+v of %v", e, free)
			}
		}
	})
}
