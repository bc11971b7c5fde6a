// Package wire is what all rows and lists of the net.* methods are made with: values of the kernel and of other
// sources as the table has them (what is not known is absent), and dumps sent as lists, within the caller's limit, taken
// again where the kernel flags them as interrupted.
//
// It knows no kind of row, reads nothing, and opens nothing.
package wire
