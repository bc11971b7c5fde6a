// Package rpcserver is the one pipeline that every call takes, whatever the socket it comes over and
// whatever the program behind it: JSON-RPC 2.0 in HTTP/1.1, from the bytes of a connection to the bytes of
// the answer.
//
// A call is judged in this order: is the HTTP request one that may be understood, is the body a JSON-RPC
// request, who calls, is there such a method, may the caller call it, is there room for it, do the params
// fit. Then its handler runs, with a context that carries caller and deadline, and its result goes on the
// wire as it is encoded. One line is logged, one sample taken, for a write one line more for the audit.
//
// The package knows no method. What there is stands in the table of pkg/registry, what it does in the
// Backend; only rpc.health and rpc.discover are answered here, because they must be answered while all
// else hangs. Who calls is internal/identity's to find out, and what that one may do pkg/acl's to decide.
//
// It refuses HTTP/1.0 and HTTP/2, requests whose length could be read in two ways, browsers, and callers
// that take more than their share of the daemon.
package rpcserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Backend is what runs a call that has passed every judgement: the handlers of this process, or a proxy. It may
// be a Lanes, a Prompt, a HealthReporter and a MetricsTeller besides.
type Backend interface {
	// Call runs m and appends its result to out. params is what m.Decode made of raw, the params as they
	// stand in the request; both are the backend's until Call returns, even where the pipeline has given
	// the call up before. ctx ends with the call's deadline, which it carries with the caller
	// (registry.CallerFrom); that of a read ends with its client too.
	Call(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error
}

// Lanes is what a Backend has besides that passes calls on to several others, each of which may fail and hang by
// itself. Calls of different lanes take no places of each other's, and those of one batch run side by side.
type Lanes interface {
	// Lanes is how many there are, at most 4.
	Lanes() int
	// Lane is which of them m goes, counted from 0; -1 is any.
	Lane(m *registry.Method) int
}

// Prompt is a Backend each of whose calls comes back as soon as its context is done. They run on the connection's
// own goroutine, since nobody ever has to be waited for.
type Prompt interface {
	// Prompt does nothing.
	Prompt()
}

// lanesOf finds the lane of each method. Without lanes all go the same.
func lanesOf(b Backend) ([]int, error) {
	lanes := make([]int, len(registry.All()))
	l, ok := b.(Lanes)
	if !ok {
		return lanes, nil
	}
	if n := l.Lanes(); n > maxLanes {
		return nil, fmt.Errorf("rpcserver: the backend has %d lanes, at most %d", n, maxLanes)
	}
	for i, m := range registry.All() {
		lanes[i] = max(0, l.Lane(m))
	}
	return lanes, nil
}

// Native is the Backend that runs the handlers of this process.
func Native(servers registry.Servers) Backend { return &native{servers} }

type native struct{ servers registry.Servers }

// Call runs the handler of m.
func (n *native) Call(ctx context.Context, m *registry.Method, params any, _ []byte, out *registry.Out) error {
	return m.Call(ctx, &n.servers, params, out)
}

// Options are what a Server is made of.
type Options struct {
	Document   []byte         // the OpenRPC document; nil: the registry's own
	Service    string         // the name that GET /health says; "": my_os_server
	Version    string         // of the program
	Node       string         // the node's name, which signatures and JWTs are made for; "": they are refused
	Backend    Backend        // required
	Policy     *acl.Policy    // nil: acl.Default for DaemonUID
	DaemonUID  uint32         // the uid this process runs with
	Log        zerolog.Logger // should write to a LogWriter: a call waits for its line
	LogDropped func() uint64  // how many lines the log lost so far; nil: none ever
	Limits     Limits
	Deadlines  Deadlines
	Alias      Alias
}

// Server answers calls. It is made by New, and its Serve is called once.
type Server struct {
	limits    Limits
	deadlines Deadlines
	log       zerolog.Logger
	backend   Backend
	own       Backend // answers the methods of rpcNamespace

	policy   atomic.Pointer[acl.Policy]
	verifier *identity.Verifier
	methods  []acl.Method // the table, as acl sees it
	inline   []bool       // by the method's place in the table: own answers it
	lanes    []int        // by the method's place in the table: the lane that it goes
	laneN    int          // how many lanes there are
	prompt   bool         // the backend is Prompt
	alias    Alias

	ledger     *ledger
	metrics    *meters
	pages      *pages
	logDropped func() uint64

	exchanges sync.Pool // of *exchange
	tasks     sync.Pool // of *task
	workers   workers
	turns     turns

	latest  latest
	serving sync.WaitGroup // usual requests

	draining atomic.Bool // the server ends

	reads, writes             context.Context // what the calls' contexts come from
	cancelReads, cancelWrites context.CancelFunc
}

// rpcNamespace holds the methods that the pipeline answers itself, from memory. They run on the
// connection's own goroutine and take no call's place.
const rpcNamespace = "rpc"

// New makes a Server. The error says which option cannot be.
func New(o Options) (*Server, error) {
	if o.Backend == nil {
		return nil, errors.New("rpcserver: no backend")
	}
	if o.Document == nil {
		o.Document = registry.Document()
	}
	o.Service = cmp.Or(o.Service, "my_os_server")
	s := &Server{
		limits:     o.Limits.withDefaults(),
		deadlines:  o.Deadlines.withDefaults(),
		log:        o.Log,
		backend:    o.Backend,
		own:        Native(registry.Servers{RPC: &rpcMethods{document: o.Document}}),
		verifier:   identity.NewVerifier(o.Node, time.Now(), time.Now),
		logDropped: o.LogDropped,
		turns:      newTurns(),
		exchanges:  sync.Pool{New: func() any { return new(exchange) }},
		tasks:      sync.Pool{New: func() any { return newTask() }},
	}
	if s.logDropped == nil {
		s.logDropped = func() uint64 { return 0 }
	}
	for _, m := range registry.All() {
		s.methods = append(s.methods, acl.Method{Name: m.Name, Exposes: m.Exposes})
		s.inline = append(s.inline, m.Namespace() == rpcNamespace)
	}
	var err error
	if s.lanes, err = lanesOf(o.Backend); err != nil {
		return nil, err
	}
	s.laneN = slices.Max(s.lanes) + 1
	_, s.prompt = o.Backend.(Prompt)
	s.alias = o.Alias
	s.SetPolicy(cmp.Or(o.Policy, acl.Default(o.DaemonUID)))
	s.ledger = newLedger(s.limits, o.DaemonUID)
	s.metrics = newMeters(s, "/proc")
	if t, ok := o.Backend.(MetricsTeller); ok {
		s.metrics.page.Add(t.TellMetrics)
	}
	if s.pages, err = newPages(&o); err != nil {
		return nil, err
	}
	s.reads, s.cancelReads = context.WithCancel(context.Background())
	s.writes, s.cancelWrites = context.WithCancel(context.Background())
	return s, nil
}

// SetPolicy makes p the policy that the next request is judged by.
func (s *Server) SetPolicy(p *acl.Policy) { s.policy.Store(p) }

// HandshakeFailed counts a connection on a listener of the server's that did not come about.
func (s *Server) HandshakeFailed() { s.metrics.handshakes.Inc() }

// rpcMethods are the methods that the pipeline answers itself.
type rpcMethods struct{ document []byte }

var _ registry.RPCServer = (*rpcMethods)(nil)

// healthy is the one answer of Health.
var healthy = &registry.RpcHealthResult{Status: registry.HealthStatusOk}

// Health says that calls are answered.
func (*rpcMethods) Health(context.Context, *registry.RPCHealthParams) (*registry.RpcHealthResult, error) {
	return healthy, nil
}

// Discover returns the OpenRPC document.
func (m *rpcMethods) Discover(context.Context, *registry.RPCDiscoverParams) (registry.RawJSON, error) {
	return registry.RawJSON(m.document), nil
}

// Serve answers what comes over the listeners until ctx ends, then takes no more and lets what runs come to
// its end: reads for Deadlines.Drain, writes for what their own deadlines leave them. It closes the
// listeners. An error is that of a listener that failed, which ends the others too.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	hs := s.httpServer()
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- hs.Serve(&listener{l, s}) }()
	}
	running := len(listeners)
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
		running--
	}
	s.drain(hs)
	for range running {
		<-ended
	}
	return err
}

// drain ends the server.
func (s *Server) drain(hs *http.Server) {
	s.draining.Store(true)
	patience := time.AfterFunc(s.deadlines.Drain, s.cancelReads)
	longest := max(s.deadlines.Drain, s.deadlines.Write) + s.deadlines.Grace + errorTime
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	err := hs.Shutdown(ctx)
	if err == nil {
		err = s.finish(ctx)
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("connections are cut that did not come to their end")
		s.cancelWrites()
		hs.Close()
	}
	patience.Stop()
	s.cancelReads()
	s.cancelWrites()
	s.workers.close()
}

// finish waits for the usual requests that are being served. No more may begin.
func (s *Server) finish(ctx context.Context) error {
	none := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(none)
	}()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
