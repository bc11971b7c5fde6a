package netops

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/registry"
)

// xtablesNames are the files in which the kernel lists the tables of xtables-legacy, one a line. Tables
// that iptables-nft makes are nf_tables' and not among them.
var xtablesNames = []struct {
	family uint8
	file   string
}{
	{unix.NFPROTO_IPV4, "ip_tables_names"},
	{unix.NFPROTO_IPV6, "ip6_tables_names"},
	{unix.NFPROTO_ARP, "arp_tables_names"},
}

// xtables sends the tables of xtables-legacy that stand beside nf_tables.
func (b *firewallBeside) xtables() error {
	for _, names := range xtablesNames {
		if b.filter.Family != 0 && b.filter.Family != names.family {
			continue
		}
		list, err := b.net.readXtables(names.file)
		if err != nil {
			return err
		}
		for _, name := range list {
			if b.filter.Table != "" && b.filter.Table != name {
				continue
			}
			if err := b.out.Send(&registry.NftItem{XtablesTable: &registry.XtablesTable{Family: ruleset.Family(names.family), Name: name}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// readXtables reads one of the files. A kernel without the tables has no file; where the daemon may not
// read it (only root may), nothing is told of them.
func (n *Net) readXtables(file string) (names []string, err error) {
	var text []byte
	err = n.inside(func() (err error) {
		text, err = os.ReadFile(filepath.Join("/", n.options.Root, "proc/thread-self/net", file))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if name := lines.Text(); name != "" {
			names = append(names, name)
		}
	}
	return names, err
}
