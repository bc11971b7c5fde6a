package ct

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Filter says which entries a dump yields; its parts are joined by and. The zero Filter wants all.
type Filter struct {
	Family   uint8   // AF_INET or AF_INET6; 0: both
	Zone     *uint16 // nil: every zone. An entry's zone of one direction counts too
	Protocol *uint8  // nil: every IP protocol

	Mark, MarkMask     uint32 // mark & MarkMask == Mark; MarkMask 0: every mark
	Status, StatusMask uint32 // likewise; what lacks a status or mark has 0

	Source, Destination netip.Prefix // of the original direction; not valid: every address
}

// family is the filter's, or the one that its addresses leave.
func (f *Filter) family() uint8 {
	for _, p := range []netip.Prefix{f.Source, f.Destination} {
		switch {
		case f.Family != 0 || !p.IsValid():
		case p.Addr().Is4():
			return unix.AF_INET
		default:
			return unix.AF_INET6
		}
	}
	return f.Family
}

// needsHelp tells whether push appends anything.
func (f *Filter) needsHelp() bool {
	return f.Zone != nil || f.MarkMask != 0 || f.StatusMask != 0 || f.tupleFlags() != 0
}

// push asks the kernel for less. It knows families and marks since 3.x, tuples (CTA_FILTER) since 5.8,
// status since 5.15 and zones since 6.8.
func (f *Filter) push(req *nlsock.Request) {
	if f.Zone != nil {
		req.BigUint16(AttrZone, *f.Zone)
	}
	if f.MarkMask != 0 {
		req.BigUint32(AttrMark, f.Mark)
		req.BigUint32(attrMarkMask, f.MarkMask)
	}
	if f.StatusMask != 0 {
		req.BigUint32(AttrStatus, f.Status)
		req.BigUint32(attrStatusMask, f.StatusMask)
	}
	if flags := f.tupleFlags(); flags != 0 {
		req.Nest(attrFilter, func() { req.Uint32(attrFilterOrigFlags, flags) })
		req.Nest(AttrTupleOrig, func() { f.pushTuple(req, flags) })
	}
}

// tupleFlags are the parts of the original tuple that the kernel is asked for. It compares whole
// addresses, so networks are not among them; nor are IPv6 addresses, of which kernels (6.18 still) yield
// those that differ: ctnetlink_filter_match_tuple has the comparison the wrong way round.
func (f *Filter) tupleFlags() (flags uint32) {
	if exactIPv4(f.Source) {
		flags |= filterSrc
	}
	if exactIPv4(f.Destination) {
		flags |= filterDst
	}
	if f.Protocol != nil {
		flags |= filterProto
	}
	return flags
}

func exactIPv4(p netip.Prefix) bool { return p.IsValid() && p.IsSingleIP() && p.Addr().Is4() }

func (f *Filter) pushTuple(req *nlsock.Request, flags uint32) {
	if flags&(filterSrc|filterDst) != 0 {
		req.Nest(tupleIP, func() {
			if flags&filterSrc != 0 {
				req.Bytes(ipV4Src, f.Source.Addr().AsSlice())
			}
			if flags&filterDst != 0 {
				req.Bytes(ipV4Dst, f.Destination.Addr().AsSlice())
			}
		})
	}
	if flags&filterProto != 0 {
		req.Nest(tupleProto, func() { req.Uint8(protoNum, *f.Protocol) })
	}
}

func (f *Filter) wants(e *Entry) bool {
	return (f.Family == 0 || f.Family == e.Family) &&
		(f.Zone == nil || *f.Zone == e.ZoneID()) &&
		(f.Protocol == nil || *f.Protocol == e.Original.Proto) &&
		e.Mark&f.MarkMask == f.Mark &&
		e.Status&f.StatusMask == f.Status &&
		within(e.Original.Src, f.Source) &&
		within(e.Original.Dst, f.Destination)
}

func within(a netip.Addr, p netip.Prefix) bool { return !p.IsValid() || p.Contains(a) }
