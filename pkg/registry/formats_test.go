package registry_test

import (
	"strings"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

func TestFormats(t *testing.T) {
	long := strings.Repeat("a", 4095)
	for format, test := range map[string]struct{ good, bad []string }{
		"ifname": {
			[]string{"a", "eth0", "br-lan", "eth0.100", "fifteen-bytes-x", "...", "ä", `a"b`, "%d"},
			[]string{"", ".", "..", "sixteen-bytes-xx", "a/b", "a:b", "a b", "a\tb", "a\nb", "a\vb", "a\x00", "à", "äääääääää"},
		},
		"mac": {
			[]string{"52:54:00:12:34:56", "ff:ff:ff:ff:ff:ff"},
			[]string{"", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:567", "52-54-00-12-34-56", "AA:54:00:12:34:56", "5254.0012.3456", "5:254:00:12:34:56", "gg:54:00:12:34:56"},
		},
		"ip": {
			[]string{"192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "2001:DB8:0::1"},
			[]string{"", "192.0.2", "192.0.2.01", "192.0.2.256", "192.0.2.1/24", "fe80::1%eth0", "::ffff:192.0.2.1", "::ffff:c000:201", "host", " ::1", "1"},
		},
		"ip-prefix": {
			[]string{"0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32"},
			[]string{"", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/+8", "10/8", "::/129", "fe80::%eth0/64", "::ffff:10.0.0.0/104", "default"},
		},
		"ip-interface": {
			[]string{"10.0.0.1/24", "10.0.0.0/24", "2001:db8::1/64"},
			[]string{"", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/255.255.255.0", "fe80::1%eth0/64", "::ffff:10.0.0.1/120"},
		},
		"date-time": {
			[]string{"2026-11-23T08:30:00Z", "2026-11-23T08:30:00.123456789Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-02-29T00:00:00Z"},
			[]string{"", "2026-11-23", "2026-11-23T08:30:00", "2026-11-23T08:30:00+01:00", "2026-11-23 08:30:00Z", "2026-11-23t08:30:00z", "2026-02-29T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T8:30:00Z", "2026-11-23T08:30:00,5Z", "10000-01-01T00:00:00Z", "now"},
		},
		"uuid": {
			[]string{"0fc63daf-8483-4772-8e79-3d69d8477de4", "1A2B-3C4D", "0000-0000"},
			[]string{"", "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "0fc63daf84834772-8e79-3d69d8477de4", "0fc63daf-8483-4772-8e79-3d69d8477de", "0fc63daf-8483-4772-8e79-3d69d8477deg", "1a2b-3c4d", "1A2B3C4D", "1A2B_3C4D", "1A2B-3C4G"},
		},
		"abs-path": {
			[]string{"/", "/mnt/data", "/a b/ä/../c", "/" + long[1:]},
			[]string{"", "mnt", "./a", "~/a", "/a\x00b", "/" + long},
		},
		"device": {
			[]string{"/dev/vda1", "/dev/disk/by-id/x", "/dev/mapper/a..b", "UUID=1", "LABEL=a b", "PARTUUID=x", "/dev/..."},
			[]string{"", "vda", "/dev/", "/dev", "/dev/../etc/passwd", "/dev/disk/../..", "/devices/x", "/etc/passwd", "UUID=", "uuid=x", "PARTLABEL=x", "/dev/a\x00", "/dev/" + long},
		},
		"tag": {
			[]string{"a", "vm-17", " ", "it's", strings.Repeat("x", 64)},
			[]string{"", strings.Repeat("x", 65), `a"b`, `a\b`, "a\nb", "ä", "\x7f", "\x00"},
		},
		"comment": {
			[]string{"web front end", "~!@#$%^&*()"},
			[]string{"", strings.Repeat("x", 65), `"`, `\`, "\t", "é"},
		},
		"hex": {
			[]string{"0", "00ff", strings.Repeat("f", 100)},
			[]string{"", "0x0", "FF", "g", "-1", " 0"},
		},
	} {
		for _, s := range test.good {
			if err := registry.CheckFormat(format, s); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		for _, s := range test.bad {
			if err := registry.CheckFormat(format, s); err == nil || !strings.HasPrefix(err.Error(), "format "+format+": must be ") {
				t.Errorf("format %s, %q: %v", format, s, err)
			}
		}
	}
	if err := registry.CheckFormat("email", "a@b"); err == nil {
		t.Error("there is no format email, and a@b passes it")
	}
}

func TestFormatMessagesHelp(t *testing.T) {
	for _, test := range []struct{ format, value, want string }{
		{"ip", "::ffff:192.0.2.1", `format ip: must be the IPv4 address 192.0.2.1 itself, not "::ffff:192.0.2.1"`},
		{"ip", "fe80::1%eth0", `format ip: must be an address without a zone, not "fe80::1%eth0"`},
		{"ip-prefix", "10.1.2.3/8", `format ip-prefix: must be 10.0.0.0/8, which has no bits behind the prefix, not "10.1.2.3/8"`},
		{"ip-prefix", "10.1.2.3", `format ip-prefix: must be a network like 10.0.0.0/8 or 2001:db8::/32, not "10.1.2.3"`},
		{"ip-interface", "10.1.2.3", `format ip-interface: must be an address with its prefix length like 10.0.0.1/24, not "10.1.2.3"`},
		{"date-time", "2026-11-23T08:30:00+01:00", `format date-time: must be an instant in UTC like 2026-11-23T08:30:00Z, not "2026-11-23T08:30:00+01:00"`},
		{"hex", strings.Repeat("é", 50), `format hex: must be lower-case hexadecimal digits without 0x, not "` + strings.Repeat("é", 32) + `…"`},
	} {
		if err := registry.CheckFormat(test.format, test.value); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", test.value, err, test.want)
		}
	}
}
