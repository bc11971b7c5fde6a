package owntable

import "testing"

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"tcp/22", "udp/1-65535", "sctp/7-7", "tcp/0", "tcp/9-8", "icmp/1", "tcp", "tcp/-", "tcp/1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParsePorts(s)
		if err == nil && (r.First < 1 || r.Last > 65535 || r.Last < r.First || ProtocolNumber(r.Protocol) == 0 || len(r.elements(useKept)) == 0) {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}
