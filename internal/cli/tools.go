package cli

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// group is a command that only holds others.
func group(name, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short}
	c.AddCommand(below...)
	return c
}

// tool is a command that is no row of the table.
type tool struct {
	use, short, long, example string
	least, most               int // how many arguments
	run                       func(c *cobra.Command, args []string) error
}

func (t tool) command() *cobra.Command {
	c := &cobra.Command{
		Use: t.use, Short: t.short, Long: t.long, Example: t.example,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) < t.least || len(args) > t.most {
				return &usageError{c.CommandPath(), "is used as " + t.use}
			}
			return local(t.run(c, args))
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			if t.most == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	c.Flags().SortFlags = false
	return c
}

// local marks an error as one of this side, unless it is marked already.
func local(err error) error {
	var usage *usageError
	var here *localError
	if err == nil || errors.As(err, &usage) || errors.As(err, &here) {
		return err
	}
	return &localError{err}
}

// keyPath is the file of the own key.
func (s *session) keyPath(given string) (string, error) {
	if given != "" {
		return s.expand(given), nil
	}
	dir, err := s.folder()
	return filepath.Join(dir, "key"), err
}

func (s *session) keyCommand() *cobra.Command {
	file := ""
	generate := tool{
		use: "generate", short: "Make an ed25519 key, which proves who calls.",
		long:    "Writes it to a file that only its owner may read (mode 0600), in PKCS #8 as openssl does, and prints the public key, which an ACL file names. A file that is there is left as it is.",
		example: Name + " key generate\n" + Name + " key generate --file ~/keys/deploy",
		run: func(*cobra.Command, []string) error {
			path, err := s.keyPath(file)
			if err != nil {
				return err
			}
			public, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			text, err := formatKey(key)
			if err == nil {
				err = writeFile(path, text, false)
			}
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("key %s: there is one already, and it was left as it is", path)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "%x\n", []byte(public))
			return err
		},
	}.command()
	show := tool{
		use: "show", short: "Print the public key, as an ACL file names it.",
		example: Name + " key show",
		run: func(*cobra.Command, []string) error {
			path, err := s.keyPath(file)
			if err != nil {
				return err
			}
			key, err := readKey(path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "%x\n", []byte(key.Public().(ed25519.PublicKey)))
			return err
		},
	}.command()
	for _, c := range []*cobra.Command{generate, show} {
		c.Flags().StringVar(&file, "file", "", "the key's file, instead of key in the folder of the configuration")
	}
	return group("key", "The own key.", generate, show)
}

func (s *session) tokenCommand() *cobra.Command {
	var file, nodeName, name, expires string
	life := time.Hour
	create := tool{
		use: "create", short: "Make a bearer token that the own key signs, for a short time.",
		long:    "A JWT for the node of that name, with what the ACL file gives to the key. It need not be listed anywhere and cannot be taken back: give it a short life, a day at most.",
		example: Name + " token create --node node1 --life 15m",
		run: func(c *cobra.Command, _ []string) error {
			if nodeName == "" {
				return &usageError{c.CommandPath(), "needs --node"}
			}
			path, err := s.keyPath(file)
			if err != nil {
				return err
			}
			key, err := readKey(path)
			if err != nil {
				return err
			}
			token, err := client.NewJWT(key, nodeName, time.Now(), life)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.out, token)
			return err
		},
	}.command()
	create.Flags().StringVar(&file, "file", "", "the key's file, instead of key in the folder of the configuration")
	create.Flags().StringVar(&nodeName, "node", "", "the name of the node that the token is for; required")
	create.Flags().Var((*duration)(&life), "life", "how long it is good for, at most 24h (default: 1h)")
	hash := tool{
		use: "hash", short: "Print what an ACL file holds of a token that is read from standard input.",
		long:    "A server keeps the SHA-256 of a token, never the token. White space around the token does not count.",
		example: "openssl rand -hex 32 >ci.token\n" + Name + " token hash --name ci --expires 2027-01-01T00:00:00Z <ci.token",
		run: func(c *cobra.Command, _ []string) error {
			return s.hashToken(c, name, expires)
		},
	}.command()
	hash.Flags().StringVar(&name, "name", "", "print a whole entry of this name")
	hash.Flags().StringVar(&expires, "expires", "", "when the entry ends, as in 2027-01-01T00:00:00Z; in 90 days where it is absent")
	return group("token", "Bearer tokens.", create, hash)
}

// shortestToken is how many characters a server asks of a token at least: fewer can be guessed.
const shortestToken = 22

func (s *session) hashToken(c *cobra.Command, name, expires string) error {
	text, err := io.ReadAll(io.LimitReader(s.in, 64<<10))
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < shortestToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &usageError{c.CommandPath(), fmt.Sprintf("a token has at least %d printable characters and no blanks", shortestToken)}
	}
	sum := sha256.Sum256([]byte(token))
	if name == "" {
		_, err = fmt.Fprintln(s.out, hex.EncodeToString(sum[:]))
		return err
	}
	end := time.Now().AddDate(0, 0, 90)
	if expires != "" {
		if end, err = time.Parse(time.RFC3339, expires); err != nil {
			return &usageError{c.CommandPath(), "--expires: " + quoted(expires) + " is no instant like 2027-01-01T00:00:00Z"}
		}
	}
	_, err = fmt.Fprintf(s.out, "[[token]]\nname = %q\nsha256 = %q\nexpires = %s\n", name, hex.EncodeToString(sum[:]), end.UTC().Format(time.RFC3339))
	return err
}

func (s *session) contextCommand() *cobra.Command {
	var made serverContext
	var use bool
	var uids []uint
	add := tool{
		use: "add NAME", short: "Remember a server under a name.", least: 1, most: 1,
		long: "A context of that name that is there already is replaced. The first one becomes the current one.",
		example: Name + " context add here --socket /run/my_os_server/rpc.sock\n" +
			Name + " context add lab1 --socket /srv/lab1/rpc.sock --node lab1 --key ~/.config/my-os-ctl/key --in lab\n" +
			Name + " context add node-7 --address 192.0.2.7:8443 --key ~/.config/my-os-ctl/key",
		run: func(c *cobra.Command, args []string) error {
			made.Name = args[0]
			if err := s.meet(c.Context(), &made); err != nil {
				return err
			}
			for _, uid := range uids {
				made.ServerUIDs = append(made.ServerUIDs, uint32(uid))
			}
			return s.change(func(f *settings) error {
				f.put(made)
				if use || f.Current == "" {
					f.Current = made.Name
				}
				return nil
			})
		},
	}.command()
	flags := add.Flags()
	flags.StringVar(&made.Node, "node", "", "the node's own name, which signatures and tokens are made for")
	flags.StringVar(&made.Address, "address", "", "HOST:PORT of a server somewhere else, over TLS")
	flags.StringVar(&made.Fingerprint, "fingerprint", "", "by which that server is known (default: the one that it shows now, after a question)")
	flags.StringVar(&made.Key, "key", "", "file of the key to sign each request with, over TLS to show a certificate of")
	flags.StringVar(&made.TokenFile, "token-file", "", "file of a bearer token")
	flags.StringSliceVar(&made.Groups, "in", nil, "groups that it belongs to, for --group")
	flags.BoolVar(&use, "use", false, "make it the current one")
	return group("context", "Servers under names, in ~/.config/my-os-ctl/config.toml.",
		s.finishAdd(add, &made, &uids), s.contextList(),
		s.contextChange("use NAME", "Make a context the current one.", func(f *settings, name string) { f.Current = name }),
		s.contextChange("remove NAME", "Forget a context.", func(f *settings, name string) {
			f.Contexts = slices.DeleteFunc(f.Contexts, func(c serverContext) bool { return c.Name == name })
			if f.Current == name {
				f.Current = ""
			}
		}))
}

// finishAdd takes the flags that every verb has for what the context remembers.
func (s *session) finishAdd(add *cobra.Command, made *serverContext, uids *[]uint) *cobra.Command {
	run := add.RunE
	add.RunE = func(c *cobra.Command, args []string) error {
		made.Socket, *uids = s.global.socket, s.global.serverUIDs
		return run(c, args)
	}
	return add
}

// put adds a context, or replaces the one of that name.
func (f *settings) put(c serverContext) {
	if old := f.find(c.Name); old != nil {
		*old = c
		return
	}
	f.Contexts = append(f.Contexts, c)
}

// change reads the file of contexts, changes it and writes it.
func (s *session) change(how func(f *settings) error) error {
	f, err := s.settings()
	if err != nil {
		return err
	}
	if err := how(f); err != nil {
		return err
	}
	return f.save()
}

func (s *session) contextChange(use, short string, how func(f *settings, name string)) *cobra.Command {
	c := tool{use: use, short: short, least: 1, most: 1, run: func(c *cobra.Command, args []string) error {
		return s.change(func(f *settings) error {
			if f.find(args[0]) == nil {
				return &usageError{c.CommandPath(), "there is no context " + quoted(args[0]) + f.known()}
			}
			how(f, args[0])
			return nil
		})
	}}.command()
	c.ValidArgsFunction = s.completeContexts
	return c
}

func (s *session) contextList() *cobra.Command {
	return tool{use: "list", short: "List the contexts.", run: func(*cobra.Command, []string) error {
		f, err := s.settings()
		if err != nil {
			return err
		}
		result, err := json.Marshal(map[string]any{"contexts": f.rows()})
		if err != nil {
			return err
		}
		const list = "contexts"
		o := &output{session: s, w: newBuffered(s.out), verb: &verb{list: list, lists: []listed{{list, "Context"}}}}
		if err := o.print(client.Kept(list, bytes.NewReader(result))); err != nil {
			return err
		}
		return o.w.Flush()
	}}.command()
}

// contextRow is a context as it is listed.
type contextRow struct {
	Name    string   `json:"name"`
	Current bool     `json:"current"`
	Server  string   `json:"server"`
	Node    string   `json:"node,omitempty"`
	Key     string   `json:"key,omitempty"`
	Token   string   `json:"token_file,omitempty"`
	Groups  []string `json:"groups,omitempty"`
}

func (f *settings) rows() []contextRow {
	rows := make([]contextRow, 0, len(f.Contexts))
	for _, c := range f.Contexts {
		rows = append(rows, contextRow{c.Name, c.Name == f.Current, c.where(), c.Node, c.Key, c.TokenFile, c.Groups})
	}
	return rows
}

// where says where the context's server is.
func (c *serverContext) where() string {
	switch {
	case c.Address != "":
		return c.Address
	case c.Socket == "":
		return "this machine's daemon"
	}
	return c.Socket
}

func (s *session) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	f, err := s.settings()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range f.Contexts {
		names = append(names, c.Name+"\t"+c.where())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (s *session) aclCommand() *cobra.Command {
	var file, as string
	var remote bool
	check := tool{
		use: "check METHOD", short: "Say what an ACL file decides, and by which of its lines.", least: 1, most: 1,
		long: "--as is who calls, as the file writes it: a public key, uid:N, gid:N, token:NAME, or anonymous; several with commas for a user with its groups (uid:1000,gid:27). " +
			"The answer is read from the file alone; no server is asked. The exit code tells too: 0 allowed, 17 not.",
		example: Name + " acl check --file /etc/my_os_server/acl.toml --as uid:1000,gid:27 net.routes.add",
		run: func(c *cobra.Command, args []string) error {
			if file == "" || as == "" {
				return &usageError{c.CommandPath(), "needs --file and --as"}
			}
			text, err := os.ReadFile(s.expand(file))
			if err != nil {
				return err
			}
			return s.checkACL(c, file, text, as, !remote, args[0])
		},
	}.command()
	check.ValidArgsFunction = completeMethods
	check.Flags().StringVar(&file, "file", "", "the ACL file; required")
	check.Flags().StringVar(&as, "as", "", "who calls; required")
	check.Flags().BoolVar(&remote, "remote", false, "the call comes over the network, or through a relay")
	return group("acl", "ACL files.", check)
}

// checkACL prints what an ACL file decides for a caller and a method.
func (s *session) checkACL(c *cobra.Command, file string, text []byte, as string, isLocal bool, method string) error {
	row, ok := registry.Lookup(method)
	if !ok {
		return &usageError{c.CommandPath(), "there is no method " + quoted(method)}
	}
	caller, err := acl.ParseCaller(strings.Split(as, ","), isLocal)
	if err != nil {
		return &usageError{c.CommandPath(), "--as: " + err.Error()}
	}
	methods := make([]acl.Method, 0, len(registry.All()))
	for _, m := range registry.All() {
		methods = append(methods, acl.Method{Name: m.Name, Exposes: m.Exposes})
	}
	e, err := acl.Explain(file, text, methods, &caller, acl.Method{Name: row.Name, Exposes: row.Exposes})
	if err != nil {
		return err
	}
	required := acl.Right(row.Right)
	verdict := s.paint.good("allowed")
	if e.Right < required {
		verdict = s.paint.bad("denied")
	}
	fmt.Fprintf(s.out, "%s: %s needs %s, %s has %s\n", verdict, method, required, as, e.Right)
	for _, r := range e.Reasons {
		fmt.Fprintf(s.out, "  %s\n", at(file, r.Line, r.Text))
		for _, step := range r.Path {
			fmt.Fprintf(s.out, "    %s\n", at(file, step.Line, step.Text))
		}
	}
	if e.Right < required {
		return errNotAllowed
	}
	return nil
}

// at is a line of a file with what it says.
func at(file string, line int, text string) string {
	if line == 0 {
		return clean(text)
	}
	return clean(fmt.Sprintf("%s:%d: %s", file, line, text))
}
