// Package owntable says what stands in the daemon's own table of nf_tables: the elements that a rule, a port forward, a
// translation or the ports kept open have there, the sets (one for each Shape) that these stand in, the rules that look them up,
// and the chains. All of it is computed from what the caller gives.
//
// It asks no kernel and changes none, and knows nothing of what is registered: what has which entries, and how the
// kernel's table is brought from one state to another, is told in pkg/netops (table_state.go).
package owntable
