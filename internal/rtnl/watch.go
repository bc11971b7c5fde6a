package rtnl

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch tells when links or addresses come, change or go in a network namespace (the descriptor netns, 0 for
// the calling thread's). The events have no contents: what there is must be read anew, also because the
// kernel drops what does not fit the socket's buffer. Several that come close together may be one. The
// channel is closed when ctx ends or the socket fails.
func Watch(ctx context.Context, netns int) (<-chan struct{}, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	for _, group := range []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR} {
		if err := conn.JoinGroup(group); err != nil {
			return nil, errors.Join(fmt.Errorf("join rtnetlink group %d: %w", group, err), conn.Close())
		}
	}
	events := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	go func() {
		defer close(events)
		defer conn.Close()
		defer stop()
		for ctx.Err() == nil {
			if _, err := conn.Receive(); err != nil && !errors.Is(err, syscall.ENOBUFS) {
				return
			}
			select {
			case events <- struct{}{}:
			default: // one waits to be taken, and stands for this one too
			}
		}
	}()
	return events, nil
}
