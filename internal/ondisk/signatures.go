package ondisk

import "io"

// Signatures lists every format whose mark stands on a device of size bytes, in the order in which they
// count: what Read takes for the device's comes first. A device that was used before may bear several. The
// errors are those of r.
func Signatures(r io.ReaderAt, size int64) ([]Signature, error) {
	d := newDevice(r, size)
	defer d.close()
	var list []Signature
	for i := range formats {
		f := &formats[i]
		if size < f.least {
			continue
		}
		if s := f.probe(d); s != nil {
			s.Type, s.Usage = f.name, f.usage
			list = append(list, *s)
		}
	}
	return list, d.err
}
