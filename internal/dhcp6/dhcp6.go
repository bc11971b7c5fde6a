// Package dhcp6 is a client of DHCPv6 (RFC 8415) for one interface: addresses (IA_NA) and delegated prefixes
// (IA_PD) in one exchange, or information alone. [Machine] is the life of a lease: a pure state machine that is
// given messages and instants and answers with what is to be done. [Client] gives it sockets, a clock and an
// interface.
//
// The package sets no address and no route: who opens a Client is told what it leased, and does, and tells it
// which addresses the kernel found to be in use by others. All messages go to all servers by multicast (RFC 9915
// takes back the Server Unicast option). It takes part in no authentication and accepts no Reconfigure.
package dhcp6

import "time"

// State is where a lease is in its life.
type State string

// The states. Declining is while a server is told of addresses that are in use by others, Releasing while it is
// told that the lease is no longer wanted.
const (
	Stopped     State = "stopped" // the link is down and no lease is in force, or it was released
	Soliciting  State = "soliciting"
	Requesting  State = "requesting"
	Confirming  State = "confirming"
	Bound       State = "bound"
	Renewing    State = "renewing"
	Rebinding   State = "rebinding"
	Information State = "information"
	Declining   State = "declining"
	Releasing   State = "releasing"
)

// Retry says how a message is sent again while there is no answer (RFC 8415 section 15): First is IRT, Most MRT,
// Whole MRD, Tries MRC. 0 is no bound.
type Retry struct {
	First, Most, Whole time.Duration
	Tries              int
}

// Timing are the waits of a client.
type Timing struct {
	Delay time.Duration // at most, before the first message after the link came up

	Solicit, Request, Confirm, Renew, Rebind, Information, Decline, Release Retry

	Failed      time.Duration // after a server had nothing to give, before the next try; twice as long each time
	FailedMost  time.Duration
	Declined    time.Duration // the least, after an address was in use
	LeastUpdate time.Duration // between two requests for information
}

// Standard are the waits of RFC 8415 section 7.6, but that without a lease no wait is longer than 30 seconds
// unless a server asks for that (SOL_MAX_RT, INF_MAX_RT).
func Standard() Timing {
	const s, most = time.Second, 30 * time.Second
	return Timing{
		Delay:       s,
		Solicit:     Retry{First: s, Most: most},
		Request:     Retry{First: s, Most: most, Tries: 10},
		Confirm:     Retry{First: s, Most: 4 * s, Whole: 10 * s},
		Renew:       Retry{First: 10 * s, Most: 600 * s},
		Rebind:      Retry{First: 10 * s, Most: 600 * s},
		Information: Retry{First: s, Most: most},
		Decline:     Retry{First: s, Tries: 4},
		Release:     Retry{First: s, Tries: 4},
		Failed:      s, FailedMost: most, Declined: 10 * s,
		LeastUpdate: 600 * s,
	}
}

// Config says whose machine it is, and what it asks for. Where it asks for neither addresses nor prefixes it
// asks for information.
type Config struct {
	DUID        []byte // of the client
	IAID        uint32 // of the address and of the prefix association
	Addresses   bool   // IA_NA
	Prefixes    bool   // IA_PD
	RapidCommit bool   // takes a lease that a server gives at once
	Timing      Timing
	Random      func() uint64 // for transaction ids and jitter
}

func (c *Config) leases() bool { return c.Addresses || c.Prefixes }
