package cli

import (
	"os"
	"testing"
)

// BenchmarkTree is what a start pays for the verbs: for one that runs, and for all, as the reference needs them.
func BenchmarkTree(b *testing.B) {
	fresh := func() *session {
		return newSession(os.Stdin, os.Stdout, os.Stderr, func(string) string { return "" })
	}
	for name, tree := range map[string]func(){
		"one": func() { fresh().commandFor([]string{"net", "interfaces"}) },
		"all": func() { fresh().command(all) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tree()
			}
		})
	}
}
