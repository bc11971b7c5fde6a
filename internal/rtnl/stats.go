package rtnl

// Stats is struct rtnl_link_stats64 (IFLA_STATS64): an interface's counters since it was made, by
// their place in it.
type Stats [numStats]uint64

// The counters, in the order of linux/if_link.h. Kernels before 4.6 end after TxCompressed, those
// before 5.19 after RxNoHandler.
const (
	RxPackets = iota
	TxPackets
	RxBytes
	TxBytes
	RxErrors
	TxErrors
	RxDropped
	TxDropped
	Multicast
	Collisions
	RxLengthErrors
	RxOverErrors
	RxCRCErrors
	RxFrameErrors
	RxFIFOErrors
	RxMissedErrors
	TxAbortedErrors
	TxCarrierErrors
	TxFIFOErrors
	TxHeartbeatErrors
	TxWindowErrors
	RxCompressed
	TxCompressed
	RxNoHandler
	RxOtherHostDropped
	numStats
)

// decode reads as many counters as the kernel has, and says how many.
func (s *Stats) decode(b []byte) int {
	n := min(len(b)/8, numStats)
	for i := range n {
		s[i] = native.Uint64(b[8*i:])
	}
	return n
}
