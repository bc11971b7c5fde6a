package netconf

import (
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a network manager that runs.
type Process struct {
	Name       string // Networkd, NetworkManager, Resolved, Dhclient or Dhcpcd
	PID        int
	Interfaces []string // that it was started for; none: all, or it is not said
	V4, V6     bool     // dhclient: which protocol it speaks
	LeaseFile  string   // dhclient: where it keeps its leases; "" not said
	Source     string   // what told: /proc/PID/cmdline, or a pid file
}

// processNames are the names of the managers' processes, of which the kernel keeps 15 bytes
// (/proc/PID/comm).
var processNames = map[string]string{
	"systemd-network": Networkd,
	"systemd-resolve": Resolved,
	"NetworkManager":  NetworkManager,
	"dhclient":        Dhclient,
	"dhcpcd":          Dhcpcd,
}

// Processes lists the network managers that run, by pid: found by name in /proc, and left out where they
// are known to be in another network namespace.
func (r *Reader) Processes() []Process {
	if !r.scanned {
		r.scanned = true
		r.scan()
	}
	return r.processes
}

// maxProcesses bounds how many entries of /proc are looked at: the most pids that Linux has.
const maxProcesses = 1 << 22

func (r *Reader) scan() {
	dir, err := r.open("/proc", unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer dir.Close()
	for range maxProcesses / maxEntries {
		names, _ := dir.Readdirnames(maxEntries)
		if len(names) == 0 {
			return
		}
		for _, name := range names {
			if pid, err := strconv.Atoi(name); err == nil {
				r.look(pid)
			}
		}
	}
}

// look keeps a process if it is one of the managers.
func (r *Reader) look(pid int) {
	folder := "/proc/" + strconv.Itoa(pid)
	comm, _, err := r.load(path.Join(folder, "comm"))
	if err != nil {
		return
	}
	name, ok := processNames[strings.TrimSuffix(comm, "\n")]
	if !ok || r.elsewhere(folder) {
		return
	}
	p := Process{Name: name, PID: pid, Source: path.Join(folder, "cmdline")}
	line, _, _ := r.load(p.Source)
	switch name {
	case Dhclient:
		p.dhclientArguments(strings.Split(strings.TrimSuffix(line, "\x00"), "\x00"))
	case Dhcpcd:
		if !p.dhcpcdTitle(strings.TrimRight(line, "\x00 ")) {
			return
		}
	}
	r.processes = append(r.processes, p)
}

// elsewhere tells whether a process is known to be in another network namespace.
func (r *Reader) elsewhere(folder string) bool {
	ns, ok := strings.CutPrefix(r.link(path.Join(folder, "ns/net")), "net:[")
	if !ok || r.NetNS == 0 {
		return false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(ns, "]"), 10, 64)
	return err == nil && inode != r.NetNS
}

// dhclientArguments reads dhclient(8)'s command line: options, of which some take a value, and the
// interfaces. Without -6 it speaks DHCPv4.
func (p *Process) dhclientArguments(args []string) {
	takesValue := map[string]bool{"-p": true, "-D": true, "-s": true, "-g": true, "-pf": true, "-lf": true, "-df": true, "-cf": true,
		"-sf": true, "-H": true, "-F": true, "-V": true, "-timeout": true, "-e": true, "-C": true, "-R": true,
		"--address-prefix-len": true, "--prefix-len-hint": true, "--decline-wait-time": true}
	p.V4 = true
	for i := 1; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-6":
			p.V4, p.V6 = false, true
		case takesValue[arg]:
			i++
			if arg == "-lf" && i < len(args) {
				p.LeaseFile = args[i]
			}
		case strings.HasPrefix(arg, "-"):
		case InterfaceName(arg):
			p.Interfaces = append(p.Interfaces, arg)
		}
	}
}

// dhcpcdTitle reads the title that dhcpcd gives itself: `dhcpcd: eth0 [ip4] [ip6]`, `dhcpcd: [manager]
// [ip4]`, or its command line. It is false for a helper of another dhcpcd: `dhcpcd: [privileged proxy] …`.
func (p *Process) dhcpcdTitle(title string) bool {
	p.V4, p.V6 = true, true
	rest, ok := strings.CutPrefix(title, "dhcpcd: ")
	if !ok {
		return !strings.Contains(title, "\x00-x") && !strings.Contains(title, "\x00-k")
	}
	if strings.HasPrefix(rest, "[") && !strings.HasPrefix(rest, "[manager]") && !strings.HasPrefix(rest, "[master]") {
		return false
	}
	if strings.Contains(rest, "[ip4]") || strings.Contains(rest, "[ip6]") {
		p.V4, p.V6 = strings.Contains(rest, "[ip4]"), strings.Contains(rest, "[ip6]")
	}
	if word, _, _ := strings.Cut(rest, " "); InterfaceName(word) && !strings.HasPrefix(word, "[") {
		p.Interfaces = []string{word}
	}
	return true
}

// Running returns the manager's process; nil where none runs.
func (r *Reader) Running(name string) *Process {
	list := r.Processes()
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// Describe adds what sysfs says of an interface: its driver, and the type that the kernel gives a kind of
// device. It is for a reader of the host's own sysfs, in the namespace of its interfaces.
func (r *Reader) Describe(l *Link) {
	folder := path.Join("/sys/class/net", l.Name)
	if driver := r.link(path.Join(folder, "device/driver")); driver != "" {
		l.Driver = path.Base(driver)
	}
	text, _, err := r.load(path.Join(folder, "uevent"))
	if err != nil {
		return
	}
	for line := range strings.Lines(text) {
		if t, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVTYPE="); ok {
			l.Type = t
		}
	}
}
