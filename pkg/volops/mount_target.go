package volops

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/pkg/registry"
)

// protectedTargets are the folders at and below which nothing is mounted for a caller. Those that begin with
// an asterisk's stem are found by name.
var protectedTargets = []string{"/etc", "/usr", "/root", "/boot", "/dev", "/proc", "/sys", "/run", "/bin", "/sbin"}

// mountPoint is the folder that something is to be mounted on, held by a descriptor: whatever becomes of its
// name, the mount goes there.
type mountPoint struct {
	folder *os.File // O_PATH
	path   string   // where it is, without symbolic links
	made   int      // how many of the folders at the end of path were made
}

func (p *mountPoint) close() { p.folder.Close() }

// unmake removes the folders that were made, as far as they are empty.
func (p *mountPoint) unmake() { removeFolders(p.path, p.made) }

// removeFolders removes n folders from the end of a path up, as far as they are empty and no symbolic link has
// come into the way to them, and tells how many went.
func removeFolders(path string, n int) (removed int) {
	for range n {
		above, err := unix.Openat2(unix.AT_FDCWD, filepath.Dir(path), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_SYMLINKS})
		if err != nil {
			break
		}
		err = unix.Unlinkat(above, filepath.Base(path), unix.AT_REMOVEDIR)
		unix.Close(above)
		if err != nil {
			break
		}
		path = filepath.Dir(path)
		removed++
	}
	return removed
}

// openMountPoint opens the folder for a mount, made where it is missing. Symbolic links are followed up to
// what exists and never through /proc; where they lead decides, not the text. It may hang where the path
// crosses a hung file server.
func (v *Vol) openMountPoint(target string, right registry.Right) (*mountPoint, error) {
	if slices.Contains(strings.Split(target, "/"), "..") {
		return nil, invalid("target", `must not have ".." in it`)
	}
	target = filepath.Clean(target)
	guarded, err := v.protected()
	if err != nil {
		return nil, err
	}
	exists, missing := target, []string(nil)
	for {
		fd, err := unix.Openat2(unix.AT_FDCWD, exists, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_NO_MAGICLINKS})
		if err == nil {
			return v.makeFolders(os.NewFile(uintptr(fd), exists), missing, guarded, right)
		}
		if !errors.Is(err, unix.ENOENT) || exists == "/" {
			return nil, notFolder(target, err)
		}
		if _, err := os.Lstat(exists); err == nil { // a link that leads nowhere
			return nil, notFolder(target, unix.ENOENT)
		}
		missing = append([]string{filepath.Base(exists)}, missing...)
		exists = filepath.Dir(exists)
	}
}

func notFolder(target string, err error) error {
	return fmt.Errorf("open mount point %s: %w", target, err)
}

// makeFolders makes the folders below an open one that are missing.
func (v *Vol) makeFolders(at *os.File, missing []string, guarded *protectedFolders, right registry.Right) (_ *mountPoint, err error) {
	p := &mountPoint{folder: at}
	defer func() {
		if err != nil {
			p.close()
			p.unmake()
		}
	}()
	if p.path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", at.Fd())); err != nil {
		return nil, err
	}
	if err := guarded.check(at, p.path, missing); err != nil {
		return nil, err
	}
	if right < registry.RightAdmin {
		if err := checkVar(p.path, missing); err != nil {
			return nil, err
		}
	}
	for _, name := range missing {
		if err := unix.Mkdirat(int(p.folder.Fd()), name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("make mount point %s/%s: %w", p.path, name, err)
		} else if err == nil {
			p.made++
		}
		fd, err := unix.Openat2(int(p.folder.Fd()), name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
		if err != nil {
			return nil, notFolder(p.path+"/"+name, err)
		}
		p.folder.Close()
		p.path = filepath.Join(p.path, name)
		p.folder = os.NewFile(uintptr(fd), p.path)
	}
	return p, nil
}

// identity tells one folder from another, whatever its name: a bind mount of /etc is /etc.
type identity struct{ device, inode uint64 }

func identityOf(fd int) (identity, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return identity{uint64(st.Dev), st.Ino}, err
}

// protectedFolders are those at and below which nothing is mounted, and those above which nothing is.
type protectedFolders struct {
	below map[identity]string
	above string // the state folder
}

func (v *Vol) protected() (*protectedFolders, error) {
	p := &protectedFolders{below: make(map[identity]string), above: v.stateDir}
	paths := slices.Clone(protectedTargets)
	if libs, err := filepath.Glob("/lib*"); err == nil {
		paths = append(paths, libs...)
	}
	if v.stateDir != "" {
		paths = append(paths, v.stateDir)
	}
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err == nil {
			p.below[identity{uint64(st.Dev), st.Ino}] = path
		}
	}
	return p, nil
}

// check refuses a folder that is protected, or lies below one that is: by where its name leads, and by what
// the folders above it are.
func (p *protectedFolders) check(at *os.File, path string, missing []string) error {
	target := filepath.Join(append([]string{path}, missing...)...)
	if target == "/" {
		return protectedTarget(target, "/")
	}
	first, _, _ := strings.Cut(target[1:], "/")
	for _, folder := range protectedTargets {
		if "/"+first == folder || strings.HasPrefix(first, "lib") {
			return protectedTarget(target, "/"+first)
		}
	}
	if p.above != "" && (p.above == target || strings.HasPrefix(p.above, target+"/")) {
		return protectedTarget(target, p.above)
	}
	fd, err := unix.Openat(int(at.Fd()), ".", unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { unix.Close(fd) }()
	for last := (identity{}); ; {
		id, err := identityOf(fd)
		if err != nil {
			return err
		}
		if folder, is := p.below[id]; is {
			return protectedTarget(target, folder)
		}
		if id == last { // the root is its own parent
			return nil
		}
		last = id
		up, err := unix.Openat(fd, "..", unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		unix.Close(fd)
		fd = up
	}
}

// checkVar refuses what nobody below admin may cover: of /var the folders from which the system runs what it finds
// there, and others that hold something.
func checkVar(path string, missing []string) error {
	target := filepath.Join(append([]string{path}, missing...)...)
	if target == "/var" || target == "/var/spool" || strings.HasPrefix(target, "/var/spool/") {
		return protectedTarget(target, "/var/spool")
	}
	if len(missing) > 0 || !strings.HasPrefix(target, "/var/") {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return refused("protected_target", "", target+" holds files of the system: only a caller with admin mounts there")
	}
	return nil
}

func protectedTarget(target, folder string) error {
	if target == folder {
		return refused("protected_target", "", target+" belongs to the system and is left as it is")
	}
	return &registry.RefusedError{
		RefusedData: registry.RefusedData{Rule: "protected_target"},
		Message:     fmt.Sprintf("%s leads to %s, which belongs to the system and is left as it is", target, folder),
	}
}
