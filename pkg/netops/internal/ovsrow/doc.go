// Package ovsrow makes the rows of the net.ovs methods, net.flows and net.datapath out of what Open vSwitch told: rows of
// its database (internal/ovsdb), and lines of its flows, datapaths and connections (internal/ovstext).
//
// It asks nobody and reads no file; whether an object is ours the caller adds.
package ovsrow
