package ovsrow

import (
	"strings"
	"testing"
)

// BenchmarkOVSRows is what a line costs on its way from Open vSwitch to the caller.
func BenchmarkOVSRows(b *testing.B) {
	b.Run("connection", func(b *testing.B) {
		line := "udp,orig=(src=10.0.12.34,dst=192.0.2.1,sport=4321,dport=443),reply=(src=192.0.2.1,dst=10.0.12.34,sport=443,dport=4321),id=0,zone=5,status=0,timeout=3577"
		row, out := Connection{Datapath: "netdev@ovs-netdev"}, []byte(nil)
		b.SetBytes(int64(len(line)))
		b.ReportAllocs()
		for b.Loop() {
			if err := row.Read(strings.Clone(line)); err != nil {
				b.Fatal(err)
			}
			out = row.Row.AppendJSON(out[:0])
		}
	})
	b.Run("flow", func(b *testing.B) {
		line := " cookie=0x3039, duration=12.345s, table=46, n_packets=0, n_bytes=0, idle_age=12, priority=12346,ct_state=+new+trk,ip,reg0=0x3039,nw_src=10.0.48.57,nw_dst=192.0.2.0/24 actions=set_field:0x3039->reg1,ct(commit,zone=5,exec(set_field:0x1->ct_mark)),resubmit(,47)"
		row, out := Flow{}, []byte(nil)
		b.SetBytes(int64(len(line)))
		b.ReportAllocs()
		for b.Loop() {
			if err := row.Read(strings.Clone(line), "br0"); err != nil {
				b.Fatal(err)
			}
			out = row.row.AppendJSON(out[:0])
		}
	})
}
