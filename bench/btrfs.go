package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// benchSubvolumes lists the 2,000 subvolumes of a btrfs, in twenty folders, beside btrfs-progs.
func benchSubvolumes() error {
	dir, err := os.MkdirTemp("", "bench-btrfs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	disk := filepath.Join(dir, "disk")
	if err := sh(fmt.Sprintf("truncate -s 1G %s; mkfs.btrfs -q %s; mkdir %s/mnt; mount -o loop %s %s/mnt", disk, disk, dir, disk, dir)); err != nil {
		return err
	}
	mnt := filepath.Join(dir, "mnt")
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	err = sh(fmt.Sprintf(`cd %s; for d in $(seq 20); do mkdir -p folder/$d; for i in $(seq 100); do echo folder/$d/subvolume$i; done; done |
		xargs -n 100 sh -c 'for s; do btrfs -q subvolume create $s; done' sh; btrfs filesystem sync .`, mnt))
	if err != nil {
		return err
	}
	return read{what: "2,000 subvolumes", method: "vol.list_subvolumes", params: fmt.Sprintf(`{"path":%q}`, mnt), list: "subvolumes",
		peer: []string{"btrfs", "subvolume", "list", "-pcuqR", mnt}, bar: 1.0,
		peerCount: func(out []byte) (int, error) { return bytes.Count(out, []byte("\n")), nil }}.run()
}
