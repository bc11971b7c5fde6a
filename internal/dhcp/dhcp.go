// Package dhcp is a client of DHCPv4 (RFC 2131) for one interface. [Machine] is the life of a lease: a pure
// state machine that is given messages and instants and answers with what is to be done. [Client] gives it
// sockets, a clock and an interface.
//
// Before an address is used it is probed for by ARP (RFC 5227), and declined where another host answers.
// Classless static routes (option 121, RFC 3442) make routers (option 3) void. The client is known to
// servers by its hardware address (option 61 of type 1).
//
// The package sets no address and no route: who opens a Client is told what it leased, and does. It asks for
// no more than a lease carries (no INFORM), takes part in no authentication (RFC 3118) and sends no host name.
package dhcp

import (
	"net"
	"time"
)

// State is where a lease is in its life, by the names of RFC 2131 section 4.4.
type State string

// The states. Probing is between the server's acknowledgement and Bound, where RFC 2131 has a client check the
// address.
const (
	Init       State = "init" // before the first message, and while the client waits or the link is down
	Selecting  State = "selecting"
	Requesting State = "requesting"
	Probing    State = "probing"
	Rebooting  State = "rebooting"
	Bound      State = "bound"
	Renewing   State = "renewing"
	Rebinding  State = "rebinding"
)

// Timing are the waits of a client.
type Timing struct {
	First time.Duration // for the first answer; twice as long each time, with a quarter of First more or less
	Most  time.Duration // for any answer
	Tries int           // of a REQUEST before the client starts anew, or believes a lease that it still has

	Renew time.Duration // the least between two tries to renew (RFC 2131 section 4.4.5); less for short leases

	// Of RFC 5227 section 1.1. No probe at all where Probes is 0.
	Probes                       int
	ProbeWait                    time.Duration // at most, before the first probe
	ProbeLeast, ProbeMost        time.Duration // between probes
	AnnounceWait, AnnounceSpread time.Duration // after the last probe; between two announcements
	Announcements                int

	Declined time.Duration // after an address was in use, before the next try
}

// Standard are the waits that the RFCs ask for, but that no wait for an answer is longer than 30 seconds and
// that the first message is sent at once.
func Standard() Timing {
	return Timing{
		First: 4 * time.Second, Most: 30 * time.Second, Tries: 3, Renew: time.Minute,
		Probes: 3, ProbeWait: time.Second, ProbeLeast: time.Second, ProbeMost: 2 * time.Second,
		AnnounceWait: 2 * time.Second, AnnounceSpread: 2 * time.Second, Announcements: 2,
		Declined: 10 * time.Second,
	}
}

// Config says whose machine it is.
type Config struct {
	MAC    net.HardwareAddr // 6 bytes
	MTU    int              // of the interface, for the largest message that it takes (option 57)
	Timing Timing
	Random func() uint64 // for transaction ids and jitter
}
