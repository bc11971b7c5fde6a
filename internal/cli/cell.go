package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// cellText is a JSON value as people read it: sizes, rates and durations with their units, which the member's
// name tells, lists with commas, objects as key=value. It is fit for a terminal.
func cellText(name string, raw []byte) string {
	switch jsonwire.KindOf(raw) {
	case jsonwire.String:
		text := string(jsonwire.Unquote(raw))
		if strings.HasSuffix(name, "_at") {
			return localTime(text)
		}
		return clean(text)
	case jsonwire.Number:
		return numberText(name, raw)
	case jsonwire.Array:
		var parts []string
		for a := jsonwire.ReadArray(raw); a.Next(); {
			parts = append(parts, cellText(name, a.Value()))
		}
		return strings.Join(parts, ",")
	case jsonwire.Object:
		var parts []string
		for o := jsonwire.ReadObject(raw); o.Next(); {
			inner := string(o.Name())
			parts = append(parts, inner+"="+cellText(inner, o.Value()))
		}
		return strings.Join(parts, " ")
	}
	return string(raw)
}

// numberText is a number with the unit that the end of its member's name says.
func numberText(name string, raw []byte) string {
	n, err := jsonwire.Int(raw)
	switch {
	case err != nil && strings.HasSuffix(name, "_s"):
		return fractionText(raw)
	case err != nil:
		return string(raw)
	case strings.HasSuffix(name, "_bytes"):
		return sizeText(n)
	case strings.HasSuffix(name, "_bps"):
		return rateText(n)
	case strings.HasSuffix(name, "_s"):
		return durationText(n)
	}
	return string(raw)
}

// sizeText is a number of bytes in binary units, as df -h has it.
func sizeText(n int64) string {
	if n < 1024 && n > -1024 {
		return strconv.FormatInt(n, 10) + "B"
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if f /= 1024; f < 1023.95 && f > -1023.95 || unit == "EiB" {
			return strconv.FormatFloat(f, 'f', 1, 64) + unit
		}
	}
	return ""
}

// rateText is a number of bits per second in decimal units.
func rateText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1e12, "Tbit/s"}, {1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if n >= unit.size {
			return strconv.FormatFloat(math.Round(float64(n)/float64(unit.size)*100)/100, 'f', -1, 64) + unit.name
		}
	}
	return strconv.FormatInt(n, 10) + "bit/s"
}

// durationText is a number of seconds, as in 3d4h.
func durationText(n int64) string {
	switch {
	case n >= 86400:
		return fmt.Sprintf("%dd%dh", n/86400, n%86400/3600)
	case n >= 3600:
		return fmt.Sprintf("%dh%dm", n/3600, n%3600/60)
	case n >= 60:
		return fmt.Sprintf("%dm%ds", n/60, n%60)
	}
	return strconv.FormatInt(n, 10) + "s"
}

// fractionText is a number of seconds that is not a whole one: to two places, and from a minute on in whole ones.
func fractionText(raw []byte) string {
	f, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err != nil || f > 1<<53:
		return string(raw)
	case f >= 60:
		return durationText(int64(f + 0.5))
	}
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) + "s"
}

// localTime is an instant of the wire without its fraction, still in UTC: nodes and people may be in
// different zones.
func localTime(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return clean(text)
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// heading is what stands above a member's cells: its name without the unit that the cells bear.
func heading(name string) string {
	for _, unit := range []string{"_bytes", "_bps", "_s", "_at"} {
		name = strings.TrimSuffix(name, unit)
	}
	return strings.ToUpper(name)
}
