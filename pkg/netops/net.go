// Package netops answers the net.* methods of the table for the host that it runs on: what each of
// them means, on top of libraries that speak to the kernel.
//
// It knows no message of the kernel byte by byte and no text of a tool, starts no process but through
// internal/hostexec, decides nothing about who may call, and keeps nothing between calls but idle
// sockets and what it was asked to make. Where the kernel has no answer a member is absent; nothing is guessed.
//
// What can stand without a Net has a room of its own:
//
//	internal/wire       values and lists as the table has them
//	internal/kernelrow  the rows for objects of the kernel
//	internal/ruleset    the items of what nf_tables has
//	internal/owntable   what stands in the daemon's own table of nf_tables
//	internal/managers   what network managers configured and hold
//	internal/ovsrow     the rows for what Open vSwitch tells
//
// Here one file, or a few of one prefix, holds one object:
//
//	interfaces routes neighbors bridge vlan   what the kernel has, as lists
//	conntrack sysctl listeners firewall
//	ovs                                       the database, the switch and the datapaths of Open vSwitch
//	managers lease prefix config dns          what network managers configured and hold
//	status health unavailable blocked         what is well here, what cannot work, who else may drop
//	keep                                      what is registered. For each kind its spec and plan(want, have); the kernel's
//	                                          side (keep_held.go), the steps, writes, the start, what waits or is not known
//	table                                     the own nftables table as a state: its changes, and what it follows of the host
//	write nat                                 the methods that write, each a spec for keep
//	reconcile verify policy                   drift, told or mended; the input policy and its trial
//	leasing                                   the daemon's own leases (DHCPv4, DHCPv6) and resolv.conf
//	net claim                                 the Net itself, and that it is the only one to write
package netops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/hostinfo"
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/sockdiag"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/registry"
)

// RouteProtocol marks the routes that this daemon makes (rtm_protocol).
const RouteProtocol = kernelrow.OwnProtocol

// Options says which host a Net answers for.
type Options struct {
	NetNS     string // file of the network namespace to work in; "" for the process' own
	Root      string // what stands before /proc, /etc, /run and /var; "" for the host's own
	Mode      registry.NodeMode
	Version   string    // of the daemon
	StartedAt time.Time // of the daemon

	// OVSRunDir is where the daemons of Open vSwitch have their sockets; "" for /run/openvswitch under Root.
	OVSRunDir string

	// State is where the daemon remembers what it made; nil: nowhere, and writes are refused.
	State *state.Store
	// Alone has the Net change nothing where another daemon of this host does so in the same network namespace: each would
	// take what the other made for nobody's.
	Alone bool
	// Log is told what a start restored and could not; the zero Logger tells nobody.
	Log zerolog.Logger

	// Reconcile says what is done about what others change; "" for ReconcileReport.
	Reconcile ReconcileMode
	// InputPolicy is what happens to what comes in and no rule lets in.
	InputPolicy InputPolicy

	// Interfaces are those whose addresses the daemon looks after itself.
	Interfaces []Interface
	// StateDir is where resolv.conf is written for what leases say of DNS; "": nowhere.
	StateDir string
	// EtcResolvConf has /etc/resolv.conf written too.
	EtcResolvConf bool

	// BridgeBackend is whose bridges net.bridge.add makes where a call does not say; "": the kernel's own.
	BridgeBackend registry.BridgeBackend
	// OVSDatapathType is the datapath type of bridges of Open vSwitch where a call does not say; "": as it chooses.
	OVSDatapathType registry.OvsDatapathType

	// Unavailable adds to net.status.unavailable what other namespaces of the table lack. May be nil.
	Unavailable func() []registry.UnavailableMethod
}

// Net implements the net.* methods. It is safe for concurrent use.
type Net struct {
	registry.NotBuiltNet

	options    Options
	netns      *os.File // nil: the process' own
	sockets    *rtnl.Pool
	conntracks *ct.Pool
	filters    *nft.Pool
	diagnosis  *sockdiag.Pool
	database   *ovsdb.Client // of Open vSwitch
	ovsHung    atomic.Int64  // when that did not answer, in ns since 1970; 0: it does
	ovsWaited  atomic.Int64  // for how long answers of it were waited for that did not come, in ns
	files      *hang.Group[hostFiles]
	state      *state.Store
	kept       *kept
	steps      atomic.Int64 // changes of the kernel that were made
	sole       sole
	leasing    *leasing
	reconciler *reconciler
	policing   *policing
	stopRounds context.CancelFunc // nil before Start
	causes     causes             // why objects could not be made
	unknown    unknownWrites
	losses     losses // of Open vSwitch's datapaths
	unbuilt    []registry.UnavailableMethod
	bootID     string // "" where the host does not tell
}

var _ registry.NetServer = (*Net)(nil)

// New opens the namespace that o names. The caller closes the Net.
func New(o Options) (*Net, error) {
	n := &Net{options: o}
	netns, err := 0, error(nil)
	if o.NetNS != "" {
		file, err := os.Open(o.NetNS)
		if err != nil {
			return nil, fmt.Errorf("open network namespace: %w", err)
		}
		n.netns, netns = file, int(file.Fd())
	}
	n.sockets = rtnl.NewPool(netns)
	n.conntracks = ct.NewPool(netns)
	n.filters = nft.NewPool(netns)
	n.diagnosis = sockdiag.NewPool(netns)
	n.database = ovsdb.New(n.ovsRunFile(ovsDBSocket))
	n.files = newFilesGroup()
	n.state = storeOf(&n.options)
	n.kept = openKept(n.state)
	n.leasing = newLeasing(n)
	n.reconciler = newReconciler(n)
	if n.policing, err = newPolicing(n); err != nil {
		return nil, err
	}
	n.unbuilt = n.unbuiltMethods()
	n.bootID = hostinfo.BootID(o.Root)
	return n, nil
}

// Close gives up the sockets and the namespace. Calls under way fail.
func (n *Net) Close() error {
	n.stopLooking()
	defer n.sole.release()
	n.policing.stop()
	n.leasing.stop()
	n.sockets.Close()
	n.conntracks.Close()
	n.filters.Close()
	n.diagnosis.Close()
	n.database.Close()
	if n.netns != nil {
		return n.netns.Close()
	}
	return nil
}

// inside runs f where /proc/sys/net is that of the Net's namespace. For another namespace than the
// process' own this takes a thread: if it cannot be put back it ends with the goroutine.
func (n *Net) inside(f func() error) error {
	if n.netns == nil {
		return f()
	}
	result := make(chan error)
	go func() { result <- onThreadIn(int(n.netns.Fd()), f) }()
	return <-result
}

func onThreadIn(netns int, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// noInterface is the answer about an interface that is not there.
func noInterface(name string) error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: "interface", ID: name},
		Message:      "there is no interface " + name,
	}
}

// interfaceIndex finds an interface that a param names.
func interfaceIndex(conn *rtnl.Conn, name string) (int, error) {
	index, err := conn.LinkIndex(name)
	if errors.Is(err, syscall.ENODEV) {
		return 0, noInterface(name)
	}
	return index, err
}
