package rtnl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func u16(n uint16) []byte { return native.AppendUint16(nil, n) }
func u32(n uint32) []byte { return native.AppendUint32(nil, n) }
func u64(n uint64) []byte { return native.AppendUint64(nil, n) }

func TestDecodeOptions(t *testing.T) {
	for kind, test := range map[string]struct {
		attrs [][]byte
		want  []Option
	}{
		"macsec": {
			[][]byte{attr(unix.IFLA_MACSEC_SCI, 0x12, 0x34, 0x56, 0x78, 0x90, 0xab, 0xcd, 0xef), attr(unix.IFLA_MACSEC_CIPHER_SUITE, u64(0x0080c20001000004)...),
				attr(unix.IFLA_MACSEC_WINDOW, u32(9)...), attr(unix.IFLA_MACSEC_ENCRYPT, 1), attr(unix.IFLA_MACSEC_SCB, 0),
				attr(unix.IFLA_MACSEC_VALIDATION, 2), attr(unix.IFLA_MACSEC_OFFLOAD, 7)},
			[]Option{{Name: "sci", Value: "1234567890abcdef"}, {Name: "cipher_suite", Value: "GCM-AES-XPN-256"}, {Name: "window", Value: "9"},
				{Name: "encrypt", Value: "on"}, {Name: "scb", Value: "off"}, {Name: "validation", Value: "strict"}, {Name: "offload", Value: "7"}},
		},
		"hsr": {
			[][]byte{attr(unix.IFLA_HSR_SLAVE1, u32(3)...), attr(unix.IFLA_HSR_SUPERVISION_ADDR, 1, 0x15, 0x4e, 0, 1, 45), attr(unix.IFLA_HSR_PROTOCOL, 1)},
			[]Option{{Name: "slave1", Link: 3}, {Name: "supervision_addr", Value: "01:15:4e:00:01:2d"}, {Name: "proto", Value: "prp"}},
		},
		"ipoib": {
			[][]byte{attr(unix.IFLA_IPOIB_PKEY, u16(0x8001)...), attr(unix.IFLA_IPOIB_MODE, u16(1)...)},
			[]Option{{Name: "pkey", Value: "0x8001"}, {Name: "mode", Value: "connected"}},
		},
		"netkit": {
			[][]byte{attr(unix.IFLA_NETKIT_PRIMARY, 1), attr(unix.IFLA_NETKIT_POLICY, u32(0)...), attr(unix.IFLA_NETKIT_PEER_POLICY, u32(2)...), attr(unix.IFLA_NETKIT_MODE, u32(1)...)},
			[]Option{{Name: "type", Value: "primary"}, {Name: "policy", Value: "forward"}, {Name: "peer_policy", Value: "blackhole"}, {Name: "mode", Value: "l3"}},
		},
		"bareudp": {
			[][]byte{attr(unix.IFLA_BAREUDP_PORT, 0x19, 0xeb), attr(unix.IFLA_BAREUDP_ETHERTYPE, 0x88, 0x47), attr(unix.IFLA_BAREUDP_MULTIPROTO_MODE), attr(99, 1)},
			[]Option{{Name: "dstport", Value: "6635"}, {Name: "ethertype", Value: "0x8847"}, {Name: "multiproto", Value: "on"}},
		},
	} {
		got, known, err := DecodeOptions(kind, join(test.attrs...))
		if diff := cmp.Diff(test.want, got); diff != "" || !known || err != nil {
			t.Errorf("%s: %v, %v (-want +got):\n%s", kind, known, err, diff)
		}
	}
	if _, known, _ := DecodeOptions("nosuchkind", nil); known {
		t.Error("a kind that is not known is")
	}
}
