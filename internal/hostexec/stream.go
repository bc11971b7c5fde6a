package hostexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Stream runs a program and has read take what it prints while it runs, until the context's deadline or a minute
// where it has none. The program ends when read returns an error, which is returned as it is. Other errors are
// *ToolMissing, *Exit and the context's; what read got before one of them may be a part only.
func Stream(ctx context.Context, p Program, read func(io.Reader) error, args ...string) error {
	path, err := find(p)
	if err != nil {
		return err
	}
	ctx, cancel := bounding(ctx)
	defer cancel()
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("run %s: %w", p.name, err)
	}
	defer out.Close()
	stderr := &tail{}
	cmd := command(ctx, path, args)
	cmd.Stdout, cmd.Stderr = in, stderr
	err = cmd.Start()
	in.Close()
	if err != nil {
		return fmt.Errorf("run %s: %w", p.name, err)
	}
	// A child that does not die must not keep the reader.
	stop := context.AfterFunc(ctx, func() { _ = out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	reading := read(out)
	late := ctx.Err()
	if reading != nil {
		cancel()
	}
	waiting := cmd.Wait()
	if reading == nil && waiting != nil {
		late = ctx.Err()
	}
	return ended(p, late, reading, waiting, stderr)
}

// ended is how a program that was read from came to its end. late is why it was ended, where its reader did not end it.
func ended(p Program, late, reading, waiting error, stderr *tail) error {
	var exit *exec.ExitError
	switch {
	case late != nil:
		return fmt.Errorf("run %s: %w", p.name, late)
	case reading != nil:
		return reading
	case errors.As(waiting, &exit):
		return &Exit{Tool: p.name, Code: exit.ExitCode(), Stderr: strings.TrimSpace(string(stderr.b))}
	case waiting != nil:
		return fmt.Errorf("run %s: %w", p.name, waiting)
	}
	return nil
}
