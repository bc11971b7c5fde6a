package rtnl

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Listener is a socket that hears of changes.
type Listener = nlsock.Listener

// Watch tells when links or addresses come, change or go in a network namespace (the descriptor netns, 0 for
// the calling thread's). The events have no contents: what there is must be read anew, also because the
// kernel drops what does not fit the socket's buffer. Several that come close together may be one. The
// channel is closed when ctx ends or the socket fails.
func Watch(ctx context.Context, netns int) (<-chan struct{}, error) {
	l, err := nlsock.Listen(ctx, unix.NETLINK_ROUTE, netns, []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR}, nil)
	if err != nil {
		return nil, err
	}
	return l.Events, nil
}

// WatchAll is Watch for routes and for the settings that the kernel tells of (forwarding, proxy_neigh, rp_filter
// and others: RTM_NEWNETCONF) too. Of routes only those count that wanted wants: a router may hear of
// thousands a second. It is called on a goroutine of the listener's, and the route is its own until it returns.
func WatchAll(ctx context.Context, netns int, wanted func(*Route) bool) (*Listener, error) {
	var route Route
	return nlsock.Listen(ctx, unix.NETLINK_ROUTE, netns, []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	}, func(m nlsock.Message) bool {
		if m.Type != unix.RTM_NEWROUTE && m.Type != unix.RTM_DELROUTE {
			return true
		}
		if err := route.decode(m.Data); err != nil {
			return true // whatever it is, something has changed
		}
		return wanted(&route)
	})
}
