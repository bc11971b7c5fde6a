package netops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ovsNet is a Net in the namespace of an Open vSwitch.
func ovsNet(t testing.TB, o *testhost.OVS) *Net {
	t.Helper()
	n, err := New(Options{NetNS: o.NS.Path(), Mode: registry.NodeModeNative, OVSRunDir: o.RunDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// TestOVSAgreesWithVsctl compares net.ovs field by field with what ovs-vsctl reads, for bridges that were made up.
func TestOVSAgreesWithVsctl(t *testing.T) {
	o := testhost.NewOVS(t, testhost.NewNetNS(t))
	n := ovsNet(t, o)
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 1))
	compareOVS(t, o, n)
	for range testhost.Rounds(5) {
		s := ovsScene{rng: rng, o: o}
		s.build()
		compareOVS(t, o, n)
		if t.Failed() {
			t.Fatalf("by\n%s", strings.ReplaceAll(strings.Join(s.words, " "), " -- ", "\n"))
		}
		name := s.bridges[rng.IntN(len(s.bridges))]
		if list := objects(mustCall(t, n, "net.ovs", object{"bridge": name})["bridges"]); len(list) != 1 || list[0]["name"] != name {
			t.Fatalf("bridge %s: %v", name, list)
		}
		s.clear()
	}
	_, err := call(t, n, "net.ovs", object{"bridge": "none"})
	var missing *registry.NotFoundError
	if !errors.As(err, &missing) {
		t.Errorf("a bridge that is not there: %v", err)
	}
}

// ovsScene makes up a configuration, in the words of ovs-vsctl.
type ovsScene struct {
	rng     *rand.Rand
	o       *testhost.OVS
	words   []string
	bridges []string
	links   []string
	count   int
}

func (s *ovsScene) say(format string, args ...any) {
	if len(s.words) > 0 {
		s.words = append(s.words, "--")
	}
	s.words = append(s.words, strings.Fields(fmt.Sprintf(format, args...))...)
}

func (s *ovsScene) pick(words ...string) string { return words[s.rng.IntN(len(words))] }
func (s *ovsScene) chance(n int) bool           { return s.rng.IntN(n) == 0 }

func (s *ovsScene) name(stem string) string {
	s.count++
	return fmt.Sprint(stem, s.count)
}

func (s *ovsScene) build() {
	for range 1 + s.rng.IntN(3) {
		s.bridge()
	}
	var commands []string
	for _, l := range s.links {
		commands = append(commands, fmt.Sprintf("link add %s type veth peer name %s-x", l, l), "link set "+l+" up")
	}
	s.o.NS.IP(commands...)
	s.say("set Open_vSwitch . external_ids:round=%d other_config:a=%s", s.rng.IntN(1000), s.pick("b", `"c:d"`))
	s.o.Vsctl(s.words...)
}

func (s *ovsScene) clear() {
	s.o.Vsctl("--no-wait", "clear", "Open_vSwitch", ".", "bridges")
	s.o.Vsctl("set", "Open_vSwitch", ".", "external_ids:round=0") // waits for the switch
	var commands []string
	for _, l := range s.links {
		commands = append(commands, "link del "+l)
	}
	s.o.NS.IP(commands...)
}

func (s *ovsScene) bridge() {
	b := s.name("br")
	s.bridges = append(s.bridges, b)
	s.say("add-br %s", b)
	s.say("set Bridge %s datapath_type=netdev fail_mode=%s external_ids:owner=%s", b, s.pick("standalone", "secure", "[]"), s.pick("lab", `"x,y=z"`, "é"))
	for _, option := range []string{
		"protocols=OpenFlow10,OpenFlow13", "stp_enable=true", "rstp_enable=true", "mcast_snooping_enable=true", "flood_vlans=5,3,4000",
		"other_config:hwaddr=02:00:00:00:00:01", "other_config:datapath-id=00000000DEADBEEF", `external_ids:"a"="\"quoted\"\\"`,
	} {
		if s.chance(3) && (option != "rstp_enable=true" || !slices.Contains(s.words, "stp_enable=true")) {
			s.say("set Bridge %s %s", b, option)
		}
	}
	switch s.rng.IntN(4) {
	case 0:
		s.say("set-controller %s tcp:127.0.0.1:%d ptcp:%d:127.0.0.1", b, 1+s.rng.IntN(60000), 20000+s.rng.IntN(20000))
	case 1:
		s.say("set-controller %s ptcp:%d:127.0.0.1", b, 20000+s.rng.IntN(20000))
		s.say("set Controller %s connection_mode=%s", b, s.pick("out-of-band", "in-band"))
	}
	s.exports(b)
	for range s.rng.IntN(6) {
		s.port(b)
	}
}

// exports are what else hangs on a bridge.
func (s *ovsScene) exports(b string) {
	id := s.name("@x")
	switch s.rng.IntN(5) {
	case 0:
		s.say("--id=%s create NetFlow targets=\"127.0.0.1:%d\" -- set Bridge %s netflow=%s", id, 1+s.rng.IntN(60000), b, id)
	case 1:
		s.say("--id=%s create sFlow agent=lo targets=\"127.0.0.1:7\",\"127.0.0.1:6\" -- set Bridge %s sflow=%s", id, b, id)
	case 2:
		s.say("--id=%s create IPFIX targets=\"127.0.0.1:9\" -- set Bridge %s ipfix=%s", id, b, id)
	case 3:
		s.say("--id=%s create Mirror name=m1 select_all=true -- --id=%sb create Mirror name=m0 select_vlan=3 -- set Bridge %s mirrors=%s,%sb", id, id, b, id, id)
	}
}

func (s *ovsScene) port(b string) {
	p := s.name("p")
	switch s.rng.IntN(7) {
	case 0:
		s.say("add-port %s %s -- set Interface %s type=internal", b, p, p)
	case 1:
		s.say("add-port %s %s -- set Interface %s type=patch options:peer=%s", b, p, p, s.name("none"))
	case 2:
		s.say("add-port %s %s -- set Interface %s type=%s options:remote_ip=192.0.2.%d options:key=%s options:psk=secret",
			b, p, p, s.pick("vxlan", "geneve", "gre"), s.count%200, s.pick("flow", "7"))
	case 3:
		s.say("add-port %s %s", b, p) // there is no such interface
	case 4:
		one, two := s.link(), s.link()
		s.say("add-bond %s %s %s %s", b, p, one, two)
		s.say("set Port %s bond_mode=%s lacp=%s bond_updelay=%d bond_fake_iface=%s", p,
			s.pick("active-backup", "balance-slb", "[]"), s.pick("active", "passive", "off", "[]"), s.rng.IntN(5000), s.pick("true", "false"))
		s.vlans(p)
		return
	default:
		p = s.link()
		s.say("add-port %s %s", b, p)
	}
	s.vlans(p)
	s.options(p)
}

func (s *ovsScene) link() string {
	l := s.name("v")
	s.links = append(s.links, l)
	return l
}

func (s *ovsScene) vlans(p string) {
	tag, trunks := 1+s.rng.IntN(4094), fmt.Sprintf("%d,%d", 100+s.rng.IntN(1000), 1+s.rng.IntN(99))
	switch s.rng.IntN(6) {
	case 0:
		s.say("set Port %s tag=%d", p, tag)
	case 1:
		s.say("set Port %s trunks=%s", p, trunks)
	case 2:
		s.say("set Port %s vlan_mode=%s tag=%d trunks=%s", p, s.pick("native-tagged", "native-untagged"), tag, trunks)
	case 3:
		s.say("set Port %s vlan_mode=%s tag=%d cvlans=7,6", p, s.pick("access", "dot1q-tunnel"), tag)
	case 4:
		s.say("set Port %s vlan_mode=trunk trunks=0", p)
	}
}

func (s *ovsScene) options(p string) {
	for _, option := range []string{
		"Interface %s ofport_request=77", "Interface %s mtu_request=1400", "Interface %s ingress_policing_rate=1000 ingress_policing_burst=80",
		`Interface %s mac="02:00:00:00:00:09"`, "Interface %s bfd:enable=true", "Interface %s cfm_mpid=7", "Interface %s lldp:enable=true",
		"Interface %s external_ids:iface-id=vm-7 other_config:x=y", "Port %s protected=true", "Port %s external_ids:a=b other_config:c=d",
		`Port %s mac="02:00:00:00:00:0A"`,
	} {
		if s.chance(5) {
			s.say("set "+option, p)
		}
	}
	if s.chance(8) {
		id := s.name("@q")
		s.say("--id=%s create QoS type=linux-noop -- set Port %s qos=%s", id, p, id)
	}
}

// compareOVS compares net.ovs with ovs-vsctl at a moment between two looks of which nothing changed.
func compareOVS(t *testing.T, o *testhost.OVS, n *Net) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		before := o.Vsctl(ovsListing...)
		got := mustCall(t, n, "net.ovs", object{})
		if o.Vsctl(ovsListing...) != before {
			continue
		}
		if diff = cmp.Diff(ovsWitness(t, before), got); diff == "" {
			return
		}
		break
	}
	t.Errorf("ovs-vsctl has -, net.ovs has +:\n%s", diff)
}

var ovsListing = func() []string {
	words := []string{"-f", "json"}
	for _, table := range []string{"Open_vSwitch", "Bridge", "Port", "Interface", "Controller", "Manager", "Mirror", "NetFlow", "sFlow", "IPFIX"} {
		words = append(words, "--", "list", table)
	}
	return words
}()

// witnessRow is a row as ovs-vsctl tells it: sets as lists, maps as objects, UUIDs as text.
type witnessRow map[string]any

// ovsWitness is what net.ovs should say, out of ovs-vsctl's tables.
func ovsWitness(t *testing.T, text string) object {
	t.Helper()
	w := ovsTablesOf{}
	d := json.NewDecoder(strings.NewReader(text))
	for _, table := range []string{"Open_vSwitch", "Bridge", "Port", "Interface", "Controller", "Manager", "Mirror", "NetFlow", "sFlow", "IPFIX"} {
		var list struct {
			Headings []string
			Data     [][]any
		}
		if err := d.Decode(&list); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		for _, values := range list.Data {
			row := witnessRow{}
			for i, v := range values {
				row[list.Headings[i]] = plainOVS(v)
			}
			w[table] = append(w[table], row)
		}
	}
	out := w.system(w["Open_vSwitch"][0])
	bridges := []object{}
	for _, row := range w["Bridge"] {
		bridges = append(bridges, w.bridge(row))
	}
	out["bridges"] = named(bridges)
	return decode[object](t, encode(t, out))
}

// encode and decode give what both sides say the same Go types.
func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func plainOVS(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	switch list[0] {
	case "uuid":
		return list[1]
	case "set":
		items := []any{}
		for _, item := range list[1].([]any) {
			items = append(items, plainOVS(item))
		}
		return items
	}
	m := object{}
	for _, pair := range list[1].([]any) {
		m[fmt.Sprint(pair.([]any)[0])] = plainOVS(pair.([]any)[1])
	}
	return m
}

// take puts columns into an object, each by its name in the table; an empty one is absent.
func (r witnessRow) take(o object, names map[string]string) object {
	for column, member := range names {
		switch v := r[column].(type) {
		case []any:
			if len(v) > 0 {
				o[member] = v
			}
		case object:
			if len(v) > 0 {
				o[member] = v
			}
		default:
			set(o, member, v)
		}
	}
	return o
}

// list is a column as a list.
func (r witnessRow) list(column string) []any {
	if list, ok := r[column].([]any); ok {
		return list
	}
	return []any{r[column]}
}

// many has members that are lists be lists, where ovs-vsctl tells one atom.
func many(o object, members ...string) object {
	for _, m := range members {
		if v, ok := o[m]; ok {
			if _, isList := v.([]any); !isList {
				o[m] = []any{v}
			}
		}
	}
	return o
}

type ovsTablesOf map[string][]witnessRow

func (w ovsTablesOf) refs(row witnessRow, column, table string) (list []witnessRow) {
	for _, r := range w[table] {
		if slices.Contains(row.list(column), r["_uuid"]) {
			list = append(list, r)
		}
	}
	return list
}

func (w ovsTablesOf) words(o object, row witnessRow, column, table, of string) {
	var words []string
	for _, r := range w.refs(row, column, table) {
		for _, v := range r.list(of) {
			words = append(words, v.(string))
		}
	}
	if len(words) > 0 {
		o[column] = sorted(words...)
	}
}

func named(list []object) []object {
	return by(list, func(o object) string {
		name, _ := o["name"].(string)
		target, _ := o["target"].(string)
		return name + target
	})
}

func (w ovsTablesOf) system(row witnessRow) object {
	out := row.take(object{}, map[string]string{
		"ovs_version": "ovs_version", "db_version": "db_version", "system_type": "system_type", "system_version": "system_version",
		"datapath_types": "datapath_types", "iface_types": "interface_types", "dpdk_initialized": "dpdk_initialized",
		"cur_cfg": "current_config", "next_cfg": "next_config", "statistics": "statistics", "external_ids": "external_ids", "other_config": "other_config",
	})
	sortWords(many(out, "datapath_types"), "datapath_types")
	sortWords(out, "interface_types")
	return out
}

func (w ovsTablesOf) bridge(row witnessRow) object {
	b := row.take(object{"managed": false}, map[string]string{
		"_uuid": "uuid", "name": "name", "datapath_type": "datapath_type", "datapath_version": "datapath_version", "datapath_id": "datapath_id",
		"fail_mode": "fail_mode", "protocols": "protocols", "stp_enable": "stp", "rstp_enable": "rstp", "mcast_snooping_enable": "mcast_snooping",
		"flood_vlans": "flood_vlans", "status": "status", "rstp_status": "rstp_status", "external_ids": "external_ids", "other_config": "other_config",
	})
	sortWords(many(b, "flood_vlans", "protocols"), "protocols")
	w.words(b, row, "mirrors", "Mirror", "name")
	w.words(b, row, "netflow", "NetFlow", "targets")
	w.words(b, row, "sflow", "sFlow", "targets")
	w.words(b, row, "ipfix", "IPFIX", "targets")
	var controllers []object
	for _, r := range w.refs(row, "controller", "Controller") {
		controllers = append(controllers, r.take(object{}, map[string]string{
			"target": "target", "is_connected": "connected", "role": "role", "connection_mode": "connection_mode", "status": "status",
		}))
	}
	if len(controllers) > 0 {
		b["controllers"] = named(controllers)
	}
	ports := []object{}
	for _, r := range w.refs(row, "ports", "Port") {
		ports = append(ports, w.port(r))
	}
	b["ports"] = named(ports)
	return b
}

func (w ovsTablesOf) port(row witnessRow) object {
	p := row.take(object{"managed": false}, map[string]string{
		"_uuid": "uuid", "name": "name", "tag": "vlan_tag", "trunks": "trunks", "cvlans": "cvlans", "vlan_mode": "vlan_mode",
		"bond_mode": "bond_mode", "bond_active_slave": "bond_active_mac", "bond_fake_iface": "bond_fake_interface", "lacp": "lacp",
		"mac": "mac", "protected": "protected", "qos": "qos_uuid", "statistics": "statistics", "status": "status",
		"rstp_status": "rstp_status", "external_ids": "external_ids", "other_config": "other_config",
	})
	many(p, "trunks", "cvlans")
	p["bond_updelay_s"], p["bond_downdelay_s"] = row["bond_updelay"].(float64)/1000, row["bond_downdelay"].(float64)/1000
	if mac, ok := p["mac"]; ok {
		p["mac"] = lower(mac)
	}
	interfaces := []object{}
	for _, r := range w.refs(row, "interfaces", "Interface") {
		interfaces = append(interfaces, interfaceWitness(r))
	}
	p["interfaces"] = named(interfaces)
	return p
}

func interfaceWitness(row witnessRow) object {
	i := row.take(object{"type": "system"}, map[string]string{
		"_uuid": "uuid", "name": "name", "ifindex": "index", "type": "type", "ofport": "ofport", "ofport_request": "ofport_request", "error": "error",
		"options": "options", "mac_in_use": "mac", "mac": "mac_configured", "mtu": "mtu", "mtu_request": "mtu_request",
		"admin_state": "admin_state", "link_state": "link_state", "link_resets": "link_resets", "link_speed": "link_speed_bps", "duplex": "duplex",
		"lacp_current": "lacp_current", "bfd_status": "bfd_status", "cfm_fault": "cfm_fault", "lldp": "lldp",
		"statistics": "statistics", "status": "status", "external_ids": "external_ids", "other_config": "other_config",
	})
	i["ingress_policing_rate_bps"] = row["ingress_policing_rate"].(float64) * 1000
	i["ingress_policing_burst_bits"] = row["ingress_policing_burst"].(float64) * 1000
	if options, ok := i["options"].(object); ok {
		i["options"] = without(options, "psk")
	}
	return i
}

// TestOVSThatIsNotWell: the call says what is wrong within its deadline, and works again when all is well.
func TestOVSThatIsNotWell(t *testing.T) {
	o := testhost.NewOVS(t, testhost.NewNetNS(t))
	n := ovsNet(t, o)
	gone := func(want string) {
		t.Helper()
		_, err := callWithin(t, n, "net.ovs", object{}, 500*time.Millisecond)
		var unavailable *registry.UpstreamUnavailableError
		if !errors.As(err, &unavailable) || unavailable.Upstream != "ovsdb-server" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for range 2 {
		mustCall(t, n, "net.ovs", object{})
		o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
		gone("does not answer")
		o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
		mustCall(t, n, "net.ovs", object{})
		o.Kill(testhost.OVSDatabase)
		gone("refused")
		o.Start(testhost.OVSDatabase)
	}
	mustCall(t, n, "net.ovs", object{})
}

// callWithin is call under a deadline.
func callWithin(t *testing.T, n *Net, method string, params object, d time.Duration) (*registry.Out, error) {
	t.Helper()
	row, ok := registry.Lookup(method)
	if !ok {
		t.Fatalf("no method %s", method)
	}
	p, err := row.Decode(encode(t, params))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	out := &registry.Out{}
	return out, row.Call(ctx, &registry.Servers{Net: n}, p, out)
}
