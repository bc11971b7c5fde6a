package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	health "google.golang.org/grpc/health/grpc_health_v1"
)

// peers are the servers that this program can be instead of a benchmark: each answers the smallest
// useful call of its protocol on a Unix socket.
var peers = map[string]func(socket string, more ...string) error{
	"null": serveNull,
	"grpc": serveGRPC,
	"dbus": serveDBus,

	"grpctls": serveGRPCTLS,

	"upstream": serveUpstream,
	"reverse":  serveReverse,
	"recode":   serveRecode,
}

// serveNull is net/http with a handler that reads the body and answers a constant.
func serveNull(socket string, _ ...string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	answer := []byte(`{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`)
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
}

func serveGRPC(socket string, _ ...string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	health.RegisterHealthServer(s, grpchealth.NewServer())
	return s.Serve(l)
}

const dbusName = "org.example.Bench"

type dbusHealth struct{}

// Health answers as rpc.health does.
func (dbusHealth) Health() (string, *dbus.Error) { return "ok", nil }

// serveDBus runs a message bus of its own on the socket and a service on it. The CPU of the broker is
// not counted for D-Bus, which favours the peer.
func serveDBus(socket string, _ ...string) error {
	config := filepath.Join(filepath.Dir(socket), "bus.conf")
	err := os.WriteFile(config, fmt.Appendf(nil, `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=%s.bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`, socket), 0o600)
	if err != nil {
		return err
	}
	broker := exec.Command("dbus-daemon", "--nofork", "--config-file="+config)
	broker.Stderr = os.Stderr
	broker.SysProcAttr = dieWithParent
	if err := broker.Start(); err != nil {
		return err
	}
	conn, err := dialDBus(socket + ".bus")
	if err != nil {
		return err
	}
	if err := conn.Export(dbusHealth{}, "/", dbusName); err != nil {
		return err
	}
	if _, err := conn.RequestName(dbusName, 0); err != nil {
		return err
	}
	// Only now, with the service in place, does the path that clients wait for appear.
	if err := os.Link(socket+".bus", socket); err != nil {
		return err
	}
	<-conn.Context().Done()
	return context.Cause(conn.Context())
}

func dialDBus(path string) (conn *dbus.Conn, err error) {
	for range 1000 {
		if conn, err = dbus.Connect("unix:path=" + path); err == nil {
			return conn, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, err
}
