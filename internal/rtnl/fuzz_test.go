package rtnl

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// fuzzDecoder feeds a decoder with captured messages and what the fuzzer makes of them. Whatever comes,
// it must not panic, must not change the message, and must fail with ErrMalformed alone.
func fuzzDecoder(f *testing.F, sort string, decode func([]byte) error) {
	for _, messages := range captured(f, sort) {
		for _, b := range messages {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		// Behind the message lie bytes that are not its own.
		err := decode(append(b, 0xff, 0xff, 0xff, 0xff)[:len(b):len(b)])
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v", err)
		}
		if !bytes.Equal(b, before) {
			t.Error("the message was changed")
		}
	})
}

func FuzzLink(f *testing.F) {
	var l Link // one row for all, as in a dump
	fuzzDecoder(f, "links", func(b []byte) error {
		if err := l.decode(b); err != nil {
			return err
		}
		if _, err := decodeKind(&l); err != nil {
			return err
		}
		_, err := decodePort(&l)
		return err
	})
}

func FuzzAddress(f *testing.F) {
	var a Address
	fuzzDecoder(f, "addresses", func(b []byte) error {
		err := a.decode(b)
		if err == nil && (!a.Local.IsValid() || a.PrefixLen > a.Local.BitLen()) {
			f.Errorf("%s/%d", a.Local, a.PrefixLen)
		}
		return err
	})
}

func FuzzRoute(f *testing.F) {
	var r Route
	fuzzDecoder(f, "routes", func(b []byte) error {
		filter := RouteFilter{Family: unix.AF_INET, Table: 254, Dst: r.Dst}
		_, _ = filter.mayWant(b), filter.passed(b)
		err := r.decode(b)
		if err == nil && !r.Dst.IsValid() {
			f.Errorf("destination %s", r.Dst)
		}
		return err
	})
}

func FuzzNeighbor(f *testing.F) {
	var n Neighbor
	fuzzDecoder(f, "neighbors", func(b []byte) error {
		err := n.decode(b)
		if err == nil && !n.Addr.IsValid() {
			f.Errorf("address %s", n.Addr)
		}
		return err
	})
}

func FuzzVLANs(f *testing.F) {
	var v InterfaceVLANs
	fuzzDecoder(f, "countvlans", func(b []byte) error {
		err := v.decode(b)
		for i := range v.VLANs {
			if vlan := &v.VLANs[i]; err == nil && (vlan.First > vlan.Last || vlan.Last > MaxVLAN) {
				f.Errorf("%d to %d", vlan.First, vlan.Last)
			}
		}
		return err
	})
}

func FuzzGlobalVLANs(f *testing.F) {
	var v GlobalVLANs
	fuzzDecoder(f, "globalvlans", func(b []byte) error {
		err := v.decode(b)
		for i := range v.VLANs {
			if vlan := &v.VLANs[i]; err == nil && (vlan.First > vlan.Last || vlan.Last > MaxVLAN) {
				f.Errorf("%d to %d", vlan.First, vlan.Last)
			}
		}
		return err
	})
}

// FuzzKind tries the options of every kind on every input.
func FuzzKind(f *testing.F) {
	kinds := []string{"bridge", "vlan", "vrf", "bond", "vxlan", "tun", "macvlan", "ipvlan", "ipip", "sit", "ip6tnl", "gre", "ip6gre", "vti", "geneve", "xfrm",
		"macsec", "hsr", "ipoib", "netkit", "bareudp", "gtp", "rmnet", "dsa"}
	for _, messages := range captured(f, "links") {
		for _, b := range messages {
			var l Link
			if l.decode(b) != nil {
				continue
			}
			f.Add(bytes.Clone(l.Data))
			f.Add(bytes.Clone(l.PortData))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range kinds {
			if _, err := decodeKind(&Link{Kind: kind, Data: data}); err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", kind, err)
			}
		}
		for _, kind := range []string{"bond", "bridge", "vrf"} {
			if _, err := decodePort(&Link{PortKind: kind, PortData: data}); err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("port of a %s: %v", kind, err)
			}
		}
	})
}
