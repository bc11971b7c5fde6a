package cli

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

// What could not be read is never shown as if it were not there.
func TestDeviceThatIsShownBeforeItIsDestroyed(t *testing.T) {
	ext4 := &registry.Signature{Type: "ext4", Label: registry.Some("data")}
	table := &registry.PartitionTable{Type: "gpt"}
	part := func(name, probe string, f *registry.Signature) registry.Partition {
		p := registry.Partition{Path: name, Disk: "/dev/sdx", Number: 1, SizeBytes: 1 << 30, Filesystem: f}
		if probe != "" {
			p.ProbeError = registry.Some(probe)
		}
		return p
	}
	for _, test := range []struct {
		name       string
		probe      string // of the disk
		table      *registry.PartitionTable
		signature  *registry.Signature
		partitions []registry.Partition
		device     string
		want       string
	}{
		{name: "blank", device: "/dev/sdx", want: "holds nothing that is known"},
		{name: "filesystem", device: "/dev/sdx", signature: ext4, want: `holds ext4 "data"`},
		{name: "unread", device: "/dev/sdx", probe: "timeout", want: "what it holds could not be read (timeout)"},
		{name: "unread, the kernel has a partition", device: "/dev/sdx", probe: "timeout", partitions: []registry.Partition{part("/dev/sdx1", "timeout", nil)},
			want: "holds /dev/sdx1 1.0GiB, and what could not be read (timeout)"},
		{name: "partition unread", device: "/dev/sdx", table: table, partitions: []registry.Partition{part("/dev/sdx1", "EIO", nil), part("/dev/sdx2", "", ext4)},
			want: `holds a partition table (gpt); /dev/sdx1 1.0GiB; /dev/sdx2 1.0GiB ext4 "data", and what could not be read (EIO)`},
		{name: "a partition is named, unread", device: "/dev/sdx1", table: table, partitions: []registry.Partition{part("/dev/sdx1", "EIO", nil)},
			want: "what it holds could not be read (EIO)"},
		{name: "a partition is named, of a disk unread", device: "/dev/sdx1", probe: "EIO", partitions: []registry.Partition{part("/dev/sdx1", "", ext4)},
			want: `holds ext4 "data"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := &registry.Disk{Path: "/dev/sdx", Kind: "disk", SizeBytes: 4 << 30, PartitionTable: test.table, Signature: test.signature}
			if test.probe != "" {
				disk.ProbeError = registry.Some(test.probe)
			}
			d := device{name: test.device}
			d.disk(disk)
			d.partitions(test.partitions)
			if got := d.String(); !strings.HasSuffix(got, "), "+test.want) {
				t.Errorf("%s\nwant its end: %s", got, test.want)
			}
		})
	}
}

// What rows lack is said beside them, whatever they are printed as.
func TestWhatAListLacksIsSaidBeside(t *testing.T) {
	errs, err := os.Create(filepath.Join(t.TempDir(), "errs"))
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	var out bytes.Buffer
	o := &output{session: &session{errs: errs}, w: bufio.NewWriter(&out), verb: &verb{list: "partitions"}}
	o.warn([]byte(`{"unread":[{"path":"/dev/sdx","reason":"timeout"},{"path":"/dev/sdy","reason":"no_privilege"}],"consistent":false}`))
	want := "unread: path=/dev/sdx reason=timeout\nunread: path=/dev/sdy reason=no_privilege\nconsistent: false"
	got, err := os.ReadFile(errs.Name())
	if err != nil || !strings.HasPrefix(string(got), want) || out.Len() > 0 {
		t.Errorf("%q on standard error (%v), %q on standard output; want %q", got, err, out.String(), want)
	}
	for _, v := range verbs {
		if (v.method == "vol.list_partitions" || v.method == "vol.list_filesystems") && v.list == "" {
			t.Errorf("the rows of %s are not its result", v.method)
		}
	}
}
