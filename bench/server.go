package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is one running server process and a client for it.
type daemon struct {
	cmd    *exec.Cmd
	dir    string
	socket string
	client *http.Client
	first  time.Duration // from exec to the first answer
}

func unixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		ReadBufferSize:      64 << 10,
		DisableCompression:  true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
}

// start runs argv, which is to listen on the socket path put in place of SOCKET, and waits for its
// first answer.
func start(argv ...string) (*daemon, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, socket: filepath.Join(dir, "rpc.sock")}
	d.client = unixClient(d.socket)
	for i := range argv {
		argv[i] = strings.ReplaceAll(strings.ReplaceAll(argv[i], "SOCKET", d.socket), "DIR", dir)
	}
	d.cmd = exec.Command(argv[0], argv[1:]...)
	log, err := os.Create(filepath.Join(dir, "log")) // by a pipe each line would wake this process while it measures
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.cmd.Stderr = log
	d.cmd.SysProcAttr = dieWithParent
	begin := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(begin) < 10*time.Second {
		if conn, err := net.Dial("unix", d.socket); err == nil {
			conn.Close()
			if d.call("rpc.health", "{}", io.Discard) == nil {
				d.first = time.Since(begin)
			}
			return d, nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	said, _ := os.ReadFile(log.Name())
	d.stop()
	return nil, fmt.Errorf("%s: did not listen: %s", argv[0], said)
}

func startServer() (*daemon, error) { return startWith() }

// startWith is startServer with more flags.
func startWith(flags ...string) (*daemon, error) {
	return start(append([]string{*server, "--socket", "SOCKET", "--state-dir", "DIR/state", "--no-hero-socket"}, flags...)...)
}

func (d *daemon) stop() {
	d.client.CloseIdleConnections()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait()
	os.RemoveAll(d.dir)
}

// call sends one request and copies the whole answer to w.
func (d *daemon) call(method, params string, w io.Writer) error {
	body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
	res, err := d.client.Post("http://localhost/rpc", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(w, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: HTTP %s", method, res.Status)
	}
	return err
}

// count calls a method whose result is one list and says how many elements it has.
func (d *daemon) count(method, params, list string) (int, error) {
	var answer bytes.Buffer
	if err := d.call(method, params, &answer); err != nil {
		return 0, err
	}
	var decoded struct {
		Result map[string]json.RawMessage
		Error  json.RawMessage
	}
	if err := json.Unmarshal(answer.Bytes(), &decoded); err != nil {
		return 0, err
	}
	if decoded.Error != nil {
		return 0, errors.New(string(decoded.Error))
	}
	var rows []json.RawMessage
	err := json.Unmarshal(decoded.Result[list], &rows)
	return len(rows), err
}

// memory reads a field of /proc/PID/status in KiB: VmRSS now, VmHWM the peak since resetPeak.
func (d *daemon) memory(field string) int {
	return memoryOf(strconv.Itoa(d.cmd.Process.Pid), field)
}

func memoryOf(pid, field string) int {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return n
		}
	}
	return 0
}

// resetPeak makes VmHWM start again from here (proc(5), clear_refs).
func (d *daemon) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", d.cmd.Process.Pid), []byte("5"), 0)
}

// cpu is the processor time that the process has used, user and system.
func (d *daemon) cpu() time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
