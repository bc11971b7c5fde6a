package ovstext

import (
	"strconv"
	"strings"
)

// Datapath is what show tells of a datapath. Counters are -1 where they are not told.
type Datapath struct {
	Name               string
	Hits, Misses, Lost int64
	Flows              int64
	Masks, MaskHits    int64
	MaskHitsPerPacket  float64
	CacheHits          int64
	CacheHitRate       float64          // 0 to 1
	Caches             map[string]int64 // name -> size
	Ports              []DatapathPort
}

// DatapathPort is a port of a datapath.
type DatapathPort struct {
	Number     uint32
	Name       string
	Type       string           // "": that of a plain interface
	Options    string           // as printed
	Statistics map[string]int64 // rx_packets, tx_errors, ...; what is not known is not there
}

// Datapaths reads what `dpctl/show -s` prints. A line that it does not know is passed over.
func Datapaths(text string) ([]Datapath, error) {
	var list []Datapath
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		body := strings.TrimLeft(line, " \t")
		if body == line && body != "" {
			name, ok := strings.CutSuffix(line, ":")
			if !ok {
				return nil, format(line, "no datapath")
			}
			list = append(list, Datapath{Name: name, Hits: -1, Misses: -1, Lost: -1, Flows: -1, Masks: -1, MaskHits: -1,
				MaskHitsPerPacket: -1, CacheHits: -1, CacheHitRate: -1, Caches: map[string]int64{}})
			continue
		}
		if len(list) == 0 {
			if body == "" {
				continue
			}
			return nil, format(line, "no datapath")
		}
		if err := list[len(list)-1].line(line, body); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// line takes a line below a datapath's name.
func (d *Datapath) line(line, body string) error {
	title, rest, _ := strings.Cut(body, ":")
	switch {
	case title == "lookups":
		d.counters(rest, map[string]*int64{"hit": &d.Hits, "missed": &d.Misses, "lost": &d.Lost})
	case title == "flows":
		d.Flows = counted(rest)
	case title == "masks":
		d.counters(rest, map[string]*int64{"hit": &d.MaskHits, "total": &d.Masks})
		d.MaskHitsPerPacket = decimal(word(rest, "hit/pkt:"))
	case title == "cache":
		d.counters(rest, map[string]*int64{"hit": &d.CacheHits})
		if rate := decimal(strings.TrimSuffix(word(rest, "hit-rate:"), "%")); rate >= 0 {
			d.CacheHitRate = min(rate/100, 1)
		}
	case strings.HasPrefix(title, "port "):
		return d.port(line, strings.TrimPrefix(title, "port "), strings.TrimPrefix(rest, " "))
	case len(d.Ports) > 0:
		d.Ports[len(d.Ports)-1].statistics(body)
	case title != "caches" && strings.HasPrefix(rest, " size:"):
		if size := counted(word(rest, "size:")); size >= 0 {
			d.Caches[title] = size
		}
	}
	return nil
}

// counters reads name:number words.
func (d *Datapath) counters(text string, to map[string]*int64) {
	for _, w := range strings.Fields(text) {
		name, value, _ := strings.Cut(w, ":")
		if p := to[name]; p != nil {
			*p = counted(value)
		}
	}
}

// word is what stands behind a name, up to the next blank.
func word(text, name string) string {
	for _, w := range strings.Fields(text) {
		if value, ok := strings.CutPrefix(w, name); ok {
			return value
		}
	}
	return ""
}

// counted is a counter, capped at what fits; -1 where it is none.
func counted(s string) int64 {
	v, ok := unsigned(strings.TrimSpace(s), 64)
	if !ok {
		return -1
	}
	return int64(min(v, 1<<63-1))
}

func decimal(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v < 1<<53) {
		return -1
	}
	return v
}

// port takes "port 3: vxlan_sys (vxlan: dst_port=4789, key=flow)".
func (d *Datapath) port(line, number, text string) error {
	n, ok := unsigned(number, 32)
	if !ok {
		return format(line, "bad port")
	}
	p := DatapathPort{Number: uint32(n), Name: text}
	if at := strings.LastIndex(text, " ("); at >= 0 && strings.HasSuffix(text, ")") {
		p.Name = text[:at]
		p.Type, p.Options, _ = strings.Cut(text[at+2:len(text)-1], ": ")
	}
	d.Ports = append(d.Ports, p)
	return nil
}

// statisticNames has ours for what show calls counters, by the direction that the line is about.
var statisticNames = map[string]string{
	"RX packets": "rx_packets", "RX errors": "rx_errors", "RX dropped": "rx_dropped", "RX overruns": "rx_over_err", "RX frame": "rx_frame_err",
	"TX packets": "tx_packets", "TX errors": "tx_errors", "TX dropped": "tx_dropped", "TX aborted": "tx_aborted_err", "TX carrier": "tx_carrier_err",
	"collisions": "collisions", "RX bytes": "rx_bytes", "TX bytes": "tx_bytes",
}

// statistics takes a line of counters: "RX packets:5 errors:0 ...", "collisions:0", "RX bytes:7 (7.0 B)  TX bytes:0".
func (p *DatapathPort) statistics(text string) {
	direction := ""
	for _, w := range strings.Fields(text) {
		if w == "RX" || w == "TX" {
			direction = w + " "
			continue
		}
		name, value, _ := strings.Cut(w, ":")
		known := statisticNames[direction+name]
		if known == "" {
			known = statisticNames[name]
		}
		if v := counted(value); known != "" && v >= 0 {
			if p.Statistics == nil {
				p.Statistics = map[string]int64{}
			}
			p.Statistics[known] = v
		}
	}
}
