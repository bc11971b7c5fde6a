package hostexec

import (
	"bufio"
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// TestStreamReadsWhileItRuns: what is printed is read before the program ends, which it does when nobody reads on.
func TestStreamReadsWhileItRuns(t *testing.T) {
	p := tool(t, `echo first; exec sleep 600`)
	enough := errors.New("enough")
	err := Stream(t.Context(), p, func(r io.Reader) error {
		line, err := bufio.NewReader(r).ReadString('\n')
		if line != "first\n" || err != nil {
			t.Errorf("%q %v", line, err)
		}
		return enough
	})
	if err != enough {
		t.Errorf("%v, want the reader's own error", err)
	}
}

// TestStreamOfMuch: more than a pipe holds, and more than Run would take.
func TestStreamOfMuch(t *testing.T) {
	p := tool(t, `exec head -c 100000000 /dev/zero`)
	var n int64
	err := Stream(t.Context(), p, func(r io.Reader) (err error) {
		n, err = io.Copy(io.Discard, r)
		return err
	})
	if err != nil || n != 100000000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestStreamOfAProgramThatFails(t *testing.T) {
	p := tool(t, `echo part; echo "no such bridge" >&2; exit 3`)
	var exit *Exit
	err := Stream(t.Context(), p, func(r io.Reader) error { _, err := io.ReadAll(r); return err })
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Stderr != "no such bridge" {
		t.Errorf("%v", err)
	}
	var missing *ToolMissing
	if err := Stream(t.Context(), Program{"no-such-tool", "p"}, nil); !errors.As(err, &missing) {
		t.Errorf("%v", err)
	}
}

// TestStreamEndsWithItsContext: a program that neither prints nor ends is killed with all that it started.
func TestStreamEndsWithItsContext(t *testing.T) {
	p := tool(t, `sleep 600 & sleep 600`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := Stream(ctx, p, func(r io.Reader) error { _, err := io.ReadAll(r); return err })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
