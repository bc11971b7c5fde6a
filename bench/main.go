// Command bench measures the daemon beside the tools and protocols that people use today: both in
// turn, in one run, on hosts it makes itself in namespaces of its own, and prints ratios. It never
// fails because something is slow; it fails where ours and the peer do not give the same data.
//
// It is a module of its own so that its peers (gRPC, D-Bus) never become dependencies of the daemon.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
)

var (
	rounds = flag.Int("n", 5, "rounds of each comparison; medians are printed")
	only   = flag.String("run", "", "run only the sections whose name matches this regular expression")
	server = flag.String("server", "../bin/my-os-server-native", "the server binary to measure")
	ctl    = flag.String("ctl", "../bin/my-os-ctl", "the command line to measure")
	many   = flag.Int("many", 10_000, "rules, forwards and routes that the section growth makes of each")
	inside = flag.Bool("inside", false, "set by the program itself once it runs in namespaces of its own")
)

// sections in the order they run; each makes the host it needs and takes it down again.
var sections = []struct {
	name string
	run  func() error
}{
	{"daemon", benchDaemon},
	{"small", benchSmallCalls},
	{"tls", benchTLS},
	{"mos", benchMOS},
	{"routes", benchRoutes},
	{"links", benchLinks},
	{"conntrack", benchConntrack},
	{"firewall", benchFirewall},
	{"entries", benchEntries},
	{"objects", benchObjects},
	{"growth", benchGrowth},
	{"ovs", benchOVS},
	{"mounts", benchMounts},
	{"disks", benchDisks},
	{"subvolumes", benchSubvolumes},
	{"volumes", benchVolumes},
	{"ctl", benchCtl},
}

func main() {
	flag.Parse()
	if peer, ok := peers[flag.Arg(0)]; ok {
		exitOn(peer(flag.Arg(1), flag.Args()[2:]...))
		return
	}
	if !*inside {
		exitOn(reexec())
		return
	}
	exitOn(runSections())
}

// reexec runs this program again in mount and network namespaces of its own, so that routes, links
// and mounts made for a measurement vanish with it.
func reexec() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("bench: makes network namespaces, mounts and loop devices: run it as root")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"-inside"}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

func runSections() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := sh("ip link set lo up"); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	for _, path := range []*string{server, mosServer} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if *ctl, err = filepath.Abs(*ctl); err != nil {
		return err
	}
	fmt.Printf("%d rounds, medians; %d CPUs, %s\n", *rounds, runtime.NumCPU(), runtime.Version())
	for _, s := range sections {
		if !match.MatchString(s.name) {
			continue
		}
		fmt.Printf("\n%s\n", s.name)
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
