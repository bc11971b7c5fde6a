package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// value is what the command line says for one param. It is a pflag.Value.
type value struct {
	param    *param
	whole    []byte   // the value as JSON, where it was given as a whole
	elements [][]byte // of a list, as JSON
	object   object   // of an object that is given member by member
	texts    []string // as typed, for questions and messages
}

// set tells whether there is a value.
func (v *value) set() bool { return v.whole != nil || v.elements != nil || v.object.members != nil }

// json is the value as JSON.
func (v *value) json() []byte {
	switch {
	case v.whole != nil:
		return v.whole
	case v.elements != nil:
		b := []byte{'['}
		for i, e := range v.elements {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, e...)
		}
		return append(b, ']')
	}
	return v.object.appendJSON(nil)
}

// String is what was typed.
func (v *value) String() string { return strings.Join(v.texts, ",") }

// Type is the word that stands for the value in the help.
func (v *value) Type() string {
	p := v.param
	word := p.word()
	switch {
	case p.kind == kindBoolean && !p.list:
		return "bool"
	case p.list && p.kind != kindObject:
		return word + ",…"
	}
	return word
}

// words stand for values of a format in the help.
var words = map[string]string{
	"ip": "ADDRESS", "ip-prefix": "NETWORK", "ip-interface": "ADDRESS/LENGTH", "ifname": "INTERFACE", "mac": "MAC",
	"uuid": "UUID", "abs-path": "PATH", "device": "DEVICE", "date-time": "TIME", "hex": "HEX",
}

func (p *param) word() string {
	switch {
	case p.kind == kindObject:
		return "KEY=VALUE,…"
	case p.kind == kindJSON:
		return "JSON"
	case p.kind == kindInteger && p.isBytes():
		return "SIZE"
	case p.kind == kindInteger, p.kind == kindNumber:
		return "N"
	case len(p.values) > 0:
		return "WORD"
	case words[p.format] != "":
		return words[p.format]
	}
	return "TEXT"
}

func (p *param) isBytes() bool { return strings.HasSuffix(p.name, "_bytes") }

// Set takes one value of the flag. A list's may be given several times, or with commas, or as a JSON array;
// an object as KEY=VALUE,KEY=VALUE with dots for objects within it, or as JSON.
func (v *value) Set(text string) error {
	p := v.param
	v.texts = append(v.texts, text)
	begins := strings.TrimSpace(text)
	switch {
	case p.list && strings.HasPrefix(begins, "["), p.kind == kindJSON, p.kind == kindObject && !p.list && strings.HasPrefix(begins, "{"):
		return v.setWhole(text)
	case p.list && p.kind == kindObject:
		return v.addObject(begins)
	case p.list:
		return v.addScalars(text)
	case p.kind == kindObject:
		return v.object.add(*p.members, text)
	}
	raw, err := p.scalar(text)
	v.whole = raw
	return err
}

func (v *value) setWhole(text string) error {
	if err := jsonwire.Valid([]byte(text)); err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	v.whole = []byte(text)
	return nil
}

func (v *value) addObject(text string) error {
	if strings.HasPrefix(text, "{") {
		if err := jsonwire.Valid([]byte(text)); err != nil {
			return fmt.Errorf("is not JSON: %w", err)
		}
		v.elements = append(v.elements, []byte(text))
		return nil
	}
	var o object
	if err := o.add(*v.param.members, text); err != nil {
		return err
	}
	v.elements = append(v.elements, o.appendJSON(nil))
	return nil
}

func (v *value) addScalars(text string) error {
	for _, element := range strings.Split(text, ",") {
		raw, err := v.param.scalar(element)
		if err != nil {
			return err
		}
		v.elements = append(v.elements, raw)
	}
	return nil
}

// scalar is a text as the JSON of one value of the param. Whether the value is allowed is the server's to
// say; what is wrong here is only what cannot be put into JSON.
func (p *param) scalar(text string) ([]byte, error) {
	switch p.kind {
	case kindBoolean:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%s is neither true nor false", quoted(text))
		}
		return jsonwire.AppendBool(nil, b), nil
	case kindInteger:
		if p.isBytes() {
			return size(text)
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number", quoted(text))
		}
		return jsonwire.AppendInt(nil, n), nil
	case kindNumber:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return nil, fmt.Errorf("%s is not a number", quoted(text))
		}
		return jsonwire.AppendFloat(nil, n), nil
	}
	return jsonwire.AppendString(nil, text), nil
}

// sizes are the units of bytes; a bare letter is the binary one, as in coreutils.
var sizes = map[string]int64{
	"": 1, "B": 1,
	"K": 1 << 10, "KIB": 1 << 10, "KB": 1e3,
	"M": 1 << 20, "MIB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GIB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TIB": 1 << 40, "TB": 1e12,
	"P": 1 << 50, "PIB": 1 << 50, "PB": 1e15,
}

var errSize = errors.New("is not a size: give bytes, or a number with K, M, G, T, P (or KiB; KB is 1000), as in 10G")

// size is a number of bytes, with a unit or without, as JSON.
func size(text string) ([]byte, error) {
	digits := strings.TrimRightFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	unit, known := sizes[strings.ToUpper(strings.TrimSpace(text[len(digits):]))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n != 0 && (n*unit)/unit != n {
		return nil, fmt.Errorf("%s %w", quoted(text), errSize)
	}
	return jsonwire.AppendInt(nil, n*unit), nil
}
