// Package proxy runs the calls of the table by passing them on: each namespace belongs to one daemon on a
// Unix socket of this host, the upstream, that has the same methods under a prefix of its own. net.routes
// goes to mosnetd as mosnet.routes, vol.usage to mos_volmgrd as storage.usage. Which methods there are is the
// table's to say; what they mean is nothing that this package knows.
//
// Only the envelope changes on the way: id, name, and params by position, which go up by name. A result comes
// back as it stands, read and passed on piece by piece, in the same memory whatever its size; where the wire takes it so,
// the kernel moves the long middle of it from socket to socket. An answer of at
// most 64 KiB is checked to its last byte before anything is passed on. Of a longer one are checked the framing,
// what stands before the result and behind it, and how the result begins and ends; where those do not hold the
// call ends in an error, and the pipeline cuts what is on the wire, so that a half result never looks whole.
//
// It refuses an upstream that runs as somebody who is not trusted, and answers that are not exactly one answer
// to the request that was sent. A request is sent twice only where it changes nothing and the connection had
// died before an answer began. No header of a caller passes: who calls is told in headers made afresh, for the
// upstream's records.
package proxy

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/unixsock"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Names are what the upstream of a namespace is called.
type Names struct {
	Namespace string           // of the table: net
	Prefix    string           // of the upstream's methods, and its name in errors, metrics and flags: mosnet
	Service   unixsock.Service // where its socket is looked for
}

// MOS are the daemons of a MOS node.
var MOS = []Names{
	{"net", "mosnet", service("mosnet", "MY_OS_SERVER_MOSNET_SOCKET")},
	{"vol", "storage", service("storage", "MY_OS_SERVER_STORAGE_SOCKET")},
}

func service(name, variable string) unixsock.Service {
	return unixsock.Service{Socket: name + "/rpc.sock", Variable: variable, Hero: "hero_db_root_" + name + ".sock"}
}

// Upstream is one daemon that calls are passed on to.
type Upstream struct {
	Names
	Sockets []string // where it may listen; the first that answers is taken
}

// Options are what a Proxy is made of.
type Options struct {
	Upstreams []Upstream
	UIDs      []uint32 // whom an upstream may run as, beside root and this process's own user
	Log       zerolog.Logger
}

// Proxy is a rpcserver.Backend. Its upstreams have nothing in common: connections, limits and failures of one
// are nothing to the other.
type Proxy struct {
	upstreams []*upstream
	lanes     []int // by the method's place in the table; -1: no upstream has its namespace
}

// New makes a Proxy. It connects to nobody before the first call.
func New(o Options) (*Proxy, error) {
	p := &Proxy{}
	lanes := map[string]int{}
	for i, u := range o.Upstreams {
		if len(u.Sockets) == 0 {
			return nil, errors.New("proxy: no socket to look for " + u.Prefix + " at")
		}
		lanes[u.Namespace] = i
		p.upstreams = append(p.upstreams, newUpstream(u, o.UIDs, o.Log))
	}
	for _, m := range registry.All() {
		lane, ok := lanes[m.Namespace()]
		if !ok {
			lane = -1
		}
		p.lanes = append(p.lanes, lane)
	}
	return p, nil
}

// Close ends the connections that are kept. No call may be under way.
func (p *Proxy) Close() error {
	for _, u := range p.upstreams {
		u.pool.close()
	}
	return nil
}

// Prompt says that Call waits for nothing but sockets, which its context ends.
func (p *Proxy) Prompt() {}

// Lanes is how many upstreams there are.
func (p *Proxy) Lanes() int { return len(p.upstreams) }

// Lane is the place of the upstream that has m, or -1.
func (p *Proxy) Lane(m *registry.Method) int { return p.lanes[m.Index] }

// Call passes a call on and its result back. What the upstream answers as an error is a *jsonrpc2.Error, as it
// came; a *registry.UpstreamUnavailableError says why there is no answer to believe.
func (p *Proxy) Call(ctx context.Context, m *registry.Method, _ any, raw []byte, out *registry.Out) error {
	lane := p.lanes[m.Index]
	if lane < 0 {
		return noUpstream(m)
	}
	return p.upstreams[lane].call(ctx, m, raw, out)
}

// noUpstream is the answer of a method that no daemon of this version's MOS has.
func noUpstream(m *registry.Method) error {
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonPlatform, Missing: registry.Some("a daemon for " + m.Namespace() + ".*")},
		Message:         "no daemon that this version passes calls on to has " + m.Namespace() + ".*",
	}
}
