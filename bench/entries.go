package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	manyEntries = 1000
	firstPort   = 20_000
)

// benchEntries makes rules and port forwards one call each, beside a shell's loop of nft that does the same with
// rules, and tells what the last of them cost beside the first. Ours are journalled and synced each.
func benchEntries() error {
	d, err := startServer()
	if err != nil {
		return err
	}
	defer d.stop()
	defer sh("nft flush ruleset")
	if err := sh("ip link add e0 type veth peer name e1; ip addr add 192.0.2.2/24 dev e0; ip link set e0 up; ip link set e1 up"); err != nil {
		return err
	}
	defer sh("ip link del e0")
	for _, kind := range []struct{ what, method, params, nft string }{
		{"rules", "net.firewall.add_rule", `{"protocol":"tcp","port":%d}`, "nft add rule inet peer c tcp dport %d counter accept"},
		{"port forwards", "net.nat.add_dnat", `{"protocol":"tcp","port":%d,"to_address":"192.0.2.9"}`, "nft add rule inet peer d fib daddr type local meta nfproto ipv4 tcp dport %d counter dnat ip to 192.0.2.9"},
	} {
		if err := sh("nft 'add table inet peer; add chain inet peer c { type filter hook input priority 0; }; add chain inet peer d { type nat hook prerouting priority 0; }'"); err != nil {
			return err
		}
		peer, err := timesOf(manyEntries, func(i int) error { return exec.Command("sh", "-c", fmt.Sprintf(kind.nft, firstPort+i)).Run() })
		if err != nil {
			return err
		}
		if err := sh("nft delete table inet peer"); err != nil {
			return err
		}
		ours, err := d.timesOf(manyEntries, kind.method, func(i int) string { return fmt.Sprintf(kind.params, firstPort+i) })
		if err != nil {
			return err
		}
		tellTimes(fmt.Sprintf("%d %s", manyEntries, kind.what), "nft", ours, peer)
	}
	return tellSync(d.dir)
}

// tellSync says what of each of ours is the disk's alone: a line of a journal's length appended and synced, in the
// folder of the daemon's.
func tellSync(folder string) error {
	f, err := os.Create(filepath.Join(folder, "sync"))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	line := bytes.Repeat([]byte("."), 300)
	times, err := timesOf(200, func(int) error {
		if _, err := f.Write(line); err != nil {
			return err
		}
		return unix.Fdatasync(int(f.Fd()))
	})
	if err == nil {
		fmt.Printf("  %-34s      %9v (of each of ours)\n", "a synced line of 300 bytes", round(times.median()))
	}
	return err
}

// timesOf is what each of n calls took that make something.
func (d *daemon) timesOf(n int, method string, params func(i int) string) (sample, error) {
	c, err := dialRaw(d.socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return timesOf(n, func(i int) error { return c.must(method, params(i), "created") })
}

// must makes one such call.
func (d *daemon) must(method, params, done string) error {
	c, err := dialRaw(d.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.must(method, params, done)
}

// timesOf is what each of n calls took.
func timesOf(n int, add func(i int) error) (times sample, err error) {
	for i := range n {
		begin := time.Now()
		if err := add(i); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}

// tellTimes compares medians: all with the peer's, the last tenth with the first.
func tellTimes(what, name string, ours, peer sample) {
	ratio := float64(ours.median()) / float64(peer.median())
	fmt.Printf("  %-34s ours %9v  %s %9v  ratio %.2f  bar 0.20 %s\n", what, round(ours.median()), name, round(peer.median()), ratio, verdict(ratio <= 0.20))
	tellGrowth("ours", ours)
	tellGrowth(name, peer)
}

// tellGrowth compares the last tenth with the first.
func tellGrowth(name string, times sample) {
	tenth := len(times) / 10
	first, last := times[1:tenth+1].median(), times[len(times)-tenth:].median()
	growth := float64(last) / float64(first)
	fmt.Printf("  %-34s %9v, then %9v: ratio %.2f  bar 1.20 %s\n", "  "+name+": first and last tenth", round(first), round(last), growth, verdict(growth <= 1.2))
}
