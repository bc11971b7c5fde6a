// Package registrygen makes Go from the method table: it reads api/openrpc.json and returns the files
// of pkg/registry, pkg/client and internal/cli that end in _gen.go.
//
// Each is a pure function from bytes to bytes; the program in the folder gen does the writing. The
// specification is read strictly: every member of it must be one that the generator knows, and must hold
// what the closed subset allows (see schema.go). Whatever does not is an error that names the place, so
// that nothing in the table is silently without effect. There are no tables that override names or
// types: what should come out differently is said differently in the specification.
package registrygen

import (
	"fmt"
	"go/format"
)

// Generate returns the generated files of pkg/registry by name, gofmt'd. The error holds every complaint
// about the specification, one a line, each with its place.
func Generate(spec []byte) (map[string][]byte, error) {
	d, err := parse(spec)
	if err != nil {
		return nil, err
	}
	return d.files()
}

// parse reads the specification and checks it as a whole.
func parse(spec []byte) (*document, error) {
	var p problems
	d := p.document(spec)
	if err := p.err(); err != nil {
		return nil, err
	}
	p.check(d)
	if err := p.err(); err != nil {
		return nil, err
	}
	return d, nil
}

// files renders every file and formats it.
func (d *document) files() (map[string][]byte, error) {
	out := map[string][]byte{}
	for name, emit := range map[string]func(*printer, *document){
		"table_gen.go":   emitTable,
		"types_gen.go":   emitTypes,
		"params_gen.go":  emitParams,
		"decode_gen.go":  emitDecoders,
		"servers_gen.go": emitServers,
		"encode_gen.go":  emitEncoders,
		"errors_gen.go":  emitErrors,
	} {
		var p printer
		emit(&p, d)
		text, err := format.Source(p.file())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = text
	}
	return out, nil
}
