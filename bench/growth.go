package main

import "fmt"

// mostTaps is how many taps one Linux bridge takes, less some.
const mostTaps = 1000

// benchGrowth tells whether the last of many entries costs what the first did. There is no peer: rules of nft(8) one
// call each take minutes for as many.
func benchGrowth() error {
	d, err := startServer()
	if err != nil {
		return err
	}
	defer d.stop()
	if err := sh("ip link add e0 type veth peer name e1; ip addr add 192.0.2.2/24 dev e0; ip link set e0 up; ip link set e1 up"); err != nil {
		return err
	}
	defer sh("ip link del e0")
	if err := d.must("net.bridge.add", `{"name":"ours"}`, "created"); err != nil {
		return err
	}
	for _, kind := range []struct {
		what, method, params string // see benchObjects
		n                    int
	}{
		{"rules", "net.firewall.add_rule", `{"protocol":"tcp","port":%[4]d}`, *many},
		{"port forwards", "net.nat.add_dnat", `{"protocol":"tcp","port":%[4]d,"to_address":"192.0.2.9"}`, *many},
		{"routes", "net.routes.add", `{"dst":"10.%[2]d.%[3]d.0/24","gateway":"192.0.2.1","metric":5}`, *many},
		{"taps with bridge port", "net.vm.create_tap", `{"vm_id":"vm-%[1]d","name":"t%[1]d","bridge":"ours","mac":"52:54:00:00:%02[2]x:%02[3]x"}`, min(*many, mostTaps)},
	} {
		ours, err := d.timesOf(kind.n, kind.method, func(i int) string {
			return dropExtra(fmt.Sprintf(kind.params, i, i>>8, i&255, firstPort+i))
		})
		if err != nil {
			return err
		}
		fmt.Printf("  %-34s ours %9v\n", fmt.Sprintf("%d %s", kind.n, kind.what), round(ours.median()))
		tellGrowth("ours", ours)
	}
	return nil
}
