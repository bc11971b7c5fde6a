package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// read is one comparison of a method with the tool that people use for the same facts today.
type read struct {
	what           string
	method, params string
	list           string
	peer           []string
	bar            float64
	memory         float64  // MiB above idle that the server may take; 0: 16
	server         []string // flags of the server
	peerCount      func(out []byte) (int, error)
}

// run checks that both sides see as many objects, then times them and the server's peak memory.
func (r read) run() error {
	d, err := startWith(r.server...)
	if err != nil {
		return err
	}
	defer d.stop()
	if err := r.agree(d); err != nil {
		return err
	}
	// What the check itself left in the server is no part of the measurement: a fresh one.
	fresh, err := startWith(r.server...)
	if err != nil {
		return err
	}
	defer fresh.stop()
	idle := fresh.memory("VmRSS")
	if err := fresh.resetPeak(); err != nil {
		return err
	}
	err = compare(r.what, r.bar, r.peer[0],
		func() error { return exec.Command(r.peer[0], r.peer[1:]...).Run() },
		func() error { return fresh.call(r.method, r.params, io.Discard) })
	above := float64(fresh.memory("VmHWM")-idle) / 1024
	most := cmp.Or(r.memory, 16)
	fmt.Printf("  %-34s peak %.1f MiB above idle  bar %.0f %s\n", "", above, most, verdict(above <= most))
	return err
}

func (r read) agree(d *daemon) error {
	out, err := exec.Command(r.peer[0], r.peer[1:]...).Output()
	if err != nil {
		return fmt.Errorf("%s: %w", r.peer[0], err)
	}
	theirs, err := r.peerCount(out)
	if err != nil {
		return err
	}
	ours, err := d.count(r.method, r.params, r.list)
	if err != nil {
		return err
	}
	if ours != theirs {
		return fmt.Errorf("%s: ours lists %d, %s lists %d", r.what, ours, r.peer[0], theirs)
	}
	return nil
}

func jsonArray(out []byte) (int, error) {
	var rows []json.RawMessage
	err := json.Unmarshal(out, &rows)
	return len(rows), err
}

// jsonTree counts the objects of a tree like findmnt's and lsblk's: list, then children of each.
func jsonTree(list string) func([]byte) (int, error) {
	type node map[string]json.RawMessage
	var count func(raw json.RawMessage) (int, error)
	count = func(raw json.RawMessage) (n int, err error) {
		var nodes []node
		if raw == nil {
			return 0, nil
		}
		if err := json.Unmarshal(raw, &nodes); err != nil {
			return 0, err
		}
		for _, x := range nodes {
			below, err := count(x["children"])
			if err != nil {
				return 0, err
			}
			n += 1 + below
		}
		return n, nil
	}
	return func(out []byte) (int, error) {
		var top node
		if err := json.Unmarshal(out, &top); err != nil {
			return 0, err
		}
		return count(top[list])
	}
}

func benchRoutes() error {
	if err := sh("ip link add v0 type veth peer name v1; ip addr add 192.0.2.1/24 dev v0; ip link set v0 up; ip link set v1 up"); err != nil {
		return err
	}
	defer sh("ip link del v0")
	have := 0
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		if err := addRoutes(have, n); err != nil {
			return err
		}
		have = n
		err := read{what: fmt.Sprintf("%d routes", n), method: "net.routes", params: `{"family":"ipv4"}`, list: "routes",
			peer: []string{"ip", "-j", "-4", "route", "show"}, bar: 0.55, peerCount: jsonArray}.run()
		if err != nil {
			return err
		}
	}
	return filteredRoutes()
}

// filteredRoutes shows that a filter costs what it finds, not what there is.
func filteredRoutes() error {
	if err := sh("for i in $(seq 0 255); do echo route add 198.51.100.$i/32 dev v0 table 1000; done | ip -batch -"); err != nil {
		return err
	}
	return read{what: "256 of them, by table", method: "net.routes", params: `{"table":1000}`, list: "routes",
		peer: []string{"ip", "-j", "-4", "route", "show", "table", "1000"}, bar: 0.55, peerCount: jsonArray}.run()
}

// addRoutes adds the host routes from number from up to number to.
func addRoutes(from, to int) error {
	cmd := exec.Command("ip", "-batch", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	for i := from; i < to; i++ {
		// The link's own prefix is a route too, so one fewer makes the number round.
		if i == 0 {
			continue
		}
		fmt.Fprintf(in, "route add 10.%d.%d.%d/32 via 192.0.2.2\n", i>>16&255, i>>8&255, i&255)
	}
	in.Close()
	return cmd.Wait()
}

func benchLinks() error {
	if err := sh("for i in $(seq 1 1000); do echo link add a$i type veth peer name b$i; echo addr add 10.$((i/250)).$((i%250)).1/24 dev a$i; echo link set a$i up; done | ip -batch -"); err != nil {
		return err
	}
	defer sh("for i in $(seq 1 1000); do echo link del a$i; done | ip -batch -")
	return read{what: "2,001 links with addresses", method: "net.interfaces", params: "{}", list: "interfaces",
		peer: []string{"ip", "-j", "-d", "addr"}, bar: 0.50, peerCount: jsonArray}.run()
}

func benchMounts() error {
	dir, err := os.MkdirTemp("", "bench-mounts")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	for i := range 2000 {
		target := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID, "size=64k"); err != nil {
			return err
		}
	}
	return read{what: "2,000 mounts and this host's", method: "vol.list_mounts", params: "{}", list: "mounts",
		peer: []string{"findmnt", "-J", "-o", "+SIZE,USED,AVAIL"}, bar: 0.40, peerCount: jsonTree("filesystems")}.run()
}

func benchDisks() error {
	loops, err := attachLoops(190)
	defer func() {
		for _, l := range loops {
			l.Close()
		}
	}()
	if err != nil {
		return err
	}
	return read{what: "this host's disks and 190 loops", method: "vol.list_disks", params: "{}", list: "disks",
		peer: []string{"lsblk", "-J", "-b", "-O"}, bar: 0.45, peerCount: jsonTree("blockdevices")}.run()
}

// attachLoops makes loop devices over sparse files that are deleted at once. They detach by
// themselves (LO_FLAGS_AUTOCLEAR) when the descriptors close, however this program ends.
func attachLoops(n int) (loops []*os.File, err error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range n {
		loop, err := attachLoop(control)
		if err != nil {
			return loops, err
		}
		loops = append(loops, loop)
	}
	return loops, nil
}

func attachLoop(control *os.File) (*os.File, error) {
	backing, err := os.CreateTemp("", "bench-loop")
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	defer os.Remove(backing.Name())
	if err := backing.Truncate(64 << 20); err != nil {
		return nil, err
	}
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("loop-control: %w", err)
	}
	loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, loop.Fd(), unix.LOOP_CONFIGURE, uintptr(unsafe.Pointer(&config)))
	if errno != 0 {
		loop.Close()
		return nil, fmt.Errorf("%s: %w", loop.Name(), errno)
	}
	return loop, nil
}

// sh runs a line of shell for setting a host up; it never gets anything from outside this file.
func sh(line string) error {
	out, err := exec.Command("sh", "-ec", line).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}
