package blk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRecord(t *testing.T) {
	r := parseRecord([]byte("S:disk/by-id/x\nE:ID_MODEL=A_B\nE:ID_MODEL_ENC=A\\x20\\x20B\\x2fC\\x20\\x20\nE:ID_SERIAL=long_one\nE:ID_SERIAL_SHORT=one\nE:EMPTY=\nE:nothing\nE:ID_WWN=0x1\nE:LAST=a=b"))
	if r.model() != "A B/C" || r.serial() != "one" || r.wwn() != "0x1" || r["LAST"] != "a=b" {
		t.Errorf("%q: model %q, serial %q, wwn %q", r, r.model(), r.serial(), r.wwn())
	}
	if (record{"ID_MODEL": "plain"}).model() != "plain" {
		t.Error("model without its encoded form")
	}
	var none record
	if none.model() != "" || none.serial() != "" || none.wwn() != "" {
		t.Error("a record that is not there says something")
	}
}

func TestDecodeHex(t *testing.T) {
	for s, want := range map[string]string{`a\x20b`: "a b", `\x`: `\x`, `\xzz`: `\xzz`, `\x2`: `\x2`, "": "", `\x5cx20`: `\x20`} {
		if got := decodeHex(s); got != want {
			t.Errorf("decodeHex(%q) = %q, want %q", s, got, want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("E:ID_MODEL_ENC=A\\x20B\nS:x\nE:ID_WWN=0x1\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := parseRecord([]byte(text))
		for key, value := range r {
			if !strings.Contains(text, "E:"+key+"="+value) {
				t.Errorf("%q=%q is not in %q", key, value, text)
			}
		}
		r.model()
	})
}

func TestParseSwaps(t *testing.T) {
	const text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" +
		"/dev/sda2                               partition\t33554428\t0\t\t-2\n" +
		"/swap\\040file\\134x\\040(deleted)          file\t\t1048572\t\t512\t\t-3\n"
	want := []Swap{
		{Path: "/dev/sda2", Size: 33554428 << 10, Priority: -2},
		{Path: "/swap file\\x (deleted)", File: true, Size: 1048572 << 10, Used: 512 << 10, Priority: -3},
	}
	got, err := parseSwaps([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{"/dev/sda2 partition 1\n", "/dev/sda2 partition 1 x -2\n"} {
		if _, err := parseSwaps([]byte(line)); err == nil {
			t.Errorf("line %q is taken", line)
		}
	}
	if swaps, err := ReadSwaps(t.TempDir()); swaps != nil || err != nil {
		t.Errorf("without /proc/swaps: %v, %v", swaps, err)
	}
}

func FuzzParseSwaps(f *testing.F) {
	f.Add("Filename Type\n/a\\040b partition 1 2 3\n/c\\1 file 1 2 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		swaps, err := parseSwaps([]byte(text))
		if err == nil && len(swaps) > strings.Count(text, "\n")+1 {
			t.Errorf("%d swaps from %q", len(swaps), text)
		}
	})
}
