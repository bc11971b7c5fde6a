package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"time"
)

const manyEntries = 1000

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
		peer, err := entryTimes(func(port int) error { return exec.Command("sh", "-c", fmt.Sprintf(kind.nft, port)).Run() })
		if err != nil {
			return err
		}
		if err := sh("nft delete table inet peer"); err != nil {
			return err
		}
		ours, err := entryTimes(func(port int) error {
			var answer bytes.Buffer
			if err := d.call(kind.method, fmt.Sprintf(kind.params, port), &answer); err != nil {
				return err
			}
			if !bytes.Contains(answer.Bytes(), []byte(`"created":true`)) {
				return fmt.Errorf("%s: %s", kind.method, &answer)
			}
			return nil
		})
		if err != nil {
			return err
		}
		tellEntries(kind.what, ours, peer)
	}
	return nil
}

// entryTimes is what each of many entries took, on ports of its own.
func entryTimes(add func(port int) error) (times sample, err error) {
	for i := range manyEntries {
		begin := time.Now()
		if err := add(20_000 + i); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}

// tellEntries compares medians of a hundred: all with the peer's, the last with the first.
func tellEntries(what string, ours, peer sample) {
	ratio := float64(ours.median()) / float64(peer.median())
	fmt.Printf("  %-34s ours %9v  nft %9v  ratio %.2f  bar 0.20 %s\n", fmt.Sprintf("%d %s", manyEntries, what),
		round(ours.median()), round(peer.median()), ratio, verdict(ratio <= 0.20))
	for _, side := range []struct {
		name  string
		times sample
	}{{"ours", ours}, {"nft", peer}} {
		first, last := side.times[1:101].median(), side.times[len(side.times)-100:].median()
		growth := float64(last) / float64(first)
		fmt.Printf("  %-34s %9v, then %9v: ratio %.2f  bar 1.20 %s\n", "  "+side.name+": first and last hundred", round(first), round(last), growth, verdict(growth <= 1.2))
	}
}
