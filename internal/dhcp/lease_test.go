package dhcp

import (
	"encoding/json"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var sameAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func option(code uint8, b ...byte) dhcpv4.Option {
	return dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), b)
}

func TestLeaseOfAMessage(t *testing.T) {
	d := reply(dhcpv4.TransactionID{}, dhcpv4.MessageTypeAck, a5, s1,
		option(3, 192, 0, 2, 1, 192, 0, 2, 1, 192, 0, 2, 2), option(6, 192, 0, 2, 53, 0, 0, 0, 0), option(15, []byte("example.net\x00")...),
		option(26, 5, 100), option(28, 192, 0, 2, 255), option(58, 0, 0, 0, 10), option(59, 0, 0, 0, 20), option(12, []byte("node")...),
		option(119, 1, 'a', 4, 't', 'e', 's', 't', 0, 1, 'b', 0xc0, 2),
		option(121, 16, 10, 9, 192, 0, 2, 7, 0, 192, 0, 2, 1, 32, 192, 0, 2, 8, 0, 0, 0, 0, 20, 10, 8, 255, 192, 0, 2, 7))
	d.ServerIPAddr, d.GatewayIPAddr = net.IPv4(192, 0, 2, 3), net.IPv4(192, 0, 2, 4)
	got, err := leaseOf(d, epoch)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	want := &Lease{
		Address: netip.MustParsePrefix("192.0.2.5/24"), Server: addr(s1), NextServer: addr("192.0.2.3"), Relay: addr("192.0.2.4"),
		Routers: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")}, Classless: true,
		Routes: []Route{
			{netip.MustParsePrefix("10.9.0.0/16"), addr("192.0.2.7")}, {netip.MustParsePrefix("0.0.0.0/0"), addr("192.0.2.1")},
			{netip.MustParsePrefix("192.0.2.8/32"), netip.Addr{}}, {netip.MustParsePrefix("10.8.240.0/20"), addr("192.0.2.7")},
		},
		DNS: []netip.Addr{addr("192.0.2.53")}, Domain: "example.net", Search: []string{"a.test", "b.test"}, Hostname: "node", MTU: 1380,
		Broadcast: addr("192.0.2.255"), Lifetime: 1000,
		Obtained: epoch, Renew: epoch.Add(10 * time.Second), Rebind: epoch.Add(20 * time.Second), Expires: epoch.Add(1000 * time.Second),
	}
	if diff := cmp.Diff(want, got, sameAddresses); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want.Routes, got.DefaultRoutes(), sameAddresses); diff != "" { // no router of option 3
		t.Error(diff)
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again Lease
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, &again, sameAddresses); diff != "" {
		t.Errorf("kept as JSON: %s", diff)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	type result struct {
		Address string
		T1, T2  time.Duration
		Routes  []string
		Search  []string
		Domain  string
		MTU     uint16
	}
	usual := result{Address: "192.0.2.5/24", T1: 500 * time.Second, T2: 875 * time.Second}
	for name, c := range map[string]struct {
		options []dhcpv4.Option
		want    func(*result)
	}{
		"times out of order":          {[]dhcpv4.Option{option(58, 0, 0, 3, 0), option(59, 0, 0, 2, 0)}, func(r *result) { r.T1, r.T2 = 512*4*time.Second/7, 512*time.Second }},
		"times after the end":         {[]dhcpv4.Option{option(58, 0, 1, 0, 0), option(59, 0, 2, 0, 0)}, func(*result) {}},
		"times that are cut off":      {[]dhcpv4.Option{option(58, 0, 1), option(59)}, func(*result) {}},
		"a mask with a hole":          {[]dhcpv4.Option{option(1, 255, 0, 255, 0)}, func(*result) {}},
		"no mask":                     {[]dhcpv4.Option{option(1)}, func(*result) {}},
		"a mask of one":               {[]dhcpv4.Option{option(1, 255, 255, 255, 255)}, func(r *result) { r.Address = "192.0.2.5/32" }},
		"a small MTU":                 {[]dhcpv4.Option{option(26, 0, 68)}, func(*result) {}},
		"half a route":                {[]dhcpv4.Option{option(121, 24, 10, 0, 0, 192, 0, 2, 1, 8, 10), option(3, 192, 0, 2, 1)}, func(r *result) { r.Routes = []string{"0.0.0.0/0 192.0.2.1"} }},
		"a route too long":            {[]dhcpv4.Option{option(121, 33, 10, 0, 0, 0, 0, 192, 0, 2, 1)}, func(*result) {}},
		"the same route twice":        {[]dhcpv4.Option{option(121, 8, 10, 192, 0, 2, 1, 8, 10, 192, 0, 2, 2)}, func(r *result) { r.Routes = []string{"10.0.0.0/8 192.0.2.1"} }},
		"static routes":               {[]dhcpv4.Option{option(33, 10, 0, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0, 192, 0, 2, 1, 172, 16, 1, 1, 192, 0, 2, 2)}, func(r *result) { r.Routes = []string{"10.0.0.0/8 192.0.2.1", "172.16.1.1/32 192.0.2.2"} }},
		"static routes that are none": {[]dhcpv4.Option{option(33, 10, 0, 0, 0)}, func(*result) {}},
		"names with a line break":     {[]dhcpv4.Option{option(15, []byte("a\nnameserver 6.6.6.6")...), option(119, 3, 'a', '\n', 'b', 0)}, func(*result) {}},
		"names that lead in a circle": {[]dhcpv4.Option{option(119, 1, 'a', 0xc0, 0)}, func(*result) {}},
	} {
		l, err := leaseOf(reply(dhcpv4.TransactionID{}, dhcpv4.MessageTypeAck, a5, s1, c.options...), epoch)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := result{Address: l.Address.String(), T1: l.Renew.Sub(epoch), T2: l.Rebind.Sub(epoch), Search: l.Search, Domain: l.Domain, MTU: l.MTU}
		for _, r := range l.DefaultRoutes() {
			got.Routes = append(got.Routes, r.Dst.String()+" "+r.Gateway.String())
		}
		want := usual
		c.want(&want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// FuzzMessage reads any bytes as a message, as they come from the wire, and gives it to machines in every state.
func FuzzMessage(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak} {
		f.Add(reply(dhcpv4.TransactionID{}, kind, a5, s1, option(121, 16, 10, 9, 192, 0, 2, 7), option(119, 1, 'a', 0, 0xc0, 0), option(26, 5, 0)).ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		if l, err := leaseOf(d, epoch); err == nil {
			checkLease(t, l)
		}
		for _, before := range []int{0, 1, 2, 3, len(dora)} {
			m := NewMachine(steady(), nil, false, netip.Addr{})
			play(t, m, dora[:before])
			m.Receive(epoch.Add(10*time.Second), d)
			m.Tick(m.Deadline())
		}
	})
}

func checkLease(t *testing.T, l *Lease) {
	t.Helper()
	if !l.Address.IsValid() || !l.Server.Is4() || l.Lifetime == 0 {
		t.Fatalf("no lease: %+v", l)
	}
	if l.Lifetime != Forever && (!l.Renew.After(l.Obtained) || !l.Rebind.After(l.Renew) || !l.Expires.After(l.Rebind)) {
		t.Fatalf("out of order: %+v", l)
	}
	for _, r := range l.DefaultRoutes() {
		if r.Dst != r.Dst.Masked() {
			t.Fatalf("no network: %v", r.Dst)
		}
	}
	for _, n := range append(l.Search, l.Domain) {
		if n != "" && len(domainNames([]string{n})) != 1 {
			t.Fatalf("no name: %q", n)
		}
	}
}

func FuzzARP(f *testing.F) {
	f.Add(appendARP(nil, ARP{Request: true, SenderMAC: ownMAC, Target: netip.MustParseAddr(a5)}))
	f.Add(appendARP(nil, ARP{SenderMAC: otherMAC, Sender: netip.MustParseAddr(a5), Target: netip.MustParseAddr(a6)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseARP(b)
		if err != nil {
			return
		}
		again, err := parseARP(appendARP(nil, a))
		if diff := cmp.Diff(a, again, sameAddresses); err != nil || diff != "" {
			t.Fatalf("%v %s", err, diff)
		}
	})
}
