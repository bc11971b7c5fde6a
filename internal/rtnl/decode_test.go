package rtnl

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// attr is one netlink attribute, for messages that no kernel sends.
func attr(typ uint16, value ...byte) []byte {
	b := native.AppendUint16(nil, uint16(4+len(value)))
	b = native.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func TestRouteMalformed(t *testing.T) {
	header := func(family, dstLen byte) []byte { return []byte{family, dstLen, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0} }
	for name, b := range map[string][]byte{
		"nothing":                       nil,
		"a short header":                make([]byte, 11),
		"another family":                header(unix.AF_BRIDGE, 0),
		"a length beyond the address":   header(unix.AF_INET, 33),
		"a length beyond it, IPv6":      header(unix.AF_INET6, 129),
		"an address of another size":    join(header(unix.AF_INET, 24), attr(unix.RTA_DST, 1, 2, 3)),
		"an attribute cut":              append(header(unix.AF_INET, 0), 8, 0, 1, 0, 1),
		"a number cut":                  join(header(unix.AF_INET, 0), attr(unix.RTA_OIF, 1, 2)),
		"cache information cut":         join(header(unix.AF_INET, 0), attr(unix.RTA_CACHEINFO, 1, 2)),
		"a metric cut":                  join(header(unix.AF_INET, 0), attr(unix.RTA_METRICS, attr(unix.RTAX_MTU, 1)...)),
		"a next hop cut":                join(header(unix.AF_INET, 0), attr(unix.RTA_MULTIPATH, 8, 0, 0)),
		"a next hop longer than itself": join(header(unix.AF_INET, 0), attr(unix.RTA_MULTIPATH, 16, 0, 0, 0, 1, 0, 0, 0)),
		"a next hop of nothing":         join(header(unix.AF_INET, 0), attr(unix.RTA_MULTIPATH, 0, 0, 0, 0, 1, 0, 0, 0)),
	} {
		var r Route
		if err := r.decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
	}
}

func TestRouteForgetsTheRowBefore(t *testing.T) {
	header := []byte{unix.AF_INET, 8, 0, 4, 254, 4, 0, 1, 0, 0, 0, 0}
	var r, fresh Route
	full := join(header, attr(unix.RTA_DST, 10, 0, 0, 0), attr(unix.RTA_GATEWAY, 10, 0, 0, 1), attr(unix.RTA_PRIORITY, 1, 0, 0, 0),
		attr(unix.RTA_METRICS, attr(unix.RTAX_MTU, 1, 2, 3, 4)...), attr(unix.RTA_MULTIPATH, 8, 0, 0, 1, 1, 0, 0, 0))
	plain := []byte{unix.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0}
	for _, b := range [][]byte{full, plain} {
		if err := r.decode(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := fresh.decode(plain); err != nil {
		t.Fatal(err)
	}
	r.NextHops = nil // memory kept for the next row
	if diff := cmp.Diff(fresh, r, cmp.AllowUnexported(Route{}, Metrics{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("left over:\n%s", diff)
	}
}

func TestAddressMalformed(t *testing.T) {
	header := func(family, length byte) []byte { return []byte{family, length, 0, 0, 1, 0, 0, 0} }
	for name, b := range map[string][]byte{
		"a short header":              {unix.AF_INET, 24, 0},
		"another family":              header(unix.AF_BRIDGE, 0),
		"no address":                  header(unix.AF_INET, 24),
		"a length beyond the address": join(header(unix.AF_INET, 33), attr(unix.IFA_LOCAL, 10, 0, 0, 1)),
		"an attribute cut":            append(header(unix.AF_INET, 24), 8, 0, 1, 0, 1),
	} {
		var a Address
		if err := a.decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
	}
}

func TestLinkMalformed(t *testing.T) {
	header := make([]byte, unix.SizeofIfInfomsg)
	for name, b := range map[string][]byte{
		"a short header":     make([]byte, 15),
		"an attribute cut":   append(header[:16:16], 8, 0, 1, 0, 1),
		"a number cut":       join(header, attr(unix.IFLA_MTU, 1)),
		"kind data cut":      join(header, attr(unix.IFLA_LINKINFO, 9, 0, 1, 0)),
		"names cut":          join(header, attr(unix.IFLA_PROP_LIST, 9, 0, 1, 0)),
		"family data cut":    join(header, attr(unix.IFLA_AF_SPEC, attr(unix.AF_INET6, 9, 0, 1, 0)...)),
		"XDP cut":            join(header, attr(unix.IFLA_XDP, 9, 0, 1, 0)),
		"functions cut":      join(header, attr(unix.IFLA_VFINFO_LIST, attr(unix.IFLA_VF_INFO, 9, 0, 1, 0)...)),
		"reasons for no cut": join(header, attr(unix.IFLA_PROTO_DOWN_REASON, 9, 0, 1, 0)),
	} {
		var l Link
		if err := l.decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
	}
}

// TestVirtualFunctions: no machine of ours has a card with them. The layout is that of linux/if_link.h.
func TestVirtualFunctions(t *testing.T) {
	u32 := func(list ...uint32) (b []byte) {
		for _, v := range list {
			b = native.AppendUint32(b, v)
		}
		return b
	}
	mac := append(u32(3), 0x52, 0x54, 0, 1, 2, 3)
	mac = append(mac, make([]byte, 26)...)
	vlanInfo := append(u32(3, 100, 5), 0x88, 0xa8, 0, 0)
	info := join(attr(unix.IFLA_VF_MAC, mac...), attr(unix.IFLA_VF_VLAN, u32(3, 100, 5)...),
		attr(unix.IFLA_VF_VLAN_LIST, attr(unix.IFLA_VF_VLAN_INFO, vlanInfo...)...),
		attr(unix.IFLA_VF_RATE, u32(3, 10, 200)...), attr(unix.IFLA_VF_SPOOFCHK, u32(3, 1)...),
		attr(unix.IFLA_VF_LINK_STATE, u32(3, 2)...), attr(unix.IFLA_VF_TRUST, u32(3, 1)...), attr(unix.IFLA_VF_RSS_QUERY_EN, u32(3, 0)...))
	b := join(make([]byte, unix.SizeofIfInfomsg), attr(unix.IFLA_NUM_VF, u32(1)...),
		attr(unix.IFLA_VFINFO_LIST, attr(unix.IFLA_VF_INFO, info...)...))
	var l Link
	if err := l.decode(b); err != nil {
		t.Fatal(err)
	}
	if len(l.VFs) != 1 || l.NumVF != 1 {
		t.Fatalf("%d functions of %d", len(l.VFs), l.NumVF)
	}
	v := l.VFs[0]
	if v.Number != 3 || v.Addr[0] != 0x52 || v.VLAN != 100 || v.QoS != 5 || v.VLANProtocol != 0x88a8 ||
		v.MinTxRate != 10 || v.MaxTxRate != 200 || !v.SpoofCheck || v.LinkStateName() != "disable" || !v.Trust || v.QueryRSS {
		t.Errorf("%+v", v)
	}
	for _, typ := range []uint16{unix.IFLA_VF_VLAN, unix.IFLA_VF_VLAN_LIST, unix.IFLA_VF_RATE, unix.IFLA_VF_SPOOFCHK,
		unix.IFLA_VF_LINK_STATE, unix.IFLA_VF_TRUST, unix.IFLA_VF_RSS_QUERY_EN} {
		if !v.Has(typ) {
			t.Errorf("has no attribute %d", typ)
		}
	}
}

func TestMetrics(t *testing.T) {
	var m Metrics
	err := m.decode(join(attr(unix.RTAX_LOCK, 4, 0, 0, 0), attr(unix.RTAX_MTU, 0x78, 5, 0, 0), attr(unix.RTAX_CC_ALGO, []byte("cubic\x00")...), attr(99, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := m.Get(unix.RTAX_MTU); v != 1400 || !ok || !m.Locked(unix.RTAX_MTU) || m.Locked(unix.RTAX_WINDOW) || m.CongestionControl != "cubic" || m.IsZero() {
		t.Errorf("%+v", m)
	}
	for _, rtax := range []int{-1, 18, unix.RTAX_WINDOW} {
		if v, ok := m.Get(rtax); ok {
			t.Errorf("metric %d: %d", rtax, v)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		ProtocolName(16):                   "dhcp",
		ProtocolName(250):                  "250",
		ScopeName(0):                       "global",
		ScopeName(254):                     "host",
		ScopeName(99):                      "99",
		RouteTypeName(6):                   "blackhole",
		RouteTypeName(77):                  "77",
		EncapName(5):                       "seg6",
		EncapName(50):                      "50",
		AddrGenModeName(2):                 "stable_secret",
		OperStateName(6) + "!":             "up!",
		OperStateName(66):                  "unknown",
		LinkModeName(1) + "!":              "dormant!",
		AddressProtocolName(3):             "kernel_ll",
		AddressProtocolName(0) + "no":      "no",
		XDPModeName(2):                     "generic",
		LinkTypeName(unix.ARPHRD_LOOPBACK): "loopback",
		LinkTypeName(12345):                "12345",
		TagName(0x8100):                    "802.1Q",
		TagName(0x88a8):                    "802.1ad",
		TagName(0x0123):                    "0x0123",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for n := range 256 {
		if back, ok := ParseProtocol(ProtocolName(uint8(n))); !ok || back != uint8(n) {
			t.Errorf("protocol %d is %q, which is %d", n, ProtocolName(uint8(n)), back)
		}
	}
	for _, s := range []string{"", "256", "-1", "nobody", "0x10"} {
		if n, ok := ParseProtocol(s); ok {
			t.Errorf("protocol %q is %d", s, n)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, test := range []struct{ got, want []string }{
		{AppendLinkFlags(nil, 0x11043), []string{"up", "broadcast", "running", "multicast", "lower_up"}},
		{AppendLinkFlags([]string{"x"}, 1<<31), []string{"x", "bit_31"}},
		{AppendRouteFlags(nil, unix.RTNH_F_ONLINK|unix.RTM_F_OFFLOAD_FAILED|1<<7), []string{"onlink", "bit_7", "rt_offload_failed"}},
		{AppendAddressFlags(nil, 0x81, unix.AF_INET), []string{"secondary", "permanent"}},
		{AppendAddressFlags(nil, 0x81, unix.AF_INET6), []string{"temporary", "permanent"}},
		{AppendAddressFlags(nil, 0, unix.AF_INET), nil},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestNeighborMalformed(t *testing.T) {
	header := func(family byte) []byte { return []byte{family, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 1} }
	address := attr(unix.NDA_DST, 10, 0, 0, 1)
	for name, b := range map[string][]byte{
		"a short header":                {unix.AF_INET, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0},
		"another family":                join(header(unix.AF_BRIDGE), address),
		"no address":                    header(unix.AF_INET),
		"an address of another family":  join(header(unix.AF_INET6), address),
		"an attribute cut":              append(join(header(unix.AF_INET), address), 8, 0, 2, 0, 1),
		"times cut":                     join(header(unix.AF_INET), address, attr(unix.NDA_CACHEINFO, 1, 2)),
		"flags cut":                     join(header(unix.AF_INET), address, attr(ndaFlagsExt, 1)),
		"a protocol that has no length": join(header(unix.AF_INET), address, attr(ndaProtocol)),
	} {
		var n Neighbor
		if err := n.decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
	}
}

func TestNeighborNames(t *testing.T) {
	for state, want := range map[uint16]string{0: "none", unix.NUD_REACHABLE: "reachable", unix.NUD_PERMANENT: "permanent",
		unix.NUD_NOARP | unix.NUD_STALE: "noarp", 0x100: "", 0x100 | unix.NUD_FAILED: "failed"} {
		if got := NeighborStateName(state); got != want {
			t.Errorf("state %#x: %q, want %q", state, got, want)
		}
	}
	header := []byte{unix.AF_INET, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0xc0, 1}
	var n Neighbor
	if err := n.decode(join(header, attr(unix.NDA_DST, 10, 0, 0, 1), attr(ndaFlagsExt, 0x0f, 0, 0, 0))); err != nil {
		t.Fatal(err)
	}
	want := []string{"sticky", "router", "managed", "locked", "ext_validated", "bit_11"} // bits 6 and 7, and NTF_EXT_FLAGS from bit 8 on
	if diff := cmp.Diff(want, AppendNeighborFlags(nil, n.Flags)); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}
