package client_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/internal/tlssock"
	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// serveTLS is serve over TLS: it returns the address and the server's fingerprint.
func serveTLS(t *testing.T, h *handlers, policy *acl.Policy) (address, fingerprint string) {
	t.Helper()
	files, err := tlssock.Make(t.TempDir(), node)
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := tlssock.Keep(files, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	l, err := tlssock.Listen("127.0.0.1:0", tlssock.Options{Certificate: keeper.Get, Verify: identity.JudgeClient(nil, time.Now)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpcserver.New(rpcserver.Options{
		Backend: rpcserver.Native(registry.Servers{Net: h, Vol: registry.NotBuiltVol{}}),
		Node:    node, Policy: policy, DaemonUID: uint32(os.Geteuid()), Version: "test", Log: zerolog.Nop(),
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
	return l.Addr().String(), client.FingerprintOf(keeper.Leaf())
}

// TestTLS: the right server is spoken to, with a key that the rules name, and no other one is.
func TestTLS(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var methods []acl.Method
	for _, m := range registry.All() {
		methods = append(methods, acl.Method{Name: m.Name, Exposes: m.Exposes})
	}
	policy, err := acl.Parse("acl.toml", fmt.Appendf(nil, "[[group]]\nname=\"a\"\nusers=[\"%x\"]\n[[ace]]\nright=\"read\"\ngroups=[\"a\"]\n[policy]\nanonymous_local=\"none\"\n", public), methods)
	if err != nil {
		t.Fatal(err)
	}
	address, fingerprint := serveTLS(t, many(3), policy)
	if shown, err := client.Fingerprint(soon(t), address); err != nil || shown != fingerprint {
		t.Errorf("Fingerprint: %q, %v, want %q", shown, err, fingerprint)
	}
	for _, test := range []struct {
		name   string
		remote client.Remote
		kind   string
		err    error
	}{
		{"named key", client.Remote{Address: address, Fingerprint: fingerprint, Key: key}, "", nil},
		{"fingerprint in capitals", client.Remote{Address: address, Fingerprint: strings.ToUpper(fingerprint), Key: key}, "", nil},
		{"another key", client.Remote{Address: address, Fingerprint: fingerprint, Key: stranger}, registry.KindPermissionDenied, nil},
		{"no key", client.Remote{Address: address, Fingerprint: fingerprint}, registry.KindPermissionDenied, nil},
		{"another server", client.Remote{Address: address, Fingerprint: strings.Repeat("0", 64), Key: key}, "", client.ErrOtherServer},
	} {
		dial, err := client.TLS(test.remote)
		if err != nil {
			t.Fatal(err)
		}
		c := client.New(client.Options{Dial: dial})
		rows, err := c.NetRoutes(soon(t), nil)
		n := 0
		if err == nil {
			for _, rowErr := range rows.All() {
				if rowErr != nil {
					t.Errorf("%s: %v", test.name, rowErr)
				}
				n++
			}
		}
		var own *client.Error
		switch {
		case test.err != nil:
			if !errors.Is(err, test.err) || !errors.Is(err, client.ErrUnreachable) {
				t.Errorf("%s: %v, want %v", test.name, err, test.err)
			}
		case test.kind != "":
			if !errors.As(err, &own) || own.Kind() != test.kind {
				t.Errorf("%s: %v, want %s", test.name, err, test.kind)
			}
		case err != nil || n != 3:
			t.Errorf("%s: %d rows, %v", test.name, n, err)
		}
		c.Close()
	}
}

func TestTLSRefuses(t *testing.T) {
	good := strings.Repeat("a", 64)
	for _, r := range []client.Remote{
		{Address: "node-7", Fingerprint: good}, {Address: "node-7:8443"}, {Address: "node-7:8443", Fingerprint: good[1:]},
		{Address: "node-7:8443", Fingerprint: good[1:] + "x"},
	} {
		if _, err := client.TLS(r); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}
