package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

func dialIn(t *testing.T, ns *testhost.NetNS) *Conn {
	t.Helper()
	c, err := Dial(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// listening are the sockets that are found, as ss(8) shows them.
func listening(t *testing.T, c *Conn, protocol uint8, port uint16) (list []string) {
	t.Helper()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for s, err := range c.Listening(t.Context(), family, protocol, port) {
			if errors.Is(err, ErrUnsupported) {
				testhost.Missing(t, "inet_diag")
			}
			if err != nil {
				t.Fatal(err)
			}
			host := s.Local.Addr().String()
			switch {
			case s.Local.Addr().Is6() && s.Local.Addr().IsUnspecified() && !s.V6Only:
				host = "*"
			case s.Local.Addr().Is6():
				host = "[" + host + "]"
			}
			list = append(list, host+":"+strconv.Itoa(int(s.Local.Port())))
		}
	}
	slices.Sort(list)
	return list
}

// TestListeningAgainstSs opens listeners at random, and compares with what ss has of them.
func TestListeningAgainstSs(t *testing.T) {
	testhost.Tool(t, "ss", "iproute2")
	ns := testhost.NewNetNS(t)
	ns.IP("link set lo up", "addr add 192.0.2.1/32 dev lo", "addr add 2001:db8::1/128 dev lo nodad")
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	c := dialIn(t, ns)
	var ports []int
	for range testhost.Rounds(30) {
		host := []string{"", "127.0.0.1", "::1", "0.0.0.0", "192.0.2.1", "2001:db8::1"}[r.IntN(6)]
		port := 1024 + r.IntN(60000)
		ports = append(ports, port)
		only := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) (err error) {
			if strings.HasSuffix(network, "6") && r.IntN(2) == 0 {
				_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) })
			}
			return err
		}}
		ns.Do(func() {
			if l, err := only.Listen(t.Context(), "tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
				t.Cleanup(func() { l.Close() })
			}
			if p, err := only.ListenPacket(t.Context(), "udp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
				t.Cleanup(func() { p.Close() })
			}
		})
	}
	for protocol, flags := range map[uint8]string{unix.IPPROTO_TCP: "-Hltn", unix.IPPROTO_UDP: "-Hlun"} {
		var theirs []string
		for line := range strings.Lines(ns.Run("ss", flags)) {
			theirs = append(theirs, strings.Fields(line)[3])
		}
		slices.Sort(theirs)
		ours := listening(t, c, protocol, 0)
		if !slices.Equal(ours, theirs) {
			t.Errorf("%s: %v, ss has %v", flags, ours, theirs)
		}
		for _, port := range append(ports, 1) {
			var of []string
			for _, s := range theirs {
				if strings.HasSuffix(s, fmt.Sprint(":", port)) {
					of = append(of, s)
				}
			}
			if got := listening(t, c, protocol, uint16(port)); !slices.Equal(got, of) {
				t.Errorf("port %d: %v, not %v", port, got, of)
			}
		}
	}
	if !c.Reusable() {
		t.Error("the socket cannot be used again")
	}
}

// TestEndEndsOneConnection: not the listener, nor another connection, nor one that is not there.
func TestEndEndsOneConnection(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.IP("link set lo up")
	for _, host := range []string{"127.0.0.1", "::1", ""} { // the last one takes IPv4 on a socket of IPv6
		var l net.Listener
		var a, b net.Conn
		var err error
		ns.Do(func() {
			if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
				return
			}
			to := l.Addr().String()
			if host == "" {
				to = strings.Replace(to, "[::]", "127.0.0.1", 1)
			}
			if a, err = net.Dial("tcp", to); err == nil {
				b, err = net.Dial("tcp", to)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { l.Close(); a.Close(); b.Close() }()
		c := dialIn(t, ns)
		local, remote := netip.MustParseAddrPort(a.RemoteAddr().String()), netip.MustParseAddrPort(a.LocalAddr().String())
		ended, err := c.End(t.Context(), local, remote)
		if errors.Is(err, ErrUnsupported) {
			testhost.Missing(t, "CONFIG_INET_DIAG_DESTROY")
		}
		if err != nil || !ended {
			t.Fatalf("%v, %v", ended, err)
		}
		_ = a.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection goes on: %v", err)
		}
		for _, from := range []netip.AddrPort{remote, netip.AddrPortFrom(remote.Addr(), 1)} {
			if ended, err := c.End(t.Context(), local, from); ended || err != nil {
				t.Errorf("one that is not there: %v, %v", ended, err)
			}
		}
		if _, err := b.Write([]byte("x")); err != nil {
			t.Errorf("another connection: %v", err)
		}
		ns.Do(func() {
			d, err := net.DialTimeout("tcp", a.RemoteAddr().String(), 10*time.Second)
			if err != nil {
				t.Errorf("the listener: %v", err)
				return
			}
			d.Close()
		})
	}
}

func TestEndedContext(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range dialIn(t, ns).Listening(ctx, unix.AF_INET, unix.IPPROTO_TCP, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	local, remote := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::1]:443")
	f.Add(append(appendID([]byte{unix.AF_INET, StateListen, 0, 0}, local, netip.AddrPort{}, noCookie), make([]byte, 20)...))
	f.Add(append(append(appendID([]byte{unix.AF_INET6, 1, 0, 0}, remote, remote, noCookie), make([]byte, 20)...), 5, 0, attrV6, 0, 1, 0, 0, 0))
	f.Add([]byte{2, 10})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Socket
		if err := s.decode(b); err != nil {
			return
		}
		again := append(appendID([]byte{b[0], s.State, 0, 0}, s.Local, s.Remote, s.cookie), make([]byte, 20)...)
		var twice Socket
		if err := twice.decode(again); err != nil || twice.Local != s.Local || twice.Remote != s.Remote || twice.cookie != s.cookie {
			t.Fatalf("%+v, then %+v, %v", s, twice, err)
		}
	})
}
