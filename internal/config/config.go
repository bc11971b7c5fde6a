// Package config reads the daemon's configuration file: TOML 1.0, every key with a default, so that the
// daemon runs without a file. docs/configuration.md tells of each key; a test holds the two together.
//
// It refuses keys that it does not know, values of another type or out of range, and a file that
// somebody other than root or the daemon's own user could have written, and names file, line, column and
// rule, all faults of the file at once. What a value means is for those who get it.
package config

import (
	"io/fs"
	"strconv"
	"time"
)

// DefaultPath is read where no other file is named, if it exists.
const DefaultPath = "/etc/my_os_server/config.toml"

// Config is the file's content, with defaults for what it does not say. An empty string stands for a
// default that depends on the host.
//
// The tags are the rules: toml is the key, flag the command line's name for it, range what a number may
// be, reload that a running daemon takes a new value over.
type Config struct {
	Sockets    []string `toml:"sockets" flag:"socket"`             // absolute paths
	SocketMode string   `toml:"socket_mode" flag:"socket-mode"`    // octal; see Mode
	HeroSocket bool     `toml:"hero_socket" flag:"no-hero-socket"` // listen in ~/hero/var/sockets too
	Listen     []string `toml:"listen" flag:"listen"`              // TCP addresses for TLS; see Address
	StateDir   string   `toml:"state_dir" flag:"state-dir"`        // absolute path
	// AllowPrivateMounts has vol.mount work in a mount namespace other than that of process 1.
	AllowPrivateMounts bool   `toml:"allow_private_mounts" flag:"allow-private-mounts"`
	OVSRunDir          string `toml:"ovs_run_dir" flag:"ovs-run-dir"` // absolute path

	ACL      string `toml:"acl" flag:"acl"` // absolute path
	NodeName string `toml:"node_name" flag:"node-name"`

	// Of my-os-server-mos, and of a native server in the place of one of these daemons.
	MosnetSocket  string   `toml:"mosnet_socket" flag:"mosnet-socket"`   // absolute path
	StorageSocket string   `toml:"storage_socket" flag:"storage-socket"` // absolute path
	UpstreamUIDs  []uint32 `toml:"upstream_uids"`

	Interfaces []Interface `toml:"interface"` // [[interface]]
	DNS        DNS         `toml:"dns"`

	Firewall  Firewall  `toml:"firewall"`
	Reconcile Reconcile `toml:"reconcile"`
	Bridge    Bridge    `toml:"bridge"`

	TLS       TLS       `toml:"tls"`
	Log       Log       `toml:"log"`
	Limits    Limits    `toml:"limits"`
	Deadlines Deadlines `toml:"deadlines"`
}

// Interface is a network interface whose addresses the daemon looks after.
type Interface struct {
	Name   string `toml:"name"`
	IPv4   string `toml:"ipv4"`                         // one of IPv4Methods
	IPv6   string `toml:"ipv6"`                         // one of IPv6Methods
	Metric int    `toml:"metric" range:"0..4294967295"` // of its routes; 0: 1024 and its place in the file, from 1 on

	PrefixDelegation bool     `toml:"prefix_delegation"` // asks for a prefix by DHCPv6
	AssignTo         []string `toml:"assign_to"`         // interfaces that get a /64 of it each, in this order
}

// IPv4Methods and IPv6Methods are the values of interface.ipv4 and interface.ipv6. Empty: what others set is
// left as it is.
var (
	IPv4Methods = []string{"dhcp"}
	IPv6Methods = []string{"slaac", "dhcp", "none"}
)

// DNS says who is told of the name servers that leases name.
type DNS struct {
	EtcResolvConf bool `toml:"etc_resolv_conf"`
}

// Firewall says what happens to what comes in and no rule lets in.
type Firewall struct {
	InputPolicy string   `toml:"input_policy" reload:"yes"`              // one of InputPolicies
	KeepOpen    []string `toml:"keep_open" reload:"yes"`                 // ports that stay open: "tcp/443", "udp/5000-5010"
	Confirm     int      `toml:"confirm_s" range:"5..3600" reload:"yes"` // seconds
}

// Reconcile says what is done where the kernel is no longer as registered.
type Reconcile struct {
	Mode string `toml:"mode" reload:"yes"` // one of ReconcileModes
}

// Bridge says what net.bridge.add makes where a call does not say.
type Bridge struct {
	Backend         string `toml:"backend"`           // one of BridgeBackends
	OVSDatapathType string `toml:"ovs_datapath_type"` // one of OVSDatapathTypes; empty: as Open vSwitch chooses
}

// BridgeBackends are the values of bridge.backend, OVSDatapathTypes those of bridge.ovs_datapath_type.
var (
	BridgeBackends   = []string{"linux", "ovs"}
	OVSDatapathTypes = []string{"system", "netdev"}
)

// InputPolicies are the values of firewall.input_policy, ReconcileModes those of reconcile.mode.
var (
	InputPolicies  = []string{"accept", "drop"}
	ReconcileModes = []string{"report", "repair"}
)

// TLS says whom the callers from elsewhere speak to, and whose certificates count. Nothing of it matters where
// Listen is empty.
type TLS struct {
	Certificate string `toml:"certificate" flag:"tls-certificate"` // absolute path, PEM; with Key or not at all
	Key         string `toml:"key" flag:"tls-key"`                 // absolute path, PEM
	ClientCA    string `toml:"client_ca" flag:"tls-client-ca"`     // absolute path, PEM
}

// Log is what is written to standard error, and how.
type Log struct {
	Level  string `toml:"level" flag:"verbose" reload:"yes"` // one of Levels
	Format string `toml:"format" flag:"log-format"`          // one of Formats
}

// Levels are the values of log.level, most talkative first; Formats those of log.format.
var (
	Levels  = []string{"debug", "info", "warn", "error"}
	Formats = []string{"auto", "console", "json"}
)

// Limits bound what callers take of the daemon at a time. A quarter of every total is kept for root and
// the daemon's own user.
type Limits struct {
	Connections        int `toml:"connections" range:"1..1000000"`
	ConnectionsPerUser int `toml:"connections_per_user" range:"1..1000000"`
	Calls              int `toml:"calls" range:"1..100000"`
	CallsPerUser       int `toml:"calls_per_user" range:"1..100000"`
	Streams            int `toml:"streams" range:"1..100000"`
	StreamsPerUser     int `toml:"streams_per_user" range:"1..100000"`
	Bodies             int `toml:"bodies_bytes" range:"65536..17179869184"`
	BodiesPerUser      int `toml:"bodies_per_user_bytes" range:"65536..17179869184"`
	Body               int `toml:"body_bytes" range:"1024..1073741824"`
	Header             int `toml:"header_bytes" range:"1024..1048576"`
	BatchCalls         int `toml:"batch_calls" range:"1..100000"`
	BatchResult        int `toml:"batch_result_bytes" range:"1024..1073741824"`
	RemotePace         int `toml:"remote_calls_per_second" range:"1..1000000"`
}

// Deadlines bound how long things take, in seconds; fractions are fine.
type Deadlines struct {
	Read   float64 `toml:"read_s" range:"0.01..86400"`
	Write  float64 `toml:"write_s" range:"0.01..86400"`
	Header float64 `toml:"header_s" range:"0.01..86400"`
	Idle   float64 `toml:"idle_s" range:"0.01..86400"`
	Stall  float64 `toml:"stall_s" range:"0.01..86400"`
	Drain  float64 `toml:"drain_s" range:"0.01..86400"`
}

// Default is the configuration of a daemon without a file.
func Default() Config {
	return Config{
		SocketMode: "0666",
		HeroSocket: true,
		Firewall:   Firewall{InputPolicy: "accept", Confirm: 60},
		Reconcile:  Reconcile{Mode: "report"},
		Bridge:     Bridge{Backend: "linux"},
		Log:        Log{Level: "info", Format: "auto"},
		Limits: Limits{
			Connections: 1024, ConnectionsPerUser: 64,
			Calls: 512, CallsPerUser: 16,
			Streams: 64, StreamsPerUser: 4,
			Bodies: 64 << 20, BodiesPerUser: 16 << 20,
			Body: 4 << 20, Header: 16 << 10,
			BatchCalls: 1000, BatchResult: 4 << 20,
			RemotePace: 500,
		},
		Deadlines: Deadlines{Read: 30, Write: 120, Header: 5, Idle: 120, Stall: 10, Drain: 10},
	}
}

// Mode is SocketMode as a mode, 0 where it is none; Faults tells of that.
func (c *Config) Mode() fs.FileMode {
	mode, err := strconv.ParseUint(c.SocketMode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0
	}
	return fs.FileMode(mode)
}

// Seconds is a deadline as a duration.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
