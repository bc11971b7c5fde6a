package nft

import (
	"bytes"
	"errors"
	"syscall"
)

// intervals joins what the kernel keeps of a set with intervals: an element where an interval begins
// and another, of the flag NFT_SET_ELEM_INTERVAL_END, behind its last key. They come from the highest
// key to the lowest (nft_set_rbtree.c), so an interval ends before whatever came last, and the first one
// at the highest key there is.
type intervals struct {
	on   bool
	size int
	last []byte // key of the element before, of either sort; empty: there was none
	end  []byte // memory for KeyEnd
}

// take completes e and reports whether it is an element to be yielded.
func (i *intervals) take(e *Element) bool {
	if i.on && !e.CatchAll {
		return i.join(e)
	}
	if bytes.Equal(e.KeyEnd, e.Key) {
		e.KeyEnd = nil // a part of a concatenation that is one key says so twice
	}
	return true
}

func (i *intervals) join(e *Element) bool {
	begins := e.flags&elemIntervalEnd == 0
	if begins {
		i.end = append(i.end[:0], i.last...)
		if len(i.end) == 0 {
			i.end = append(i.end, bytes.Repeat([]byte{0xff}, max(i.size, len(e.Key)))...)
		} else {
			decrement(i.end)
		}
		if !bytes.Equal(i.end, e.Key) {
			e.KeyEnd = i.end
		}
	}
	i.last = append(i.last[:0], e.Key...)
	return begins
}

// decrement takes one from a number in network order; what stands before 0 is the highest.
func decrement(b []byte) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			return
		}
	}
}

// isGone tells that the table or set went after it had been listed.
func isGone(err error) bool { return errors.Is(err, syscall.ENOENT) }
