// Package testhost is what tests of a real host stand on: namespaces of their own, loop disks, a
// filesystem that hangs, captured trees of other machines. What a test makes with it is gone when the
// test ends, also where it dies.
//
// It is for tests only; product code must not import it.
package testhost
