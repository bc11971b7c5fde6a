package house

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const module = "github.com/geomind/my_os_server/"

// doors lists what each package of ours may import of ours. A package that is not listed may not
// exist: whoever adds a room writes down its doors here.
var doors = map[string][]string{
	"api":                       {},
	"internal/jsonwire":         {},
	"pkg/registry":              {"api", "internal/jsonwire"},
	"pkg/registry/registrytest": {"pkg/registry"},
	"internal/registrygen":      {"internal/jsonwire"},
	"internal/registrygen/gen":  {"internal/registrygen"},

	"pkg/acl":            {},
	"internal/identity":  {"pkg/acl"},
	"internal/aclfile":   {"pkg/acl"},
	"internal/unixsock":  {},
	"internal/tlssock":   {},
	"internal/config":    {},
	"internal/metrics":   {},
	"internal/rpcserver": {"pkg/registry", "pkg/acl", "internal/identity", "internal/tlssock", "internal/jsonwire", "internal/metrics"},

	"pkg/client":       {"pkg/registry", "internal/unixsock", "internal/identity", "internal/jsonwire"},
	"internal/cli":     {"pkg/client", "pkg/registry", "pkg/acl", "internal/jsonwire"},
	"internal/cli/gen": {"internal/cli"},
	"cmd/my-os-ctl":    {"internal/cli"},

	"internal/nlsock":    {}, // sockets and attributes, under every codec of a netlink family
	"internal/rtnl":      {"internal/nlsock"},
	"internal/ct":        {"internal/nlsock"},
	"internal/nft":       {"internal/nlsock"},
	"internal/sockdiag":  {"internal/nlsock"},
	"internal/dhcploop":  {},
	"internal/dhcp":      {"internal/dhcploop"},
	"internal/dhcp6":     {"internal/dhcploop"},
	"internal/hostexec":  {},
	"internal/sysctl":    {},
	"internal/hostinfo":  {},
	"internal/netconf":   {},
	"internal/ovstext":   {},
	"internal/unixctl":   {},
	"internal/ovsdb":     {},
	"internal/mount":     {},
	"internal/blk":       {},
	"internal/hang":      {},
	"internal/btrfs":     {},
	"internal/md":        {},
	"internal/ondisk":    {},
	"internal/gpt":       {},
	"internal/grow":      {},
	"internal/btrfswork": {"internal/btrfs"},                 // what runs in a process of its own
	"internal/inuse":     {"internal/blk", "internal/mount"}, // who holds a device, out of what these two read
	"pkg/netops":         {"pkg/registry", "pkg/netops/internal/wire", "pkg/netops/internal/kernelrow", "pkg/netops/internal/ruleset", "pkg/netops/internal/owntable", "pkg/netops/internal/managers", "pkg/netops/internal/ovsrow", "internal/state", "internal/fault", "internal/rtnl", "internal/ct", "internal/nft", "internal/sockdiag", "internal/hostexec", "internal/sysctl", "internal/hostinfo", "internal/netconf", "internal/dhcploop", "internal/dhcp", "internal/dhcp6", "internal/unixctl", "internal/ovstext", "internal/hang", "internal/ovsdb", "internal/unixsock"},
	// The rooms of netops, which only it may enter.
	"pkg/netops/internal/wire":      {"pkg/registry", "internal/rtnl"},
	"pkg/netops/internal/kernelrow": {"pkg/registry", "pkg/netops/internal/wire", "internal/rtnl", "internal/ct"},
	"pkg/netops/internal/ruleset":   {"pkg/registry", "pkg/netops/internal/wire", "internal/ct", "internal/nft"},
	"pkg/netops/internal/owntable":  {"internal/nft"},
	"pkg/netops/internal/managers":  {"pkg/registry", "pkg/netops/internal/wire", "pkg/netops/internal/kernelrow", "internal/rtnl", "internal/netconf", "internal/dhcp6"},
	"pkg/netops/internal/ovsrow":    {"pkg/registry", "pkg/netops/internal/wire", "pkg/netops/internal/kernelrow", "internal/ct", "internal/ovsdb", "internal/ovstext"},
	"pkg/volops":                    {"pkg/registry", "internal/state", "internal/fault", "internal/blk", "internal/mount", "internal/hang", "internal/btrfs", "internal/md", "internal/ondisk", "internal/btrfswork", "internal/gpt", "internal/grow", "internal/inuse", "internal/hostexec", "internal/hostinfo"},

	"internal/fault": {},
	"internal/state": {"internal/fault"},

	"pkg/proxy": {"pkg/registry", "internal/jsonwire", "internal/unixsock", "internal/metrics"},

	"internal/daemon":         {"api", "internal/state", "pkg/registry", "pkg/acl", "internal/aclfile", "internal/config", "internal/identity", "internal/rpcserver", "internal/unixsock", "internal/tlssock", "pkg/proxy"},
	"cmd/my-os-server-mos":    {"pkg/proxy", "internal/daemon", "internal/rpcserver"},
	"cmd/my-os-server-native": {"internal/config", "pkg/registry", "pkg/netops", "pkg/volops", "pkg/proxy", "internal/btrfswork", "internal/daemon", "internal/rpcserver"},

	"internal/house":    {},
	"internal/e2e":      {},
	"internal/testhost": {"pkg/registry/registrytest"},
	"internal/vmtest":   {},
}

// processStarters are the only packages whose product code may import os/exec.
var processStarters = []string{"internal/hostexec", "internal/testhost"}

// pure are packages that compute what they answer out of what they are given: they open nothing, and wait for nothing.
var pure = []string{"pkg/netops/internal/owntable", "pkg/netops/internal/ovsrow", "internal/ovstext"}

// testOnly are packages that product code must not import.
var testOnly = []string{"internal/testhost", "internal/vmtest", "pkg/registry/registrytest"}

// listedPackage is what go list tells of one package.
type listedPackage struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func packages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		list = append(list, p)
	}
}

func TestDoors(t *testing.T) {
	for _, p := range packages(t) {
		allowed, known := doors[p.ImportPath]
		if !known {
			t.Errorf("%s: no doors are written down for it", p.ImportPath)
		}
		for _, path := range p.Imports {
			checkImport(t, p.ImportPath, path, allowed)
		}
	}
}

// TestEveryRoomIsOnThePage: who looks for a package in docs/architecture.md finds what it is for.
func TestEveryRoomIsOnThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages(t) {
		if name := "`" + p.ImportPath + "`"; p.ImportPath != "api" && !strings.Contains(string(page), name) {
			t.Errorf("docs/architecture.md does not have %s", name)
		}
	}
}

// TestLargeRoomsHaveAMap: who opens a package of a hundred files finds in its comment what each prefix of a file's name
// is for.
func TestLargeRoomsHaveAMap(t *testing.T) {
	for _, room := range []string{"pkg/netops", "pkg/volops"} {
		doc, err := exec.Command("go", "doc", "../../"+room).Output()
		if err != nil {
			t.Fatalf("go doc %s: %v", room, err)
		}
		words := strings.FieldsFunc(string(doc), func(r rune) bool { return !unicode.IsLetter(r) })
		files, err := filepath.Glob("../../" + room + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no files: %v", room, err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			prefix := name[:strings.IndexFunc(name, func(r rune) bool { return !unicode.IsLetter(r) })]
			if !strings.HasSuffix(name, "_test.go") && !slices.Contains(words, prefix) {
				t.Errorf("%s/%s: the package comment does not tell what files of %s are for", room, name, prefix)
			}
		}
	}
}

func checkImport(t *testing.T, from, path string, allowed []string) {
	t.Helper()
	if path == "os/exec" && !slices.Contains(processStarters, from) {
		t.Errorf("%s imports os/exec: processes are started by internal/hostexec only", from)
	}
	if slices.Contains(pure, from) && slices.Contains([]string{"context", "net", "os", "syscall"}, path) {
		t.Errorf("%s imports %s, with which a pure package has nothing to do", from, path)
	}
	ours, isOurs := strings.CutPrefix(path, module)
	if !isOurs {
		return
	}
	if !slices.Contains(allowed, ours) {
		t.Errorf("%s imports %s: there is no such door", from, ours)
	}
	if slices.Contains(testOnly, ours) && !slices.Contains(testOnly, from) {
		t.Errorf("%s imports %s, which is for tests only", from, ours)
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.Doc) < 20 {
			t.Errorf("%s: has no package comment", p.ImportPath)
		}
	}
}
