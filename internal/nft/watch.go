package nft

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Listener is a socket that hears of changes.
type Listener = nlsock.Listener

// attrTable is the name of the table in every message that is about something in one (NFTA_TABLE_NAME,
// NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE, NFTA_OBJ_TABLE, NFTA_FLOWTABLE_TABLE).
const attrTable = 1

// Watch tells when a table, or anything in it, comes, changes or goes in a network namespace (the descriptor
// netns, 0 for the calling thread's), until ctx ends. It needs CAP_NET_ADMIN.
func Watch(ctx context.Context, netns int, table In) (*Listener, error) {
	return nlsock.Listen(ctx, unix.NETLINK_NETFILTER, netns, []uint32{unix.NFNLGRP_NFTABLES}, func(m nlsock.Message) bool {
		return m.Type>>8 == unix.NFNL_SUBSYS_NFTABLES && concerns(m.Data, table)
	})
}

// concerns tells whether a notification is about a table. One that cannot be read is.
func concerns(b []byte, table In) bool {
	if len(b) < headerSize {
		return true
	}
	if b[0] != table.Family {
		return false
	}
	for a := nlsock.Attributes(b[headerSize:]); a.Next(); {
		if a.Type() == attrTable {
			return a.String() == table.Table
		}
	}
	return false
}
