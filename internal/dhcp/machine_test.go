package dhcp

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	ownMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	otherMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	epoch    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// reply makes a server's message: kind, address and server, and options over it.
func reply(xid dhcpv4.TransactionID, kind dhcpv4.MessageType, address, server string, more ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	d := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootReply, HWType: 1, TransactionID: xid, ClientHWAddr: ownMAC, Options: dhcpv4.Options{}}
	d.UpdateOption(dhcpv4.OptMessageType(kind))
	d.UpdateOption(dhcpv4.OptServerIdentifier(net.ParseIP(server)))
	if kind != dhcpv4.MessageTypeNak {
		d.YourIPAddr = net.ParseIP(address)
		d.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
		d.UpdateOption(dhcpv4.OptIPAddressLeaseTime(1000 * time.Second))
	}
	for _, o := range more {
		d.UpdateOption(o)
	}
	return d
}

// told is an action in words.
func told(a Action) string {
	switch a := a.(type) {
	case Probe:
		return "probe " + a.Address.String()
	case Announce:
		return "announce " + a.Address.String()
	case Bind:
		return fmt.Sprint("bind ", a.Lease.Address)
	case Unbind:
		return fmt.Sprint("unbind ", a.Lease.Address, " ", a.Why)
	case Send:
		return toldMessage(a)
	}
	return fmt.Sprintf("%T", a)
}

func toldMessage(a Send) string {
	d := a.Message
	words := []string{strings.ToLower(d.MessageType().String())}
	if ip := d.RequestedIPAddress(); ip != nil {
		words = append(words, ip.String())
	}
	if ip := d.ServerIdentifier(); ip != nil {
		words = append(words, "of", ip.String())
	}
	if !d.ClientIPAddr.IsUnspecified() {
		words = append(words, "ciaddr", d.ClientIPAddr.String())
	}
	if a.To.IsValid() {
		words = append(words, "to", a.To.String())
	}
	if string(d.Options.Get(dhcpv4.OptionClientIdentifier)) != "\x01\x02\x00\x00\x00\x00\x01" {
		words = append(words, "without its client id")
	}
	return strings.Join(words, " ")
}

// turn is one event and what must come of it.
type turn struct {
	at    string // since the epoch
	event string // up, down, tick, offer, ack, nak ADDRESS SERVER; arp, probe ADDRESS
	want  string // actions
	state State
}

// play gives a machine events. A tick must come at the machine's deadline.
func play(t *testing.T, m *Machine, turns []turn) {
	t.Helper()
	for i, step := range turns {
		d, err := time.ParseDuration(step.at)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch.Add(d)
		if words := strings.Fields(step.event); words[0] == "tick" && !m.Deadline().Equal(now) {
			t.Fatalf("turn %d: the deadline is at %v, want %v", i, m.Deadline().Sub(epoch), d)
		}
		var got []string
		for _, a := range happen(m, now, strings.Fields(step.event)) {
			got = append(got, told(a))
		}
		if text := strings.Join(got, "; "); text != step.want || m.State() != step.state {
			t.Fatalf("turn %d, %s %s:\n got %s, %s\nwant %s, %s", i, step.at, step.event, text, m.State(), step.want, step.state)
		}
	}
}

func happen(m *Machine, now time.Time, words []string) []Action {
	kinds := map[string]dhcpv4.MessageType{"offer": dhcpv4.MessageTypeOffer, "ack": dhcpv4.MessageTypeAck, "nak": dhcpv4.MessageTypeNak}
	switch words[0] {
	case "up", "down":
		return m.Link(now, words[0] == "up")
	case "tick":
		return m.Tick(now)
	case "arp":
		return m.Heard(now, ARP{SenderMAC: otherMAC, Sender: netip.MustParseAddr(words[1])})
	case "probe":
		return m.Heard(now, ARP{Request: true, SenderMAC: otherMAC, Target: netip.MustParseAddr(words[1])})
	}
	return m.Receive(now, reply(m.xid, kinds[words[0]], words[1], words[2]))
}

// steady is a configuration without chance: the waits are 3, 7, 15 and 29 seconds.
func steady() Config {
	return Config{MAC: ownMAC, MTU: 1500, Timing: Standard(), Random: func() uint64 { return 0 }}
}

// kept is a lease of 1000 seconds, obtained 100 seconds before the epoch.
func kept() *Lease {
	l, err := leaseOf(reply(dhcpv4.TransactionID{}, dhcpv4.MessageTypeAck, "192.0.2.5", "192.0.2.1"), epoch.Add(-100*time.Second))
	if err != nil {
		panic(err)
	}
	return l
}

const a5, a6, s1, s9 = "192.0.2.5", "192.0.2.6", "192.0.2.1", "192.0.2.9"

// dora is how a lease is had that begins at 1s.
var dora = []turn{
	{"0s", "up", "discover", Selecting},
	{"1s", "offer " + a5 + " " + s1, "request 192.0.2.5 of 192.0.2.1", Requesting},
	{"2s", "ack " + a5 + " " + s1, "", Probing},
	{"2s", "tick", "probe 192.0.2.5", Probing},
	{"3s", "tick", "probe 192.0.2.5", Probing},
	{"4s", "tick", "probe 192.0.2.5", Probing},
	{"6s", "tick", "bind 192.0.2.5/24; announce 192.0.2.5", Bound},
	{"8s", "tick", "announce 192.0.2.5", Bound},
}

func TestMachine(t *testing.T) {
	for _, c := range []struct {
		name   string
		last   *Lease
		stands bool
		turns  []turn
	}{
		{name: "a lease is had, renewed, rebound and lost", turns: append(dora,
			turn{"501s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.1", Renewing},
			turn{"502s", "ack " + a5 + " " + s1, "bind 192.0.2.5/24", Bound},
			turn{"1001s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.1", Renewing},
			turn{"1188.5s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.1", Renewing},
			turn{"1282.25s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.1", Renewing},
			turn{"1376s", "tick", "request ciaddr 192.0.2.5", Rebinding},
			turn{"1377s", "ack " + a5 + " " + s9, "bind 192.0.2.5/24", Bound},
			turn{"1876s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.9", Renewing},
			turn{"2063.5s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.9", Renewing},
			turn{"2157.25s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.9", Renewing},
			turn{"2251s", "tick", "request ciaddr 192.0.2.5", Rebinding},
			turn{"2313.5s", "tick", "request ciaddr 192.0.2.5", Rebinding},
			turn{"2376s", "tick", "unbind 192.0.2.5/24 expired; discover", Selecting},
		)},
		{name: "nobody answers", turns: []turn{
			{"0s", "up", "discover", Selecting},
			{"3s", "tick", "discover", Selecting},
			{"10s", "tick", "discover", Selecting},
			{"25s", "tick", "discover", Selecting},
			{"54s", "tick", "discover", Selecting},
			{"83s", "tick", "discover", Selecting},
			{"112s", "tick", "discover", Selecting},
		}},
		{name: "an offer is not kept to", turns: []turn{
			{"0s", "up", "discover", Selecting},
			{"1s", "offer " + a5 + " " + s1, "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"1s", "offer " + a6 + " " + s9, "", Requesting},
			{"2s", "ack " + a6 + " " + s1, "", Requesting},
			{"2s", "ack " + a5 + " " + s9, "", Requesting},
			{"2s", "nak - " + s9, "", Requesting},
			{"4s", "tick", "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"11s", "tick", "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"26s", "tick", "discover", Selecting},
			{"27s", "ack " + a5 + " " + s1, "", Selecting},
		}},
		{name: "refused again and again", turns: []turn{
			{"0s", "up", "discover", Selecting},
			{"0s", "offer " + a5 + " " + s1, "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"0s", "nak - " + s1, "discover", Selecting},
			{"0s", "offer " + a5 + " " + s1, "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"0s", "nak - " + s1, "", Init},
			{"8s", "tick", "discover", Selecting},
			{"8s", "offer " + a5 + " " + s1, "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"8s", "nak - " + s1, "", Init},
			{"24s", "tick", "discover", Selecting},
			{"24s", "offer " + a5 + " " + s1, "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"24s", "nak - " + s1, "", Init},
			{"54s", "tick", "discover", Selecting},
		}},
		{name: "another host has the address", turns: []turn{
			{"0s", "up", "discover", Selecting},
			{"0s", "offer " + a5 + " " + s1, "request 192.0.2.5 of 192.0.2.1", Requesting},
			{"0s", "ack " + a5 + " " + s1, "", Probing},
			{"0s", "tick", "probe 192.0.2.5", Probing},
			{"0s", "arp " + a6, "", Probing},
			{"0s", "arp " + a5, "decline 192.0.2.5 of 192.0.2.1", Init},
			{"10s", "tick", "discover", Selecting},
			{"10s", "offer " + a6 + " " + s1, "request 192.0.2.6 of 192.0.2.1", Requesting},
			{"10s", "ack " + a6 + " " + s1, "", Probing},
			{"10s", "probe " + a6, "decline 192.0.2.6 of 192.0.2.1", Init},
			{"20s", "tick", "discover", Selecting},
		}},
		{name: "refused while renewing", turns: append(dora,
			turn{"501s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.1", Renewing},
			turn{"502s", "nak - " + s9, "", Renewing},
			turn{"502s", "ack " + a6 + " " + s1, "", Renewing},
			turn{"502s", "nak - " + s1, "unbind 192.0.2.5/24 refused by the server; discover", Selecting},
		)},
		{name: "the link goes and comes", turns: append(dora,
			turn{"100s", "down", "", Bound},
			turn{"110s", "up", "request 192.0.2.5", Rebooting},
			turn{"111s", "ack " + a5 + " " + s9, "bind 192.0.2.5/24", Bound},
			turn{"120s", "down", "", Bound},
			turn{"130s", "up", "request 192.0.2.5", Rebooting},
			turn{"133s", "tick", "request 192.0.2.5", Rebooting},
			turn{"140s", "tick", "request 192.0.2.5", Rebooting},
			turn{"155s", "tick", "", Bound},
			turn{"610s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.9", Renewing},
			turn{"620s", "down", "", Bound},
			turn{"1110s", "tick", "unbind 192.0.2.5/24 expired", Init},
			turn{"1200s", "up", "discover", Selecting},
		)},
		{name: "another network", turns: append(dora,
			turn{"100s", "down", "", Bound},
			turn{"110s", "up", "request 192.0.2.5", Rebooting},
			turn{"111s", "nak - " + s9, "unbind 192.0.2.5/24 refused by the server; discover", Selecting},
		)},
		{name: "after a start, the address stands", last: kept(), stands: true, turns: []turn{
			{"0s", "up", "request 192.0.2.5", Rebooting},
			{"1s", "ack " + a5 + " " + s1, "bind 192.0.2.5/24", Bound},
			{"500s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.1", Renewing},
		}},
		{name: "after a start, nobody answers and the address stands", last: kept(), stands: true, turns: []turn{
			{"0s", "up", "request 192.0.2.5", Rebooting},
			{"3s", "tick", "request 192.0.2.5", Rebooting},
			{"10s", "tick", "request 192.0.2.5", Rebooting},
			{"25s", "tick", "", Bound},
			{"400s", "tick", "request ciaddr 192.0.2.5 to 192.0.2.1", Renewing},
		}},
		{name: "after a boot", last: kept(), turns: []turn{
			{"0s", "up", "request 192.0.2.5", Rebooting},
			{"1s", "ack " + a5 + " " + s1, "", Probing},
			{"1s", "tick", "probe 192.0.2.5", Probing},
			{"2s", "tick", "probe 192.0.2.5", Probing},
			{"3s", "tick", "probe 192.0.2.5", Probing},
			{"5s", "tick", "bind 192.0.2.5/24; announce 192.0.2.5", Bound},
		}},
		{name: "after a boot, nobody answers but who has the address", last: kept(), turns: []turn{
			{"0s", "up", "request 192.0.2.5", Rebooting},
			{"3s", "tick", "request 192.0.2.5", Rebooting},
			{"10s", "tick", "request 192.0.2.5", Rebooting},
			{"25s", "tick", "", Probing},
			{"25s", "tick", "probe 192.0.2.5", Probing},
			{"25s", "arp " + a5, "decline 192.0.2.5 of 192.0.2.1; unbind 192.0.2.5/24 in use by another host", Init},
			{"35s", "tick", "discover", Selecting},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, NewMachine(steady(), c.last, c.stands, netip.Addr{}), c.turns)
		})
	}
}

// TestALeaseWithoutEnd is never renewed.
func TestALeaseWithoutEnd(t *testing.T) {
	m := NewMachine(steady(), nil, false, netip.MustParseAddr(a5))
	m.Link(epoch, true)
	forever := dhcpv4.OptGeneric(dhcpv4.OptionIPAddressLeaseTime, []byte{255, 255, 255, 255})
	m.Receive(epoch, reply(m.xid, dhcpv4.MessageTypeOffer, a5, s1, forever))
	out := m.Receive(epoch, reply(m.xid, dhcpv4.MessageTypeAck, a5, s1, forever))
	if len(out) != 2 || told(out[0]) != "bind 192.0.2.5/24" { // its own address is not probed for
		t.Fatalf("%v", out)
	}
	m.Tick(m.Deadline()) // the second announcement
	if !m.Deadline().IsZero() || m.State() != Bound || !m.Lease().Expires.IsZero() {
		t.Errorf("deadline %v, %+v", m.Deadline(), m.Lease())
	}
}

// TestWhatIsNotForTheClient changes nothing: other exchanges, other clients, requests.
func TestWhatIsNotForTheClient(t *testing.T) {
	c := steady()
	c.Random = rand.New(rand.NewPCG(1, 2)).Uint64
	m := NewMachine(c, nil, false, netip.Addr{})
	m.Link(epoch, true)
	offer := func() *dhcpv4.DHCPv4 { return reply(m.xid, dhcpv4.MessageTypeOffer, a5, s1) }
	for name, spoil := range map[string]func(*dhcpv4.DHCPv4){
		"another exchange": func(d *dhcpv4.DHCPv4) { d.TransactionID[0]++ },
		"another client":   func(d *dhcpv4.DHCPv4) { d.ClientHWAddr = otherMAC },
		"a request":        func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootRequest },
		"no address":       func(d *dhcpv4.DHCPv4) { d.YourIPAddr = net.IPv4zero },
		"no host":          func(d *dhcpv4.DHCPv4) { d.YourIPAddr = net.IPv4bcast },
		"no server":        func(d *dhcpv4.DHCPv4) { d.DeleteOption(dhcpv4.OptionServerIdentifier) },
		"no lifetime":      func(d *dhcpv4.DHCPv4) { d.DeleteOption(dhcpv4.OptionIPAddressLeaseTime) },
		"no kind":          func(d *dhcpv4.DHCPv4) { d.DeleteOption(dhcpv4.OptionDHCPMessageType) },
	} {
		d := offer()
		spoil(d)
		if out := m.Receive(epoch, d); out != nil || m.State() != Selecting {
			t.Errorf("%s: %v, %s", name, out, m.State())
		}
	}
	if out := m.Receive(epoch, offer()); len(out) != 1 || m.State() != Requesting {
		t.Errorf("%v, %s", out, m.State())
	}
}

// TestAnyOrderOfEvents: whatever happens, a lease that is in force is told of before it ends, none is in force
// after its end, and a machine with a link always has something to wait for.
func TestAnyOrderOfEvents(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	events := []string{"up", "down", "tick", "tick", "tick", "offer " + a5 + " " + s1, "offer " + a6 + " " + s9, "ack " + a5 + " " + s1,
		"ack " + a6 + " " + s9, "nak - " + s1, "nak - " + s9, "arp " + a5, "probe " + a6}
	for range 300 {
		c := steady()
		c.Random = rng.Uint64
		m, now := NewMachine(c, nil, false, netip.Addr{}), epoch
		var inForce *Lease
		for range 200 {
			event := events[rng.IntN(len(events))]
			if event == "tick" && !m.Deadline().IsZero() {
				now = m.Deadline()
			}
			for _, a := range happen(m, now, strings.Fields(event)) {
				switch a := a.(type) {
				case Bind:
					inForce = a.Lease
				case Unbind:
					if inForce != a.Lease {
						t.Fatalf("%s: unbinds what is not in force", event)
					}
					inForce = nil
				}
			}
			if m.Lease() != inForce {
				t.Fatalf("%s: lease %v, told of %v", event, m.Lease(), inForce)
			}
			if event == "tick" && inForce != nil && inForce.ended(now) {
				t.Fatal("a lease outlives its end")
			}
			if m.up && m.Deadline().IsZero() {
				t.Fatalf("%s: waits for nothing in %s", event, m.State())
			}
			if (m.State() == Bound || m.State() == Renewing || m.State() == Rebinding) && inForce == nil {
				t.Fatalf("%s: %s without a lease", event, m.State())
			}
		}
	}
}
