package md

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// levelName is a level as text: that of an array which does not run yet is a number.
func levelName(s string) string {
	code, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return s
	}
	return LevelName(int32(code))
}

// LevelName is what superblocks and the kernel have as a number (drivers/md/md.h, mdadm's ReadMe.c);
// empty for one that is not known.
func LevelName(code int32) string {
	switch code {
	case 0, 1, 4, 5, 6, 10:
		return "raid" + strconv.Itoa(int(code))
	case -1:
		return "linear"
	case -4:
		return "multipath"
	case -5:
		return "faulty"
	case -100:
		return "container"
	}
	return ""
}

// layouts are the codes of raid4, 5 and 6 (ALGORITHM_* in drivers/md/raid5.h), as mdadm calls them.
var layouts = map[int64]string{
	0: "left-asymmetric", 1: "right-asymmetric", 2: "left-symmetric", 3: "right-symmetric",
	4: "parity-first", 5: "parity-last",
	8: "ddf-zero-restart", 9: "ddf-N-restart", 10: "ddf-N-continue",
	16: "left-asymmetric-6", 17: "right-asymmetric-6", 18: "left-symmetric-6", 19: "right-symmetric-6", 20: "parity-first-6",
}

// LayoutName is a layout in words, as in left-symmetric, near=2 or near=1, far=2; empty for levels
// without and for codes that are not known.
func LayoutName(level string, code int64) string {
	switch level {
	case "raid0":
		return map[int64]string{1: "original", 2: "alternate", 4: "dangerous"}[code]
	case "raid5", "raid6":
		if name := layouts[code]; level == "raid6" || !strings.HasSuffix(name, "-6") {
			return name
		}
	case "raid10":
		return mirrorLayout(code)
	}
	return ""
}

// mirrorLayout has copies near each other in the lowest byte, far ones in the next; bit 16 says that
// these are in the next stripe.
func mirrorLayout(code int64) string {
	near, far := code&0xff, code>>8&0xff
	if near*far < 1 {
		return ""
	}
	var words []string
	if near > 1 || far == 1 {
		words = append(words, fmt.Sprintf("near=%d", near))
	}
	if far > 1 {
		name := "far"
		if code&(1<<16) != 0 {
			name = "offset"
		}
		words = append(words, fmt.Sprintf("%s=%d", name, far))
	}
	return strings.Join(words, ", ")
}

// Role is what the member is for: active, rebuilding, spare, faulty, journal, replacement.
func (m *Member) Role() string {
	has := func(flag string) bool { return slices.Contains(m.Flags, flag) }
	switch {
	case has("faulty"):
		return "faulty"
	case has("journal"):
		return "journal"
	case has("replacement"):
		return "replacement"
	case has("in_sync"):
		return "active"
	case m.Slot.Known:
		return "rebuilding"
	}
	return "spare"
}

// Present tells of each of n slots whether a member in sync fills it.
func (a *Array) Present(n int64) []bool {
	slots := make([]bool, n)
	for i := range a.Members {
		m := &a.Members[i]
		inSync := slices.Contains(m.Flags, "in_sync") && !slices.Contains(m.Flags, "faulty")
		if m.Slot.Known && m.Slot.Value < n && inSync {
			slots[m.Slot.Value] = true
		}
	}
	return slots
}

// Survives is how many more members may fail without loss for certain, whichever they are; -1 where
// too many are missing already. present says which slots are filled.
func Survives(level string, layout int64, present []bool) int64 {
	missing := int64(0)
	for _, ok := range present {
		if !ok {
			missing++
		}
	}
	switch level {
	case "raid1", "multipath":
		return int64(len(present)) - missing - 1
	case "raid4", "raid5":
		return max(-1, 1-missing)
	case "raid6":
		return max(-1, 2-missing)
	case "raid10":
		return survivesMirror(layout, present)
	}
	return max(-1, -missing)
}

// survivesMirror looks at each set of members that hold the same data: as many in a row as there are
// copies, each set beginning behind the near copies of the last (_enough of drivers/md/raid10.c).
func survivesMirror(layout int64, present []bool) int64 {
	near, n := int(layout&0xff), len(present)
	copies := near * int(layout>>8&0xff)
	if n == 0 || copies == 0 {
		return -1
	}
	least := int64(copies)
	for first := 0; ; {
		there := int64(0)
		for i := range copies {
			if present[(first+i)%n] {
				there++
			}
		}
		least = min(least, there)
		if first = (first + near) % n; first == 0 {
			return least - 1
		}
	}
}
