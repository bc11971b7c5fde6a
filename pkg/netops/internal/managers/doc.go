// Package managers tells what network managers, other programs and this daemon's own clients, configured and hold: rows of
// net.config, net.dns, net.lease and net.prefix out of their files (internal/netconf), and of the interfaces, addresses and
// routes that the kernel has.
//
// It opens no socket and no folder: readers and sockets are the caller's. It configures nothing and holds no lease.
package managers
