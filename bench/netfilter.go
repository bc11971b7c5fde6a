package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// benchConntrack compares the lists of a table with as many connections as the host allows, up to
// 300,000; the limit is the host's, and not this program's to raise.
func benchConntrack() error {
	limit, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return err
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(limit)))
	if err != nil {
		return err
	}
	n := min(300_000, most-2000)
	defer sh("conntrack -F 2>/dev/null")
	if err := feed(exec.Command("conntrack", "-R", "-"), func(w io.Writer) { connections(w, n) }); err != nil {
		return err
	}
	whole := read{what: fmt.Sprintf("%d connections", n), method: "net.conntrack", params: "{}", list: "entries",
		peer: []string{"conntrack", "-L", "-o", "xml"}, bar: 0.60, peerCount: xmlFlows}
	if err := whole.run(); err != nil {
		return err
	}
	return read{what: "of these, those of one mark", method: "net.conntrack", params: `{"mark":"7"}`, list: "entries",
		peer: []string{"conntrack", "-L", "-m", "7", "-o", "xml"}, bar: 1.0, peerCount: xmlFlows}.run()
}

// connections writes n of them, TCP and UDP by turns, one in 256 with the mark 7.
func connections(w io.Writer, n int) {
	for i := range n {
		mark := 0
		if i%256 == 0 {
			mark = 7
		}
		proto := "udp"
		if i%2 == 0 {
			proto = "tcp --state ESTABLISHED"
		}
		fmt.Fprintf(w, "-I -t 3600 -u SEEN_REPLY,ASSURED -m %d -s 10.%d.%d.%d -d 192.0.2.1 -p %s --sport %d --dport 443\n",
			mark, i>>16&255, i>>8&255, i&255, proto, 1024+i%60000)
	}
}

func xmlFlows(out []byte) (int, error) { return bytes.Count(out, []byte("<flow>")), nil }

// benchFirewall compares the lists of a ruleset of 10,000 rules and 2,000 sets.
func benchFirewall() error {
	defer sh("nft flush ruleset")
	if err := feed(exec.Command("nft", "-f", "-"), ruleset); err != nil {
		return err
	}
	return read{what: "10,000 rules and 2,000 sets", method: "net.firewall", params: "{}", list: "items",
		peer: []string{"nft", "-j", "list", "ruleset"}, bar: 0.45, peerCount: nftItems}.run()
}

func ruleset(w io.Writer) {
	fmt.Fprintln(w, "table inet bench {")
	for i := range 2000 {
		fmt.Fprintf(w, "set s%d {\ntype ipv4_addr\nelements = { 10.1.%d.%d, 10.2.%d.%d, 10.3.%d.%d }\n}\n", i, i>>8, i&255, i>>8, i&255, i>>8, i&255)
	}
	fmt.Fprintln(w, "chain input {\ntype filter hook input priority 0")
	for i := range 10_000 {
		if i%5 == 0 {
			fmt.Fprintf(w, "ip saddr @s%d tcp dport %d counter accept\n", i/5, 1+i)
		} else {
			fmt.Fprintf(w, "ip saddr 10.0.%d.%d tcp dport %d counter accept comment \"rule %d\"\n", i>>8, i&255, 1+i, i)
		}
	}
	fmt.Fprintln(w, "}\n}")
}

// nftItems counts what ours lists of the same ruleset: everything but the head, and for each set with
// elements (a few, so that they fit one item) those behind it.
func nftItems(out []byte) (int, error) {
	var doc struct {
		Nftables []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return 0, err
	}
	n := 0
	for _, item := range doc.Nftables {
		if _, head := item["metainfo"]; !head {
			n++
		}
		if bytes.Contains(item["set"], []byte(`"elem"`)) {
			n++
		}
	}
	return n, nil
}

// feed runs a command with what write gives on its standard input.
func feed(cmd *exec.Cmd, write func(io.Writer)) error {
	var in bytes.Buffer
	write(&in)
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.500s", cmd.Path, err, out)
	}
	return nil
}
