package e2e

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
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

const nodeName = "e2e-node"

// bin is the folder the binaries under test were built into.
var bin string

func TestMain(m *testing.M) {
	if socket := os.Getenv(probeEnv); socket != "" {
		if err := probeProcess(socket, os.Args[1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "e2e")
	if err == nil {
		err = os.Chmod(dir, 0o755) // other users' tests run the binary too
	}
	if err == nil {
		var out []byte
		if out, err = exec.Command("go", "build", "-o", dir, "../../cmd/my-os-server-native", "../../cmd/my-os-server-mos", "../../cmd/my-os-ctl").CombinedOutput(); err != nil {
			err = fmt.Errorf("go build: %w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is one running server.
type server struct {
	socket string
	cmd    *exec.Cmd
	log    *testhost.Log
}

// startServer runs the binary with args on a socket of its own and stops it with the test, when it must
// have ended well.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	return startBinary(t, filepath.Join(bin, "my-os-server-native"), args...)
}

// startBinary is startServer for a program that becomes the server.
func startBinary(t *testing.T, binary string, args ...string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &server{socket: filepath.Join(dir, "rpc.sock"), log: new(testhost.Log)}
	s.cmd = exec.Command(binary, append([]string{
		"--socket", s.socket, "--state-dir", filepath.Join(dir, "state"), "--node-name", nodeName, "--no-hero-socket"}, args...)...)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	testhost.Listening(t, s.socket, s.log)
	return s
}

func (s *server) stop(t *testing.T) {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(20*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v: %s", err, s.log)
	}
}

// answer is a JSON-RPC answer as a test wants to look at it.
type answer struct {
	ID     json.RawMessage
	Result json.RawMessage
	Error  *rpcError
}

type rpcError struct {
	Code    int
	Message string
	Data    map[string]any
}

func (e *rpcError) Error() string { return fmt.Sprintf("%d %s %v", e.Code, e.Message, e.Data) }

// client is an HTTP client whose connections are made by dial.
func client(dial func() (net.Conn, error)) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return dial() },
	}}
}

func (s *server) client() *http.Client {
	return client(func() (net.Conn, error) { return net.Dial("unix", s.socket) })
}

// body is the request for a call; params is JSON, or "" for none.
func body(method, params string) []byte {
	if params != "" {
		params = `,"params":` + params
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":%q%s}`, method, params)
}

// post sends one request and decodes its answer.
func post(c *http.Client, header http.Header, request []byte) (*answer, error) {
	req, err := http.NewRequest("POST", "http://localhost/rpc", bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	var a answer
	return &a, json.Unmarshal(raw, &a)
}

// call is post for a plain caller that expects a result.
func call(t *testing.T, c *http.Client, method, params string) json.RawMessage {
	t.Helper()
	a, err := post(c, nil, body(method, params))
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	if a.Error != nil {
		t.Fatalf("%s: %v", method, a.Error)
	}
	return a.Result
}
