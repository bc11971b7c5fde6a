package testhost

import (
	"os/exec"
	"testing"
)

// Swap makes swap space of a device and swaps to it until the test ends. Swap outlives processes and
// namespaces, so another process stands by, which ends it too where this one dies.
func Swap(t testing.TB, device string, mkswap ...string) {
	t.Helper()
	Root(t)
	Tool(t, "mkswap", "util-linux")
	if out, err := exec.Command("mkswap", append(mkswap, device)...).CombinedOutput(); err != nil {
		t.Fatalf("mkswap: %v: %s", err, out)
	}
	guard := exec.Command("sh", "-c", `read -r _; exec swapoff "$0"`, device)
	alive, err := guard.StdinPipe() // closed by the kernel where we die
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		if err := guard.Wait(); err != nil {
			t.Errorf("swapoff %s: %v", device, err)
		}
	})
	if out, err := exec.Command("swapon", device).CombinedOutput(); err != nil {
		t.Fatalf("swapon: %v: %s", err, out)
	}
}
