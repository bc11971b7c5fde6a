package netconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what is read: far above what any of these files is, and low enough that a host full of
// rubbish costs little.
const (
	maxFile    = 1 << 20 // bytes of a file
	maxEntries = 4096    // names of a folder that are looked at
	maxFiles   = 8192    // files of one Reader
)

// Reader reads the files of one host for one call, and notes which. It is not safe for concurrent use.
type Reader struct {
	// Files are those that were there, in order of reading, each once.
	Files []File
	// NetNS is the inode of the network namespace that is read for; processes known to be in another are not
	// that host's. 0: every process counts.
	NetNS uint64

	root string
	seen map[string]int // path to index in Files

	processes []Process
	scanned   bool
}

// NewReader reads below root: "" and "/" are the host's own. Links lead to places below root as they
// would with root as /.
func NewReader(root string) *Reader {
	if root == "/" {
		root = ""
	}
	return &Reader{root: root, seen: map[string]int{}}
}

// document is a file that was read.
type document struct {
	path    string
	text    string
	changed time.Time // when it was last written
	reader  *Reader
	index   int // in the reader's Files
}

// fault notes why the document cannot be understood; the first reason stands.
func (d *document) fault(line int, format string, args ...any) {
	if file := &d.reader.Files[d.index]; file.Err == nil {
		file.Err, file.Line = errors.New(clean(fmt.Sprintf(format, args...))), line
	}
}

// read returns a file of a manager, or nil where there is none or it cannot be read. Which of both is
// told by Files.
func (r *Reader) read(manager, name string) *document {
	text, changed, err := r.load(name)
	if missing(err) {
		return nil
	}
	index := r.note(manager, name)
	if err != nil {
		r.Files[index].Err = errors.New(reason(err))
		return nil
	}
	return &document{path: name, text: text, changed: changed, reader: r, index: index}
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// reason is what an error of the file system says, without the path.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Op + ": " + p.Err.Error()
	}
	return err.Error()
}

// note remembers that a file was looked at, and returns its place in Files.
func (r *Reader) note(manager, name string) int {
	i, ok := r.seen[name]
	if !ok {
		i = len(r.Files)
		r.seen[name] = i
		r.Files = append(r.Files, File{Path: clean(name), Manager: manager})
	}
	return i
}

// load reads a regular file. The name is absolute below the root.
func (r *Reader) load(name string) (text string, changed time.Time, err error) {
	if len(r.Files) >= maxFiles {
		return "", changed, fs.ErrNotExist
	}
	file, err := r.open(name, 0)
	if err != nil {
		return "", changed, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", changed, err
	}
	if !info.Mode().IsRegular() {
		return "", changed, fmt.Errorf("not a regular file: %s", info.Mode().Type())
	}
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return "", changed, err
	}
	if len(b) > maxFile {
		return "", changed, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return string(b), info.ModTime(), nil
}

// open opens a file without waiting for it, whatever it is. Below another root than the host's own the
// kernel resolves links within that (openat2(2), Linux 5.6).
func (r *Reader) open(name string, flags uint64) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	if r.root == "" {
		if err := regularOrFolder(name); err != nil {
			return nil, err
		}
		fd, err := unix.Open(name, int(flags), 0)
		return openedAs(fd, name, err)
	}
	dir, err := unix.Open(r.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: r.root, Err: err}
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, name, &how)
	return openedAs(fd, name, err)
}

// regularOrFolder refuses a device, a pipe or a socket before it is opened, since opening alone may have
// effects.
func regularOrFolder(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("not a regular file: %s", info.Mode().Type())
	}
	return nil
}

func openedAs(fd int, name string, err error) (*os.File, error) {
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// names lists a folder, sorted; none where there is no such folder. One that cannot be read is noted.
func (r *Reader) names(manager, name string) []string {
	list, err := r.list(name)
	if err != nil && !missing(err) {
		r.Files[r.note(manager, name)].Err = errors.New(reason(err))
	}
	return list
}

func (r *Reader) list(name string) ([]string, error) {
	dir, err := r.open(name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	list, err := dir.Readdirnames(maxEntries)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	slices.Sort(list)
	return list, err
}

// link returns where a symbolic link leads, as it says itself; "" for anything else.
func (r *Reader) link(name string) string {
	target, err := os.Readlink(filepath.Join("/", r.root, name))
	if err != nil {
		return ""
	}
	return target
}

// nullLink tells whether a name is a link to /dev/null, which masks files of that name.
func (r *Reader) nullLink(name string) bool {
	target := r.link(name)
	return target != "" && path.Join(path.Dir(name), target) == "/dev/null" || target == "/dev/null"
}

// layered lists the paths of the files of a suffix in several folders, in order of their base names: of
// one name that in the folder that is given first counts.
func (r *Reader) layered(manager string, folders []string, suffix string) []string {
	from := map[string]string{}
	for _, folder := range folders {
		for _, name := range r.names(manager, folder) {
			if _, taken := from[name]; !taken && strings.HasSuffix(name, suffix) && !strings.HasPrefix(name, ".") {
				from[name] = path.Join(folder, name)
			}
		}
	}
	bases := make([]string, 0, len(from))
	for base := range from {
		bases = append(bases, base)
	}
	slices.Sort(bases)
	paths := make([]string, len(bases))
	for i, base := range bases {
		paths[i] = from[base]
	}
	return paths
}

// Glob tells whether a name fits a shell pattern (fnmatch(3) without flags): *, ?, [a-z], [!a-z], and a
// backslash before a character that is meant.
func Glob(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), strings.ReplaceAll(name, "/", "\x00"))
	return err == nil && ok
}
