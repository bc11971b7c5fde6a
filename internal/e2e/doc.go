// Package e2e holds the tests of the contract: the real binaries, over a real socket, as callers of
// every kind meet them. Cases are walked from the method table, so that a new method is covered by
// being a row. It has no code but tests.
package e2e
