package btrfswork

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestBalanceEndIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "balances", "a.json")
	if _, _, err := ReadBalanceEnd(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	r := openBalanceRecord(path)
	r.write(BalanceEnd{})
	if _, running, err := ReadBalanceEnd(path); !running || err != nil {
		t.Errorf("while its process lives: running %v, %v", running, err)
	}
	openBalanceRecord(path).write(BalanceEnd{Outcome: "canceled"}) // another process, which writes nothing
	want := BalanceEnd{Outcome: "failed", EndedAt: time.Unix(1e9, 0).UTC(), Errno: "ENOSPC"}
	r.write(want)
	r.close()
	if got, running, err := ReadBalanceEnd(path); got != want || running || err != nil {
		t.Errorf("ended: %+v, running %v, %v", got, running, err)
	}
}

// FuzzReadBalanceEnd: whatever the file holds is read or refused.
func FuzzReadBalanceEnd(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"outcome":"failed","ended_at":"2026-11-23T08:30:00Z","errno":"ENOSPC"}`))
	path := filepath.Join(f.TempDir(), "a.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if end, running, err := ReadBalanceEnd(path); running || err != nil && end != (BalanceEnd{}) {
			t.Errorf("%+v, running %v, %v", end, running, err)
		}
	})
}
