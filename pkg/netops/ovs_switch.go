package netops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/unixctl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ovsSwitch is the daemon that switches.
const ovsSwitch = "ovs-vswitchd"

// ovsdLimit bounds a call that has no deadline of its own.
const ovsdLimit = 2 * time.Minute

// vswitchd is the switching daemon, and a context that ends before the call does, so that the caller is told what
// is wrong and not that time is over.
func (n *Net) vswitchd(ctx context.Context) (*unixctl.Daemon, context.Context, context.CancelFunc, error) {
	if err := n.runsOVS(); err != nil {
		return nil, nil, nil, err
	}
	d, err := unixctl.Find(n.ovsRunFile(""), ovsSwitch)
	if err != nil {
		return nil, nil, nil, n.switchError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, mostOf(ctx, ovsdLimit))
	return d, ctx, cancel, nil
}

// switchError is an error of the switching daemon in the table's words.
func (n *Net) switchError(err error) error {
	var gone *unixctl.Unavailable
	var refused *unixctl.Refused
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return err
	case errors.As(err, &gone):
		return n.switchGone(gone)
	case errors.As(err, &refused) && strings.Contains(refused.Text, "is not a valid command"):
		return switchUnknowing(refused)
	case errors.As(err, &refused):
		return &registry.OSError{
			OsErrorData: registry.OsErrorData{
				Op: refused.Command, Errno: errnoName(strerror(refused.Text)),
				Text: registry.NonZero(refused.Text), Applied: registry.Some(registry.AppliedUnknown),
			},
			Message: "ovs-vswitchd refused: " + err.Error(),
		}
	}
	return err
}

// switchUnknowing is the answer where the daemon lacks a command: it takes them up in the course of its start, once it
// has its configuration from the database.
func switchUnknowing(refused *unixctl.Refused) error {
	cause := "it does not know " + refused.Command + ": it starts and has no configuration yet, or is too old"
	return &registry.UpstreamUnavailableError{
		UpstreamUnavailableData: registry.UpstreamUnavailableData{Upstream: ovsSwitch, Cause: cause, Applied: registry.Some(registry.AppliedNo)},
		Message:                 "Open vSwitch cannot be asked: " + ovsSwitch + ": " + cause,
	}
}

// switchGone says what is wrong with the switching daemon.
func (n *Net) switchGone(gone *unixctl.Unavailable) error {
	cause := gone.Err.Error()
	if errors.Is(gone.Err, context.DeadlineExceeded) {
		cause = "it does not answer"
	}
	if state := n.processState(gone.PID); state != "" {
		cause += ": " + state
	}
	applied := registry.AppliedNo
	if gone.Sent {
		applied = registry.AppliedUnknown
	}
	return &registry.UpstreamUnavailableError{
		UpstreamUnavailableData: registry.UpstreamUnavailableData{
			Upstream: gone.Program, Socket: registry.NonZero(gone.Socket), Cause: cause, Applied: registry.Some(applied),
		},
		Message: "Open vSwitch cannot be asked: " + gone.Program + ": " + cause,
	}
}

// processState is what is wrong with the process of the switching daemon, as far as /proc tells (proc(5), stat): ""
// where nothing is, or where it cannot be told.
func (n *Net) processState(pid int) string {
	if pid == 0 {
		return ""
	}
	stat, err := os.ReadFile(filepath.Join("/", n.options.Root, "proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Sprintf("process %d is gone", pid)
	}
	_, rest, ok := bytes.Cut(stat, []byte("("+ovsSwitch+") "))
	switch {
	case err != nil || !ok || len(rest) == 0:
		return ""
	case rest[0] == 'T' || rest[0] == 't':
		return fmt.Sprintf("process %d is stopped", pid)
	case rest[0] == 'D':
		return fmt.Sprintf("process %d waits for the kernel", pid)
	case rest[0] == 'Z':
		return fmt.Sprintf("process %d has ended", pid)
	}
	return ""
}

// strerror is the error number whose text stands in brackets at the end of what Open vSwitch says: "datapath not
// found (Invalid argument)". EIO where there is none.
func strerror(text string) syscall.Errno {
	open := strings.LastIndexByte(text, '(')
	if open < 0 || !strings.HasSuffix(text, ")") {
		return syscall.EIO
	}
	said := text[open+1 : len(text)-1]
	for e := syscall.Errno(1); e < 134; e++ {
		if strings.EqualFold(said, e.Error()) && unix.ErrnoName(e) != "" {
			return e
		}
	}
	return syscall.EIO
}

// linesOf are the lines of an answer, sorted.
func (n *Net) linesOf(ctx context.Context, d *unixctl.Daemon, command string, args ...string) ([]string, error) {
	text, err := d.Text(ctx, command, args...)
	if err != nil {
		return nil, n.switchError(err)
	}
	list := strings.Fields(text)
	slices.Sort(list)
	return list, nil
}

// datapaths are the names of the datapaths.
func (n *Net) datapaths(ctx context.Context, d *unixctl.Daemon) ([]string, error) {
	list, err := n.linesOf(ctx, d, "dpctl/dump-dps")
	if refusedSilently(err) {
		return nil, nil
	}
	return list, err
}

// refusedSilently tells whether Open vSwitch refused and said nothing. It does so when asked for its datapaths where
// there is none and the kernel has no module for them.
func refusedSilently(err error) bool {
	var refused *registry.OSError
	return errors.As(err, &refused) && strings.HasPrefix(refused.Op, "dpctl/") && !refused.Text.IsSet()
}
