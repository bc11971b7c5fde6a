package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var mosServer = flag.String("mos", "../bin/my-os-server-mos", "the server binary that passes calls on, to measure")

// hop is one way of passing calls on, in front of the same upstream.
type hop struct {
	name   string
	start  func(upstream string) (*daemon, error)
	prefix string // of the methods that it is asked for

	perSecond map[string][]float64
	hoards    bool // has all of a result in memory, and so cannot pass on many long ones at once
	peak      int  // KiB, the most in all rounds while it passed 100 MiB on
}

// mosLoads are what is asked for: results of a size, over so many connections at once; and what part of nginx's rate is
// to be had at least, 0 where there is no bar.
var mosLoads = []struct {
	name, method string
	conns        int
	size         int
	bar          float64
}{
	{"200 B, 1 connection", "health", 1, 200, 0.75},
	{"200 B, 32 connections", "health", 32, 200, 0.5},
	{"100 KiB, 1 connection", "dns", 1, 100 << 10, 0},
	{"100 KiB, 8 connections", "dns", 8, 100 << 10, 0},
	{"100 KiB, 32 connections", "dns", 32, 100 << 10, 0},
	{"100 MiB with a length", "lease", 1, 100 << 20, 1},
	{"100 MiB in chunks", "routes", 1, 100 << 20, 1},
	{"100 MiB, 32 connections", "lease", 32, 100 << 20, 0},
}

// benchMOS compares hops from one Unix socket to another.
func benchMOS() error {
	upstream, err := peerServer("upstream")()
	if err != nil {
		return err
	}
	defer upstream.stop()
	hops := []*hop{
		{name: "direct, no hop", prefix: "mosnet.", start: func(string) (*daemon, error) { return nil, nil }},
		{name: "nginx proxy_pass", prefix: "mosnet.", start: startNginx},
		{name: "my-os-server-mos", prefix: "net.", start: startMOS},
		{name: "httputil.ReverseProxy", prefix: "mosnet.", start: startPeerHop("reverse")},
		{name: "full decode and encode", prefix: "net.", start: startPeerHop("recode"), hoards: true},
	}
	for _, h := range hops {
		h.perSecond = map[string][]float64{}
	}
	for range *rounds {
		for _, h := range hops {
			if err := h.measure(upstream); err != nil {
				return fmt.Errorf("%s: %w", h.name, err)
			}
		}
	}
	for _, load := range mosLoads {
		for _, h := range hops {
			if len(h.perSecond[load.name]) == 0 {
				continue
			}
			rate, unit := h.median(load.name), "calls/s"
			if load.size >= 1<<20 {
				rate, unit = rate*float64(load.size)/1e9, "GB/s"
			}
			fmt.Printf("  %-24s %-24s %9.2f %s\n", load.name, h.name, rate, unit)
		}
	}
	printMOSBars(hops[1], hops[2])
	return nil
}

func printMOSBars(nginx, ours *hop) {
	for _, load := range mosLoads {
		ratio := ours.median(load.name) / nginx.median(load.name)
		if load.bar == 0 {
			fmt.Printf("  %-24s ours/nginx %.2f\n", load.name, ratio)
			continue
		}
		fmt.Printf("  %-24s ours/nginx %.2f  bar %.2f %s\n", load.name, ratio, load.bar, verdict(ratio >= load.bar))
	}
	fmt.Printf("  peak RSS passing 100 MiB on: ours %.1f MiB, nginx's largest worker %.1f MiB  bar 32 %s\n",
		float64(ours.peak)/1024, float64(nginx.peak)/1024, verdict(ours.peak <= 32<<10))
}

func (h *hop) median(load string) float64 {
	sorted := slices.Sorted(slices.Values(h.perSecond[load]))
	return sorted[len(sorted)/2]
}

// measure puts each load on the hop once.
func (h *hop) measure(upstream *daemon) error {
	d, err := h.start(upstream.socket)
	if err != nil {
		return err
	}
	socket := upstream.socket
	if d != nil {
		defer d.stop()
		socket = d.socket
	}
	for _, load := range mosLoads {
		if h.hoards && load.conns > 1 && load.size >= 1<<20 {
			continue
		}
		rate, err := rawLoad(socket, h.prefix+load.method, load.conns, load.size)
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
		h.perSecond[load.name] = append(h.perSecond[load.name], rate)
	}
	if d != nil {
		h.peak = max(h.peak, d.memory("VmHWM"), d.childrensPeak())
	}
	return nil
}

// childrensPeak is the most memory that a child of the process has had, in KiB: nginx works in children.
func (d *daemon) childrensPeak() (most int) {
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", d.cmd.Process.Pid))
	for _, pid := range strings.Fields(string(list)) {
		most = max(most, memoryOf(pid, "VmHWM"))
	}
	return most
}

// rawLoad calls a method from so many connections at once for a while and says how many calls ended a second.
// Each answer must have at least size bytes.
func rawLoad(socket, method string, conns, size int) (float64, error) {
	var (
		calls  atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
	)
	start := time.Now()
	for range conns {
		call, hangUp, err := caller(socket, method, size)
		if err != nil {
			return 0, err
		}
		wg.Go(func() {
			defer hangUp()
			for time.Since(start) < smallCallsWindow {
				n, err := call()
				if err == nil && n < size {
					err = fmt.Errorf("%s: an answer of %d bytes", method, n)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(calls.Load()) / time.Since(start).Seconds(), nil
}

// caller is what callers in Go have, but for large answers, of which it would be most of the time.
func caller(socket, method string, size int) (call func() (int, error), hangUp func(), err error) {
	if size > 64<<10 {
		c, err := dialRaw(socket)
		if err != nil {
			return nil, nil, err
		}
		return func() (int, error) { return c.call(method) }, func() { c.Close() }, nil
	}
	d := &daemon{client: unixClient(socket)}
	var answer bytes.Buffer
	return func() (int, error) {
		answer.Reset()
		err := d.call(method, "{}", &answer)
		return answer.Len(), err
	}, d.client.CloseIdleConnections, nil
}

// startMOS starts the proxy with limits that let one user have all of it, as the peers do.
func startMOS(upstream string) (*daemon, error) {
	file := filepath.Join(filepath.Dir(upstream), "mos.toml")
	text := "limits = { calls_per_user = 256, streams = 512, streams_per_user = 256 }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(*mosServer, "--socket", "SOCKET", "--state-dir", "DIR/state", "--no-hero-socket", "--config", file,
		"--mosnet-socket", upstream, "--storage-socket", upstream)
}

func startPeerHop(name string) func(string) (*daemon, error) {
	return func(upstream string) (*daemon, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return start(self, name, "SOCKET", upstream)
	}
}

// startNginx starts nginx with what makes it fast at this: kept connections, large buffers, nothing on disk, no
// log.
func startNginx(upstream string) (*daemon, error) {
	text := fmt.Sprintf(`daemon off; user root; worker_processes auto; pid DIR/pid; error_log DIR/error.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path DIR/body; proxy_temp_path DIR/temp;
  fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  upstream up { server unix:%s; keepalive 64; keepalive_requests 100000000; }
  server {
    listen unix:SOCKET;
    location / {
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; client_max_body_size 4m;
      proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0;
    }
  }
}`, upstream)
	return start("sh", "-c", "cat > DIR/nginx.conf <<'END'\n"+text+"\nEND\nexec nginx -p DIR -c DIR/nginx.conf")
}
