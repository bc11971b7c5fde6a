//go:build !faultpoints

package fault

// Point marks a moment, in words: "intent synced". Here it does nothing.
func Point(string) {}
