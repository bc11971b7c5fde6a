package netops

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Hooks on the way of what an entry lets through.
var (
	hookInput   = []uint32{unix.NF_INET_PRE_ROUTING, unix.NF_INET_LOCAL_IN}
	hookForward = []uint32{unix.NF_INET_PRE_ROUTING, unix.NF_INET_FORWARD, unix.NF_INET_POST_ROUTING}
)

const (
	reasonPolicy = "policy_drop"
	reasonRules  = "drop_rules"
	reasonUnread = "unread"
)

// foreignChain is a chain of another table as far as it may drop packets.
type foreignChain struct {
	row   registry.BlockedBy
	base  bool
	hook  uint32
	drops bool
	jumps []string
}

// blockers are the base chains of others on the way of a family's packets (0: of either) that may drop what
// an entry lets through: those with the policy drop, and those from which a rule that drops or rejects can be
// reached. An accept of ours cannot undo that.
func (n *Net) blockers(ctx context.Context, family uint8, hooks []uint32) ([]registry.BlockedBy, error) {
	conn, err := n.filters.Get()
	if err != nil {
		return nil, err
	}
	defer n.filters.Put(conn)
	var chains map[string]*foreignChain
	_, err = wire.Gathered(func() (interrupted bool, err error) {
		chains, interrupted, err = readForeign(ctx, conn, family)
		return interrupted, err
	})
	if err != nil && !errors.Is(err, nft.ErrNoTables) {
		return nil, err
	}
	var list []registry.BlockedBy
	for key, c := range chains {
		if c.base && slices.Contains(hooks, c.hook) && (c.row.Reason == reasonPolicy || reachesDrop(chains, key, map[string]bool{})) {
			if c.row.Reason == "" {
				c.row.Reason = reasonRules
			}
			list = append(list, c.row)
		}
	}
	legacy, err := n.legacyBlockers(family, hooks)
	list = append(list, legacy...)
	slices.SortFunc(list, func(a, b registry.BlockedBy) int {
		return strings.Compare(a.Backend+a.Family+a.Table+a.Chain, b.Backend+b.Family+b.Table+b.Chain)
	})
	return list, err
}

func chainKey(family uint8, table, chain string) string {
	return string(rune(family)) + "\x00" + table + "\x00" + chain
}

func readForeign(ctx context.Context, conn *nft.Conn, family uint8) (chains map[string]*foreignChain, interrupted bool, err error) {
	chains = map[string]*foreignChain{}
	on := func(f uint8, table string) bool {
		return !ruleset.IsOwn(f, table) && (f == unix.NFPROTO_INET || (f == unix.NFPROTO_IPV4 || f == unix.NFPROTO_IPV6) && (family == 0 || f == family))
	}
	first, err := wire.Each(conn.Chains(ctx, nft.Filter{}), func(c *nft.Chain) error {
		if !on(c.Family, c.Table) {
			return nil
		}
		f := &foreignChain{base: c.Base, hook: c.Hook, row: registry.BlockedBy{
			Backend: "nf_tables", Family: ruleset.Family(c.Family), Table: c.Table, Chain: c.Name,
			Hook: nft.HookName(c.Family, c.Hook), Priority: wire.Number(c.Base, c.Priority),
		}}
		if c.Base && c.Policy.Set && c.Policy.Value == 0 {
			f.row.Reason = reasonPolicy
		}
		chains[chainKey(c.Family, c.Table, c.Name)] = f
		return nil
	})
	if err != nil || len(chains) == 0 {
		return chains, first, err
	}
	second, err := wire.Each(conn.Rules(ctx, nft.Filter{}), func(r *nft.Rule) error {
		if c := chains[chainKey(r.Family, r.Table, r.Chain)]; c != nil {
			c.look(r)
		}
		return nil
	})
	return chains, first || second, err
}

// look notes whether a rule drops, and where it jumps to.
func (c *foreignChain) look(r *nft.Rule) {
	for e := range r.Expressions() {
		switch e.Name {
		case "reject", "queue", "synproxy":
			c.drops = true
		case "target": // of xtables, as REJECT: what it does is the module's
			var x nft.Xt
			if _, err := nft.Decode[nft.Xt](e.Data, &x); err == nil && x.Name == "REJECT" {
				c.drops = true
			}
		case "lookup": // a map to verdicts may have any
			var l nft.Lookup
			if _, err := nft.Decode[nft.Lookup](e.Data, &l); err == nil && l.DReg.Set && l.DReg.Value == 0 {
				c.drops = true
			}
		case "immediate":
			var v nft.Immediate
			if _, err := nft.Decode[nft.Immediate](e.Data, &v); err != nil || !v.Verdict.Set {
				continue
			}
			switch v.Verdict.Value.Code {
			case 0: // NF_DROP
				c.drops = true
			case unix.NFT_JUMP, unix.NFT_GOTO:
				c.jumps = append(c.jumps, chainKey(r.Family, r.Table, v.Verdict.Value.Chain))
			}
		}
	}
}

// reachesDrop tells whether a chain, or one that it jumps to, drops.
func reachesDrop(chains map[string]*foreignChain, key string, seen map[string]bool) bool {
	c := chains[key]
	if c == nil || seen[key] {
		return false
	}
	seen[key] = true
	if c.drops {
		return true
	}
	return slices.ContainsFunc(c.jumps, func(to string) bool { return reachesDrop(chains, to, seen) })
}

// legacyBlockers are the filter tables of xtables-legacy. The kernel shows that they are there, and what is
// in them only to iptables-legacy.
func (n *Net) legacyBlockers(family uint8, hooks []uint32) (list []registry.BlockedBy, err error) {
	chain, hook := "FORWARD", "forward"
	if slices.Contains(hooks, uint32(unix.NF_INET_LOCAL_IN)) {
		chain, hook = "INPUT", "input"
	}
	for _, names := range xtablesNames {
		if names.family == unix.NFPROTO_ARP || family != 0 && names.family != family {
			continue
		}
		tables, err := n.readXtables(names.file)
		if err != nil {
			return nil, err
		}
		if slices.Contains(tables, "filter") {
			list = append(list, registry.BlockedBy{
				Backend: "xtables_legacy", Family: ruleset.Family(names.family), Table: "filter", Chain: chain, Hook: hook,
				Priority: registry.Some[int64](0), Reason: reasonUnread,
			})
		}
	}
	return list, nil
}
