package wire

import (
	"errors"
	"iter"
	"math"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// DumpAttempts bounds how often an interrupted dump is taken: on a host whose links change all the time
// nearly every dump is interrupted, and a list that says so is worth more than none.
const DumpAttempts = 4

// Consistently takes a dump again while the kernel flags it as interrupted and nothing of it is on the
// wire. The result is what stands in the answer as `consistent`: false, or absent.
func Consistently[Row any](rows *registry.Stream[Row], dump func() (interrupted bool, err error)) (registry.Opt[bool], error) {
	for attempt := 1; ; attempt++ {
		interrupted, err := dump()
		again := interrupted || errors.Is(err, rtnl.ErrTruncated)
		if !again || attempt == DumpAttempts || !rows.Restart() {
			return consistent(interrupted), err
		}
	}
}

// Gathered is Consistently for a result that goes out in one piece. gather begins anew each
// time.
func Gathered(gather func() (interrupted bool, err error)) (registry.Opt[bool], error) {
	for attempt := 1; ; attempt++ {
		interrupted, err := gather()
		if again := interrupted || errors.Is(err, rtnl.ErrTruncated); !again || attempt == DumpAttempts {
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

// Each calls f for every row of a dump until f fails. That the dump was interrupted is known only once
// all rows have come.
func Each[Row any](dump iter.Seq2[*Row, error], f func(*Row) error) (interrupted bool, err error) {
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

// ErrEnough ends a dump when the caller's limit is reached.
var ErrEnough = errors.New("limit reached")

// UnlessEnough is err, or nil where the dump ended because it had enough.
func UnlessEnough(err error) error {
	if errors.Is(err, ErrEnough) {
		return nil
	}
	return err
}

// Limited sends rows up to a limit.
type Limited[Row any] struct {
	rows  *registry.Stream[Row]
	limit int64
}

// LimitedTo is a Limited without a limit where the caller gave none.
func LimitedTo[Row any](rows *registry.Stream[Row], limit registry.Opt[int64]) Limited[Row] {
	return Limited[Row]{rows: rows, limit: limit.Or(math.MaxInt64)}
}

// Send returns ErrEnough once the last row that is wanted has been sent.
func (l Limited[Row]) Send(row *Row) error {
	if err := l.rows.Send(row); err != nil {
		return err
	}
	if int64(l.rows.Rows()) >= l.limit {
		return ErrEnough
	}
	return nil
}
