package ondisk

import (
	"math/rand/v2"
	"os"
	"testing"
)

// BenchmarkReadBlank reads a disk that nothing stands on, for which every format is looked at.
func BenchmarkReadBlank(b *testing.B) {
	m := newImage(b, rand.New(rand.NewPCG(0, 0)), 64<<20)
	f, err := os.Open(m.path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if c, err := Read(f, m.size, 512); err != nil || c.Signature != nil || c.Table != nil {
			b.Fatalf("%+v, %v", c, err)
		}
	}
}
