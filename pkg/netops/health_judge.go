package netops

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// What net.health makes of what it sees: pure functions, from facts to checks. Failed is what cuts the node off,
// degraded what does not work or soon will not.

// worst is the state of the node by its checks; what is unknown does not count.
func worst(checks []registry.HealthCheck) registry.NodeHealth {
	health := registry.NodeHealthOk
	for _, c := range checks {
		switch c.Status {
		case registry.CheckStatusFailed:
			return registry.NodeHealthFailed
		case registry.CheckStatusDegraded:
			health = registry.NodeHealthDegraded
		}
	}
	return health
}

// judgeLinks fails where not one interface has a carrier.
func judgeLinks(links []linkHealth) []registry.HealthCheck {
	if len(links) == 0 {
		return nil
	}
	var without []string
	for _, l := range links {
		if !l.carrier {
			without = append(without, l.name)
		}
	}
	c := registry.HealthCheck{Name: "links", Status: registry.CheckStatusOk,
		Message: fmt.Sprintf("%d of %d interfaces that are set up have carrier", len(links)-len(without), len(links))}
	if len(without) > 0 {
		c.Status = registry.CheckStatusDegraded
		c.Data = map[string]string{"without_carrier": strings.Join(without, " ")}
	}
	if len(without) == len(links) {
		c.Status = registry.CheckStatusFailed
	}
	return []registry.HealthCheck{c}
}

// way is one way of a default route.
type way struct {
	family  registry.AddressFamily
	link    string
	gateway netip.Addr // not valid: the link itself
	down    bool       // the link does not carry packets
}

func (w way) String() string {
	if !w.gateway.IsValid() {
		return fmt.Sprintf("%s on %s", familyWord(w.family), w.link)
	}
	return fmt.Sprintf("%s by way of %s on %s", familyWord(w.family), w.gateway, w.link)
}

func familyWord(f registry.AddressFamily) string {
	if f == registry.AddressFamilyIpv6 {
		return "IPv6"
	}
	return "IPv4"
}

// judgeWays judges the default routes: a node without one, or with none whose link is up, is cut off from all but
// its neighbours.
func judgeWays(ways []way) []registry.HealthCheck {
	c := registry.HealthCheck{Name: "default_route", Status: registry.CheckStatusOk}
	var texts []string
	up := 0
	for _, w := range ways {
		text := w.String()
		if w.down {
			text += ", which is down"
		} else if up++; c.Data == nil {
			c.Data = map[string]string{"interface": w.link}
			if w.gateway.IsValid() {
				c.Data["gateway"] = w.gateway.String()
			}
		}
		texts = append(texts, text)
	}
	c.Message = strings.Join(texts, "; ")
	switch {
	case len(ways) == 0:
		c.Status, c.Message = registry.CheckStatusDegraded, "there is no default route"
	case up == 0:
		c.Status = registry.CheckStatusFailed
	case up < len(ways):
		c.Status = registry.CheckStatusDegraded
	}
	return []registry.HealthCheck{c}
}

// judgeGateway judges a gateway by the state of its neighbour entry (NUD_*, linux/neighbour.h).
func judgeGateway(w way, state uint16) registry.HealthCheck {
	c := registry.HealthCheck{Name: "gateway:" + w.gateway.String()}
	on := fmt.Sprintf("%s on %s", w.gateway, w.link)
	switch {
	case state&(unix.NUD_PERMANENT|unix.NUD_NOARP|unix.NUD_REACHABLE) != 0:
		c.Status, c.Message = registry.CheckStatusOk, on+" is reachable"
	case state&(unix.NUD_STALE|unix.NUD_DELAY|unix.NUD_PROBE) != 0:
		c.Status, c.Message = registry.CheckStatusOk, on+" was reachable when it was last asked"
	case state&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0:
		c.Status, c.Message = registry.CheckStatusFailed, on+" does not answer"
	default:
		c.Status, c.Message = registry.CheckStatusUnknown, on+" has not been spoken to"
	}
	if state != 0 {
		c.Data = map[string]string{"state": rtnl.NeighborStateName(state)}
	}
	return c
}

// judgeDNS counts the name servers that are somewhere else; what a local resolver asks may be told or not.
func judgeDNS(dns *registry.NetDnsResult) []registry.HealthCheck {
	c := registry.HealthCheck{Name: "dns", Status: registry.CheckStatusOk}
	servers := len(dns.Nameservers)
	file := dns.Path.Or("resolv.conf")
	if dns.Stub.Or(false) {
		servers = len(dns.Upstream)
		for _, i := range dns.Interfaces {
			servers += len(i.Nameservers)
		}
	}
	switch {
	case dns.Source == "unknown":
		c.Status, c.Message = registry.CheckStatusUnknown, file+" cannot be read"
	case servers > 0:
		c.Message = fmt.Sprintf("%d name servers by %s", servers, file)
		c.Data = map[string]string{"servers": strconv.Itoa(servers)}
	case dns.Stub.Or(false):
		c.Status, c.Message = registry.CheckStatusUnknown, file+" names only a local resolver, which does not tell whom it asks"
	default:
		c.Status, c.Message = registry.CheckStatusDegraded, "there is no name server"
	}
	return []registry.HealthCheck{c}
}

// judgeLeases judges each lease of DHCPv4 and DHCPv6 by its time.
func judgeLeases(leases *registry.NetLeaseResult, now time.Time) []registry.HealthCheck {
	var checks []registry.HealthCheck
	for i := range leases.Interfaces {
		row := &leases.Interfaces[i]
		if l := row.Dhcp4; l != nil {
			checks = append(checks, judgeLease("leases:"+row.Interface, l.State, l.RebindAt, l.ExpiresAt, now))
		}
		if l := row.Dhcp6; l != nil {
			checks = append(checks, judgeLease("leases6:"+row.Interface, l.State, l.RebindAt, l.ExpiresAt, now))
		}
	}
	return checks
}

// judgeLease: a lease that has not been renewed by the time at which any server is asked is in danger, one that
// has ended is lost.
func judgeLease(name, state string, rebindAt, expiresAt registry.Opt[time.Time], now time.Time) registry.HealthCheck {
	c := registry.HealthCheck{Name: name, Status: registry.CheckStatusOk, Data: map[string]string{"state": state}}
	expires, ends := expiresAt.Get()
	rebind, rebinds := rebindAt.Get()
	switch {
	case state == "expired" || ends && !now.Before(expires):
		c.Status, c.Message = registry.CheckStatusFailed, "the lease has expired"
	case rebinds && !now.Before(rebind):
		c.Status, c.Message = registry.CheckStatusDegraded, "the lease was not renewed in time"
	case ends:
		c.Message = fmt.Sprintf("leased for another %v", expires.Sub(now).Round(time.Second))
	default:
		c.Message = "the lease is " + state
	}
	if ends {
		c.Data["expires_at"] = expires.UTC().Format(time.RFC3339)
	}
	return c
}

// Shares of the connection tracking table, in percent, from which on it is a trouble: new flows are dropped when it
// is full.
const (
	conntrackDegraded = 90
	conntrackFailed   = 99
)

func judgeConntrack(count, most int64) []registry.HealthCheck {
	if most <= 0 {
		return nil
	}
	fill := count * 100 / most
	c := registry.HealthCheck{Name: "conntrack", Status: registry.CheckStatusOk,
		Message: fmt.Sprintf("%d of %d entries are in use", count, most),
		Data: map[string]string{
			"count": strconv.FormatInt(count, 10), "max": strconv.FormatInt(most, 10), "fill_percent": strconv.FormatInt(fill, 10),
		}}
	switch {
	case fill >= conntrackFailed:
		c.Status = registry.CheckStatusFailed
	case fill >= conntrackDegraded:
		c.Status = registry.CheckStatusDegraded
	}
	return []registry.HealthCheck{c}
}

func judgeDrift(drift []registry.Drift, checked int) []registry.HealthCheck {
	if checked == 0 && len(drift) == 0 {
		return nil
	}
	c := registry.HealthCheck{Name: "drift", Status: registry.CheckStatusOk,
		Message: fmt.Sprintf("%d objects are as they are to be", checked)}
	if len(drift) > 0 {
		c.Status = registry.CheckStatusDegraded
		c.Message = fmt.Sprintf("%d findings in %d objects: net.verify tells which", len(drift), checked)
		c.Data = map[string]string{"first": fmt.Sprintf("%s %s: %s", drift[0].Resource, drift[0].ID, drift[0].Kind)}
	}
	return []registry.HealthCheck{c}
}

func judgeState(problems []state.Problem) []registry.HealthCheck {
	if len(problems) == 0 {
		return nil
	}
	c := registry.HealthCheck{Name: "state", Status: registry.CheckStatusDegraded,
		Message: fmt.Sprintf("%d parts of the state could not be read: %s", len(problems), problems[0].Cause)}
	if problems[0].File != "" {
		c.Data = map[string]string{"file": problems[0].File}
	}
	return []registry.HealthCheck{c}
}
