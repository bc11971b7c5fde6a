package rpcserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/internal/metrics"
	"github.com/geomind/my_os_server/pkg/acl"
)

// pages are the answers to GET. All but the metrics are made once, and what a backend adds to the health.
type pages struct {
	health, document, wellKnown []byte
	more                        HealthReporter // nil: GET /health is health alone
}

// HealthReporter is a Backend that has more to say at GET /health.
type HealthReporter interface {
	// AppendHealth appends a member of the JSON object, name and value. It must return at once.
	AppendHealth(b []byte) []byte
}

// documentInfo is what the pages take from the OpenRPC document's member info.
type documentInfo struct {
	Title       string `json:"title"`
	Description string `json:"description"`
}

// readInfo finds the member. It reads no further: the document is long, and a start should be short.
func readInfo(document []byte) (info documentInfo, err error) {
	o := jsonwire.ReadObject(document)
	for o.Next() {
		if string(o.Name()) == "info" {
			return info, json.Unmarshal(o.Value(), &info)
		}
	}
	return info, cmp.Or(o.Err(), errors.New("has no member info"))
}

func newPages(o *Options) (*pages, error) {
	info, err := readInfo(o.Document)
	if err != nil {
		return nil, fmt.Errorf("OpenRPC document: %w", err)
	}
	health := struct {
		Status  string `json:"status"`
		Service string `json:"service"`
		Version string `json:"version"`
	}{"ok", o.Service, o.Version}
	wellKnown := struct {
		Protocol    string `json:"protocol"`
		Name        string `json:"name"`
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
		Socket      string `json:"socket"`
	}{"openrpc", o.Service, info.Title, o.Version, info.Description, "rpc"}
	p := &pages{document: o.Document}
	if p.health, err = json.Marshal(health); err != nil {
		return nil, err
	}
	p.more, _ = o.Backend.(HealthReporter)
	if p.wellKnown, err = json.Marshal(wellKnown); err != nil {
		return nil, err
	}
	return p, nil
}

// servePage answers what is read with GET.
func (x *exchange) servePage() {
	var page []byte
	p := x.s.pages
	switch x.path {
	case "/health":
		page = p.healthNow()
	case "/openrpc.json":
		page = p.document
	case "/.well-known/heroservice.json":
		page = p.wellKnown
	case "/metrics":
	default:
		x.refuse(http.StatusNotFound)
		return
	}
	switch {
	case x.http.r.Method != http.MethodGet && x.http.r.Method != http.MethodHead:
		x.refuseVerb("GET, HEAD")
	case page == nil:
		x.serveMetrics()
	default:
		x.servePlain(jsonType, page)
	}
}

// healthNow is what GET /health answers.
func (p *pages) healthNow() []byte {
	if p.more == nil {
		return p.health
	}
	b := append(make([]byte, 0, 512), p.health[:len(p.health)-1]...)
	b = p.more.AppendHealth(append(b, ','))
	return append(b, '}')
}

func (x *exchange) servePlain(mediaType []string, page []byte) {
	h := x.http.w.Header()
	h["Content-Type"] = mediaType
	h["Content-Length"] = []string{strconv.Itoa(len(page))}
	_, _ = x.http.w.Write(page) // net/http ends the connection itself where this fails
}

// metricsMethod stands for GET /metrics where rights are decided. Rules that name methods never cover it.
var metricsMethod = acl.Method{Name: "rpc.metrics"}

var metricsType = []string{metrics.ContentType}

// serveMetrics shows the metrics to callers that may read.
func (x *exchange) serveMetrics() {
	if err := x.identify(); err != nil {
		x.refuse(http.StatusUnauthorized)
		return
	}
	if x.who.policy.Right(x.who.caller, metricsMethod) < acl.Read {
		x.refuse(http.StatusForbidden)
		return
	}
	for x.lane = 0; x.takeSlot() != nil; x.lane++ { // any lane will do: one that hangs must not hide that it does
		if x.lane+1 == x.s.laneN {
			x.refuse(http.StatusServiceUnavailable)
			return
		}
	}
	x.servePlain(metricsType, x.s.metrics.page.AppendText(nil))
}
