package cli

import (
	"os"
	"testing"
)

// BenchmarkTree is what a start pays for the verbs: for one that runs, and for all, as the reference needs them.
func BenchmarkTree(b *testing.B) {
	for name, wanted := range map[string]func(*verb) bool{"one": mayMean([]string{"net", "interfaces"}), "all": all} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				newSession(os.Stdin, os.Stdout, os.Stderr, func(string) string { return "" }).command(wanted)
			}
		})
	}
}
