package rtnl

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"
)

// LeasedAddress is an IPv4 or IPv6 address that an interface has for a time.
type LeasedAddress struct {
	Address   netip.Prefix
	Broadcast netip.Addr // not valid: the last address of the network, where that has one
	Protocol  uint8      // IFA_PROTO, which kernels before 5.18 pass over
	Metric    uint32     // of the route to the network (IFA_RT_PRIORITY); 0: the kernel's
	Preferred uint32     // seconds; Forever
	Valid     uint32     // seconds, at least 1; Forever. The kernel takes the address away after them
}

// PutAddress gives an interface an address, or sets lifetimes and metric of one that it has.
func (c *Conn) PutAddress(ctx context.Context, index int, a LeasedAddress) error {
	req := c.addressRequest("put address "+a.Address.String(), unix.RTM_NEWADDR, index, a.Address)
	if a.Address.Addr().Is4() {
		b, ok := a.Broadcast, a.Broadcast.Is4()
		if !ok {
			b, ok = broadcast(a.Address)
		}
		if ok {
			req.Bytes(unix.IFA_BROADCAST, b.AsSlice())
		}
	}
	if a.Metric != 0 {
		req.Uint32(unix.IFA_RT_PRIORITY, a.Metric)
	}
	// struct ifa_cacheinfo: preferred, valid, and two time stamps that the kernel sets
	info := native.AppendUint32(nil, a.Preferred)
	info = native.AppendUint32(info, a.Valid)
	req.Bytes(unix.IFA_CACHEINFO, append(info, make([]byte, 8)...))
	req.Uint8(ifaProto, a.Protocol)
	_, err := c.change(ctx, req, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	return err
}
