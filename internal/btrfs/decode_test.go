package btrfs

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// found is what a search returns for items: each with its header.
func found(items ...item) []byte {
	var b []byte
	for _, it := range items {
		b = binary.LittleEndian.AppendUint64(b, 7) // transid
		b = binary.LittleEndian.AppendUint64(b, it.object)
		b = binary.LittleEndian.AppendUint64(b, it.offset)
		b = binary.LittleEndian.AppendUint32(b, uint32(it.typ))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(it.data)))
		b = append(b, it.data...)
	}
	return b
}

func TestCutItemUndoesFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Custom(func(t *rapid.T) item {
			return item{key{rapid.Uint64().Draw(t, "object"), rapid.Uint8().Draw(t, "type"), rapid.Uint64().Draw(t, "offset")},
				rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data")}
		})).Draw(t, "items")
		rest := found(want...)
		for i := range want {
			var got item
			var err error
			if got, rest, err = cutItem(rest); err != nil {
				t.Fatal(err)
			}
			if got.key != want[i].key || string(got.data) != string(want[i].data) {
				t.Errorf("item %d is %+v, want %+v", i, got, want[i])
			}
		}
		if len(rest) != 0 {
			t.Errorf("%d bytes are left over", len(rest))
		}
	})
}

func TestNextIsTheVeryNextKey(t *testing.T) {
	const most = math.MaxUint64
	for _, c := range []struct{ k, want key }{
		{key{1, 2, 3}, key{1, 2, 4}},
		{key{1, 2, most}, key{1, 3, 0}},
		{key{1, 255, most}, key{2, 0, 0}},
	} {
		if got, ok := c.k.next(); !ok || got != c.want {
			t.Errorf("next of %+v = %+v, %v; want %+v", c.k, got, ok, c.want)
		}
		if c.k.compare(c.want) >= 0 || c.want.compare(c.k) <= 0 {
			t.Errorf("%+v does not stand before %+v", c.k, c.want)
		}
	}
	if _, ok := (key{most, 255, most}).next(); ok {
		t.Error("there is a key behind the last")
	}
}

// root makes a root item whose second generation is given.
func root(generation2 uint64, refs uint32) []byte {
	b := make([]byte, 439)
	le := binary.LittleEndian
	le.PutUint64(b[160:], 41)
	le.PutUint64(b[208:], 1)
	le.PutUint32(b[216:], refs)
	le.PutUint64(b[239:], generation2)
	b[247], b[263], b[279] = 0xaa, 0xbb, 0xcc
	for i := range uint64(4) {
		le.PutUint64(b[295+8*i:], 100+i)
		le.PutUint64(b[327+12*i:], 1000+i)
		le.PutUint32(b[327+12*i+8:], uint32(i))
	}
	return b
}

func TestParseRoot(t *testing.T) {
	at := func(i int64) time.Time { return time.Unix(1000+i, i).UTC() }
	whole := Subvolume{Generation: 41, ReadOnly: true, UUID: UUID{0xaa}, ParentUUID: UUID{0xbb}, ReceivedUUID: UUID{0xcc},
		CTransID: 100, OTransID: 101, STransID: 102, RTransID: 103, CTime: at(0), OTime: at(1), STime: at(2), RTime: at(3)}
	old := Subvolume{Generation: 41, ReadOnly: true}
	for name, c := range map[string]struct {
		data  []byte
		alive bool
		want  Subvolume
	}{
		"whole":                      {root(41, 1), true, whole},
		"deleted":                    {root(41, 0), false, whole},
		"written by an old kernel":   {root(40, 1), true, old},
		"made by an old kernel":      {root(41, 1)[:239], true, old},
		"cut in between, nothing of": {root(41, 1)[:300], true, old},
	} {
		var got Subvolume
		alive, err := got.parseRoot(c.data)
		if err != nil || alive != c.alive {
			t.Errorf("%s: alive %v, %v; want %v", name, alive, err, c.alive)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	if _, err := new(Subvolume).parseRoot(make([]byte, 238)); !errors.Is(err, errMalformed) {
		t.Errorf("238 bytes: %v, want errMalformed", err)
	}
}

func TestParseBackref(t *testing.T) {
	b := binary.LittleEndian.AppendUint64(nil, 256)
	b = binary.LittleEndian.AppendUint64(b, 3)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, "name and more"...)
	if dir, name, err := parseBackref(b); dir != 256 || name != "name" || err != nil {
		t.Errorf("parseBackref = %d, %q, %v", dir, name, err)
	}
	if _, _, err := parseBackref(b[:21]); !errors.Is(err, errMalformed) {
		t.Errorf("a name of 3 bytes out of 4: %v, want errMalformed", err)
	}
}

func TestParseQgroupItems(t *testing.T) {
	numbers := func(values ...uint64) (b []byte) {
		for _, v := range values {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		return b
	}
	var q Qgroup
	if err := q.parseInfo(numbers(9, 1000, 1001, 500, 501)); err != nil || q.Referenced != 1000 || q.Exclusive != 500 {
		t.Errorf("info: %+v, %v", q, err)
	}
	for flags, want := range map[uint64][2]Limit{
		0: {}, 1: {{true, 7}, {}}, 2: {{}, {true, 8}}, 3: {{true, 7}, {true, 8}}, 0xfc: {},
	} {
		var q Qgroup
		if err := q.parseLimit(numbers(flags, 7, 8, 0, 0)); err != nil || q.MaxReferenced != want[0] || q.MaxExclusive != want[1] {
			t.Errorf("limit with flags %d: %+v, %v; want %v", flags, q, err, want)
		}
	}
	if err := q.parseInfo(make([]byte, 39)); !errors.Is(err, errMalformed) {
		t.Errorf("short info: %v, want errMalformed", err)
	}
	if err := q.parseLimit(make([]byte, 39)); !errors.Is(err, errMalformed) {
		t.Errorf("short limit: %v, want errMalformed", err)
	}
	if got := QgroupID(3<<48 | 12).String(); got != "3/12" {
		t.Errorf("name %q, want 3/12", got)
	}
}

// chunkData makes a chunk item.
func chunkData(length uint64, flags BlockGroup, devices ...uint64) []byte {
	b := make([]byte, 48)
	le := binary.LittleEndian
	le.PutUint64(b, length)
	le.PutUint64(b[24:], uint64(flags))
	le.PutUint16(b[44:], uint16(len(devices)))
	for i, d := range devices {
		b = le.AppendUint64(b, d)
		b = le.AppendUint64(b, uint64(i)<<20)
		b = append(b, make([]byte, 16)...)
	}
	return b
}

func TestChunkParse(t *testing.T) {
	it := item{key{chunkObjects, chunkItem, 1 << 30}, chunkData(1<<20, Data|RAID1, 1, 2)}
	want := Chunk{Logical: 1 << 30, Length: 1 << 20, Flags: Data | RAID1, Stripes: []Stripe{{1, 0}, {2, 1 << 20}}}
	var got Chunk
	if err := got.parse(&it); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	it.data = it.data[:len(it.data)-1]
	if err := got.parse(&it); !errors.Is(err, errMalformed) {
		t.Errorf("cut: %v, want errMalformed", err)
	}
}

func TestStripeSize(t *testing.T) {
	const length = 12 << 20
	for _, c := range []struct {
		flags   BlockGroup
		stripes int
		want    uint64
	}{
		{Data, 1, length}, {Data | DUP, 2, length}, {Data | RAID1, 2, length}, {Data | RAID1C3, 3, length},
		{Data | RAID1C4, 4, length}, {Data | RAID0, 3, length / 3}, {Data | RAID10, 4, length / 2},
		{Data | RAID5, 3, length / 2}, {Data | RAID6, 5, length / 3}, {Data | RAID5, 1, length}, {Data | RAID6, 0, length},
	} {
		chunk := Chunk{Length: length, Flags: c.flags, Stripes: make([]Stripe, c.stripes)}
		if got := chunk.StripeSize(); got != c.want {
			t.Errorf("%s over %d: %d, want %d", c.flags.Profile(), c.stripes, got, c.want)
		}
	}
}

func TestBlockGroupNames(t *testing.T) {
	for g, want := range map[BlockGroup][2]string{
		Data: {"data", "single"}, Metadata | DUP: {"metadata", "dup"}, System | RAID1: {"system", "raid1"},
		Data | Metadata: {"data+metadata", "single"}, Data | RAID0: {"data", "raid0"}, Data | RAID10: {"data", "raid10"},
		Data | RAID5: {"data", "raid5"}, Data | RAID6: {"data", "raid6"}, Data | RAID1C3: {"data", "raid1c3"},
		Data | RAID1C4: {"data", "raid1c4"}, Metadata | GlobalReserve: {"global_reserve", "single"}, 1 << 20: {"", "single"},
	} {
		if got := [2]string{g.Type(), g.Profile()}; got != want {
			t.Errorf("%x is %q, want %q", uint64(g), got, want)
		}
	}
	if diff := cmp.Diff([]string{"single", "raid1", "raid10"}, (AvailSingle | RAID10 | RAID1).Profiles()); diff != "" {
		t.Errorf("profiles (-want +got)\n%s", diff)
	}
}

func TestParseDefault(t *testing.T) {
	b := make([]byte, 30)
	binary.LittleEndian.PutUint64(b, 259)
	binary.LittleEndian.PutUint16(b[27:], 7)
	if id, ok := parseDefault(append(b, "default"...)); !ok || id != 259 {
		t.Errorf("parseDefault = %d, %v; want 259", id, ok)
	}
	if _, ok := parseDefault(append(b, "another"...)); ok {
		t.Error("another name counts as the default")
	}
}

func TestBalanceArgs(t *testing.T) {
	a := BalanceArgs{UsageMin: 10, UsageMax: 50, LimitMin: 2, LimitMax: 9}
	if _, _, ok := a.Usage(); ok {
		t.Error("usage counts without its flag")
	}
	a.Flags = BalanceUsageRange | BalanceLimitRange
	if low, high, ok := a.Usage(); low != 10 || high != 50 || !ok {
		t.Errorf("usage range %d..%d, %v", low, high, ok)
	}
	if low, high, ok := a.Limit(); low != 2 || high != 9 || !ok {
		t.Errorf("limit range %d..%d, %v", low, high, ok)
	}
	a = BalanceArgs{UsageMin: 50, LimitMin: 9, Flags: BalanceUsage | BalanceLimit}
	if low, high, ok := a.Usage(); low != 0 || high != 50 || !ok {
		t.Errorf("usage %d..%d, %v", low, high, ok)
	}
	if low, high, ok := a.Limit(); low != 0 || high != 9 || !ok {
		t.Errorf("limit %d..%d, %v", low, high, ok)
	}
}

// FuzzItems decodes whatever a search may return with every decoder of items.
func FuzzItems(f *testing.F) {
	f.Add(found(item{key{257, rootItem, 0}, root(41, 1)}, item{key{257, rootBackref, 5}, []byte("12345678123456784\x00name")}))
	f.Add(found(item{key{chunkObjects, chunkItem, 0}, chunkData(1<<20, Data|RAID10, 1, 2, 3, 4)}))
	f.Add(found(item{key{0, qgroupInfo, 257}, make([]byte, 40)}, item{key{0, qgroupLimit, 257}, make([]byte, 40)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			it, rest, err := cutItem(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			decodeAll(t, &it)
			b = rest
		}
	})
}

func decodeAll(t *testing.T, it *item) {
	var s Subvolume
	if _, err := s.parseRoot(it.data); err == nil && len(it.data) < rootLegacySize {
		t.Error("a short root item was taken")
	}
	if _, name, err := parseBackref(it.data); err == nil && len(name)+18 > len(it.data) {
		t.Error("a name longer than the item")
	}
	var c Chunk
	if err := c.parse(it); err == nil && len(c.Stripes)*stripeSize+chunkHead > len(it.data) {
		t.Error("more stripes than the item has room for")
	}
	c.StripeSize()
	var q Qgroup
	if (q.parseInfo(it.data) == nil) != (len(it.data) >= 40) || (q.parseLimit(it.data) == nil) != (len(it.data) >= 40) {
		t.Error("a quota item of another length")
	}
	parseDefault(it.data)
}
