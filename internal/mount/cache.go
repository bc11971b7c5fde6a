package mount

import (
	"os"
	"sync"
)

// Cache keeps the table of one process and reads it again only where the kernel says that mounts
// changed. It is for questions about one path, which must not cost a list of thousands. What the
// kernel does not tell of stays as it was: a folder above a mount point that is renamed, a filesystem
// that turns read-only by itself. The zero Cache is not usable. Its methods may be called at once.
type Cache struct {
	path string

	mu    sync.Mutex
	f     *os.File // stays open: whether mounts changed is asked of the descriptor
	table *Table
}

// NewCache makes an empty cache of the mountinfo at path.
func NewCache(path string) *Cache { return &Cache{path: path} }

// Table returns the table as it is now. It is shared: callers must not change it.
func (c *Cache) Table() (*Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.f == nil {
		f, err := open(c.path)
		if err != nil {
			return nil, err
		}
		c.f = f
	}
	if c.table != nil {
		if stale, err := changed(c.f); err != nil || !stale {
			return c.table, err
		}
	}
	t, err := readSteady(c.f)
	if err != nil {
		return nil, err
	}
	if c.table = t; t.Changed {
		c.table = nil
	}
	return t, nil
}

// Forget has the next Table read anew.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table = nil
}

// Close lets go of the descriptor.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.f == nil {
		return nil
	}
	err := c.f.Close()
	c.f, c.table = nil, nil
	return err
}
