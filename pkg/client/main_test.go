package client_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// net is a namespace with the handlers that a test gives it; the pipeline in front of them is the real one.
type handlers struct {
	registry.NotBuiltNet
	routes func(ctx context.Context, p *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error)
	add    func(ctx context.Context, p *registry.NetRoutesAddParams) (*registry.NetRoutesAddResult, error)
}

func (h *handlers) Routes(ctx context.Context, p *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	return h.routes(ctx, p, rows)
}

func (h *handlers) RoutesAdd(ctx context.Context, p *registry.NetRoutesAddParams) (*registry.NetRoutesAddResult, error) {
	return h.add(ctx, p)
}

const node = "client-test"

// serve runs the daemon's pipeline over the handlers and returns the path of its socket.
func serve(t testing.TB, h *handlers, policy *acl.Policy) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpcserver.New(rpcserver.Options{
		Backend:   rpcserver.Native(registry.Servers{Net: h, Vol: registry.NotBuiltVol{}}),
		Node:      node,
		Policy:    policy,
		DaemonUID: uint32(os.Geteuid()),
		Version:   "test",
		Log:       zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return socket
}

// connect makes a client of the server at the socket.
func connect(t testing.TB, socket string, credential client.Credential) *client.Client {
	t.Helper()
	c := client.New(client.Options{Dial: client.Unix(socket), Credential: credential})
	t.Cleanup(c.Close)
	return c
}

// soon is a context that ends before a test that hangs does.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
