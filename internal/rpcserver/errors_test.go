package rpcserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func testMethod(t *testing.T, name string) *registry.Method {
	t.Helper()
	m, ok := registry.Lookup(name)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return m
}

func TestWireError(t *testing.T) {
	s := &Server{log: zerolog.Nop(), limits: Limits{}.withDefaults()}
	read := facts{method: testMethod(t, readMethod), right: registry.RightRead, took: 1500 * time.Millisecond}
	write := facts{method: testMethod(t, writeMethod), right: registry.RightWrite, took: 1500 * time.Millisecond}
	late, stopping := read, read
	late.late, stopping.stopping = true, true
	lateWrite := write
	lateWrite.late = true
	for _, test := range []struct {
		name  string
		err   error
		facts facts
		kind  string
		want  string // the error without its braces
	}{
		{"deadline of a read", context.DeadlineExceeded, late, "deadline_exceeded",
			`1010 the call's time was up after 1500 ms {"kind":"deadline_exceeded","after_ms":1500}`},
		{"deadline of a write", fmt.Errorf("x: %w", context.DeadlineExceeded), lateWrite, "deadline_exceeded",
			`1010 the call's time was up after 1500 ms {"kind":"deadline_exceeded","after_ms":1500,"applied":"unknown"}`},
		{"deadline of a write that has not begun", errNotBegun, lateWrite, "deadline_exceeded",
			`1010 the call's time was up after 1500 ms {"kind":"deadline_exceeded","after_ms":1500,"applied":"no"}`},
		{"a deadline that the handler tells of", &registry.DeadlineExceededError{DeadlineExceededData: registry.DeadlineExceededData{AfterMs: 7, Applied: registry.Some(registry.AppliedYes)}}, write, "deadline_exceeded",
			`1010 the call's time is up {"kind":"deadline_exceeded","after_ms":7,"applied":"yes"}`},
		{"cancelled by the client", context.Canceled, read, "canceled",
			`1010 the call's time was up after 1500 ms {"kind":"deadline_exceeded","after_ms":1500}`},
		{"cancelled by the end of the server", context.Canceled, stopping, "deadline_exceeded",
			`1010 the server is stopping; the call was ended after 1500 ms {"kind":"deadline_exceeded","after_ms":1500}`},
		{"a file's deadline when the call's has passed", fmt.Errorf("read: %w", os.ErrDeadlineExceeded), late, "deadline_exceeded",
			`1010 the call's time was up after 1500 ms {"kind":"deadline_exceeded","after_ms":1500}`},
		{"upstream, of a read", &registry.UpstreamUnavailableError{UpstreamUnavailableData: registry.UpstreamUnavailableData{Upstream: "mosnet", Cause: "down"}}, read, "upstream_unavailable",
			`1009 the daemon behind this one does not answer {"kind":"upstream_unavailable","upstream":"mosnet","cause":"down"}`},
		{"upstream, of a write", &registry.UpstreamUnavailableError{UpstreamUnavailableData: registry.UpstreamUnavailableData{Upstream: "mosnet", Cause: "down", Applied: registry.Some(registry.AppliedNo)}}, write, "upstream_unavailable",
			`1009 the daemon behind this one does not answer {"kind":"upstream_unavailable","upstream":"mosnet","cause":"down","applied":"no"}`},
		{"errno of a write", &fs.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}, write, "os_error",
			`1011 open /x: read-only file system {"kind":"os_error","op":"open /x","errno":"EROFS","applied":"unknown"}`},
		{"a bare errno", syscall.EIO, read, "os_error",
			`1011 input/output error {"kind":"os_error","op":"input/output error","errno":"EIO"}`},
		{"an errno with more behind it", fmt.Errorf("add route: %w (%s)", syscall.EEXIST, "File exists already"), read, "os_error",
			`1011 add route: file exists (File exists already) {"kind":"os_error","op":"add route","errno":"EEXIST"}`},
		{"text of a tool for a reader", &registry.OSError{OsErrorData: registry.OsErrorData{Op: "nft", Errno: "exit_1", Text: registry.Some("secret")}}, read, "os_error",
			`1011 the operating system refused {"kind":"os_error","op":"nft","errno":"exit_1"}`},
		{"text of a tool for a writer", &registry.OSError{OsErrorData: registry.OsErrorData{Op: "nft", Errno: "exit_1", Text: registry.Some("words")}}, write, "os_error",
			`1011 the operating system refused {"kind":"os_error","op":"nft","errno":"exit_1","text":"words","applied":"unknown"}`},
		{"a capability", &lacking{syscall.EACCES, "CAP_NET_ADMIN"}, write, "no_privilege",
			`1013 the daemon may not permission denied: it lacks CAP_NET_ADMIN {"kind":"no_privilege","capability":"CAP_NET_ADMIN"}`},
		{"a capability that is not what lacks", &lacking{syscall.ENOENT, "CAP_NET_ADMIN"}, read, "os_error",
			`1011 no such file or directory {"kind":"os_error","op":"no such file or directory","errno":"ENOENT"}`},
		{"too large", fmt.Errorf("row: %w", registry.ErrTooLarge), read, "resource_exhausted",
			`1012 the result is larger than 4194304 bytes; make the call outside of a batch {"kind":"resource_exhausted","limit":"result_bytes","maximum":4194304}`},
		{"not built yet", &registry.UnsupportedError{UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonNotBuiltYet}}, read, "unsupported",
			`1001 this host cannot do that {"kind":"unsupported","reason":"not_built_yet"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, kind := s.wireError(test.err, &test.facts)
			got := fmt.Sprintf("%d %s %s", e.Code, e.Message, *e.Data)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if kind != test.kind {
				t.Errorf("kind %q, want %q", kind, test.kind)
			}
		})
	}
}

func TestAHandlersErrorStaysAsItIs(t *testing.T) {
	s := &Server{log: zerolog.Nop()}
	e := &registry.OSError{OsErrorData: registry.OsErrorData{Op: "nft", Errno: "exit_1", Text: registry.Some("words")}}
	s.wireError(e, &facts{method: testMethod(t, writeMethod), right: registry.RightRead})
	if text, _ := e.Text.Get(); text != "words" || e.Applied.IsSet() {
		t.Errorf("it is now %+v", e)
	}
}

func TestIncident(t *testing.T) {
	log := new(testhost.Log)
	s := &Server{log: zerolog.New(log)}
	e, kind := s.wireError(errors.New("the secret cause"), &facts{method: testMethod(t, readMethod)})
	if kind != registry.KindInternal || strings.Contains(string(*e.Data)+e.Message, "secret") {
		t.Errorf("%s: %s %s", kind, e.Message, *e.Data)
	}
	id := strings.Split(string(*e.Data), `"`)[7]
	log.Await(t, id, "the secret cause", readMethod)
}
