package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// benchObjects makes routes, taps and bridges one call each, beside a shell's loop of ip(8) that does the same. Ours are
// journalled and synced each.
func benchObjects() error {
	d, err := startServer()
	if err != nil {
		return err
	}
	defer d.stop()
	if err := sh("ip link add e0 type veth peer name e1; ip addr add 192.0.2.2/24 dev e0; ip link set e0 up; ip link set e1 up; ip link add peer type bridge; ip link set peer up"); err != nil {
		return err
	}
	defer sh("ip link del e0; ip link del peer")
	if err := d.must("net.bridge.add", `{"name":"ours"}`, "created"); err != nil {
		return err
	}
	for _, kind := range []struct {
		what, method, params string
		n                    int
		peer, undo           string // %[1]d counts, %[2]d and %[3]d are two bytes of that
	}{
		{"routes", "net.routes.add", `{"dst":"10.%[2]d.%[3]d.0/24","gateway":"192.0.2.1","metric":5}`, 1000,
			"ip route add 10.%[2]d.%[3]d.0/24 via 192.0.2.1 metric 6", "route del 10.%[2]d.%[3]d.0/24 metric 6"},
		{"taps with bridge port", "net.vm.create_tap", `{"vm_id":"vm-%[1]d","name":"t%[1]d","bridge":"ours","mac":"52:54:00:00:%02[2]x:%02[3]x"}`, 500,
			"ip tuntap add p%[1]d mode tap && ip link set p%[1]d address fe:54:00:01:%02[2]x:%02[3]x master peer && ip link set p%[1]d up", "link del p%[1]d"},
		{"bridges", "net.bridge.add", `{"name":"b%[1]d"}`, 200,
			"ip link add q%[1]d address 02:54:00:00:%02[2]x:%02[3]x mtu 1500 type bridge && ip link set q%[1]d up", "link del q%[1]d"},
	} {
		fill := func(format string, i int) string { return dropExtra(fmt.Sprintf(format, i, i>>8, i&255)) }
		peer, err := timesOf(kind.n, func(i int) error { return exec.Command("sh", "-c", fill(kind.peer, i)).Run() })
		if err != nil {
			return fmt.Errorf("ip: %s: %w", kind.what, err)
		}
		var undo strings.Builder
		for i := range kind.n {
			undo.WriteString(fill(kind.undo, i) + "\n")
		}
		batch := exec.Command("ip", "-batch", "-")
		batch.Stdin = strings.NewReader(undo.String())
		if out, err := batch.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %.300s", err, out)
		}
		ours, err := d.timesOf(kind.n, kind.method, func(i int) string { return fill(kind.params, i) })
		if err != nil {
			return err
		}
		tellTimes(fmt.Sprintf("%d %s", kind.n, kind.what), "ip", ours, peer)
	}
	return tellSync(d.dir)
}

// dropExtra takes away what fmt says of arguments that a format does not use.
func dropExtra(s string) string {
	s, _, _ = strings.Cut(s, "%!(EXTRA")
	return s
}
