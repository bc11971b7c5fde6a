package blk

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

func TestDevice(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	const size, sector = 16<<20 + 4096, 4096
	loop := testhost.NewLoop(t, testhost.LoopOptions{Size: size, SectorSize: sector})
	node, err := StatNode(loop.Path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDevice(loop.Path, node.Number)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if gotSize, gotSector, err := d.Geometry(); gotSize != size || gotSector != sector || err != nil {
		t.Errorf("size %d, sectors of %d, %v", gotSize, gotSector, err)
	}
	b := make([]byte, 8192)
	if n, err := d.ReadAt(b, size-4096); n != 4096 || err != io.EOF {
		t.Errorf("over the end: %d, %v", n, err)
	}
	other := Number{node.Number.Major, node.Number.Minor + 1}
	if _, err := OpenDevice(loop.Path, other); !errors.Is(err, unix.ENXIO) {
		t.Errorf("as another device: %v", err)
	}
}
