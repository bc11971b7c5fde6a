package ondisk

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMDOfEitherOrder is about version 0.90, which the machine that made it wrote in its own byte order:
// such of other machines no kernel here makes.
func TestMDOfEitherOrder(t *testing.T) {
	want := &MD{
		Created: time.Unix(1700000000, 0).UTC(), Updated: time.Unix(1700000100, 0).UTC(), Events: 7<<32 | 9, Level: -1,
		Layout: 2, Chunk: 65536, RaidDisks: 3, Component: 1000 << 10, Bitmap: true, Number: 2,
		Slot: 1, Placed: true,
	}
	for _, order := range []binary.ByteOrder{le, be} {
		b := make([]byte, 4096)
		events := map[int]uint32{39: 9, 40: 7}
		if order == binary.ByteOrder(be) {
			events = map[int]uint32{39: 7, 40: 9}
		}
		for _, words := range []map[int]uint32{events, {
			6: 1700000000, 7: 0xffffffff, 8: 1000, 10: 3, 32: 1700000100, 33: 1<<8 | 1, 64: 2, 65: 65536, 992: 2, 995: 1, 996: 6,
		}} {
			for i, w := range words {
				order.PutUint32(b[4*i:], w)
			}
		}
		if diff := cmp.Diff(want, parseMD0(b, order)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", order, diff)
		}
	}
	if got := parseMD0(make([]byte, 512), le); got != nil {
		t.Errorf("of half a superblock: %+v", got)
	}
}

// TestMDTimes is about version 1, whose times have microseconds in their upper bits, and a superblock
// that says nonsense.
func TestMDTimes(t *testing.T) {
	b := make([]byte, 256)
	le.PutUint64(b[64:], 1700000000|999999<<40)
	le.PutUint64(b[80:], 1<<63)
	got := parseMD1(b)
	if !got.Created.Equal(time.Unix(1700000000, 0)) || !got.Updated.IsZero() || got.Component != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestMDPlaces reads roles, of which there may be fewer than the superblock says.
func TestMDPlaces(t *testing.T) {
	roles := []byte{1, 0, 0xff, 0xff, 0xfe, 0xff, 0xfd, 0xff, 0, 0}
	for number, want := range []MD{{Slot: 1, Placed: true}, {}, {}, {}, {Placed: true}, {}} {
		want.Number = uint32(number)
		got := MD{Number: want.Number}
		if got.place(roles); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	huge := MD{Number: 1<<32 - 1}
	if huge.place(roles); huge.Placed {
		t.Errorf("%+v", huge)
	}
}
