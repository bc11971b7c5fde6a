package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// tlsClient is how both sides' clients connect: TLS 1.3 without resumption, so that each connection is a whole
// handshake. Nobody's certificate is checked, since neither side's would pass.
func tlsClient() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
}

// benchTLS compares calls from elsewhere: with a handshake for each, and on a connection that is kept. gRPC carries
// the very bytes of our requests and answers.
func benchTLS() error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	methods := []string{"rpc.health", "rpc.discover"}
	known, err := haveExchanges(folder, methods...)
	if err != nil {
		return err
	}
	var sides []*rate
	for _, method := range methods {
		for _, kept := range []bool{false, true} {
			how := "handshake and " + method
			if kept {
				how = method
			}
			sides = append(sides,
				&rate{name: how, server: tlsServer(address), connect: tlsCaller(address, method, known, kept)},
				&rate{name: how + ", gRPC", server: tlsPeer(address, folder), connect: grpcTLSCaller(address, method, known, kept)})
		}
	}
	for _, s := range sides {
		s.perSecond, s.cpu = map[int][]float64{}, map[int][]time.Duration{}
	}
	for range *rounds {
		for _, s := range sides {
			if err := s.measure(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	for _, conns := range []int{1, 32} {
		for i := 0; i < len(sides); i += 2 {
			ours, peer := sides[i], sides[i+1]
			calls := ours.calls(conns) / peer.calls(conns)
			fmt.Printf("  %2d connections  %-26s ours %7.0f calls/s %7v CPU  gRPC %7.0f calls/s %7v CPU  ratio %.2f calls/s, %.2f CPU  bar 1 %s\n", conns, ours.name,
				ours.calls(conns), round(ours.cpuPerCall(conns)), peer.calls(conns), round(peer.cpuPerCall(conns)),
				calls, float64(ours.cpuPerCall(conns))/float64(peer.cpuPerCall(conns)), verdict(calls >= 1))
		}
	}
	return nil
}

// freeAddress is an address of the loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tlsServer starts the daemon for callers from elsewhere, all of whom come from one address here and would meet
// the limits of one.
func tlsServer(address string) func() (*daemon, error) {
	return func() (*daemon, error) {
		file, err := os.CreateTemp("", "bench")
		if err != nil {
			return nil, err
		}
		defer os.Remove(file.Name())
		_, err = file.WriteString("[limits]\nremote_calls_per_second = 1000000\ncalls_per_user = 100\nconnections_per_user = 1000\n")
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		return start(*server, "--socket", "SOCKET", "--state-dir", "DIR/state", "--no-hero-socket", "--config", file.Name(), "--listen", address)
	}
}

func tlsPeer(address, folder string) func() (*daemon, error) {
	return func() (*daemon, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return start(self, "grpctls", "SOCKET", address, folder)
	}
}

// exchanges are requests of the daemon and what it answers.
type exchanges map[string]string

func request(method string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{}}`
}

// haveExchanges asks the daemon, and puts what it answers where the peer finds it.
func haveExchanges(folder string, methods ...string) (exchanges, error) {
	d, err := startServer()
	if err != nil {
		return nil, err
	}
	defer d.stop()
	known := exchanges{}
	for _, method := range methods {
		var answer strings.Builder
		if err := d.call(method, "{}", &answer); err != nil {
			return nil, err
		}
		known[request(method)] = answer.String()
	}
	text, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	return known, os.WriteFile(filepath.Join(folder, exchangesFile), text, 0o600)
}

const exchangesFile = "exchanges.json"

// serveGRPCTLS is a gRPC server with a certificate of the daemon's kind, which answers known requests. That it is
// ready, a Unix socket tells.
func serveGRPCTLS(socket string, more ...string) error {
	address, folder := more[0], more[1]
	text, err := os.ReadFile(filepath.Join(folder, exchangesFile))
	if err != nil {
		return err
	}
	var known exchanges
	if err := json.Unmarshal(text, &known); err != nil {
		return err
	}
	certificate, err := p256Certificate()
	if err != nil {
		return err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ready, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() { // that it takes a connection is all that it has to say
		for {
			c, err := ready.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	s.RegisterService(carrier(known), nil)
	return s.Serve(l)
}

// carrier is a service whose one method answers a request with what stands beside it.
func carrier(known exchanges) *grpc.ServiceDesc {
	service, method, _ := strings.Cut(strings.TrimPrefix(carryMethod, "/"), "/")
	handle := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(wrapperspb.StringValue)
		if err := decode(request); err != nil {
			return nil, err
		}
		return wrapperspb.String(known[request.Value]), nil
	}
	return &grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: method, Handler: handle}}}
}

func p256Certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// tlsCaller calls on one connection, or with a new one each time.
func tlsCaller(address, method string, known exchanges, kept bool) func(*daemon) (func() error, func(), error) {
	ask := request(method)
	want := len(known[ask])
	return func(*daemon) (func() error, func(), error) {
		t := &http.Transport{TLSClientConfig: tlsClient(), DisableCompression: true, DisableKeepAlives: !kept, ReadBufferSize: 64 << 10}
		client := &http.Client{Transport: t}
		return func() error {
			res, err := client.Post("https://"+address+"/rpc", "application/json", strings.NewReader(ask))
			if err != nil {
				return err
			}
			defer res.Body.Close()
			n, err := io.Copy(io.Discard, res.Body)
			if err == nil && (res.StatusCode != http.StatusOK || n != int64(want)) {
				err = fmt.Errorf("%s: HTTP %s, %d bytes, not %d", method, res.Status, n, want)
			}
			return err
		}, t.CloseIdleConnections, nil
	}
}

const carryMethod = "/bench.Bench/Call"

func grpcTLSCaller(address, method string, known exchanges, kept bool) func(*daemon) (func() error, func(), error) {
	ask := request(method)
	want := len(known[ask])
	return func(*daemon) (func() error, func(), error) {
		dial := func() (*grpc.ClientConn, error) {
			return grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(tlsClient())))
		}
		call := func(conn *grpc.ClientConn) error {
			answer := new(wrapperspb.StringValue)
			err := conn.Invoke(context.Background(), carryMethod, wrapperspb.String(ask), answer)
			if err == nil && len(answer.Value) != want {
				err = fmt.Errorf("%s: %d bytes over gRPC, not %d", method, len(answer.Value), want)
			}
			return err
		}
		if !kept {
			return func() error {
				conn, err := dial()
				if err != nil {
					return err
				}
				defer conn.Close()
				return call(conn)
			}, func() {}, nil
		}
		conn, err := dial()
		if err != nil {
			return nil, nil, err
		}
		return func() error { return call(conn) }, func() { conn.Close() }, nil
	}
}
