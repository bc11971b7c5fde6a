// Package ovsdb is a client of an OVSDB server (RFC 7047), such as the one that keeps the configuration of Open
// vSwitch, over its Unix socket.
//
// A [Client] has one connection, made when it is needed, shared by the calls that run side by side, given up when
// nobody has used it for a while, and made anew when it was lost. [Client.Transact] sends operations ([Select],
// [Insert], [Mutate], ...) and returns what each of them came to. The server's echo requests are answered, since it
// cuts off who does not.
//
// [Client.Watch] hears of changes, over another connection that is made anew as often as it is lost.
//
// What the server sends is bounded: so many bytes a message, so many levels. Errors are an [*Unavailable] where the
// server cannot be reached, was lost, or does not answer in time, and an [*Error] where it refused.
//
// The package knows no schema: which tables and columns there are is the caller's to know.
package ovsdb
