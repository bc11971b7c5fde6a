package netops

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// resolvMark begins every resolv.conf that the daemon writes.
const resolvMark = "# Written by my-os-server from DHCP leases and router advertisements.\n"

// resolvConf is resolv.conf(5) for servers and search domains.
func resolvConf(servers []netip.Addr, search []string) []byte {
	b := bytes.NewBufferString(resolvMark)
	if len(search) > 0 {
		fmt.Fprintf(b, "search %s\n", strings.Join(search, " "))
	}
	for _, s := range servers {
		fmt.Fprintf(b, "nameserver %s\n", s)
	}
	return b.Bytes()
}

// writeResolvConf writes what leases say of DNS to the state folder, and where it is asked for to /etc: there only
// while there is a server to name, since others may have named some before.
func (n *Net) writeResolvConf() error {
	n.leasing.resolv.Lock()
	defer n.leasing.resolv.Unlock()
	servers, search := n.nameServers()
	text := resolvConf(servers, search)
	var errs []error
	if n.options.StateDir != "" {
		errs = append(errs, replaceFile(filepath.Join(n.options.StateDir, "resolv.conf"), text))
	}
	if n.options.EtcResolvConf && len(servers) > 0 {
		errs = append(errs, writeEtcResolvConf(n.options.Root+"/etc/resolv.conf", text))
	}
	return errors.Join(errs...)
}

// writeEtcResolvConf leaves a link alone: where it leads, somebody else writes.
func writeEtcResolvConf(path string, text []byte) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("write %s: it is no regular file (%s), so another program is in charge of it", path, info.Mode().Type())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = replaceFile(path, text)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) { // a mount of its own, as in containers
		return writeOver(path, text)
	}
	return err
}

// replaceFile puts a file that is whole in the place of another, unless that has the same content already.
func replaceFile(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".resolv.conf-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func writeOver(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
