package rtnl

import (
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Option is one option of a link of a kind that has no type of its own here, under the name that
// iproute2 gives it.
type Option struct {
	Name  string
	Value string // "" where Link is set
	Link  int    // index of an interface that the option names
}

// kindOption reads one option of a kind.
type kindOption struct {
	name string
	read func(*nlsock.Attrs) string // nil: the index of an interface
}

// DecodeOptions reads [Link.Data] of the kinds macsec, hsr, ipoib, netkit, bareudp, gtp, rmnet and dsa.
// It reports false for any other kind, and passes over options that have no name here.
func DecodeOptions(kind string, data []byte) (list []Option, known bool, err error) {
	options, known := kindOptions[kind]
	if !known {
		return nil, false, nil
	}
	a := nlsock.Attributes(data)
	for a.Next() {
		o, ok := options[a.Type()]
		switch {
		case !ok:
		case o.read == nil:
			list = append(list, Option{Name: o.name, Link: int(a.Int32())})
		default:
			list = append(list, Option{Name: o.name, Value: o.read(&a)})
		}
	}
	return list, true, a.Err()
}

// kindOptions are IFLA_MACSEC_*, IFLA_HSR_* and so on (linux/if_link.h), by kind and number.
var kindOptions = map[string]map[uint16]kindOption{
	"macsec": {
		unix.IFLA_MACSEC_SCI:            {"sci", bigHex64},
		unix.IFLA_MACSEC_ICV_LEN:        {"icv_len", decimal8},
		unix.IFLA_MACSEC_CIPHER_SUITE:   {"cipher_suite", cipherSuite},
		unix.IFLA_MACSEC_WINDOW:         {"window", decimal32},
		unix.IFLA_MACSEC_ENCODING_SA:    {"encoding_sa", decimal8},
		unix.IFLA_MACSEC_ENCRYPT:        {"encrypt", onOff},
		unix.IFLA_MACSEC_PROTECT:        {"protect", onOff},
		unix.IFLA_MACSEC_INC_SCI:        {"inc_sci", onOff},
		unix.IFLA_MACSEC_ES:             {"es", onOff},
		unix.IFLA_MACSEC_SCB:            {"scb", onOff},
		unix.IFLA_MACSEC_REPLAY_PROTECT: {"replay_protect", onOff},
		unix.IFLA_MACSEC_VALIDATION:     {"validation", word8("disabled", "check", "strict")},
		unix.IFLA_MACSEC_OFFLOAD:        {"offload", word8("off", "phy", "mac")},
	},
	"hsr": {
		unix.IFLA_HSR_SLAVE1:           {name: "slave1"},
		unix.IFLA_HSR_SLAVE2:           {name: "slave2"},
		unix.IFLA_HSR_SUPERVISION_ADDR: {"supervision_addr", hardwareAddr},
		unix.IFLA_HSR_SEQ_NR:           {"seq_nr", decimal16},
		unix.IFLA_HSR_PROTOCOL:         {"proto", word8("hsr", "prp")},
		unix.IFLA_HSR_INTERLINK:        {name: "interlink"},
	},
	"ipoib": {
		unix.IFLA_IPOIB_PKEY:   {"pkey", func(a *nlsock.Attrs) string { return fmt.Sprintf("0x%04x", a.Uint16()) }},
		unix.IFLA_IPOIB_MODE:   {"mode", func(a *nlsock.Attrs) string { return fromList(ipoibModes, int(a.Uint16())) }},
		unix.IFLA_IPOIB_UMCAST: {"umcast", decimal16},
	},
	"netkit": {
		unix.IFLA_NETKIT_PRIMARY:     {"type", word8("peer", "primary")},
		unix.IFLA_NETKIT_POLICY:      {"policy", netkitPolicy},
		unix.IFLA_NETKIT_PEER_POLICY: {"peer_policy", netkitPolicy},
		unix.IFLA_NETKIT_MODE:        {"mode", func(a *nlsock.Attrs) string { return fromList(netkitModes, int(a.Uint32())) }},
	},
	"bareudp": {
		unix.IFLA_BAREUDP_PORT:            {"dstport", func(a *nlsock.Attrs) string { return number(uint64(a.BigUint16())) }},
		unix.IFLA_BAREUDP_ETHERTYPE:       {"ethertype", func(a *nlsock.Attrs) string { return fmt.Sprintf("0x%04x", a.BigUint16()) }},
		unix.IFLA_BAREUDP_SRCPORT_MIN:     {"srcportmin", decimal16},
		unix.IFLA_BAREUDP_MULTIPROTO_MODE: {"multiproto", onOff},
	},
	"gtp": {
		unix.IFLA_GTP_PDP_HASHSIZE:  {"hsize", decimal32},
		unix.IFLA_GTP_ROLE:          {"role", func(a *nlsock.Attrs) string { return fromList(gtpRoles, int(a.Uint32())) }},
		unix.IFLA_GTP_RESTART_COUNT: {"restart_count", decimal8},
	},
	"rmnet": {unix.IFLA_RMNET_MUX_ID: {"mux_id", decimal16}},
	"dsa":   {unix.IFLA_DSA_CONDUIT: {name: "conduit"}},
}

var (
	ipoibModes  = []string{"datagram", "connected"}
	netkitModes = []string{"l2", "l3"}
	gtpRoles    = []string{"ggsn", "sgsn"}
)

// cipherSuites are MACSEC_CIPHER_ID_* (linux/if_macsec.h); the first is what the kernel says of the
// default.
var cipherSuites = map[uint64]string{
	0x0080020001000001: "GCM-AES-128",
	0x0080c20001000001: "GCM-AES-128",
	0x0080c20001000002: "GCM-AES-256",
	0x0080c20001000003: "GCM-AES-XPN-128",
	0x0080c20001000004: "GCM-AES-XPN-256",
}

func cipherSuite(a *nlsock.Attrs) string {
	id := a.Uint64()
	if name, ok := cipherSuites[id]; ok {
		return name
	}
	return fmt.Sprintf("0x%016x", id)
}

// netkitPolicy is NETKIT_PASS 0 or NETKIT_DROP 2.
func netkitPolicy(a *nlsock.Attrs) string {
	switch policy := a.Int32(); policy {
	case 0:
		return "forward"
	case 2:
		return "blackhole"
	default:
		return strconv.Itoa(int(policy))
	}
}

func number(n uint64) string              { return strconv.FormatUint(n, 10) }
func decimal8(a *nlsock.Attrs) string     { return number(uint64(a.Uint8())) }
func decimal16(a *nlsock.Attrs) string    { return number(uint64(a.Uint16())) }
func decimal32(a *nlsock.Attrs) string    { return number(uint64(a.Uint32())) }
func hardwareAddr(a *nlsock.Attrs) string { return net.HardwareAddr(a.Bytes()).String() }
func bigHex64(a *nlsock.Attrs) string     { return fmt.Sprintf("%x", a.Sized(8)) }

func onOff(a *nlsock.Attrs) string {
	if a.Flag() {
		return "on"
	}
	return "off"
}

func word8(names ...string) func(*nlsock.Attrs) string {
	return func(a *nlsock.Attrs) string { return fromList(names, int(a.Uint8())) }
}
