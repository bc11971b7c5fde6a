package netconf

import (
	"encoding/hex"
	"path"
	"strconv"
	"strings"
	"time"
)

// dhclientFolders are where dhclient and what starts it keep lease files: Debian, Red Hat, others, and
// NetworkManager for its dhclient plugin.
var dhclientFolders = []string{"/var/lib/dhcp", "/var/lib/dhclient", "/var/db", networkManagerState}

// dhclientLeases reads dhclient.leases(5) files. Each change is appended, so that of one interface the
// last lease counts.
func (r *Reader) dhclientLeases(leases *Leases) {
	read := map[string]bool{}
	for _, folder := range dhclientFolders {
		for _, name := range r.names(Dhclient, folder) {
			if strings.HasPrefix(name, "dhclient") && (strings.HasSuffix(name, ".leases") || strings.HasSuffix(name, ".lease")) {
				r.dhclientFile(path.Join(folder, name), leases, read)
			}
		}
	}
	for _, p := range r.Processes() { // those that were told another place
		if p.Name == Dhclient && strings.HasPrefix(p.LeaseFile, "/") {
			r.dhclientFile(p.LeaseFile, leases, read)
		}
	}
}

func (r *Reader) dhclientFile(name string, leases *Leases, read map[string]bool) {
	if read[name] {
		return
	}
	read[name] = true
	d := r.read(Dhclient, name)
	if d == nil {
		return
	}
	manager := Dhclient
	if path.Dir(name) == networkManagerState {
		manager = NetworkManager
	}
	v4, v6 := d.dhclientLeases(manager)
	for _, l := range v4 {
		leases.V4 = append(leases.V4, *l)
	}
	for _, l := range v6 {
		leases.V6 = append(leases.V6, *l)
	}
}

// dhclientLeases takes the last lease of every interface, in order of their first.
func (d *document) dhclientLeases(manager string) (v4 []*Lease4, v6 []*Lease6) {
	at4, at6 := map[string]int{}, map[string]int{}
	for _, s := range parseISC(d) {
		switch s.word(0) {
		case "lease":
			l := s.lease4(d.holder(manager))
			if i, ok := at4[l.Interface]; ok {
				v4[i] = l
			} else if l.Address.IsValid() {
				at4[l.Interface] = len(v4)
				v4 = append(v4, l)
			}
		case "lease6":
			l := s.lease6(d.holder(manager))
			if i, ok := at6[l.Interface]; ok {
				v6[i] = l
			} else {
				at6[l.Interface] = len(v6)
				v6 = append(v6, l)
			}
		}
	}
	return v4, v6
}

// lease4 reads
//
//	lease { interface "eth0"; fixed-address A; option NAME VALUE; renew DATE; rebind DATE; expire DATE; }
func (s *statement) lease4(h Holder) *Lease4 {
	l := &Lease4{Holder: h}
	mask := ""
	for _, in := range s.block {
		switch in.word(0) {
		case "interface":
			l.Interface = in.word(1)
		case "fixed-address":
			if a := addr(in.word(1)); a.Is4() {
				l.Address = addrPrefix(a.String())
			}
		case "next-server":
			l.NextServer = specified(addr(in.word(1)))
		case "renew":
			l.Renew = in.date()
		case "rebind":
			l.Rebind = in.date()
		case "expire":
			l.Expires = in.date()
		case "option":
			if in.word(1) == "subnet-mask" {
				mask = in.word(2)
			}
			l.iscOption(in)
		}
	}
	if p := withMask(l.Address.Addr(), mask); p.IsValid() {
		l.Address = p
	}
	l.settle()
	return l
}

// iscOption takes over one option, by ISC's name for it (dhcp-options(5)).
func (l *Lease4) iscOption(s *statement) {
	list := s.list(2)
	first := ""
	if len(list) > 0 {
		first = list[0]
	}
	switch s.word(1) {
	case "routers":
		l.Routers = addrs(list)
	case "domain-name-servers":
		l.DNS = addrs(list)
	case "ntp-servers":
		l.NTP = addrs(list)
	case "domain-name":
		l.Domain = clean(first)
	case "domain-search":
		l.Search = domains(list)
	case "host-name":
		l.Hostname = clean(first)
	case "interface-mtu":
		if n, ok := number(first); ok && n <= 0xffff {
			l.MTU = uint16(n)
		}
	case "broadcast-address":
		l.Broadcast = addr(first)
	case "dhcp-server-identifier":
		l.Server = addr(first)
	case "dhcp-client-identifier":
		l.ClientID = iscBytes(s.words, 2)
	case "dhcp-lease-time":
		l.Lifetime, l.HasLifetime = number(first)
	case "dhcp-renewal-time":
		l.T1, _ = number(first)
	case "dhcp-rebinding-time":
		l.T2, _ = number(first)
	case "rfc3442-classless-static-routes", "classless-static-routes", "ms-classless-static-routes":
		if routes := classlessRoutes(decimalBytes(list)); len(routes) > 0 {
			l.Routes = routes
		}
	case "static-routes":
		if l.Routes == nil {
			l.Routes = staticRoutes(s.words[2:])
		}
	}
}

// staticRoutes reads option 33 in ISC's words: a network and its router, separated by blanks, several by commas.
func staticRoutes(words []token) []Route4 {
	var routes []Route4
	var pair []string
	for _, w := range words {
		if w.text == "," && !w.quoted {
			continue
		}
		if pair = append(pair, w.text); len(pair) == 2 {
			if dst, gateway := addr(pair[0]), addr(pair[1]); dst.Is4() && gateway.Is4() {
				routes = append(routes, Route4{Dst: classful(dst), Gateway: specified(gateway)})
			}
			pair = nil
		}
	}
	return routes
}

func decimalBytes(list []string) []byte {
	b := make([]byte, 0, len(list))
	for _, s := range list {
		n, err := strconv.ParseUint(s, 10, 8)
		if err != nil {
			return nil
		}
		b = append(b, byte(n))
	}
	return b
}

// domains are names without the dot that ends them.
func domains(list []string) []string {
	var names []string
	for _, s := range list {
		if s = strings.TrimSuffix(clean(s), "."); s != "" {
			names = append(names, s)
		}
	}
	return names
}

// date reads the instant of renew, rebind or expire: `W YYYY/MM/DD HH:MM:SS` in UTC, `epoch N`, or never.
func (s *statement) date() time.Time {
	switch {
	case s.word(1) == "epoch":
		return unixTime(s.word(2))
	case len(s.words) < 4:
		return time.Time{}
	}
	t, err := time.Parse("2006/01/02 15:04:05", s.word(2)+" "+s.word(3))
	if err != nil {
		return time.Time{}
	}
	return instant(t.Unix())
}

// lease6 reads
//
//	lease6 { interface "eth0"; ia-na IAID { starts N; renew N; rebind N; iaaddr A { starts N;
//	preferred-life N; max-life N; } } ia-pd IAID { … iaprefix P { … } } option dhcp6.NAME VALUE; }
func (s *statement) lease6(h Holder) *Lease6 {
	l := &Lease6{Holder: h}
	for _, in := range s.block {
		switch in.word(0) {
		case "interface":
			l.Interface = in.word(1)
		case "ia-na", "ia-ta", "ia-pd":
			l.iscAssociation(in)
		case "released":
			return &Lease6{Holder: h}
		case "option":
			l.iscOption(in)
		}
	}
	return l
}

func (l *Lease6) iscOption(s *statement) {
	switch s.word(1) {
	case "dhcp6.client-id":
		l.ClientDUID = iscBytes(s.words, 2)
	case "dhcp6.server-id":
		l.ServerDUID = iscBytes(s.words, 2)
	case "dhcp6.unicast":
		l.Server = addr(s.word(2))
	case "dhcp6.name-servers":
		l.DNS = addrs(s.list(2))
	case "dhcp6.domain-search":
		l.Search = domains(s.list(2))
	case "dhcp6.sntp-servers":
		l.NTP = addrs(s.list(2))
	}
}

func (l *Lease6) iscAssociation(s *statement) {
	ia := IA{}
	if b := iscBytes(s.words, 1); len(b) == 4 {
		ia.IAID, ia.HasID = uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]), true
	}
	for _, in := range s.block {
		switch in.word(0) {
		case "starts":
			ia.Starts = unixTime(in.word(1))
		case "renew":
			ia.T1, _ = number(in.word(1))
		case "rebind":
			ia.T2, _ = number(in.word(1))
		}
	}
	if ia.Starts.After(l.Obtained) {
		l.Obtained = ia.Starts
	}
	for _, in := range s.block {
		switch in.word(0) {
		case "iaaddr":
			if a := addr(in.word(1)); a.Is6() {
				own, life := in.iscLife(ia)
				l.Addresses = append(l.Addresses, IAAddress{IA: own, Lifetimes: life, Address: a})
			}
		case "iaprefix":
			if p := addrPrefix(in.word(1)); p.IsValid() && p.Addr().Is6() {
				own, life := in.iscLife(ia)
				l.Prefixes = append(l.Prefixes, IAPrefix{IA: own, Lifetimes: life, Prefix: p.Masked()})
			}
		}
	}
}

// iscLife reads the block of an address or prefix, which may have a start of its own.
func (s *statement) iscLife(ia IA) (IA, Lifetimes) {
	var life Lifetimes
	for _, in := range s.block {
		switch in.word(0) {
		case "starts":
			if t := unixTime(in.word(1)); !t.IsZero() {
				ia.Starts = t
			}
		case "preferred-life":
			life.Preferred, _ = number(in.word(1))
		case "max-life":
			life.Valid, life.Known = number(in.word(1))
		}
	}
	return ia, life
}

// iscBytes reads bytes as ISC writes them: hexadecimal groups with colons, or a quoted text.
func iscBytes(words []token, at int) []byte {
	if at >= len(words) {
		return nil
	}
	if w := words[at]; w.quoted {
		return []byte(w.text)
	}
	text := words[at].text
	if !strings.Contains(text, ":") {
		b, _ := hex.DecodeString(text)
		return b
	}
	return hexGroups(strings.Split(text, ":"))
}
