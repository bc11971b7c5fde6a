package hostexec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tool puts a shell script where programs are looked for.
func tool(t *testing.T, script string) Program {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	before := folders
	folders = append([]string{dir}, before...)
	t.Cleanup(func() { folders = before })
	return Program{"tool", "tools"}
}

func TestRunGivesWhatItPrints(t *testing.T) {
	p := tool(t, `printf '%s|' "$@" "$LC_ALL" "$HOME" "$PWD"; cat; echo noise >&2`)
	t.Setenv("HOME", "/secret")
	out, err := Run(t.Context(), p, "a b", "$(id)", ";")
	if err != nil {
		t.Fatal(err)
	}
	if want := "a b|$(id)|;|C||/|"; string(out) != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestMissingTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Run(t.Context(), Program{"no-such-tool", "no-such-package"})
	var missing *ToolMissing
	if !errors.As(err, &missing) || missing.Tool != "no-such-tool" || missing.Package != "no-such-package" {
		t.Errorf("%v", err)
	}
}

func TestFolderAndUnexecutableFileAreNoTool(t *testing.T) {
	dir := t.TempDir()
	before := folders
	folders = []string{dir}
	t.Cleanup(func() { folders = before })
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"folder", "file"} {
		var missing *ToolMissing
		if _, err := find(Program{name, "x"}); !errors.As(err, &missing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExitKeepsTheEndOfTheComplaint(t *testing.T) {
	p := tool(t, `i=0; while [ $i -lt 1000 ]; do echo "line $i of many" >&2; i=$((i+1)); done; exit 3`)
	_, err := Run(t.Context(), p)
	var exit *Exit
	if !errors.As(err, &exit) || exit.Code != 3 || !strings.HasSuffix(exit.Stderr, "line 999 of many") || len(exit.Stderr) > stderrTail {
		t.Errorf("%v", err)
	}
}

// The whole group goes when the context ends, not the program alone.
func TestContextEndsTheWholeGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	p := tool(t, `sleep 100 & echo $! > `+pids+`.new; mv `+pids+`.new `+pids+`; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(pids); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := Run(ctx, p); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if isGone(pid) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("process %d, a child of the tool, still runs", pid)
}

// isGone tells that a process has ended, reaped or not.
func isGone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	return strings.Contains(string(stat), ") Z ")
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, tool(t, "sleep 100")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	if _, err := Run(t.Context(), tool(t, "exec yes")); !errors.Is(err, ErrOutput) {
		t.Errorf("%v", err)
	}
}

func TestInstalled(t *testing.T) {
	var missing *ToolMissing
	if err := (Program{"no-such-program", "no-such-package"}).Installed(); !errors.As(err, &missing) || missing.Package != "no-such-package" {
		t.Errorf("a program that does not exist: %v", err)
	}
	if err := (Program{"sh", "dash"}).Installed(); err != nil {
		t.Errorf("sh: %v", err)
	}
}

func TestFilesOfTheProgram(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := RunWith(t.Context(), tool(t, "echo hello >&3"), []*os.File{f}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(f.Name()); string(text) != "hello\n" {
		t.Errorf("%q %v", text, err)
	}
}
