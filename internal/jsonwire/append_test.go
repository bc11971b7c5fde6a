package jsonwire_test

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

func TestAppendString(t *testing.T) {
	for s, want := range map[string]string{
		"": `""`, "abc": `"abc"`, `a"b\c`: `"a\"b\\c"`, "\n\r\t\x00\x1f\b": `"\n\r\t\u0000\u001f\u0008"`, "\x7f<>&": "\"\x7f<>&\"",
		"é€😀": `"é€😀"`, "\u2028": "\"\u2028\"", "a\xffb": `"a�b"`, "\xe2\x82": `"��"`, "\xed\xa0\x80": `"���"`, "�": `"�"`,
	} {
		if got := string(jsonwire.AppendString(nil, s)); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", s, got, want)
		}
	}
}

// checkString compares with encoding/json, which also replaces what is not UTF-8.
func checkString(t *testing.T, s string) {
	t.Helper()
	raw := jsonwire.AppendString([]byte("x"), s)[1:]
	if err := jsonwire.Valid(raw); err != nil {
		t.Fatalf("AppendString(%q) = %s: %v", s, raw, err)
	}
	var got string
	want := string([]rune(s)) // has U+FFFD for each byte that is not part of UTF-8
	if err := json.Unmarshal(raw, &got); err != nil || got != want {
		t.Errorf("AppendString(%q) reads back as %q, %v; want %q", s, got, err, want)
	}
	if back := string(jsonwire.Unquote(raw)); back != got {
		t.Errorf("Unquote(%s) = %q, encoding/json has %q", raw, back, got)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "abc", "a\"\\\n\x00", "é\xff€\xed\xa0\x80", "�"} {
		f.Add(s)
	}
	f.Fuzz(checkString)
}

func TestAppendNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", -7: "-7", jsonwire.MaxInt: "9007199254740991"} {
		if got := string(jsonwire.AppendInt(nil, n)); got != want {
			t.Errorf("AppendInt(%d) = %s", n, got)
		}
	}
	for f, want := range map[float64]string{0: "0", 1: "1", -1.5: "-1.5", 1e21: "1e+21", 1e-7: "1e-07", math.Inf(1): "0", math.Inf(-1): "0"} {
		if got := string(jsonwire.AppendFloat(nil, f)); got != want {
			t.Errorf("AppendFloat(%v) = %s, want %s", f, got, want)
		}
	}
	if got := string(jsonwire.AppendFloat(nil, math.NaN())); got != "0" {
		t.Errorf("AppendFloat(NaN) = %s", got)
	}
	if got := string(jsonwire.AppendBool(jsonwire.AppendBool(nil, true), false)); got != "truefalse" {
		t.Errorf("AppendBool gives %s", got)
	}
}

func TestFloatsReadBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Float64().Draw(t, "f")
		raw := jsonwire.AppendFloat(nil, want)
		if got, err := jsonwire.Float(raw); jsonwire.Valid(raw) != nil || err != nil || got != want {
			t.Fatalf("%v is written as %s and read as %v, %v", want, raw, got, err)
		}
	})
}

func TestAppendTime(t *testing.T) {
	east := time.FixedZone("", 2*3600)
	for _, test := range []struct {
		t    time.Time
		want string
	}{
		{time.Unix(0, 0), `"1970-01-01T00:00:00Z"`},
		{time.Date(2026, 11, 23, 10, 30, 0, 0, east), `"2026-11-23T08:30:00Z"`},
		{time.Date(2026, 11, 23, 8, 30, 0, 120_000_000, time.UTC), `"2026-11-23T08:30:00.12Z"`},
		{time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC), `"9999-12-31T23:59:59Z"`},
		{time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), `"0000-01-01T00:00:00Z"`},
	} {
		if got := string(jsonwire.AppendTime(nil, test.t)); got != test.want {
			t.Errorf("AppendTime(%v) = %s, want %s", test.t, got, test.want)
		}
	}
}

func TestAppendAddresses(t *testing.T) {
	for addr, want := range map[netip.Addr]string{
		{}:                                  `""`,
		netip.MustParseAddr("192.0.2.1"):    `"192.0.2.1"`,
		netip.MustParseAddr("2001:DB8::1"):  `"2001:db8::1"`,
		netip.MustParseAddr(`fe80::1%a"b\`): `"fe80::1"`,
	} {
		if got := string(jsonwire.AppendAddr(nil, addr)); got != want {
			t.Errorf("AppendAddr(%v) = %s, want %s", addr, got, want)
		}
	}
	for prefix, want := range map[netip.Prefix]string{
		{}:                                  `""`,
		netip.MustParsePrefix("10.0.0.1/8"): `"10.0.0.1/8"`,
		netip.MustParsePrefix("::/0"):       `"::/0"`,
	} {
		if got := string(jsonwire.AppendPrefix(nil, prefix)); got != want {
			t.Errorf("AppendPrefix(%v) = %s, want %s", prefix, got, want)
		}
	}
}

func TestAppendingDoesNotAllocate(t *testing.T) {
	b := make([]byte, 0, 1024)
	now := time.Now()
	addr, prefix := netip.MustParseAddr("2001:db8::1"), netip.MustParsePrefix("10.0.0.0/8")
	n := testing.AllocsPerRun(100, func() {
		b = jsonwire.AppendString(b[:0], "plain é \n \xff")
		b = jsonwire.AppendTime(b, now)
		b = jsonwire.AppendAddr(b, addr)
		b = jsonwire.AppendPrefix(b, prefix)
		b = jsonwire.AppendFloat(b, 1.5)
	})
	if n != 0 {
		t.Errorf("appending allocates %v times", n)
	}
}

// TestAppendAddressesOfEveryByte: IPv4 addresses are written by hand.
func TestAppendAddressesOfEveryByte(t *testing.T) {
	for v := range 256 {
		addr := netip.AddrFrom4([4]byte{byte(v), byte(v * 7), byte(255 - v), byte(v * 31)})
		if got := string(jsonwire.AppendAddr(nil, addr)); got != `"`+addr.String()+`"` {
			t.Errorf("AppendAddr(%v) = %s", addr, got)
		}
	}
}
