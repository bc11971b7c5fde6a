// Package unixctl is a client of the control sockets of Open vSwitch's daemons, those that ovs-appctl(8) speaks to:
// JSON-RPC 1.0 over a Unix socket, one command a connection, whose answer is one string.
//
// Such a string can be very large: the connections of a datapath, a line each. It is decoded as it comes and handed
// on line by line, in constant memory. What a daemon sends besides is bounded. Errors are an [*Unavailable] where
// the daemon cannot be reached, was lost, does not answer in time or sends what no such daemon does, and a
// [*Refused] where it refused the command.
//
// The package knows no command and interprets no answer.
package unixctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	textLimit = 4 << 20               // bytes of an answer that is taken whole
	dialPause = 20 * time.Millisecond // before a daemon whose queue is full is knocked at again
)

var (
	// ErrNotRunning is the cause where there is no pid file, or none that names a process.
	ErrNotRunning = errors.New("no pid file")
	// ErrProtocol is in the chain of an error about what no daemon of Open vSwitch should send.
	ErrProtocol = errors.New("not an answer of Open vSwitch")
	// ErrTooLarge is the cause where an answer that is taken whole is longer than any should be.
	ErrTooLarge = errors.New("the answer is too large")
)

// Unavailable is a daemon that cannot be reached, was lost, or does not answer in time.
type Unavailable struct {
	Program string
	PID     int    // 0: not known
	Socket  string // "" where the pid file does not tell
	Sent    bool   // the command was sent: whether it was carried out is not known
	Err     error
}

// Error is the program, where it was looked for, and the cause.
func (e *Unavailable) Error() string {
	if e.Socket == "" {
		return fmt.Sprintf("ask %s: %v", e.Program, e.Err)
	}
	return fmt.Sprintf("ask %s at %s: %v", e.Program, e.Socket, e.Err)
}

// Unwrap is the cause: a context's error, an errno of connect(2), io.ErrUnexpectedEOF, ErrNotRunning, ErrProtocol.
func (e *Unavailable) Unwrap() error { return e.Err }

// Refused is a command that the daemon does not know or that failed there.
type Refused struct {
	Command string
	Text    string // the daemon's own words, without white space around them; may be empty
}

// Error is the command and what the daemon said.
func (e *Refused) Error() string { return e.Command + ": " + e.Text }

// Daemon is a daemon that runs, as far as its pid file tells.
type Daemon struct {
	Program string
	PID     int
	Socket  string // its control socket
}

// Find looks for a daemon by its pid file in a run dir. The error is an *Unavailable with ErrNotRunning, or that of
// reading the file.
func Find(runDir, program string) (*Daemon, error) {
	file := filepath.Join(runDir, program+".pid")
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w %s", ErrNotRunning, file)
	}
	if err != nil {
		return nil, &Unavailable{Program: program, Err: err}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return nil, &Unavailable{Program: program, Err: fmt.Errorf("%w: no process number in %s", ErrNotRunning, file)}
	}
	return &Daemon{Program: program, PID: pid, Socket: control(runDir, program, pid)}, nil
}

// control is a daemon's control socket: where it is unless the daemon was told otherwise, else the first of the
// other names in use that is there.
func control(runDir, program string, pid int) string {
	usual := filepath.Join(runDir, fmt.Sprintf("%s.%d.ctl", program, pid))
	for _, path := range []string{
		usual,
		filepath.Join(runDir, program+".ctl"),
		filepath.Join(runDir, strings.TrimPrefix(program, "ovs-")+".ctl"),
	} {
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return usual
}

// Lines has the daemon carry out a command and calls f for each line of the answer, as it comes. An error of f ends
// the call and is returned as it is.
func (d *Daemon) Lines(ctx context.Context, f func(line string) error, command string, args ...string) error {
	conn, err := d.dial(ctx)
	if err != nil {
		return d.lost(ctx, false, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if sent, err := send(conn, command, args); err != nil {
		return d.lost(ctx, sent, err)
	}
	refusal, ended, err := overlapped(conn, f)
	switch {
	case ended != nil:
		return ended
	case err != nil:
		return d.lost(ctx, true, err)
	case refusal != nil:
		return &Refused{Command: command, Text: strings.TrimSpace(*refusal)}
	}
	return nil
}

// Text is Lines for an answer that is taken whole: at most 4 MiB.
func (d *Daemon) Text(ctx context.Context, command string, args ...string) (string, error) {
	var text []byte
	err := d.Lines(ctx, func(line string) error {
		if len(text)+len(line) > textLimit {
			return &Unavailable{Program: d.Program, PID: d.PID, Socket: d.Socket, Sent: true, Err: ErrTooLarge}
		}
		text = append(append(text, line...), '\n')
		return nil
	}, command, args...)
	return string(text), err
}

func (d *Daemon) lost(ctx context.Context, sent bool, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &Unavailable{Program: d.Program, PID: d.PID, Socket: d.Socket, Sent: sent, Err: err}
}

// dial connects. A daemon that does not take its connections lets them queue, and then refuses more with EAGAIN
// (connect(2)): it may yet come to.
func (d *Daemon) dial(ctx context.Context) (net.Conn, error) {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", d.Socket)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(dialPause):
		}
	}
}

func send(conn net.Conn, command string, args []string) (sent bool, err error) {
	request, err := json.Marshal(struct {
		ID     int      `json:"id"`
		Method string   `json:"method"`
		Params []string `json:"params"`
	}{0, command, append([]string{}, args...)})
	if err != nil {
		return false, err
	}
	n, err := conn.Write(request)
	return n > 0, err
}
