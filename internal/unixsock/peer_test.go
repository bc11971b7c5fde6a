package unixsock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	p, line := try(t, os.Geteuid(), path, 0o600)
	if line != "listening "+path {
		t.Fatal(line)
	}
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := PeerOf(conn)
	if want := (Peer{PID: p.Process.Pid, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}); err != nil || peer != want {
		t.Errorf("%+v, %v, want %+v", peer, err, want)
	}
	if err := CheckServer(conn); err != nil {
		t.Error(err)
	}
}

func TestPeerOfClosedConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	mustListen(t, path, 0o600)
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := PeerOf(conn); err == nil {
		t.Error("a closed connection has a peer")
	}
	if err := CheckServer(conn); err == nil || errors.Is(err, ErrUntrustedPeer) {
		t.Errorf("%v", err)
	}
}

// TestUntrustedServer: somebody else's server is noticed before anything is said to it.
func TestUntrustedServer(t *testing.T) {
	needRoot(t)
	path := filepath.Join(lay(t, filepath.Join(publicTemp(t), "f"), nobody, 0o755), "rpc.sock")
	if _, line := try(t, nobody, path, 0o666); line != "listening "+path {
		t.Fatal(line)
	}
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := CheckServer(conn); !errors.Is(err, ErrUntrustedPeer) || !strings.Contains(err.Error(), "--server-uid 65534") {
		t.Errorf("%v, want ErrUntrustedPeer", err)
	}
	if err := CheckServer(conn, nobody); err != nil {
		t.Error(err)
	}
}

func TestCheckServer(t *testing.T) {
	for _, c := range []struct {
		peer, own uint32
		also      []uint32
		trusted   bool
	}{
		{peer: 0, own: 1000, trusted: true},
		{peer: 1000, own: 1000, trusted: true},
		{peer: 1001, own: 1000},
		{peer: 1001, own: 0},
		{peer: 1001, own: 1000, also: []uint32{1002, 1001}, trusted: true},
		{peer: 65534, own: 1000, also: []uint32{1001}},
	} {
		if err := checkServer(Peer{UID: c.peer}, c.own, c.also); (err == nil) != c.trusted {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestDialBadPath(t *testing.T) {
	if _, err := Dial(t.Context(), "@abstract"); !errors.Is(err, ErrBadPath) {
		t.Errorf("%v, want ErrBadPath", err)
	}
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want not exist", err)
	}
}
