package dhcp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// answer is a datagram as a server sends it to a client: the ports of ours the other way around, which leaves
// the checksum as it is.
func answer(data []byte) []byte {
	b := datagram(netip.MustParseAddr(s1), netip.MustParseAddr("255.255.255.255"), data)
	copy(b[ipHeader:], []byte{0, serverPort, 0, clientPort})
	return b
}

func TestPayload(t *testing.T) {
	data := []byte("what a server says") // of even and odd length
	for _, want := range [][]byte{data, data[1:], {}} {
		got, err := payload(append(answer(want), 0, 0, 0), true) // padding of Ethernet
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
	for name, spoil := range map[string]func(b []byte) []byte{
		"cut off":             func(b []byte) []byte { return b[:len(b)-1] },
		"no header":           func(b []byte) []byte { return b[:ipHeader-1] },
		"another version":     func(b []byte) []byte { b[0] = 0x65; return b },
		"short header":        func(b []byte) []byte { b[0] = 0x44; return b },
		"another protocol":    func(b []byte) []byte { b[9] = 6; return mended(b) },
		"a fragment":          func(b []byte) []byte { b[7] = 1; return mended(b) },
		"more fragments":      func(b []byte) []byte { b[6] = 0x20; return mended(b) },
		"header damaged":      func(b []byte) []byte { b[15]++; return b },
		"another port":        func(b []byte) []byte { b[ipHeader+3]++; return b },
		"contents damaged":    func(b []byte) []byte { b[len(b)-1]++; return b },
		"UDP longer than IP":  func(b []byte) []byte { b[ipHeader+5]++; return b },
		"UDP without headers": func(b []byte) []byte { b[ipHeader+5] = 7; return b },
	} {
		if got, err := payload(spoil(answer(data)), true); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	damaged := answer(data)
	damaged[len(damaged)-1]++
	if _, err := payload(damaged, false); err != nil { // the kernel said that it computed no checksum
		t.Error(err)
	}
	none := answer(data)
	none[ipHeader+6], none[ipHeader+7] = 0, 0
	if _, err := payload(none, true); err != nil { // the sender computed none
		t.Error(err)
	}
}

// mended has the checksum of the header right again.
func mended(b []byte) []byte {
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:ipHeader]))
	return b
}

// FuzzPayload: of any bytes that pass, the payload lies within.
func FuzzPayload(f *testing.F) {
	f.Add(answer([]byte("x")), true)
	f.Add(answer(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, checksummed bool) {
		data, err := payload(b, checksummed)
		if err != nil {
			return
		}
		if !bytes.Contains(b, data) || len(data) > len(b)-ipHeader-udpHeader {
			t.Fatalf("%d bytes out of %d", len(data), len(b))
		}
		if again, err := payload(answer(data), true); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%v", err)
		}
	})
}
