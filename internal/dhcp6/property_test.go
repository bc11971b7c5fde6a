package dhcp6

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"pgregory.net/rapid"
)

// FuzzParseAnswer: whatever comes, what is taken from it can be used.
func FuzzParseAnswer(f *testing.F) {
	for _, words := range []string{
		"reply s1" + na5 + pdA + " t1 100 t2 200 dns 2001:db8::53", "advertise s1 preference 255 na 2 pd 6 status 1 solmax 60", "reply s2 infmax 90 refresh 4 rapid",
	} {
		f.Add(serverMessage(dhcpv6.TransactionID{}, strings.Fields(words)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		a, err := ParseAnswer(b, from)
		if !bytes.Equal(b, before) {
			t.Error("the message was changed")
		}
		if err != nil {
			return
		}
		for _, of := range []map[uint32]*association{a.addresses, a.prefixes} {
			for _, ia := range of {
				for _, g := range ia.parts {
					if !g.prefix.IsValid() || g.prefix.Masked() != g.prefix || g.preferred > g.valid {
						t.Errorf("%+v", g)
					}
				}
			}
		}
		for _, n := range a.search {
			if strings.ContainsAny(n, " \n\t#;") {
				t.Errorf("%q", n)
			}
		}
		m := NewMachine(steady(true, true), nil, nil)
		m.Link(epoch, true)
		m.config.DUID, m.exchange.transaction, m.config.RapidCommit = a.client, a.transaction, true
		for id := range a.prefixes {
			m.config.IAID = id
		}
		m.Receive(epoch.Add(time.Second), a)
	})
}

// TestMessagesThatAreNoAnswers.
func TestMessagesThatAreNoAnswers(t *testing.T) {
	good := serverMessage(dhcpv6.TransactionID{}, strings.Fields("reply s1"+na5))
	for name, b := range map[string][]byte{
		"nothing":              {},
		"cut off":              good[:len(good)-1],
		"a client's":           append([]byte{byte(dhcpv6.MessageTypeSolicit)}, good[1:]...),
		"a relay's":            append([]byte{byte(dhcpv6.MessageTypeRelayReply)}, good[1:]...),
		"without identifiers":  {byte(dhcpv6.MessageTypeReply), 0, 0, 0},
		"of a server too long": serverMessage(dhcpv6.TransactionID{}, []string{"reply", strings.Repeat("x", maxDUID)}),
	} {
		if a, err := ParseAnswer(b, from); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
	// A malformed option is as if it were not there.
	odd := append(bytes.Clone(good), 0, byte(dhcpv6.OptionDNSRecursiveNameServer), 0, 3, 1, 2, 3)
	if a, err := ParseAnswer(odd, from); err != nil || len(a.dns) > 0 || !a.addresses[ownIAID].usable() {
		t.Errorf("%+v %v", a, err)
	}
}

// TestOddParts: what cannot be an address or a prefix of a host is passed over.
func TestOddParts(t *testing.T) {
	for words, want := range map[string]int{
		" na ::1 5 10":                      0,
		" na ff02::5 5 10":                  0,
		" na fe80::5 5 10":                  0,
		" na :: 5 10":                       0,
		" na " + a5 + " 11 10":              0, // preferred for longer than valid
		na5 + na5:                           1,
		na5 + " t1 9 t2 5":                  0, // the association is passed over
		na5 + " na " + a6 + " 4294967295 9": 1,
	} {
		a, err := ParseAnswer(serverMessage(dhcpv6.TransactionID{}, strings.Fields("reply s1"+words)), from)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		if ia := a.addresses[ownIAID]; ia != nil {
			got = len(ia.parts)
		}
		if got != want {
			t.Errorf("%s: %d parts, want %d", words, got, want)
		}
	}
}

// world has a machine live through whatever happens.
type world struct {
	t   *rapid.T
	m   *Machine
	now time.Time
	has *Lease // what the host has by the actions
	log []string
}

func (w *world) do(event string, actions []Action) {
	w.log = append(w.log, fmt.Sprint(w.now.Sub(epoch), " ", event))
	for _, a := range actions {
		w.log = append(w.log, "  "+told(a))
		switch a := a.(type) {
		case Bind:
			w.has = a.Lease
		case Unbind:
			if w.has == nil {
				w.fail("the end of what was not in force")
			}
			w.has = nil
		}
	}
	w.check()
}

func (w *world) fail(what string) { w.t.Fatalf("%s\n%s", what, strings.Join(w.log, "\n")) }

// check: the host has what the machine says, nothing that is over, and the machine never stands still: something
// is due later, unless there is nothing to wait for.
func (w *world) check() {
	if l := w.m.Lease(); w.has != l && !(w.has == nil && w.m.State() == Confirming) {
		w.fail("the host has another lease than the machine")
	}
	if w.has != nil && !w.has.Empty() && len(w.has.At(w.now).Addresses)+len(w.has.At(w.now).Prefixes) < len(w.has.Addresses)+len(w.has.Prefixes) {
		w.fail("what is over is in force")
	}
	d := w.m.Deadline()
	if d.IsZero() && w.m.up && w.m.State() != Bound && w.m.State() != Stopped {
		w.fail("nothing is due in state " + string(w.m.State()))
	}
}

// TestAnyLife: a random server, a random link, and a clock that moves on.
func TestAnyLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		c := steady(rapid.Bool().Draw(t, "addresses"), rapid.Bool().Draw(t, "prefixes"))
		c.Random = rng.Uint64
		w := &world{t: t, m: NewMachine(c, nil, nil), now: epoch}
		ticks := 0
		for range rapid.IntRange(1, 120).Draw(t, "events") {
			switch what := rapid.IntRange(0, 9).Draw(t, "event"); {
			case what == 0:
				w.do("link", w.m.Link(w.now, rapid.Bool().Draw(t, "up")))
			case what == 1:
				w.do("duplicate", w.m.Duplicate(w.now, netip.MustParseAddr(a5)))
			case what <= 5:
				words := rapid.SampledFrom([]string{"advertise s1", "reply s1", "reply s1", "reply s2"}).Draw(t, "kind")
				for range rapid.IntRange(0, 3).Draw(t, "parts") {
					life := rapid.IntRange(0, 60).Draw(t, "life")
					words += rapid.SampledFrom([]string{" na " + a5, " na " + a6, " pd " + pA, " pd " + pB, " na 3", " pd 3", " na 2", " pd 6", " status 4", " status 1", " status 2"}).Draw(t, "part")
					if strings.HasSuffix(words, "5") && !strings.HasSuffix(words, " 5") || strings.HasSuffix(words, a6) || strings.HasSuffix(words, "56") {
						words += fmt.Sprint(" ", life/2, " ", life)
					}
				}
				a, err := ParseAnswer(serverMessage(w.m.exchange.transaction, strings.Fields(words)), from)
				if err != nil {
					t.Fatal(err)
				}
				w.do(words, w.m.Receive(w.now, a))
			default:
				d := w.m.Deadline()
				if d.IsZero() {
					continue
				}
				if ticks++; d.After(w.now) {
					w.now, ticks = d, 0
				}
				if ticks > 5 {
					w.fail("the machine is busy with nothing")
				}
				w.do("tick", w.m.Tick(w.now))
			}
		}
	})
}

// TestRetransmission: the waits are within the bounds of RFC 8415 section 15, whatever chance says.
func TestRetransmission(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		c := steady(true, true)
		c.Random = rng.Uint64
		m := NewMachine(c, nil, nil)
		now := epoch
		m.Link(now, true)
		if d := m.Deadline().Sub(now); d > c.Timing.Delay {
			t.Fatalf("the first message comes after %v", d)
		}
		var last time.Duration
		for i := range 12 {
			now = m.Deadline()
			if got := m.Tick(now); len(got) != 1 {
				t.Fatal(got)
			}
			d := m.Deadline().Sub(now)
			low, high := 19*last/10, 21*last/10
			if i == 0 {
				low, high = time.Second, 1100*time.Millisecond
			}
			if most := 30 * time.Second; high > most {
				low, high = min(low, 9*most/10), 11*most/10
			}
			if d < low || d > high {
				t.Fatalf("wait %d is %v, want %v to %v", i, d, low, high)
			}
			last = d
		}
	})
}

func TestIdentifiers(t *testing.T) {
	if d := NewDUID([16]byte{6: 0xff, 8: 0xff}); len(d) != 18 || d[1] != 4 || d[8] != 0x4f || d[10] != 0xbf {
		t.Errorf("%x", d)
	}
	if IAID("eth0") != 0x67b19724 || IAID("eth0") == IAID("eth1") {
		t.Error("identifiers of associations")
	}
	var h Hex
	if err := h.UnmarshalText([]byte("00ff")); err != nil || !bytes.Equal(h, []byte{0, 0xff}) {
		t.Errorf("%x %v", h, err)
	}
	if err := h.UnmarshalText([]byte("0")); err == nil {
		t.Error("half a byte is taken")
	}
}
