package managers

import "github.com/geomind/my_os_server/internal/netconf"

// OwnLeases are the leases of this daemon's clients, for net.lease.
type OwnLeases struct {
	Kept    *netconf.Leases
	States  map[string]string // by interface
	States6 map[string]string // of DHCPv6
	PID     int
}

func (o *OwnLeases) leases() *netconf.Leases { return o.Kept }

func (o *OwnLeases) holder(l *netconf.Link, v4 bool) netconf.Owner {
	states := o.States6
	if v4 {
		states = o.States
	}
	if _, ours := states[l.Name]; !ours {
		return netconf.Owner{}
	}
	return netconf.Owner{Manager: Own, PID: o.PID}
}

// Own is the table's name of this daemon as a manager of interfaces.
const Own = "my_os_server"
