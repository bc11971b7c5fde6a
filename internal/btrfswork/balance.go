package btrfswork

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/btrfs"
)

// Balance is a balance, and the file in which its end is written down: the kernel keeps nothing of it.
type Balance struct {
	Work   btrfs.BalanceWork `json:"work"`
	Record string            `json:"record,omitempty"` // "": nowhere
}

// BalanceEnd is how a balance ended.
type BalanceEnd struct {
	Outcome    string    `json:"outcome,omitempty"` // finished, canceled, failed; empty: nobody was there to see
	EndedAt    time.Time `json:"ended_at,omitzero"`
	Errno      string    `json:"errno,omitempty"` // of one that failed, as in ENOSPC
	Considered uint64    `json:"considered,omitempty"`
	Completed  uint64    `json:"completed,omitempty"`
}

// maxBalanceEnd bounds the file.
const maxBalanceEnd = 4 << 10

// ReadBalanceEnd reads how the last balance ended whose record a file is; running tells that its process lives
// still. Errors: os.ErrNotExist where there was none, those of reading and decoding.
func ReadBalanceEnd(path string) (end BalanceEnd, running bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return end, false, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return end, true, nil
	} else if err != nil {
		return end, false, fmt.Errorf("lock %s: %w", path, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBalanceEnd))
	if err == nil {
		err = json.Unmarshal(b, &end)
	}
	if err != nil {
		return BalanceEnd{}, false, fmt.Errorf("read %s: %w", path, err)
	}
	return end, false, nil
}

// balanceRecord is the file while a balance runs. Its lock says so.
type balanceRecord struct {
	mu sync.Mutex
	f  *os.File // nil: there is none
}

func openBalanceRecord(path string) *balanceRecord {
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return &balanceRecord{}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &balanceRecord{} // the balance does not wait for that
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil { // that of another balance, which the kernel refuses this one for
		f.Close()
		return &balanceRecord{}
	}
	return &balanceRecord{f: f}
}

func (r *balanceRecord) write(end BalanceEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := json.Marshal(end)
	if r.f == nil || err != nil {
		return
	}
	b = append(b, '\n')
	if _, err := r.f.WriteAt(b, 0); err == nil {
		_ = errors.Join(r.f.Truncate(int64(len(b))), r.f.Sync())
	}
}

func (r *balanceRecord) close() {
	if r.f != nil {
		r.f.Close()
	}
}

// run balances, and writes down that it has begun once the kernel has not refused it, and how it ended.
func (b *Balance) run(ctx context.Context, f *btrfs.Filesystem) error {
	record := openBalanceRecord(b.Record)
	defer record.close()
	begun := time.AfterFunc(settle, func() { record.write(BalanceEnd{}) })
	progress, err := f.DoBalance(ctx, &b.Work)
	refused := begun.Stop()
	end := BalanceEnd{Outcome: "finished", EndedAt: time.Now().UTC().Truncate(time.Second), Considered: progress.Considered, Completed: progress.Completed}
	var errno syscall.Errno
	switch {
	case err == nil:
	case errors.Is(err, syscall.ECANCELED):
		if now, lookErr := f.Balance(ctx); lookErr != nil || now != nil { // paused: it has not ended
			return nil
		}
		err, end.Outcome = nil, "canceled"
	case errors.As(err, &errno) && !refused:
		end.Outcome, end.Errno = "failed", unix.ErrnoName(errno)
	default:
		return err // whoever asked for it is told
	}
	record.write(end)
	return err
}
