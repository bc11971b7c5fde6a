package netops

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"syscall"

	"github.com/geomind/my_os_server/internal/sysctl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The members of the table's settings bear the kernel's names, so that a setting is read because the
// table has it: a new one needs no line here. The name of a member is what its JSON tag says.

// setting is a member of a group of settings that is one integer.
type setting struct {
	name     string
	field    int
	required bool // int64; otherwise registry.Opt[int64]
}

var settingsByType sync.Map // reflect.Type -> []setting

func settingsOf(t reflect.Type) []setting {
	if known, ok := settingsByType.Load(t); ok {
		return known.([]setting)
	}
	var list []setting
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch reflect.New(f.Type).Interface().(type) {
		case *int64:
			list = append(list, setting{name: name, field: i, required: true})
		case *registry.Opt[int64]:
			list = append(list, setting{name: name, field: i})
		}
	}
	settingsByType.Store(t, list)
	return list
}

// readSettings reads every integer member of group, a pointer to a struct of the table, from the file
// that file names for it; "" for a member that is read elsewhere. What this kernel does not have, or
// does not show to this process, stays absent. It reports false where that is so of a required member.
func readSettings(dir *sysctl.Dir, group any, file func(member string) string) (complete bool, err error) {
	value := reflect.ValueOf(group).Elem()
	for _, s := range settingsOf(value.Type()) {
		path := file(s.name)
		if path == "" {
			continue
		}
		v, err := dir.Int(path)
		switch {
		case isGone(err) && s.required:
			return false, nil
		case isGone(err):
			continue
		case err != nil:
			return false, err
		}
		switch field := value.Field(s.field).Addr().Interface().(type) {
		case *int64:
			*field = v
		case *registry.Opt[int64]:
			*field = registry.Some(v)
		}
	}
	return true, nil
}

// isGone tells whether a setting is not there, not for this process, or went with its interface while
// it was read.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EIO)
}

// sameName is for groups whose members are called as the files are.
func sameName(member string) string { return member }

// ipv4File and ipv6File know the members that stand in a directory below net/ipv4 and net/ipv6.
func ipv4File(member string) string {
	switch {
	case strings.HasPrefix(member, "ip_local_port_"):
		return ""
	case strings.HasPrefix(member, "neigh_"):
		return "neigh/default/" + strings.TrimPrefix(member, "neigh_")
	}
	return member
}

func ipv6File(member string) string {
	switch {
	case strings.HasPrefix(member, "neigh_"):
		return "neigh/default/" + strings.TrimPrefix(member, "neigh_")
	case strings.HasPrefix(member, "icmp_"):
		return "icmp/" + strings.TrimPrefix(member, "icmp_")
	case member == "route_max_size":
		return "route/max_size"
	}
	return member
}

// bridgeFile: nf_call_iptables stands in bridge-nf-call-iptables.
func bridgeFile(member string) string { return "bridge-" + strings.ReplaceAll(member, "_", "-") }

const conntrackPrefix = "nf_conntrack_"

func conntrackFile(member string) string { return conntrackPrefix + member }
