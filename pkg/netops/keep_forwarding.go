package netops

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strconv"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/sysctl"
)

// forwardingSpec is a setting of the kernel that this daemon changed so that port forwards and translations
// work. Entries need it that name its interface among their Opens. It is put back with the last of them,
// where it still has the value that it was given.
type forwardingSpec struct {
	Family    string `json:"family"`    // ipv4 or ipv6
	Interface string `json:"interface"` // all: of all interfaces
	Setting   string `json:"setting"`   // forwarding or accept_ra
	Value     int64  `json:"value"`
	Before    int64  `json:"before"`
	Boot      string `json:"boot,omitempty"` // the mark of that in which Before was read

	// Forwarded are what forwarded IPv6 before all did, interfaces and what new ones get (default): the kernel makes
	// them follow when all no longer do. An interface that has got another name is another one, here as elsewhere.
	Forwarded []string `json:"forwarded,omitempty"`
}

const (
	settingForwarding = "forwarding"
	settingAcceptRA   = "accept_ra"
)

func (f forwardingSpec) resource() string { return "forwarding" }
func (f forwardingSpec) lasts() bool      { return true }
func (f forwardingSpec) line() string     { return f.path() + " = " + strconv.FormatInt(f.Value, 10) }
func (f forwardingSpec) path() string     { return path.Join(f.Family, "conf", f.Interface, f.Setting) }

// id is the key in the registry. Settings of accept_ra come before those of forwarding: without them the
// kernel gives up the routes that routers advertise as soon as it forwards.
func (f forwardingSpec) id() string { return f.Family + " " + f.Setting + " " + f.Interface }

func (f forwardingSpec) locks() []state.Object {
	return []state.Object{state.Exclusive("forwarding/" + f.Family)}
}

func (f forwardingSpec) needs() needs { return needs{settings: append(f.forwarded(), f.path())} }

// forwarded are the paths of the same setting of the interfaces that had the value before.
func (f forwardingSpec) forwarded() (paths []string) {
	for _, name := range f.Forwarded {
		paths = append(paths, path.Join(f.Family, "conf", name, f.Setting))
	}
	return paths
}

func (f forwardingSpec) plan(h *held) (p plan) {
	have, there := h.settings[f.path()]
	switch {
	case !there:
		p.missing = true
		p.gone = f.Setting == settingAcceptRA // who is not there takes no advertisements
		p.waits = "interface " + f.Interface
	case have != f.Value:
		p.differ(f.Setting, strconv.FormatInt(f.Value, 10), strconv.FormatInt(have, 10), setSetting{f.path(), f.Value})
	}
	return p
}

// removal puts the setting back. What forwarded before forwards on, but for what somebody has switched off since. As
// soon as the setting of all is back the kernel has switched off the rest too: a removal that was cut off there goes on
// with what is to forward and does not.
func (f forwardingSpec) removal(h *held) (p plan) {
	have, there := h.settings[f.path()]
	begun := h.cutOff && have == f.Before
	switch {
	case !there || f.Before == f.Value || have != f.Value && !begun:
		return p
	case !begun:
		p.steps = append(p.steps, setSetting{f.path(), f.Before})
	}
	for _, other := range f.forwarded() {
		if have, there := h.settings[other]; there && (have == f.Value) != begun {
			p.steps = append(p.steps, setSetting{other, f.Value})
		}
	}
	return p
}

// rereadForwarding notes, in a new boot, what the settings are before they are made: who has them set as the node starts
// wants them so, and keeps them when the last entry goes. An interface that is still to come keeps what was known of it.
func (n *Net) rereadForwarding() error {
	mark := n.state.Boot().Mark()
	var changes []state.Change
	for id, f := range n.kept.forwarding.All() {
		if f.Boot == mark {
			continue // read by a start before this one, which may have made it since
		}
		values, err := n.settings([]string{f.path()})
		if err != nil {
			return err
		}
		have, there := values[f.path()]
		if !there {
			continue
		}
		f.Before, f.Boot = have, mark
		if f.Interface == confAll {
			if f.Forwarded, err = n.interfacesWith(f.Setting, f.Value); err != nil {
				return err
			}
		}
		changes = append(changes, n.kept.forwarding.Put(id, f))
	}
	if len(changes) == 0 {
		return nil
	}
	return n.state.Set(changes...)
}

// forwardedOn is what the intent to put a setting back says beyond the registry: who forwards until then, and is to forward
// on. Once the kernel has switched them off, nobody could tell them from those that somebody had switched off before.
type forwardedOn struct {
	Forwarded []string `json:"forwarded"`
}

// forwardOn has a setting that is to be put back tell who still forwards, and returns that for the intent.
func (n *Net) forwardOn(f *forwardingSpec) (json.RawMessage, error) {
	have, err := n.settings(f.forwarded())
	if err != nil {
		return nil, err
	}
	on := forwardedOn{Forwarded: []string{}}
	for i, path := range f.forwarded() {
		if have[path] == f.Value {
			on.Forwarded = append(on.Forwarded, f.Forwarded[i])
		}
	}
	f.Forwarded = on.Forwarded
	return json.Marshal(on)
}

// asIntended are registered specs as an intent to remove them has them: see forwardedOn.
func asIntended(specs []spec, detail json.RawMessage) []spec {
	var on forwardedOn
	if json.Unmarshal(detail, &on) != nil || on.Forwarded == nil {
		return specs
	}
	for i, s := range specs {
		if f, ok := s.(forwardingSpec); ok && len(f.Forwarded) > 0 {
			f.Forwarded = on.Forwarded
			specs[i] = f
		}
	}
	return specs
}

// setSetting sets a setting below /proc/sys/net.
type setSetting struct {
	Path  string
	Value int64
}

func (s setSetting) String() string {
	return "set net/" + s.Path + " to " + strconv.FormatInt(s.Value, 10)
}

func (s setSetting) take(_ context.Context, t *taker) error {
	return t.net.inside(func() error {
		dir, err := sysctl.Open(t.net.options.Root, path.Join("net", path.Dir(s.Path)))
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Set(path.Base(s.Path), s.Value)
	})
}

// settings reads settings below /proc/sys/net. One that is not there is not in the result.
func (n *Net) settings(paths []string) (map[string]int64, error) {
	values := map[string]int64{}
	if len(paths) == 0 {
		return values, nil
	}
	err := n.inside(func() error {
		for _, p := range paths {
			v, err := readSetting(n.options.Root, p)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			values[p] = v
		}
		return nil
	})
	return values, err
}

func readSetting(root, p string) (int64, error) {
	dir, err := sysctl.Open(root, path.Join("net", path.Dir(p)))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return dir.Int(path.Base(p))
}
