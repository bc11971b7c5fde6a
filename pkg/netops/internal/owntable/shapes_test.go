package owntable

import (
	"math/rand/v2"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestBlocksOfPorts: the blocks have each port once, whatever the range, and are few.
func TestBlocksOfPorts(t *testing.T) {
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	ranges := [][2]int{{1, 65535}, {0, 65535}, {1, 65534}, {80, 80}, {32767, 32768}, {65535, 65535}}
	for range testhost.Rounds(300) {
		a := r.IntN(65536)
		ranges = append(ranges, [2]int{a, a + r.IntN(65536-a)})
	}
	for _, x := range ranges {
		next, list, middles := x[0], blocksOf(x[0], x[1]), map[int]bool{}
		for _, b := range list {
			if b.first != next || b.first&(1<<b.bits-1) != 0 {
				t.Fatalf("%v: block %v where %d is next", x, b, next)
			}
			if b.bits > 0 && (middles[b.middle()] || b.middle() < b.first || b.middle() >= b.first+1<<b.bits) {
				t.Fatalf("%v: middle %d of %v", x, b.middle(), b)
			}
			middles[b.middle()] = b.bits > 0
			next += 1 << b.bits
		}
		if next != x[1]+1 || len(list) > 30 {
			t.Fatalf("%v: %d blocks up to %d", x, len(list), next-1)
		}
	}
}
