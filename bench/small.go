package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
)

const smallCallsWindow = time.Second

// rate is one side of a comparison of small calls: a server process and how to call it once on a
// connection of the caller's own.
type rate struct {
	name    string
	server  func() (*daemon, error)
	connect func(d *daemon) (call func() error, close func(), err error)

	perSecond map[int][]float64 // by connections
	cpu       map[int][]time.Duration
}

func benchSmallCalls() error {
	sides := []*rate{
		{name: "null net/http handler", server: peerServer("null"), connect: httpCaller("rpc.health", "{}")},
		{name: "rpc.health", server: startServer, connect: httpCaller("rpc.health", "{}")},
		{name: "net.status", server: startServer, connect: httpCaller("net.status", "{}")},
		{name: "net.interfaces", server: startServer, connect: httpCaller("net.interfaces", "{}")},
		{name: "gRPC", server: peerServer("grpc"), connect: grpcCaller},
		{name: "D-Bus", server: peerServer("dbus"), connect: dbusCaller},
	}
	if err := sh("ip link add v0 type veth peer name v1; ip link add v2 type veth peer name v3"); err != nil {
		return err
	}
	defer sh("ip link del v0; ip link del v2")
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
	null, ours := sides[0], sides[1]
	for _, conns := range []int{1, 32} {
		for _, s := range sides {
			fmt.Printf("  %2d connections  %-22s %8.0f calls/s  %6v CPU a call  ours/this: %.2f calls/s, %.2f CPU\n", conns, s.name,
				s.calls(conns), round(s.cpuPerCall(conns)), ours.calls(conns)/s.calls(conns), float64(ours.cpuPerCall(conns))/float64(s.cpuPerCall(conns)))
		}
	}
	for _, conns := range []int{1, 32} {
		cpu := float64(ours.cpuPerCall(conns)) / float64(null.cpuPerCall(conns))
		fmt.Printf("  bars at %2d: CPU/null %.2f (1.35 %s), calls/gRPC %.2f (1.15 %s), calls/D-Bus %.2f (2.2 %s), net.status/health %.2f (3 %s), net.interfaces/health %.2f (3 %s)\n", conns,
			cpu, verdict(cpu <= 1.35), ours.calls(conns)/sides[4].calls(conns), verdict(ours.calls(conns) >= 1.15*sides[4].calls(conns)),
			ours.calls(conns)/sides[5].calls(conns), verdict(ours.calls(conns) >= 2.2*sides[5].calls(conns)),
			ours.calls(conns)/sides[2].calls(conns), verdict(ours.calls(conns) <= 3*sides[2].calls(conns)),
			ours.calls(conns)/sides[3].calls(conns), verdict(ours.calls(conns) <= 3*sides[3].calls(conns)))
	}
	return nil
}

func (r *rate) calls(conns int) float64 {
	s := slices.Sorted(slices.Values(r.perSecond[conns]))
	return s[len(s)/2]
}

func (r *rate) cpuPerCall(conns int) time.Duration { return sample(r.cpu[conns]).median() }

func (r *rate) measure() error {
	d, err := r.server()
	if err != nil {
		return err
	}
	defer d.stop()
	for _, conns := range []int{1, 32} {
		before := d.cpu()
		calls, took, err := r.load(d, conns)
		if err != nil {
			return err
		}
		r.perSecond[conns] = append(r.perSecond[conns], float64(calls)/took.Seconds())
		r.cpu[conns] = append(r.cpu[conns], (d.cpu()-before)/time.Duration(calls))
	}
	return nil
}

// load calls from so many connections at once for the window and says how many calls ended.
func (r *rate) load(d *daemon, conns int) (int64, time.Duration, error) {
	var (
		total  atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
	)
	start := time.Now()
	for range conns {
		call, closeConn, err := r.connect(d)
		if err != nil {
			return 0, 0, err
		}
		wg.Go(func() {
			defer closeConn()
			for time.Since(start) < smallCallsWindow {
				if err := call(); err != nil {
					failed.Store(&err)
					return
				}
				total.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	return total.Load(), time.Since(start), nil
}

func httpCaller(method, params string) func(*daemon) (func() error, func(), error) {
	return func(d *daemon) (func() error, func(), error) {
		own := &daemon{client: unixClient(d.socket)}
		return func() error { return own.call(method, params, io.Discard) }, own.client.CloseIdleConnections, nil
	}
}

func grpcCaller(d *daemon) (func() error, func(), error) {
	conn, err := grpc.NewClient("unix://"+d.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	client := health.NewHealthClient(conn)
	return func() error {
		_, err := client.Check(context.Background(), &health.HealthCheckRequest{})
		return err
	}, func() { conn.Close() }, nil
}

func dbusCaller(d *daemon) (func() error, func(), error) {
	conn, err := dbus.Connect("unix:path=" + d.socket)
	if err != nil {
		return nil, nil, err
	}
	object := conn.Object(dbusName, "/")
	return func() error { return object.Call(dbusName+".Health", 0).Err }, func() { conn.Close() }, nil
}

// peerServer starts this program again as one of its peers.
func peerServer(name string) func() (*daemon, error) {
	return func() (*daemon, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return start(self, name, "SOCKET")
	}
}
