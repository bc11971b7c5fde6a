package btrfs

import (
	"context"
	"encoding/binary"
	"iter"
)

// Chunk is struct btrfs_chunk: a stretch of the filesystem's address space and where it lies.
type Chunk struct {
	Logical uint64 // where it begins in the address space
	Length  uint64 // bytes, each counted once
	Flags   BlockGroup
	Stripes []Stripe
}

// Stripe is a chunk's part on one device.
type Stripe struct {
	Device uint64
	Offset uint64 // bytes from the device's start
}

// StripeSize is how many bytes the chunk takes of the device for each of its stripes.
func (c *Chunk) StripeSize() uint64 {
	data := uint64(1)
	switch n := uint64(len(c.Stripes)); {
	case c.Flags&(RAID5|RAID6) != 0:
		data = n - min(n, c.Flags.Parities())
	case c.Flags&(RAID0|RAID10) != 0:
		data = n / c.Flags.Copies()
	}
	return c.Length / max(data, 1)
}

const (
	chunkHead  = 48 // struct btrfs_chunk without its stripes
	stripeSize = 32
)

// parse reads a chunk item: length, owner, stripe length, type, three sizes for I/O, the number of
// stripes and of sub-stripes; then the stripes, each a device, an offset and the device's UUID.
func (c *Chunk) parse(it *item) error {
	b := it.data
	if len(b) < chunkHead {
		return errMalformed
	}
	le := binary.LittleEndian
	*c = Chunk{Logical: it.offset, Length: le.Uint64(b), Flags: BlockGroup(le.Uint64(b[24:])), Stripes: c.Stripes[:0]}
	n := int(le.Uint16(b[44:]))
	if len(b) < chunkHead+n*stripeSize {
		return errMalformed
	}
	for b = b[chunkHead:]; n > 0; n, b = n-1, b[stripeSize:] {
		c.Stripes = append(c.Stripes, Stripe{Device: le.Uint64(b), Offset: le.Uint64(b[8:])})
	}
	return nil
}

// Chunks walks all chunks in the order of their addresses. The Chunk is used again for the next, its
// stripes too. An error is the last element.
func (f *Filesystem) Chunks(ctx context.Context) iter.Seq2[*Chunk, error] {
	return func(yield func(*Chunk, error) bool) {
		c := f.search(ctx, "read chunk tree of", chunkTree, key{chunkObjects, chunkItem, 0}, key{chunkObjects, chunkItem, ^uint64(0)})
		defer c.close()
		var chunk Chunk
		for c.next() {
			if err := chunk.parse(&c.item); err != nil {
				yield(nil, c.wrap(err))
				return
			}
			if !yield(&chunk, nil) {
				return
			}
		}
		if c.err != nil {
			yield(nil, c.err)
		}
	}
}
