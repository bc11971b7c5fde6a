package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/geomind/my_os_server/pkg/client"
)

// settings are the file of contexts, ~/.config/my-os-ctl/config.toml.
type settings struct {
	path     string
	Current  string          `toml:"current,omitempty"`
	Contexts []serverContext `toml:"context,omitempty"`
}

// serverContext is one server and how to talk to it.
type serverContext struct {
	Name       string   `toml:"name"`
	Groups     []string `toml:"groups,omitempty"`
	Socket     string   `toml:"socket,omitempty"`      // "": where a daemon of this machine is looked for
	Node       string   `toml:"node,omitempty"`        // the name that signatures and tokens are made for
	Key        string   `toml:"key,omitempty"`         // file of the key to sign requests with; over TLS of the certificate's
	TokenFile  string   `toml:"token_file,omitempty"`  // file of a bearer token
	ServerUIDs []uint32 `toml:"server_uids,omitempty"` // users whose server may see those

	Address     string `toml:"address,omitempty"`     // HOST:PORT of a server somewhere else, over TLS
	Fingerprint string `toml:"fingerprint,omitempty"` // by which that one is known
}

// folder is where the program keeps what it keeps.
func (s *session) folder() (string, error) {
	if dir := s.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, Name), nil
	}
	if home := s.getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", Name), nil
	}
	return "", errors.New("neither $HOME nor $XDG_CONFIG_HOME says where the configuration is")
}

// settings reads the file of contexts; one that is not there has none.
func (s *session) settings() (*settings, error) {
	dir, err := s.folder()
	if err != nil {
		return &settings{}, nil //nolint:nilerr // without a home there are no contexts, and none are needed
	}
	out := &settings{path: filepath.Join(dir, "config.toml")}
	text, err := os.ReadFile(out.path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, &localError{err}
	}
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(out); err != nil {
		return nil, &localError{fmt.Errorf("%s: %w", out.path, tomlReason(err))}
	}
	return out, out.check()
}

// tomlReason is an error of the TOML library with the place that it found.
func tomlReason(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		row, column := strict.Errors[0].Position()
		return fmt.Errorf("line %d, column %d: there is no key %s", row, column, strings.Join(strict.Errors[0].Key(), "."))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, column := decode.Position()
		return fmt.Errorf("line %d, column %d: %s", row, column, strings.TrimPrefix(decode.Error(), "toml: "))
	}
	return err
}

// check refuses what could be understood in two ways.
func (f *settings) check() error {
	for i, c := range f.Contexts {
		if err := c.check(); err != nil {
			return &localError{fmt.Errorf("%s: context %s: %w", f.path, quoted(c.Name), err)}
		}
		if slices.ContainsFunc(f.Contexts[:i], func(other serverContext) bool { return other.Name == c.Name }) {
			return &localError{fmt.Errorf("%s: context %s is there twice", f.path, quoted(c.Name))}
		}
	}
	if f.Current != "" && f.find(f.Current) == nil {
		return &localError{fmt.Errorf("%s: current: there is no context %s", f.path, quoted(f.Current))}
	}
	return nil
}

func (c *serverContext) check() error {
	switch {
	case c.Name == "" || strings.ContainsAny(c.Name, ", \t\n"):
		return errors.New("its name must be a word without commas")
	case c.Key != "" && c.TokenFile != "":
		return errors.New("a key and a token file are two identities: give one")
	case c.Address != "" && c.Socket != "":
		return errors.New("a socket and an address are two servers: give one")
	case (c.Address == "") != (c.Fingerprint == ""):
		return errors.New("an address and the fingerprint of the server there go together")
	case c.Key != "" && c.Node == "" && c.Address == "":
		return errors.New("a key needs the node's name, which signatures are made for")
	case c.Socket != "" && !filepath.IsAbs(c.Socket):
		return errors.New("socket must be an absolute path")
	}
	return nil
}

func (f *settings) find(name string) *serverContext {
	for i := range f.Contexts {
		if f.Contexts[i].Name == name {
			return &f.Contexts[i]
		}
	}
	return nil
}

// save writes the file in one go: whoever reads it meanwhile sees the old one or the new one.
func (f *settings) save() error {
	if f.path == "" {
		return errors.New("neither $HOME nor $XDG_CONFIG_HOME says where the configuration is")
	}
	if err := f.check(); err != nil {
		return err
	}
	text, err := toml.Marshal(f)
	if err != nil {
		return err
	}
	return writeFile(f.path, text, true)
}

// writeFile writes a file that only its owner may read, with the folders that it needs. Without replace a
// file that is there stays, and is an error.
func writeFile(path string, text []byte, replace bool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	switch {
	case err != nil:
		return err
	case replace:
		return os.Rename(f.Name(), path)
	}
	return os.Link(f.Name(), path) // unlike rename it fails where something is
}

// nodes are the servers that a command line is meant for.
type nodes struct {
	list    []*node
	several bool // asked for by --nodes or --group, even if it is one
}

// node is one server.
type node struct {
	name   string
	client *client.Client
	err    error // why there is no client, where several are asked and one cannot be
}

func (n *nodes) close() {
	for _, n := range n.list {
		if n.client != nil {
			n.client.Close()
		}
	}
}

// nodes finds out which servers are meant: those of --nodes or --group; else --socket; else the context of
// --context, of $MY_OS_CTL_CONTEXT or the current one; else the daemon of this machine.
func (s *session) nodes() (*nodes, error) {
	g := &s.global
	if err := s.checkChoice(); err != nil {
		return nil, err
	}
	if g.socket != "" {
		return s.one(&serverContext{Socket: g.socket})
	}
	f, err := s.settings()
	if err != nil {
		return nil, err
	}
	if len(g.nodes) > 0 || g.group != "" {
		return s.many(f)
	}
	name := g.context
	if name == "" {
		name = s.getenv("MY_OS_CTL_CONTEXT")
	}
	if name == "" {
		name = f.Current
	}
	if name == "" {
		return s.one(&serverContext{})
	}
	c := f.find(name)
	if c == nil {
		return nil, &usageError{Name + " context", "there is no context " + quoted(name) + f.known()}
	}
	return s.one(c)
}

// checkChoice refuses two answers to the question which server is meant.
func (s *session) checkChoice() error {
	given := 0
	for _, is := range []bool{s.global.socket != "", s.global.context != "", len(s.global.nodes) > 0, s.global.group != ""} {
		if is {
			given++
		}
	}
	if given > 1 {
		return &usageError{Name, "--socket, --context, --nodes and --group exclude each other"}
	}
	return nil
}

// known lists the contexts for a message.
func (f *settings) known() string {
	if len(f.Contexts) == 0 {
		return "; there are none yet"
	}
	var names []string
	for _, c := range f.Contexts {
		names = append(names, c.Name)
	}
	return "; there are " + strings.Join(names, ", ")
}

func (s *session) one(c *serverContext) (*nodes, error) {
	client, err := s.connect(c)
	if err != nil {
		return nil, err
	}
	return &nodes{list: []*node{{name: c.Name, client: client}}}, nil
}

// many are the contexts of --nodes or of --group, each once. One that cannot be used is told as one that
// does not answer is, among the results of the others.
func (s *session) many(f *settings) (*nodes, error) {
	out := &nodes{several: true}
	var chosen []*serverContext
	for _, name := range s.global.nodes {
		c := f.find(name)
		if c == nil {
			return nil, &usageError{Name + " context", "there is no context " + quoted(name) + f.known()}
		}
		if !slices.Contains(chosen, c) {
			chosen = append(chosen, c)
		}
	}
	for i := range f.Contexts {
		if s.global.group != "" && slices.Contains(f.Contexts[i].Groups, s.global.group) {
			chosen = append(chosen, &f.Contexts[i])
		}
	}
	if len(chosen) == 0 {
		return nil, &usageError{Name + " context", "no context is in the group " + quoted(s.global.group)}
	}
	for _, c := range chosen {
		client, err := s.connect(c)
		out.list = append(out.list, &node{name: c.Name, client: client, err: err})
	}
	return out, nil
}

// connect makes the client of a context. It connects when it is used.
func (s *session) connect(c *serverContext) (*client.Client, error) {
	if c.Address != "" {
		return s.connectTLS(c)
	}
	dial, err := client.Local(c.Socket)
	if err != nil {
		return nil, &usageError{Name, err.Error()}
	}
	credential, err := s.credential(c)
	if err != nil {
		return nil, err
	}
	o := client.Options{Dial: dial, Credential: credential, ServerUIDs: c.ServerUIDs}
	for _, uid := range s.global.serverUIDs {
		o.ServerUIDs = append(o.ServerUIDs, uint32(uid))
	}
	return client.New(o), nil
}

// connectTLS is connect for a server somewhere else. There the key proves itself once a connection, by a
// certificate, instead of with each request.
func (s *session) connectTLS(c *serverContext) (*client.Client, error) {
	remote := client.Remote{Address: c.Address, Fingerprint: c.Fingerprint}
	var credential client.Credential
	var err error
	if c.Key != "" {
		remote.Key, err = readKey(s.expand(c.Key))
	} else {
		credential, err = s.credential(c)
	}
	if err != nil {
		return nil, &localError{err}
	}
	dial, err := client.TLS(remote)
	if err != nil {
		return nil, &usageError{Name, err.Error()}
	}
	return client.New(client.Options{Dial: dial, Credential: credential}), nil
}

// credential is the proof that the context is to give of who calls; nil leaves that to the kernel.
func (s *session) credential(c *serverContext) (client.Credential, error) {
	switch {
	case c.Key != "":
		key, err := readKey(s.expand(c.Key))
		if err != nil {
			return nil, &localError{err}
		}
		return client.Signed(key, c.Node), nil
	case c.TokenFile != "":
		text, err := os.ReadFile(s.expand(c.TokenFile))
		if err != nil {
			return nil, &localError{err}
		}
		return client.Bearer(strings.TrimSpace(string(text))), nil
	}
	return nil, nil
}

// expand lets a path begin with ~/.
func (s *session) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(s.getenv("HOME"), rest)
	}
	return path
}
