package unixsock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestClaimIsOnesAtATime(t *testing.T) {
	name := fmt.Sprintf("my_os_server/test-%d", os.Getpid())
	first, err := NewClaim(name)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var other *InUseError
		if _, err := NewClaim(name); !errors.As(err, &other) || other.PID != os.Getpid() || other.Comm == "" {
			t.Fatalf("%v, want that this process has it", err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := NewClaim(name)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

// Anybody may take the name, and keeps no daemon from its work by that.
func TestClaimOfSomebodyElse(t *testing.T) {
	needRoot(t)
	name := fmt.Sprintf("my_os_server/test-others-%d", os.Getpid())
	for _, how := range []string{"listens", "is deaf"} {
		p := start(t, 2000, "claim", name, how)
		p.line(t)
		if _, err := NewClaim(name); !errors.Is(err, ErrUntrustedPeer) {
			t.Errorf("somebody else %s: %v, want %v", how, err, ErrUntrustedPeer)
		}
		p.stop()
	}
}

// claimRole takes the name args[0], listens on it or not, says so, and stays until standard input ends.
func claimRole(args []string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + args[0]}); err != nil {
		return err
	}
	if args[1] == "listens" {
		if err := unix.Listen(fd, 1); err != nil {
			return err
		}
	}
	fmt.Println("taken")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
