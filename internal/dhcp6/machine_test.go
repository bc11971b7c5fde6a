package dhcp6

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

var (
	ownDUID = NewDUID([16]byte{1, 2, 3})
	epoch   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	from    = netip.MustParseAddr("fe80::1")
)

const ownIAID = 0x01020304

// serverMessage makes a server's message out of words: its kind, its name, and
//
//	na ADDRESS PREFERRED VALID, pd PREFIX PREFERRED VALID   a part of an association
//	na STATUS, pd STATUS, status STATUS                     by number
//	t1 SECONDS, t2 SECONDS                                  of both associations
//	preference N, rapid, dns ADDRESS, solmax SECONDS, infmax SECONDS, refresh SECONDS
func serverMessage(id dhcpv6.TransactionID, words []string) []byte {
	kinds := map[string]dhcpv6.MessageType{"advertise": dhcpv6.MessageTypeAdvertise, "reply": dhcpv6.MessageTypeReply}
	m := dhcpv6.Message{MessageType: kinds[words[0]], TransactionID: id}
	raw := func(code dhcpv6.OptionCode, b []byte) {
		m.Options.Add(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: b})
	}
	raw(dhcpv6.OptionClientID, ownDUID)
	raw(dhcpv6.OptionServerID, []byte("00"+words[1]))
	var na *dhcpv6.OptIANA
	var pd *dhcpv6.OptIAPD
	words = words[2:]
	number := func(i int) uint32 {
		n, err := strconv.ParseUint(words[i], 10, 32)
		if err != nil {
			panic(err)
		}
		return uint32(n)
	}
	seconds := func(i int) time.Duration { return time.Duration(number(i)) * time.Second }
	id4 := [4]byte{1, 2, 3, 4}
	var t1, t2 time.Duration
	for len(words) > 0 {
		used := 2
		switch words[0] {
		case "na":
			if na == nil {
				na = &dhcpv6.OptIANA{IaId: id4}
			}
			if a, err := netip.ParseAddr(words[1]); err == nil {
				na.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.IP(a.AsSlice()), PreferredLifetime: seconds(2), ValidLifetime: seconds(3)})
				used = 4
			} else {
				na.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusCode(number(1))})
			}
		case "pd":
			if pd == nil {
				pd = &dhcpv6.OptIAPD{IaId: id4}
			}
			if _, p, err := net.ParseCIDR(words[1]); err == nil {
				pd.Options.Add(&dhcpv6.OptIAPrefix{Prefix: p, PreferredLifetime: seconds(2), ValidLifetime: seconds(3)})
				used = 4
			} else {
				pd.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusCode(number(1))})
			}
		case "status":
			m.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusCode(number(1))})
		case "t1":
			t1 = seconds(1)
		case "t2":
			t2 = seconds(1)
		case "preference":
			raw(dhcpv6.OptionPreference, []byte{byte(number(1))})
		case "rapid":
			raw(dhcpv6.OptionRapidCommit, nil)
			used = 1
		case "dns":
			m.Options.Add(dhcpv6.OptDNS(net.ParseIP(words[1])))
		case "solmax", "infmax", "refresh":
			code := map[string]dhcpv6.OptionCode{"solmax": dhcpv6.OptionSolMaxRT, "infmax": dhcpv6.OptionInfMaxRT, "refresh": dhcpv6.OptionInformationRefreshTime}
			raw(code[words[0]], binary.BigEndian.AppendUint32(nil, number(1)))
		default:
			panic(words[0])
		}
		words = words[used:]
	}
	if na != nil {
		na.T1, na.T2 = t1, t2
		m.Options.Add(na)
	}
	if pd != nil {
		pd.T1, pd.T2 = t1, t2
		m.Options.Add(pd)
	}
	return m.ToBytes()
}

// told is an action in words.
func told(a Action) string {
	switch a := a.(type) {
	case Bind:
		return "bind" + toldLease(a.Lease)
	case Unbind:
		return "unbind" + toldLease(a.Lease) + " " + string(a.Why)
	case Released:
		return "released"
	case Send:
		return toldMessage(a.Message)
	}
	return fmt.Sprintf("%T", a)
}

func toldLease(l *Lease) (text string) {
	for _, p := range slices.Concat(l.Addresses, l.Prefixes) {
		text += fmt.Sprintf(" %s until %s", strings.TrimSuffix(p.Prefix.String(), "/128"), instant(p.Valid))
		if !p.Preferred.IsZero() && !p.Preferred.After(l.Obtained) {
			text += " deprecated"
		}
	}
	return text
}

func instant(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%gs", t.Sub(epoch).Seconds())
}

func toldMessage(b []byte) string {
	d, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		return err.Error()
	}
	words := []string{strings.ToLower(d.MessageType.String())}
	if o := d.Options.GetOne(dhcpv6.OptionServerID); o != nil {
		words = append(words, "to", string(o.ToBytes()[2:]))
	}
	for _, ia := range d.Options.IANA() {
		words = append(words, "na")
		for _, a := range ia.Options.Addresses() {
			words = append(words, a.IPv6Addr.String())
		}
	}
	for _, ia := range d.Options.IAPD() {
		words = append(words, "pd")
		for _, p := range ia.Options.Prefixes() {
			words = append(words, p.Prefix.String())
		}
	}
	if string(d.Options.GetOne(dhcpv6.OptionClientID).ToBytes()) != string(ownDUID) {
		words = append(words, "with another DUID")
	}
	return strings.Join(words, " ")
}

// turn is one event and what must come of it.
type turn struct {
	at    string // since the epoch
	event string // up, down, tick, release, duplicate ADDRESS, or a server's message
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
		now, words := epoch.Add(d), strings.Fields(step.event)
		if words[0] == "tick" && !m.Deadline().Equal(now) {
			t.Fatalf("turn %d: the deadline is at %v, want %v", i, instant(m.Deadline()), d)
		}
		var got []string
		for _, a := range happen(t, m, now, words) {
			got = append(got, told(a))
		}
		if text := strings.Join(got, "; "); text != step.want || m.State() != step.state {
			t.Fatalf("turn %d, %s %s:\n got %s, %s\nwant %s, %s", i, step.at, step.event, text, m.State(), step.want, step.state)
		}
	}
}

func happen(t *testing.T, m *Machine, now time.Time, words []string) []Action {
	switch words[0] {
	case "up", "down":
		return m.Link(now, words[0] == "up")
	case "tick":
		return m.Tick(now)
	case "release":
		return m.Release(now)
	case "duplicate":
		return m.Duplicate(now, netip.MustParseAddr(words[1]))
	}
	a, err := ParseAnswer(serverMessage(m.exchange.transaction, words), from)
	if err != nil {
		t.Fatal(err)
	}
	return m.Receive(now, a)
}

// steady is a configuration without chance: each wait is nine tenths of what RFC 8415 says, but the first of
// SOLICIT, which is eleven tenths.
func steady(addresses, prefixes bool) Config {
	return Config{DUID: ownDUID, IAID: ownIAID, Addresses: addresses, Prefixes: prefixes, Timing: Standard(), Random: func() uint64 { return 0 }}
}

const (
	a5  = "2001:db8::5"
	a6  = "2001:db8::6"
	pA  = "2001:db8:a::/56"
	pB  = "2001:db8:b::/56"
	na5 = " na " + a5 + " 500 1000"
	pdA = " pd " + pA + " 500 1000"
)

// both is how a lease of an address and a prefix is had that begins at 2s, with T1 250s and T2 400s.
var both = []turn{
	{"0s", "up", "solicit na pd", Soliciting},
	{"1s", "advertise s1" + na5 + pdA, "", Soliciting},
	{"1.1s", "tick", "request to s1 na " + a5 + " pd " + pA, Requesting},
	{"2s", "reply s1" + na5 + pdA, "bind " + a5 + " until 1002s " + pA + " until 1002s", Bound},
}

// kept is a lease of both with 1000 seconds, obtained 100 seconds before the epoch.
func kept() *Lease {
	until := epoch.Add(900 * time.Second)
	part := func(p string) []Part {
		return []Part{{netip.MustParsePrefix(p), epoch.Add(400 * time.Second), until}}
	}
	return &Lease{IAID: ownIAID, ServerDUID: Hex("00s1"), Addresses: part(a5 + "/128"), Prefixes: part(pA), Obtained: epoch.Add(-100 * time.Second),
		Renew: epoch.Add(150 * time.Second), Rebind: epoch.Add(300 * time.Second)}
}

func TestLifeOfALease(t *testing.T) {
	const all = "na " + a5 + " pd " + pA
	for name, turns := range map[string][]turn{
		"renewed": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s9" + na5 + pdA, "", Renewing}, // of another server
			turn{"254s", "reply s1" + na5 + pdA, "bind " + a5 + " until 1254s " + pA + " until 1254s", Bound},
			turn{"504s", "tick", "renew to s1 " + all, Renewing}),
		"rebound by another server": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"261s", "tick", "renew to s1 " + all, Renewing},
			turn{"278.1s", "tick", "renew to s1 " + all, Renewing},
			turn{"310.59s", "tick", "renew to s1 " + all, Renewing},
			turn{"372.321s", "tick", "renew to s1 " + all, Renewing},
			turn{"402s", "tick", "rebind " + all, Rebinding},
			turn{"403s", "reply s9" + na5 + pdA, "bind " + a5 + " until 1403s " + pA + " until 1403s", Bound},
			turn{"653s", "tick", "renew to s9 " + all, Renewing}),
		"without an answer it ends": {
			{"0s", "up", "rebind " + all, Confirming},
			{"0.1s", "reply s1 na " + a5 + " 10 20 pd " + pA + " 10 30", "bind " + a5 + " until 20.1s " + pA + " until 30.1s", Bound},
			{"5.1s", "tick", "renew to s1 " + all, Renewing},
			{"8.1s", "tick", "rebind " + all, Rebinding},
			{"17.1s", "tick", "rebind " + all, Rebinding},
			{"20.1s", "tick", "bind " + pA + " until 30.1s", Rebinding},
			{"30.1s", "tick", "unbind " + pA + " until 30.1s expired; solicit na pd", Soliciting},
			{"31.2s", "tick", "solicit na pd", Soliciting},
		},
		"the link goes and comes": append(slices.Clone(both),
			turn{"10s", "down", "", Bound},
			turn{"20s", "up", "rebind " + all, Confirming},
			turn{"20.9s", "tick", "rebind " + all, Confirming},
			turn{"22.61s", "tick", "rebind " + all, Confirming},
			turn{"25.859s", "tick", "rebind " + all, Confirming},
			turn{"29.459s", "tick", "rebind " + all, Confirming},
			turn{"30s", "tick", "bind " + a5 + " until 1002s " + pA + " until 1002s", Bound}, // believed
			turn{"252s", "tick", "renew to s1 " + all, Renewing}),
		"the server has forgotten it": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s1 na 3 pd 3", "request to s1 " + all, Requesting},
			turn{"254s", "reply s1" + na5 + pdA, "bind " + a5 + " until 1254s " + pA + " until 1254s", Bound}),
		"forgotten, and not to be had again": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s1 na 3 pd 3", "request to s1 " + all, Requesting},
			turn{"254s", "reply s1 na 2 pd 6", "", Soliciting}, // with the old one in force
			turn{"255s", "tick", "solicit " + all, Soliciting},
			turn{"256.1s", "advertise s1 na " + a6 + " 500 1000 pd " + pB + " 500 1000", "", Soliciting},
			turn{"256.1s", "tick", "request to s1 na " + a6 + " pd " + pB, Requesting},
			turn{"257s", "reply s1 na " + a6 + " 500 1000 pd " + pB + " 500 1000",
				"bind " + a6 + " until 1257s " + pB + " until 1257s " + pA + " until 1002s deprecated", Bound}),
		"another prefix instead": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s1" + na5 + " pd " + pB + " 20000 40000",
				"bind " + a5 + " until 1253s " + pB + " until 40253s " + pA + " until 1002s deprecated", Bound},
			turn{"503s", "tick", "renew to s1 na " + a5 + " pd " + pB + " " + pA, Renewing}),
		"the prefix is taken back": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s1" + na5 + " pd " + pA + " 0 0 pd " + pB + " 500 1000", "bind " + a5 + " until 1253s " + pB + " until 1253s", Bound}),
		"all is taken back": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s1 na " + a5 + " 0 0 pd " + pA + " 0 0", "unbind " + a5 + " until 1002s " + pA + " until 1002s taken back by the server; solicit na pd", Soliciting}),
		"one is taken back, the other not extended": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s1 na " + a5 + " 0 0 pd 6", "bind " + pA + " until 1002s", Bound},
			turn{"283s", "tick", "rebind na pd " + pA, Rebinding}),
		"no more time": append(slices.Clone(both),
			turn{"252s", "tick", "renew to s1 " + all, Renewing},
			turn{"253s", "reply s1 na 2 pd 6", "", Renewing},
			turn{"254s", "reply s1 status 1", "", Renewing},
			turn{"261s", "tick", "renew to s1 " + all, Renewing}),
		"an address is in use": append(slices.Clone(both),
			turn{"3s", "duplicate " + a6, "", Bound}, // not ours
			turn{"4s", "duplicate " + a5, "bind " + pA + " until 1002s; decline to s1 na " + a5, Declining},
			turn{"4.9s", "tick", "decline to s1 na " + a5, Declining},
			turn{"5s", "reply s1 status 0", "", Soliciting},
			turn{"15s", "tick", "solicit na pd " + pA, Soliciting},
			turn{"15.5s", "advertise s1 preference 255 na " + a6 + " 500 1000" + pdA, "request to s1 na " + a6 + " pd " + pA, Requesting},
			turn{"16s", "reply s1 na " + a6 + " 500 1000" + pdA, "bind " + a6 + " until 1016s " + pA + " until 1016s", Bound}),
		"released": append(slices.Clone(both),
			turn{"4s", "release", "unbind " + a5 + " until 1002s " + pA + " until 1002s released; release to s1 " + all, Releasing},
			turn{"4.9s", "tick", "release to s1 " + all, Releasing},
			turn{"5s", "reply s1 status 0", "released", Stopped}),
		"released, and nobody answers": append(slices.Clone(both),
			turn{"4s", "release", "unbind " + a5 + " until 1002s " + pA + " until 1002s released; release to s1 " + all, Releasing},
			turn{"4.9s", "tick", "release to s1 " + all, Releasing},
			turn{"6.61s", "tick", "release to s1 " + all, Releasing},
			turn{"9.859s", "tick", "release to s1 " + all, Releasing},
			turn{"16.0321s", "tick", "released", Stopped}),
		"of another network": append(slices.Clone(both),
			turn{"10s", "down", "", Bound},
			turn{"20s", "up", "rebind " + all, Confirming},
			turn{"21s", "reply s9 status 4", "unbind " + a5 + " until 1002s " + pA + " until 1002s of another network; solicit na pd", Soliciting}),
		"ended without a link": append(slices.Clone(both),
			turn{"10s", "down", "", Bound},
			turn{"1002s", "tick", "unbind " + a5 + " until 1002s " + pA + " until 1002s expired", Stopped},
			turn{"1003s", "up", "solicit na pd", Soliciting}),
	} {
		t.Run(name, func(t *testing.T) {
			var last *Lease
			if strings.HasPrefix(turns[0].want, "rebind") {
				last = kept()
			}
			play(t, NewMachine(steady(true, true), last, nil), turns)
		})
	}
}

func TestChoiceOfAServer(t *testing.T) {
	for name, turns := range map[string][]turn{
		"the one that has all": {
			{"0s", "up", "solicit na pd", Soliciting},
			{"0.1s", "advertise s1 preference 200" + na5 + " pd 6", "", Soliciting},
			{"0.2s", "advertise s2" + na5 + pdA, "", Soliciting},
			{"0.3s", "advertise s3 preference 9 na 2" + pdA, "", Soliciting},
			{"1.1s", "tick", "request to s2 na " + a5 + " pd " + pA, Requesting},
			{"1.2s", "reply s1" + na5 + pdA, "", Requesting},
		},
		"the one that is preferred": {
			{"0s", "up", "solicit na pd", Soliciting},
			{"0.1s", "advertise s1" + na5 + pdA, "", Soliciting},
			{"0.2s", "advertise s2 preference 9" + na5 + pdA, "", Soliciting},
			{"1.1s", "tick", "request to s2 na " + a5 + " pd " + pA, Requesting},
		},
		"at once": {
			{"0s", "up", "solicit na pd", Soliciting},
			{"0.1s", "advertise s1 preference 255" + na5 + pdA, "request to s1 na " + a5 + " pd " + pA, Requesting},
		},
		"what there is": {
			{"0s", "up", "solicit na pd", Soliciting},
			{"0.1s", "advertise s1 na 2 pd 6", "", Soliciting},
			{"0.2s", "advertise s1 status 2", "", Soliciting},
			{"1.1s", "tick", "solicit na pd", Soliciting},
			{"2s", "advertise s2 na 2" + pdA, "request to s2 na pd " + pA, Requesting},
			{"3s", "reply s2 na 2" + pdA, "bind " + pA + " until 1003s", Bound},
			{"253s", "tick", "renew to s2 na pd " + pA, Renewing}, // with the other one too
			{"254s", "reply s2" + na5 + pdA, "bind " + a5 + " until 1254s " + pA + " until 1254s", Bound},
		},
		"gone before it is asked": {
			{"0s", "up", "solicit na pd", Soliciting},
			{"0.1s", "advertise s1 preference 255" + na5 + pdA, "request to s1 na " + a5 + " pd " + pA, Requesting},
			{"1s", "tick", "request to s1 na " + a5 + " pd " + pA, Requesting},
			{"1.2s", "reply s1 status 5", "", Requesting}, // by multicast: it always is
			{"1.3s", "reply s1 status 1", "", Requesting},
			{"1.5s", "reply s1 status 2", "", Soliciting},
			{"2.5s", "tick", "solicit na pd", Soliciting},
			{"2.6s", "advertise s1 preference 255" + na5 + pdA, "request to s1 na " + a5 + " pd " + pA, Requesting},
			{"3s", "reply s1 na 2 pd 6", "", Soliciting},
			{"5s", "tick", "solicit na pd", Soliciting}, // twice as long
		},
		"slow down": {
			{"0s", "up", "solicit na pd", Soliciting},
			{"0.1s", "advertise s1 solmax 60 status 2", "", Soliciting},
			{"1.1s", "tick", "solicit na pd", Soliciting},
			{"3.19s", "tick", "solicit na pd", Soliciting},
			{"7.161s", "tick", "solicit na pd", Soliciting},
			{"14.7059s", "tick", "solicit na pd", Soliciting},
			{"29.04121s", "tick", "solicit na pd", Soliciting},
			{"56.278299s", "tick", "solicit na pd", Soliciting}, // more than 30 s
			{"108.0287681s", "tick", "solicit na pd", Soliciting},
			{"162.0287681s", "tick", "solicit na pd", Soliciting},
		},
		"no more than 30 seconds else": {
			{"0s", "up", "solicit na pd", Soliciting},
			{"1.1s", "tick", "solicit na pd", Soliciting},
			{"3.19s", "tick", "solicit na pd", Soliciting},
			{"7.161s", "tick", "solicit na pd", Soliciting},
			{"14.7059s", "tick", "solicit na pd", Soliciting},
			{"29.04121s", "tick", "solicit na pd", Soliciting},
			{"56.278299s", "tick", "solicit na pd", Soliciting},
			{"83.278299s", "tick", "solicit na pd", Soliciting},
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, NewMachine(steady(true, true), nil, nil), turns) })
	}
}

// TestRequestIsGivenUp after ten times.
func TestRequestIsGivenUp(t *testing.T) {
	m := NewMachine(steady(true, false), nil, nil)
	play(t, m, []turn{{"0s", "up", "solicit na", Soliciting}, {"0.1s", "advertise s1 preference 255" + na5, "request to s1 na " + a5, Requesting}})
	for range 9 {
		if got := m.Tick(m.Deadline()); len(got) != 1 || told(got[0]) != "request to s1 na "+a5 || m.State() != Requesting {
			t.Fatal(got, m.State())
		}
	}
	if got := m.Tick(m.Deadline()); len(got) != 1 || told(got[0]) != "solicit na" || m.State() != Soliciting {
		t.Fatal(got, m.State())
	}
}

// TestConfirm: a lease of addresses alone is confirmed, by any server.
func TestConfirm(t *testing.T) {
	up := turn{"0s", "up", "confirm na " + a5, Confirming}
	for name, turns := range map[string][]turn{
		"yes": {up, {"1s", "reply s9 status 0", "bind " + a5 + " until 900s", Bound}, {"150s", "tick", "renew to s1 na " + a5, Renewing}},
		"no":  {up, {"1s", "reply s9 status 4", "unbind " + a5 + " until 900s of another network; solicit na", Soliciting}},
		"silence": {up, {"0.9s", "tick", "confirm na " + a5, Confirming}, {"2.61s", "tick", "confirm na " + a5, Confirming},
			{"5.859s", "tick", "confirm na " + a5, Confirming}, {"9.459s", "tick", "confirm na " + a5, Confirming}, {"10s", "tick", "bind " + a5 + " until 900s", Bound}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, NewMachine(steady(true, false), kept().Of(true, false), nil), turns)
		})
	}
	late := NewMachine(steady(true, false), kept().Of(true, false), nil)
	play(t, late, []turn{{"899s", "up", "confirm na " + a5, Confirming}, {"899.5s", "reply s1 status 0", "bind " + a5 + " until 900s", Bound},
		{"899.5s", "tick", "rebind na " + a5, Rebinding}}[:2])
	if got := late.Tick(epoch.Add(899500 * time.Millisecond)); len(got) != 1 || told(got[0]) != "rebind na "+a5 { // its T2 is long over
		t.Error(got)
	}
}

func TestInformation(t *testing.T) {
	play(t, NewMachine(steady(false, false), nil, nil), []turn{
		{"0s", "up", "information-request", Information},
		{"0.9s", "tick", "information-request", Information},
		{"1s", "reply s1 status 1", "", Information},
		{"2s", "reply s1 dns 2001:db8::53 refresh 700", "bind", Bound},
		{"702s", "tick", "information-request", Information},
		{"703s", "reply s1 dns 2001:db8::53 refresh 3", "bind", Bound},
		{"1303s", "tick", "information-request", Information},
		{"1304s", "reply s1", "bind", Bound},
		{"87704s", "tick", "information-request", Information},
		{"87705s", "down", "", Bound},
		{"87706s", "up", "information-request", Information},
		{"87707s", "reply s1 refresh 4294967295", "bind", Bound},
	})
}

func TestRapidCommit(t *testing.T) {
	c := steady(true, false)
	play(t, NewMachine(c, nil, nil), []turn{{"0s", "up", "solicit na", Soliciting}, {"0.5s", "reply s1 rapid" + na5, "", Soliciting}}) // not asked for
	c.RapidCommit = true
	play(t, NewMachine(c, nil, nil), []turn{{"0s", "up", "solicit na", Soliciting}, {"0.5s", "reply s1" + na5, "", Soliciting},
		{"0.6s", "reply s1 rapid" + na5, "bind " + a5 + " until 1000.6s", Bound}})
}

// TestRestart: the machine of a restart asks for what there is, and what it gets takes its place.
func TestRestart(t *testing.T) {
	play(t, NewMachine(steady(true, true), nil, kept()), []turn{
		{"0s", "up", "solicit na " + a5 + " pd " + pA, Soliciting},
		{"0.5s", "advertise s2 preference 255 na " + a6 + " 500 1000 pd " + pB + " 500 1000", "request to s2 na " + a6 + " pd " + pB, Requesting},
		{"1s", "reply s2 na " + a6 + " 500 1000 pd " + pB + " 500 1000", "bind " + a6 + " until 1001s " + pB + " until 1001s " + pA + " until 900s deprecated", Bound},
		{"251s", "tick", "renew to s2 na " + a6 + " pd " + pB + " " + pA, Renewing},
	})
}

// TestTimesOfALease: T1 and T2 as the server says, else by the shortest preferred lifetime; the earliest of all.
func TestTimesOfALease(t *testing.T) {
	for words, want := range map[string]string{
		na5:                                    "250s 400s",
		na5 + " t1 100 t2 900":                 "100s 900s",
		na5 + " t1 100":                        "100s 400s",
		na5 + pdA + " pd " + pB + " 100 1000":  "50s 80s",
		na5 + " t1 100 t2 4000":                "100s 1000s", // not after the end
		" na " + a5 + " 4294967295 4294967295": "never never",
		" na " + a5 + " 4294967295 4294967295 t1 9 t2 4294967295":  "9s never",
		" na " + a5 + " 4294967295 4294967295 pd " + pA + " 10 20": "5s 8s",
		" na " + a5 + " 0 1000":                                    "500s 800s", // deprecated
	} {
		a, err := ParseAnswer(serverMessage(dhcpv6.TransactionID{}, strings.Fields("reply s1"+words)), from)
		if err != nil {
			t.Fatal(err)
		}
		times := timer{now: epoch}
		times.add(a.addresses[ownIAID])
		times.add(a.prefixes[ownIAID])
		if got := instant(times.renew) + " " + instant(times.rebind); got != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}
}
