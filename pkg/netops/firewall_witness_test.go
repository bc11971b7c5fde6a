package netops

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The functions here say what nft's JSON has in the words of things.

var oneFlag = regexp.MustCompile(`"flags": "([a-z]+)"`)

type witnessed struct {
	Family, Name, Table, Chain, Comment string
	Handle                              int
	Type                                any
	Hook                                string
	Policy                              any // a word, or the timeouts of states
	Prio                                *int
	Dev                                 any
	Map                                 string
	Flags                               []string
	Size                                int
	Timeout                             float64
	GC                                  float64 `json:"gc-interval"`
	Elem                                []any
	Packets, Bytes, Used                int
	Inv                                 bool
	Rate, Burst                         int
	Per                                 string
	RateUnit                            string `json:"rate_unit"`
	BurstUnit                           string `json:"burst_unit"`
	Protocol, L3proto                   string
	DPort                               int
	MSS, WScale                         int
}

func (th things) addWitness(t *testing.T, kind string, raw json.RawMessage) {
	t.Helper()
	if kind == "metainfo" {
		return
	}
	// JSON of a set calls its flags a list or one word.
	raw = json.RawMessage(oneFlag.ReplaceAllString(string(raw), `"flags": ["$1"]`))
	var w witnessed
	if err := json.Unmarshal(raw, &w); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	place := fmt.Sprintf("%s %s %s %s", kind, w.Family, w.Table, w.Name)
	switch kind {
	case "table":
		th[fmt.Sprintf("table %s %s", w.Family, w.Name)] = fmt.Sprint(w.Handle)
	case "chain":
		th[place] = chainWitness(&w)
	case "flowtable":
		devices := []string{}
		if dev := word(w.Dev); dev != "" {
			devices = append(devices, dev)
		}
		th[place] = fmt.Sprintf("%d %s %d %v", w.Handle, w.Hook, *w.Prio, devices)
	case "rule":
		th[fmt.Sprintf("rule %s %s %d", w.Family, w.Table, w.Handle)] = w.Chain + " " + w.Comment
	case "set", "map":
		th.addSetWitness(&w)
	default:
		th[place] = objectWitness(kind, &w)
	}
}

// word is what may be absent.
func word(v any) string {
	s, _ := v.(string)
	return s
}

func chainWitness(w *witnessed) string {
	words := fmt.Sprintf("%d %s %s", w.Handle, word(w.Type), w.Hook)
	if w.Prio != nil {
		words += fmt.Sprintf(" %d ", *w.Prio)
	}
	words += word(w.Policy)
	if w.Family == "netdev" {
		words += "[lo]" // nft 1.0.6 does not tell
	}
	return words
}

func (th things) addSetWitness(w *witnessed) {
	words := fmt.Sprintf("%d %s", w.Handle, typeWitness(w.Type))
	if w.Map != "" {
		words += " : " + w.Map
	}
	for _, f := range []string{"constant", "interval", "timeout"} {
		if slices.Contains(w.Flags, f) {
			words += " " + f
		}
	}
	if w.Size != 0 {
		words += fmt.Sprintf(" size %d", w.Size)
	}
	if w.Timeout != 0 {
		words += fmt.Sprintf(" timeout %.0f", w.Timeout)
	}
	if w.GC != 0 {
		words += fmt.Sprintf(" gc %.0f", w.GC)
	}
	if policy := word(w.Policy); policy != "" {
		words += " " + policy
	}
	place := fmt.Sprintf("%s %s %s", w.Family, w.Table, w.Name)
	th["set "+place] = words
	var list []string
	for _, e := range w.Elem {
		list = append(list, elementWitness(e))
	}
	if len(list) > 0 {
		slices.Sort(list)
		th["elements "+place] = strings.Join(list, "\n")
	}
}

func typeWitness(v any) string {
	if list, ok := v.([]any); ok {
		var parts []string
		for _, p := range list {
			parts = append(parts, fmt.Sprint(p))
		}
		return strings.Join(parts, " . ")
	}
	return fmt.Sprint(v)
}

// elementWitness is one element: a value, or a pair of value and data.
func elementWitness(v any) string {
	pair, isPair := v.([]any)
	if !isPair {
		key, rest := valueWitness(v)
		return key + rest
	}
	key, rest := valueWitness(pair[0])
	data, _ := valueWitness(pair[1])
	return key + " : " + data + rest
}

// valueWitness is a value in words, and what stands behind it: a timeout, a comment, a counter.
func valueWitness(v any) (value, rest string) {
	m, ok := v.(map[string]any)
	if !ok {
		if n, ok := v.(float64); ok {
			return fmt.Sprintf("%.0f", n), ""
		}
		return fmt.Sprint(v), ""
	}
	for key, inside := range m {
		switch key {
		case "elem":
			return elemWitness(inside.(map[string]any))
		case "prefix":
			p := inside.(map[string]any)
			return fmt.Sprintf("%v/%v", p["addr"], p["len"]), ""
		case "range", "concat":
			var parts []string
			for _, p := range inside.([]any) {
				word, _ := valueWitness(p)
				parts = append(parts, word)
			}
			return strings.Join(parts, map[string]string{"range": "-", "concat": " . "}[key]), ""
		case "jump", "goto":
			return key + fmt.Sprint(inside.(map[string]any)["target"]), ""
		default:
			return key, "" // a verdict
		}
	}
	return "", ""
}

func elemWitness(e map[string]any) (value, rest string) {
	value, _ = valueWitness(e["val"])
	if v, ok := e["timeout"].(float64); ok {
		rest += fmt.Sprintf(" timeout %.0f", v)
	}
	if v, ok := e["comment"]; ok {
		rest += fmt.Sprintf(" comment %v", v)
	}
	if c, ok := e["counter"].(map[string]any); ok {
		rest += fmt.Sprintf(" counter %.0f %.0f", c["packets"], c["bytes"])
	}
	return value, rest
}

func objectWitness(kind string, w *witnessed) string {
	words := fmt.Sprint(w.Handle)
	switch kind {
	case "counter":
		words += fmt.Sprintf(" %d %d", w.Packets, w.Bytes)
	case "quota":
		words += fmt.Sprintf(" %d %d %v", w.Bytes, w.Used, w.Inv)
	case "limit":
		words += limitWitness(w)
	case "ct helper":
		words += fmt.Sprintf(" %s %s %s", word(w.Type), w.Protocol, w.L3proto)
	case "ct timeout":
		words += fmt.Sprintf(" %s %s %v", w.Protocol, w.L3proto, w.Policy)
	case "ct expectation":
		words += fmt.Sprintf(" %s %s %d %.0f %d", w.Protocol, w.L3proto, w.DPort, w.Timeout, w.Size)
	case "synproxy":
		// The flags of mss and wscale go without saying where there are such.
		flags := []string{"mss", "wscale"}
		for _, f := range w.Flags {
			flags = append(flags, strings.ReplaceAll(f, "-", "_"))
		}
		words += fmt.Sprintf(" %d %d %v", w.MSS, w.WScale, slices.Sorted(slices.Values(flags)))
	}
	return words
}

func limitWitness(w *witnessed) string {
	kind, unit := "packets", map[string]int{"": 1, "packets": 1, "bytes": 1, "kbytes": 1 << 10, "mbytes": 1 << 20}
	if strings.HasSuffix(w.RateUnit, "bytes") {
		kind = "bytes"
	}
	return fmt.Sprintf(" %d %s %d %s %v", w.Rate*unit[w.RateUnit], w.Per, w.Burst*unit[w.BurstUnit], kind, w.Inv)
}
