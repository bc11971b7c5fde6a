package netops

import (
	"errors"
	"iter"
	"math"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// dumpAttempts bounds how often an interrupted dump is taken: on a host whose links change all the time
// nearly every dump is interrupted, and a list that says so is worth more than none.
const dumpAttempts = 4

// consistently takes a dump again while the kernel flags it as interrupted and nothing of it is on the
// wire. The result is what stands in the answer as `consistent`: false, or absent.
func consistently[Row any](rows *registry.Stream[Row], dump func() (interrupted bool, err error)) (registry.Opt[bool], error) {
	for attempt := 1; ; attempt++ {
		interrupted, err := dump()
		again := interrupted || errors.Is(err, rtnl.ErrTruncated)
		if !again || attempt == dumpAttempts || !rows.Restart() {
			return consistent(interrupted), err
		}
	}
}

// consistentlyGathered is consistently for a result that goes out in one piece. gather begins anew each
// time.
func consistentlyGathered(gather func() (interrupted bool, err error)) (registry.Opt[bool], error) {
	for attempt := 1; ; attempt++ {
		interrupted, err := gather()
		if again := interrupted || errors.Is(err, rtnl.ErrTruncated); !again || attempt == dumpAttempts {
			return consistent(interrupted), err
		}
	}
}

func consistent(interrupted bool) registry.Opt[bool] {
	if interrupted {
		return registry.Some(false)
	}
	return registry.Opt[bool]{}
}

// each calls f for every row of a dump until f fails. That the dump was interrupted is known only once
// all rows have come.
func each[Row any](dump iter.Seq2[*Row, error], f func(*Row) error) (interrupted bool, err error) {
	for row, err := range dump {
		if err != nil {
			if errors.Is(err, rtnl.ErrInterrupted) {
				return true, nil
			}
			return false, err
		}
		if err := f(row); err != nil {
			return false, err
		}
	}
	return false, nil
}

// errEnough ends a dump when the caller's limit is reached.
var errEnough = errors.New("limit reached")

// unlessEnough is err, or nil where the dump ended because it had enough.
func unlessEnough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// limited sends rows up to a limit.
type limited[Row any] struct {
	rows  *registry.Stream[Row]
	limit int64
}

func limitedTo[Row any](rows *registry.Stream[Row], limit registry.Opt[int64]) limited[Row] {
	return limited[Row]{rows: rows, limit: limit.Or(math.MaxInt64)}
}

// send returns errEnough once the last row that is wanted has been sent.
func (l limited[Row]) send(row *Row) error {
	if err := l.rows.Send(row); err != nil {
		return err
	}
	if int64(l.rows.Rows()) >= l.limit {
		return errEnough
	}
	return nil
}
