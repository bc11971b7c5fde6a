package netops

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/geomind/my_os_server/internal/unixsock"
	"github.com/geomind/my_os_server/pkg/registry"
)

// claimName is what the one daemon that changes a network namespace holds there.
const claimName = "my_os_server/net"

// sole is what makes a Net the only one that changes its network namespace.
type sole struct {
	settled atomic.Bool // the namespace is ours, or nobody can be asked
	taking  sync.Mutex
	held    *unixsock.Claim // nil: not yet, or by nobody
}

// claim takes the network namespace, before the first change of it: who only looks holds nothing. Once the other
// daemon has ended the next change takes it over.
func (n *Net) claim() error {
	s := &n.sole
	if !n.options.Alone || s.settled.Load() {
		return nil
	}
	s.taking.Lock()
	defer s.taking.Unlock()
	if s.settled.Load() {
		return nil
	}
	err := n.inside(func() (err error) {
		s.held, err = unixsock.NewClaim(claimName)
		return err
	})
	var other *unixsock.InUseError
	if errors.As(err, &other) {
		return &registry.OSError{
			OsErrorData: registry.OsErrorData{Op: "claim network namespace", Errno: "EADDRINUSE", Applied: registry.Some(registry.AppliedNo)},
			Message:     "the network namespace is " + other.Error() + ", which alone changes it: call that daemon, or stop it",
		}
	}
	if err != nil { // whoever has taken the name, it is none of us
		n.options.Log.Warn().Err(err).Msg("other daemons cannot be kept from changing this network namespace")
	}
	s.settled.Store(true)
	return nil
}

func (s *sole) release() {
	s.taking.Lock()
	defer s.taking.Unlock()
	if s.held != nil {
		s.held.Close()
		s.held = nil
	}
	s.settled.Store(false)
}
