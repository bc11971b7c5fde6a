package rtnl

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The messages in testdata/*.hex, one a line, were captured from kernels: this one and, for the kinds
// of interfaces that it lacks, Debian's 6.1. Beside them stands what they decode to. To capture what
// the namespace that the test runs in has, and to write anew what is decoded:
//
//	unshare -n sh -c '…; go test ./internal/rtnl -run TestCapture -capture NAME'
//	go test ./internal/rtnl -run TestGolden -update
var (
	capture = flag.String("capture", "", "write the messages of this network namespace to testdata/NAME-*.hex")
	update  = flag.Bool("update", false, "write what the captured messages decode to")
)

// captured returns the messages of every captured dump of one sort, by file.
func captured(t testing.TB, sort string) map[string][][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*-" + sort + ".hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captured %s: %v", sort, err)
	}
	out := map[string][][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			b, err := hex.DecodeString(lines.Text())
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			out[file] = append(out[file], b)
		}
	}
	return out
}

// bridgeFamily is struct br_vlan_msg of a dump of every interface.
var bridgeFamily = []byte{unix.AF_BRIDGE, sizeofBrVlanMsg - 1: 0}

func TestCapture(t *testing.T) {
	if *capture == "" {
		t.Skip("captures only when asked to")
	}
	c, err := Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for sort, request := range map[string]struct {
		typ  uint16
		body []byte
		attr uint16
		v    uint32
	}{
		"links":       {unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), unix.IFLA_EXT_MASK, extMask},
		"addresses":   {unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), 0, 0},
		"routes":      {unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg), 0, 0},
		"neighbors":   {unix.RTM_GETNEIGH, make([]byte, unix.SizeofNdMsg), 0, 0},
		"vlans":       {unix.RTM_GETVLAN, bridgeFamily, vlanDumpFlags, 0},
		"countvlans":  {unix.RTM_GETVLAN, bridgeFamily, vlanDumpFlags, vlanDumpStats},
		"globalvlans": {unix.RTM_GETVLAN, bridgeFamily, vlanDumpFlags, vlanDumpGlobal},
	} {
		req := c.sock.Request("dump "+sort, request.typ)
		req.Raw(request.body)
		if request.attr != 0 {
			req.Uint32(request.attr, request.v)
		}
		var out strings.Builder
		for m, err := range c.sock.Dump(t.Context(), req) {
			if errors.Is(err, syscall.EOPNOTSUPP) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString(hex.EncodeToString(m.Data) + "\n")
		}
		if out.Len() == 0 {
			continue
		}
		if err := os.WriteFile("testdata/"+*capture+"-"+sort+".hex", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGolden compares what the captured messages decode to with what is kept beside them.
func TestGolden(t *testing.T) {
	compareGolden(t, "links", func(b []byte) (any, error) {
		var l Link
		if err := l.decode(b); err != nil {
			return nil, err
		}
		kind, err := decodeKind(&l)
		if err != nil {
			return nil, err
		}
		port, err := decodePort(&l)
		return struct {
			Link *Link
			Kind any `json:",omitempty"`
			Port any `json:",omitempty"`
		}{&l, kind, port}, err
	})
	compareGolden(t, "addresses", func(b []byte) (any, error) {
		var a Address
		return &a, a.decode(b)
	})
	compareGolden(t, "neighbors", func(b []byte) (any, error) {
		var n Neighbor
		return &n, n.decode(b)
	})
	for _, sort := range []string{"vlans", "countvlans"} {
		compareGolden(t, sort, func(b []byte) (any, error) {
			var v InterfaceVLANs
			return &v, v.decode(b)
		})
	}
	compareGolden(t, "globalvlans", func(b []byte) (any, error) {
		var v GlobalVLANs
		return &v, v.decode(b)
	})
	compareGolden(t, "routes", func(b []byte) (any, error) {
		var r Route
		err := r.decode(b)
		metrics := map[int]uint32{}
		for rtax := range unix.RTAX_MAX + 1 {
			if v, ok := r.Metrics.Get(rtax); ok {
				metrics[rtax] = v
			}
		}
		return struct {
			Route   *Route
			Metrics map[int]uint32 `json:",omitempty"`
		}{&r, metrics}, err
	})
}

// decodePort decodes what depends on what a link is a port of, as a caller would.
func decodePort(l *Link) (any, error) {
	switch {
	case len(l.PortData) == 0:
		return nil, nil
	case l.PortKind == "bond":
		return DecodeBondPort(l.PortData)
	case l.PortKind == "bridge":
		return DecodeBridgePort(l.PortData)
	case l.PortKind == "vrf":
		return DecodeVRF(l.PortData)
	}
	return nil, nil
}

// decodeKind decodes what depends on a link's kind, as a caller would.
func decodeKind(l *Link) (any, error) {
	if len(l.Data) == 0 {
		return nil, nil
	}
	switch l.Kind {
	case "bridge":
		return DecodeBridge(l.Data)
	case "vlan":
		return DecodeVLAN(l.Data)
	case "vrf":
		return DecodeVRF(l.Data)
	case "bond":
		return DecodeBond(l.Data)
	case "vxlan":
		return DecodeVXLAN(l.Data)
	case "tun":
		return DecodeTun(l.Data)
	case "macvlan", "macvtap":
		return DecodeMacvlan(l.Data)
	case "ipvlan", "ipvtap":
		return DecodeIPVlan(l.Data)
	}
	if t, ok, err := DecodeTunnel(l.Kind, l.Data); ok {
		return t, err
	}
	options, _, err := DecodeOptions(l.Kind, l.Data)
	if options == nil {
		return nil, err
	}
	return options, err
}

func compareGolden(t *testing.T, sort string, decode func([]byte) (any, error)) {
	t.Helper()
	for file, messages := range captured(t, sort) {
		var got bytes.Buffer
		for _, b := range messages {
			v, err := decode(b)
			if err != nil {
				t.Errorf("%s: %v in %x", file, err, b)
				continue
			}
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(append(text, '\n'))
		}
		golden := strings.TrimSuffix(file, ".hex") + ".json"
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", golden, diff)
		}
	}
}

// BenchmarkDecode decodes captured messages: what a row costs without the kernel.
func BenchmarkDecode(b *testing.B) {
	links := captured(b, "links")["testdata/host6.18-links.hex"]
	routes := captured(b, "routes")["testdata/host6.18-routes.hex"]
	b.Run("link", func(b *testing.B) {
		var l Link
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := l.decode(links[i%len(links)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("route", func(b *testing.B) {
		var r Route
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := r.decode(routes[i%len(routes)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
