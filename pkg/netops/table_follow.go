package netops

import (
	"bytes"
	"context"
	"time"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
)

// Addresses and bridges come and go. Where rules look them up, the sets that tell of them are kept as the host
// is: from the first such rule on, until the Net is closed.

// follow begins to follow the host, once.
func (n *Net) follow() {
	t := n.kept.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopFollowing != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	events, err := rtnl.Watch(ctx, n.netnsFD())
	if err != nil {
		cancel()
		n.options.Log.Error().Err(err).Msg("addresses cannot be followed")
		return
	}
	t.stopFollowing, t.followed = cancel, make(chan struct{})
	go func() {
		defer close(t.followed)
		for range events {
			select {
			case <-ctx.Done():
				return
			case <-time.After(settleTime):
			}
			if err := n.syncHost(ctx); err != nil && ctx.Err() == nil {
				n.options.Log.Error().Err(err).Msg("the addresses in table " + ruleset.OwnTable + " could not be brought up to date")
			}
		}
	}()
}

// stop ends what follow began.
func (t *tableState) stop() {
	t.mu.Lock()
	cancel := t.stopFollowing
	t.mu.Unlock()
	if cancel != nil {
		cancel()
		<-t.followed
	}
}

// followIfNeeded begins to follow the host where rules of an earlier life of the daemon look it up.
func (n *Net) followIfNeeded(ctx context.Context) error {
	n.kept.table.know(n.kept.tableEntries)
	if len(n.hostSets()) == 0 {
		return nil
	}
	n.follow()
	return n.syncHost(ctx)
}

// hostSets are the sets of the table that tell of the host.
func (n *Net) hostSets() []nft.NewSet {
	n.kept.table.mu.Lock()
	defer n.kept.table.mu.Unlock()
	_, sets := owntable.For(owntable.InOrder(n.kept.table.shapes))
	return sets
}

// syncHost brings these sets up to date, in one transaction, and does nothing where they are.
func (n *Net) syncHost(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return n.changeTable(ctx, func(conn *nft.Conn) error {
		sets := n.hostSets()
		facts, err := n.factsFor(ctx, sets)
		if err != nil {
			return err
		}
		var stale []nft.NewSet
		for _, s := range sets {
			same, err := asTold(ctx, conn, s, facts.Elements(s.Name))
			if err != nil {
				return err
			}
			if !same {
				stale = append(stale, s)
			}
		}
		if len(stale) == 0 {
			return nil
		}
		t := conn.Change()
		for _, s := range stale {
			t.FlushSet(own, s.Name)
			t.AddElements(own, s.Name, facts.Elements(s.Name))
		}
		return t.Commit(ctx)
	})
}

// asTold tells whether a set has exactly these elements.
func asTold(ctx context.Context, conn *nft.Conn, s nft.NewSet, list []nft.NewElement) (bool, error) {
	wanted := map[string][]byte{}
	for _, e := range list {
		wanted[string(e.Key)] = e.Data
	}
	same, found := true, 0
	ref := nft.Ref{Family: own.Family, Table: own.Table, Name: s.Name}
	interrupted, err := wire.Each(conn.Elements(ctx, ref), func(e *nft.Element) error {
		data, ok := wanted[string(e.Key)]
		same = same && ok && bytes.Equal(data, e.Data)
		found++
		return nil
	})
	return same && found == len(wanted) && !interrupted, err
}
