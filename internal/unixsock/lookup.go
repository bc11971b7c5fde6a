package unixsock

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// heroFolder is where, below a user's home, daemons of all kinds have their sockets.
const heroFolder = "hero/var/sockets"

// Service is whose sockets are looked up.
type Service struct {
	Socket   string // below the folders that are searched
	Variable string // of the environment, that names the socket outright
	Hero     string // in ~/hero/var/sockets
}

// MyOSServer is this server itself.
var MyOSServer = Service{"my_os_server/rpc.sock", "MY_OS_SERVER_SOCKET", "hero_db_root_os.sock"}

// Env is all that a lookup depends on.
type Env struct {
	Service Service
	Getenv  func(name string) string
	UID     int                    // effective
	Home    string                 // the user's home as passwd(5) has it, never $HOME; empty where unknown
	RunDir  string                 // "/run"
	IsDir   func(path string) bool // whether a folder stands at path
}

// Host is the environment of this process on this machine.
func Host() Env {
	return Env{
		Service: MyOSServer,
		Getenv:  os.Getenv,
		UID:     os.Geteuid(),
		Home:    homeOf(os.Geteuid()),
		RunDir:  "/run",
		IsDir: func(path string) bool {
			info, err := os.Stat(path)
			return err == nil && info.IsDir()
		},
	}
}

// Wish is what the operator asked a server for.
type Wish struct {
	Flags  []string // --socket, each time it was given
	File   []string // the sockets of the configuration file
	NoHero bool     // --no-hero-socket
}

// Server lists the paths that a server listens on, without repetitions: those that were asked for, else
// the default, and the socket in ~/hero/var/sockets where that folder exists. It fails with ErrNoPath
// where nothing was asked for and there is no default.
func (e Env) Server(w Wish) ([]string, error) {
	paths, err := e.Asked(w)
	if err == nil && len(paths) == 0 {
		paths, err = e.fallback()
	}
	if err != nil {
		return nil, err
	}
	return unique(append(paths, e.Hero(w)...)), nil
}

// Asked lists the paths that were asked for by the first of: flags, the service's own variable,
// $HERO_SOCKET_DIR, the configuration file. None of them is no error.
func (e Env) Asked(w Wish) ([]string, error) {
	if len(w.Flags) > 0 {
		return checked(w.Flags)
	}
	path, err := e.fromEnv()
	if err != nil {
		return nil, err
	}
	if path != "" {
		return []string{path}, nil
	}
	return checked(w.File)
}

// Hero is the socket in the hero folder of the user's home, where there is such a folder and it is wanted.
func (e Env) Hero(w Wish) []string {
	folder := filepath.Join(e.Home, heroFolder)
	if w.NoHero || e.Home == "" || !e.IsDir(folder) {
		return nil
	}
	return []string{filepath.Join(folder, e.Service.Hero)}
}

// Client lists the paths at which a client looks for a server, in order. flag is its --socket. Where the
// flag or the environment names a place it is the only one: a call that is meant for one server must
// never reach another because the first is down.
func (e Env) Client(flag string) ([]string, error) {
	if flag != "" {
		return checked([]string{flag})
	}
	path, err := e.fromEnv()
	if err != nil {
		return nil, err
	}
	if path != "" {
		return []string{path}, nil
	}
	paths := []string{filepath.Join(e.RunDir, e.Service.Socket)}
	if dir := e.runtimeDir(); dir != "" {
		paths = append(paths, filepath.Join(dir, e.Service.Socket))
	}
	return unique(append(paths, e.Hero(Wish{})...)), nil
}

// fromEnv is the path that the environment names outright, or none.
func (e Env) fromEnv() (string, error) {
	if path := e.Getenv(e.Service.Variable); path != "" {
		return path, absolute("$"+e.Service.Variable, path)
	}
	if dir := e.Getenv("HERO_SOCKET_DIR"); dir != "" {
		return filepath.Join(dir, e.Service.Socket), absolute("$HERO_SOCKET_DIR", dir)
	}
	return "", nil
}

// fallback is where a server listens that was told nothing.
func (e Env) fallback() ([]string, error) {
	if e.UID == 0 {
		return []string{filepath.Join(e.RunDir, e.Service.Socket)}, nil
	}
	if dir := e.runtimeDir(); dir != "" {
		return []string{filepath.Join(dir, e.Service.Socket)}, nil
	}
	return nil, fmt.Errorf("%w: give --socket PATH, or set $%s or $XDG_RUNTIME_DIR (user %d may not listen in %s)",
		ErrNoPath, e.Service.Variable, e.UID, e.RunDir)
}

// runtimeDir is $XDG_RUNTIME_DIR. The XDG Base Directory Specification has a relative one ignored.
func (e Env) runtimeDir() string {
	if dir := e.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return dir
	}
	return ""
}

func absolute(what, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s=%q: %w: it must be absolute", what, path, ErrBadPath)
	}
	return nil
}

func checked(paths []string) ([]string, error) {
	for _, path := range paths {
		if err := checkPath(path); err != nil {
			return nil, fmt.Errorf("socket %q: %w", path, err)
		}
	}
	return unique(paths), nil
}

// unique drops what names the same path again. The order stays.
func unique(paths []string) []string {
	var out []string
	for _, path := range paths {
		if path = filepath.Clean(path); !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// homeOf looks a user up in /etc/passwd. os/user would fall back to $HOME, which sudo and containers
// leave pointing to somebody else's.
func homeOf(uid int) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return ""
	}
	defer f.Close()
	return passwdHome(f, uid)
}

// passwdHome reads passwd(5): name:password:uid:gid:gecos:home:shell. A line that is not that is passed over.
func passwdHome(r io.Reader, uid int) string {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) == 7 && fields[2] == strconv.Itoa(uid) && filepath.IsAbs(fields[5]) {
			return fields[5]
		}
	}
	return ""
}
