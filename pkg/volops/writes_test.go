package volops

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/btrfswork"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestMain is also what a scrub or balance runs in: the program is started once more for it.
func TestMain(m *testing.M) {
	if status, ours := btrfswork.Main(os.Args[1:]); ours {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// openState opens a state folder of the test's own.
func openState(t testing.TB, dir string) *state.Store {
	t.Helper()
	boot, err := state.ReadBoot("/proc")
	if err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(dir, state.Options{Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// writingVol is a Vol that may write.
func writingVol(t testing.TB) *Vol {
	t.Helper()
	dir := t.TempDir()
	return newVol(t, Options{State: openState(t, dir), StateDir: dir})
}

// params writes params as JSON, from pairs of name and value; a nil value is left out.
func params(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != nil {
			m[pairs[i].(string)] = pairs[i+1]
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// obtain is the result of a call that must succeed, by member names.
func obtain(t testing.TB, v *Vol, method string, pairs ...any) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(result(t, v, method, params(pairs...)), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// failure is the error of a call that must fail.
func failure(t testing.TB, v *Vol, method string, pairs ...any) registry.WireError {
	t.Helper()
	b, err := try(t, v, method, params(pairs...))
	if err == nil {
		t.Fatalf("%s %s: answered %s", method, params(pairs...), b)
	}
	var typed registry.WireError
	if !errors.As(err, &typed) {
		t.Fatalf("%s %s: %v", method, params(pairs...), err)
	}
	return typed
}

// wantKind asks for the kind of an error and for words in its message or data.
func wantKind(t testing.TB, err registry.WireError, kind string, words ...string) {
	t.Helper()
	text := fmt.Sprintf("%s: %s %s", err.ErrorKind(), err.Error(), err.AppendData(nil))
	if err.ErrorKind() != kind {
		t.Errorf("%s, want %s", text, kind)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s, want %q in it", text, word)
		}
	}
}

func loop(t testing.TB, size int64) *testhost.Loop {
	t.Helper()
	return testhost.NewLoop(t, testhost.LoopOptions{Size: size})
}
