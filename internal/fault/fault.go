// Package fault marks moments at which a crash would leave work half done, so that tests can crash there.
// In every build but one with the tag faultpoints a moment is nothing at all.
package fault
