package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"syscall"
)

// benchCtl measures the command line as its users meet it: whole processes, from exec to the last byte, the
// daemon behind its socket running already.
func benchCtl() error {
	if err := sh("ip link add v0 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0; ip link set v0 up; ip link set v1 up"); err != nil {
		return err
	}
	defer sh("ip link del v0")
	d, err := startServer()
	if err != nil {
		return err
	}
	defer d.stop()
	if err := ctlAgainst(d, "start-up: net interfaces", 3.0, []string{"ip", "-j", "addr"}, "net", "interfaces"); err != nil {
		return err
	}
	have := 0
	for _, n := range []int{100_000, 1_000_000} {
		if err := addRoutes(have, n); err != nil {
			return err
		}
		have = n
		if err := ctlRoutes(d, n); err != nil {
			return err
		}
	}
	return nil
}

// ctlRoutes compares a long list, row by row, and prints the most memory that the process had.
func ctlRoutes(d *daemon, n int) error {
	args := []string{"net", "routes", "--family", "ipv4", "-o", "jsonl"}
	lines, err := countLines(d, args...)
	if err != nil {
		return err
	}
	if lines != n {
		return fmt.Errorf("my-os-ctl lists %d routes of %d", lines, n)
	}
	if err := ctlAgainst(d, fmt.Sprintf("%d routes, -o jsonl", n), 1.0, []string{"ip", "-j", "-4", "route", "show"}, args...); err != nil {
		return err
	}
	for _, format := range []string{"jsonl", "json", "table", "yaml"} {
		cmd := ctlCommand(d, "net", "routes", "--family", "ipv4", "-o", format)
		if err := cmd.Run(); err != nil {
			return err
		}
		peak := float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024 // getrusage(2): KiB
		fmt.Printf("  %-34s peak %.1f MiB  bar 32 %s\n", "  -o "+format, peak, verdict(peak <= 32))
	}
	return nil
}

func ctlCommand(d *daemon, args ...string) *exec.Cmd {
	return exec.Command(*ctl, append([]string{"--socket", d.socket}, args...)...)
}

func ctlAgainst(d *daemon, what string, bar float64, peer []string, args ...string) error {
	return compare(what, bar, peer[0],
		func() error { return exec.Command(peer[0], peer[1:]...).Run() },
		func() error { return ctlCommand(d, args...).Run() })
}

func countLines(d *daemon, args ...string) (n int, err error) {
	cmd := ctlCommand(d, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); n++ {
	}
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("my-os-ctl: %w: %s", err, &errs)
	}
	return n, nil
}
