package hostinfo

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"strings"
)

// HasFilesystem tells whether the kernel knows a type of filesystem, or can load the module of that
// name.
func HasFilesystem(root, name string) bool {
	text, _ := os.ReadFile(root + "/proc/filesystems") // [nodev] TAB name
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) > 0 && string(fields[len(fields)-1]) == name {
			return true
		}
	}
	return HasModule(root, name)
}

// HasArrayLevel tells whether the kernel's MD driver knows a level, as in raid1, or can load its module.
func HasArrayLevel(root, level string) bool {
	text, _ := os.ReadFile(root + "/proc/mdstat")
	first, _, _ := bytes.Cut(text, []byte("\n")) // Personalities : [raid1] [raid10]
	return bytes.Contains(first, []byte("["+level+"]")) || HasModule(root, level)
}

// HasModule tells whether a module is loaded or built in, or lies where the running kernel loads modules
// from.
func HasModule(root, name string) bool {
	if _, err := os.Stat(root + "/sys/module/" + name); err == nil {
		return true
	}
	folder := root + "/lib/modules/" + ReadUname().Release
	return listsModule(folder+"/modules.builtin", name) || listsModule(folder+"/modules.dep", name)
}

// listsModule looks for a module in a list of paths, one a line, maybe with a colon and what it needs
// behind it, maybe compressed. Hyphens and underscores are the same.
func listsModule(list, name string) bool {
	f, err := os.Open(list)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, _, _ := strings.Cut(lines.Text(), ":")
		module, _, _ := strings.Cut(path.Base(file), ".ko")
		if strings.ReplaceAll(module, "-", "_") == name {
			return true
		}
	}
	return false
}
