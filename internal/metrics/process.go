package metrics

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// AddProcess adds what the kernel counts of this process, by the names that every Prometheus client gives it.
// proc is where procfs is mounted; what cannot be read there is left out.
func (s *Set) AddProcess(proc string) {
	s.Add(func(t *Text) {
		tellRusage(t)
		tellLimits(t)
		tellStat(t, proc)
		if open, err := countEntries(proc + "/self/fd"); err == nil {
			t.one("process_open_fds", TypeGauge, "Open file descriptors.", float64(open))
		}
		tellOctets(t, proc)
	})
}

// one appends a family of one sample.
func (t *Text) one(name string, kind Type, help string, value float64) {
	t.Family(name, kind, help)
	t.Sample(value)
}

func tellRusage(t *Text) {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) == nil {
		seconds := float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
		t.one("process_cpu_seconds_total", TypeCounter, "Processor time used, in user mode and in the kernel.", seconds)
	}
}

func tellLimits(t *Text) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		t.one("process_max_fds", TypeGauge, "The most file descriptors that may be open.", float64(limit.Cur))
	}
	if unix.Getrlimit(unix.RLIMIT_AS, &limit) == nil {
		t.one("process_virtual_memory_max_bytes", TypeGauge, "The most virtual memory that there may be; 2^64-1 is no limit.", float64(limit.Cur))
	}
}

// Fields of /proc/self/stat behind the name, counted from 0 (proc(5) numbers them from 3 on).
const (
	statStartTime = 22 - 3
	statVsize     = 23 - 3
	statRSS       = 24 - 3
)

// clockTicks is USER_HZ, the unit of times in procfs: 100 on every architecture that Go knows.
const clockTicks = 100

func tellStat(t *Text, proc string) {
	stat, err := os.ReadFile(proc + "/self/stat")
	if err != nil {
		return
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name before may hold anything
	if len(fields) <= statRSS {
		return
	}
	number := func(i int) float64 {
		n, _ := strconv.ParseFloat(string(fields[i]), 64)
		return n
	}
	t.one("process_virtual_memory_bytes", TypeGauge, "Size of the virtual memory.", number(statVsize))
	t.one("process_resident_memory_bytes", TypeGauge, "Size of what is in memory of it.", number(statRSS)*float64(os.Getpagesize()))
	if booted := bootTime(proc); booted != 0 {
		t.one("process_start_time_seconds", TypeGauge, "When the process started, in seconds since 1970.", booted+number(statStartTime)/clockTicks)
	}
}

// bootTime is when the kernel started, in seconds since 1970; 0: unknown.
func bootTime(proc string) (seconds float64) {
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), "\nbtime ")
	fmt.Sscan(rest, &seconds)
	return seconds
}

// countEntries counts what a folder holds, without the descriptor by which it looks.
func countEntries(dir string) (int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return len(names) - 1, err
}

// tellOctets tells what went over the network. The kernel counts it by network namespace only.
func tellOctets(t *Text, proc string) {
	file, err := os.ReadFile(proc + "/self/net/netstat")
	if err != nil {
		return
	}
	in, out := ipOctets(string(file))
	if math.IsNaN(in) || math.IsNaN(out) {
		return
	}
	t.one("process_network_receive_bytes_total", TypeCounter, "Bytes that IP received in the process's network namespace.", in)
	t.one("process_network_transmit_bytes_total", TypeCounter, "Bytes that IP sent in the process's network namespace.", out)
}

// ipOctets finds InOctets and OutOctets of /proc/net/netstat, where a line of names stands before one of
// numbers; NaN is what is not there.
func ipOctets(file string) (in, out float64) {
	in, out = math.NaN(), math.NaN()
	var names []string
	for line := range strings.Lines(file) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "IpExt:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names[:min(len(names), len(fields))] {
			switch name {
			case "InOctets":
				in = parseFloat(fields[i])
			case "OutOctets":
				out = parseFloat(fields[i])
			}
		}
		return in, out
	}
	return in, out
}

// parseFloat is NaN for what is no number.
func parseFloat(s string) float64 {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return n
}
