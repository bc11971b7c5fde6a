// Package btrfswork carries the scrubs and balances of btrfs: calls into the kernel that last for hours and that
// end with the process that made them. So a process of its own makes each: the daemon starts itself once more
// with other arguments (hostexec.Detach), and Main is what runs there. It shares nothing with the daemon but two
// descriptors that it opens by way of /proc: a folder of the filesystem, and a pipe on which it says once
// whether the work has begun. Whether the daemon lives is nothing to it.
//
// Others stop the work by the kernel's own means: cancelling a scrub, pausing or cancelling a balance.
package btrfswork

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/geomind/my_os_server/internal/btrfs"
)

// Word is the first argument of a process that is to do such work.
const Word = "btrfs-work"

// Job is one work.
type Job struct {
	Folder  string   `json:"folder"` // a folder of the filesystem, as /proc/PID/fd/N
	Report  string   `json:"report"` // the pipe, likewise
	Scrub   *Scrub   `json:"scrub,omitempty"`
	Balance *Balance `json:"balance,omitempty"`
}

// Scrub is a scrub of some devices.
type Scrub struct {
	Records  string              `json:"records"` // folder of the records that btrfs-progs shares
	ReadOnly bool                `json:"read_only"`
	Devices  []btrfs.ScrubRecord `json:"devices"` // where each begins: Progress.LastPhysical
}

// started is what is reported where the work has begun, or was so little that it has ended already.
const started = "started"

// Args are the arguments of a process that is to do a job.
func Args(j Job) ([]string, error) {
	b, err := json.Marshal(j)
	return []string{Word, string(b)}, err
}

// Main does the job that the arguments behind the program's name say; false where they are no job's. The
// status is that of the process.
func Main(args []string) (status int, ours bool) {
	if len(args) != 2 || args[0] != Word {
		return 0, false
	}
	// What ends a daemon must not end the work: it is stopped by the kernel's means.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2)
	var j Job
	if err := json.Unmarshal([]byte(args[1]), &j); err != nil {
		return 2, true
	}
	if err := j.run(); err != nil {
		return 1, true
	}
	return 0, true
}

// settle is how long the kernel has to refuse a work; after that it has begun.
const settle = 200 * time.Millisecond

func (j *Job) run() error {
	ctx := context.Background()
	report, err := os.OpenFile(j.Report, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	f, err := btrfs.Open(ctx, j.Folder, btrfs.Wait)
	if err != nil {
		return tell(report, err)
	}
	defer f.Close()
	ended := make(chan error, 1)
	go func() { ended <- j.work(ctx, f) }()
	select {
	case err := <-ended:
		return tell(report, err)
	case <-time.After(settle):
	}
	return errors.Join(tell(report, nil), <-ended)
}

func (j *Job) work(ctx context.Context, f *btrfs.Filesystem) error {
	switch {
	case j.Scrub != nil:
		return j.Scrub.run(ctx, f)
	case j.Balance != nil:
		return j.Balance.run(ctx, f)
	}
	return errors.New("no work")
}

// tell reports how the start went, and returns err.
func tell(report *os.File, err error) error {
	text := started
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text = fmt.Sprintf("errno %d", int(errno))
	} else if err != nil {
		text = "failed " + err.Error()
	}
	_, writeErr := report.WriteString(text + "\n")
	return errors.Join(err, writeErr, report.Close())
}

// Started reads what a process reports on the other end of its pipe: nil where the work has begun, the
// kernel's errno where it refused, os.ErrDeadlineExceeded where the process says nothing in time.
func Started(pipe *os.File, timeout time.Duration) error {
	if err := pipe.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	buf := make([]byte, 512)
	n, err := pipe.Read(buf)
	if err != nil {
		return fmt.Errorf("start of a scrub or balance: %w", err)
	}
	text := strings.TrimSuffix(string(buf[:n]), "\n")
	var number int
	switch {
	case text == started:
		return nil
	case strings.HasPrefix(text, "errno "):
		if _, err := fmt.Sscanf(text, "errno %d", &number); err == nil {
			return syscall.Errno(number)
		}
	}
	return fmt.Errorf("start of a scrub or balance: %s", text)
}
