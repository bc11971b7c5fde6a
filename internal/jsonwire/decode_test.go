package jsonwire_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

func TestUnquoteIsTheTextOrAPartOfIt(t *testing.T) {
	for raw, want := range map[string]string{
		`""`: "", `"a"`: "a", `"\""`: `"`, `"a\\\/\b\f\n\r\tz"`: "a\\/\b\f\n\r\tz",
		`"\u0041\u00e9\u20AC\ud83d\ude00"`: "Aé€😀", `"\u0000"`: "\x00", `"é€😀"`: "é€😀",
	} {
		if got := jsonwire.Unquote([]byte(raw)); string(got) != want {
			t.Errorf("Unquote(%s) = %q, want %q", raw, got, want)
		}
	}
	raw := []byte(`"plain text"`)
	if n := testing.AllocsPerRun(100, func() { jsonwire.Unquote(raw) }); n != 0 {
		t.Errorf("unquoting a string without escapes allocates %v times", n)
	}
}

func TestInt(t *testing.T) {
	for _, test := range []struct {
		raw  string
		want int64
		err  error
	}{
		{"0", 0, nil}, {"-0", 0, nil}, {"0.000", 0, nil}, {"0e999999999999", 0, nil}, {"-0e-5", 0, nil},
		{"42", 42, nil}, {"-42", -42, nil}, {"1.0", 1, nil}, {"1e3", 1000, nil}, {"1E+3", 1000, nil}, {"-1.5e1", -15, nil},
		{"1000e-3", 1, nil}, {"0.001e3", 1, nil}, {"120.50e1", 1205, nil},
		{"9007199254740991", jsonwire.MaxInt, nil}, {"-9007199254740991", -jsonwire.MaxInt, nil},
		{"9007199254740991.0", jsonwire.MaxInt, nil}, {"90071992547409910000e-4", jsonwire.MaxInt, nil},
		{"9007199254740992", 0, jsonwire.ErrRange}, {"-9007199254740992", 0, jsonwire.ErrRange}, {"9007199254740992.0", 0, jsonwire.ErrRange},
		{"99999999999999999999999999", 0, jsonwire.ErrRange}, {"1e16", 0, jsonwire.ErrRange}, {"1e400", 0, jsonwire.ErrRange},
		{"1e99999999999999999999", 0, jsonwire.ErrRange}, {"1e15", 1e15, nil},
		{"1.5", 0, jsonwire.ErrNotInteger}, {"1e-1", 0, jsonwire.ErrNotInteger}, {"1e-99999999999999999999", 0, jsonwire.ErrNotInteger},
		{"99999999999999999999999999.5", 0, jsonwire.ErrNotInteger}, {"9007199254740991.5", 0, jsonwire.ErrNotInteger},
	} {
		got, err := jsonwire.Int([]byte(test.raw))
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("Int(%s) = %d, %v; want %d, %v", test.raw, got, err, test.want, test.err)
		}
	}
}

// checkNumber compares Int with exact rational arithmetic.
func checkNumber(t *testing.T, raw string) {
	t.Helper()
	if jsonwire.KindOf([]byte(raw)) != jsonwire.Number || jsonwire.Valid([]byte(raw)) != nil || strings.TrimSpace(raw) != raw || hugeExponent(raw) {
		return
	}
	got, err := jsonwire.Int([]byte(raw))
	exact, ok := new(big.Rat).SetString(raw)
	if !ok {
		t.Fatalf("big.Rat does not take the number %q", raw)
	}
	limit := big.NewRat(jsonwire.MaxInt, 1)
	switch {
	case !exact.IsInt():
		if !errors.Is(err, jsonwire.ErrNotInteger) {
			t.Errorf("Int(%s) = %d, %v; want %v", raw, got, err, jsonwire.ErrNotInteger)
		}
	case new(big.Rat).Abs(exact).Cmp(limit) > 0:
		if !errors.Is(err, jsonwire.ErrRange) {
			t.Errorf("Int(%s) = %d, %v; want %v", raw, got, err, jsonwire.ErrRange)
		}
	case err != nil || exact.Cmp(big.NewRat(got, 1)) != 0:
		t.Errorf("Int(%s) = %d, %v; want %s", raw, got, err, exact.RatString())
	}
}

// hugeExponent tells whether exact arithmetic would need too much memory for the witness.
func hugeExponent(raw string) bool {
	_, exp, _ := strings.Cut(strings.ToLower(raw), "e")
	return len(strings.TrimLeft(exp, "+-0")) > 3
}

func FuzzInt(f *testing.F) {
	for _, raw := range []string{"0", "-0.0", "1e3", "1.5e1", "9007199254740991", "9007199254740992.0e0", "1234.500e-1", "0.00e7"} {
		f.Add(raw)
	}
	f.Fuzz(checkNumber)
}

func TestFloat(t *testing.T) {
	for raw, want := range map[string]float64{"0": 0, "-1.5": -1.5, "1e3": 1000, "0.1": 0.1} {
		if got, err := jsonwire.Float([]byte(raw)); err != nil || got != want {
			t.Errorf("Float(%s) = %v, %v; want %v", raw, got, err, want)
		}
	}
	if _, err := jsonwire.Float([]byte("1e999")); err == nil {
		t.Error("Float takes 1e999")
	}
	raw := []byte("1234.5678")
	if n := testing.AllocsPerRun(100, func() { jsonwire.Float(raw) }); n != 0 {
		t.Errorf("Float allocates %v times", n)
	}
}

func FuzzUnquote(f *testing.F) {
	for _, test := range verdicts {
		f.Add([]byte(test.text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || raw[0] != '"' || raw[len(raw)-1] != '"' || jsonwire.Valid(raw) != nil {
			return
		}
		var want string
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", raw, err)
		}
		if got := jsonwire.Unquote(raw); string(got) != want {
			t.Errorf("Unquote(%q) = %q, want %q", raw, got, want)
		}
	})
}
