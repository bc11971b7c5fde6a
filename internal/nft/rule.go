package nft

import (
	"context"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Rule is a rule (NFT_MSG_NEWRULE).
type Rule struct {
	Family       uint8
	Table, Chain string
	Handle       uint64
	Position     Opt[uint64] // handle of the rule before it
	UserData     []byte

	// What iptables-nft gave with it (NFTA_RULE_COMPAT).
	CompatProto Opt[uint32]
	CompatFlags uint32

	expressions []byte
}

// CompatInvert is the flag of CompatFlags that inverts the protocol (NFT_RULE_COMPAT_F_INV).
const CompatInvert = 2

// enum nft_rule_attributes.
const (
	ruleTable = iota + 1
	ruleChain
	ruleHandle
	ruleExpressions
	ruleCompat
	rulePosition
	ruleUserData

	compatProto = 1
	compatFlags = 2
)

// Rules yields the rules, chain by chain in their order.
func (c *Conn) Rules(ctx context.Context, f Filter) iter.Seq2[*Rule, error] {
	return dump(ctx, c, "dump rules", unix.NFT_MSG_GETRULE, unix.NFT_MSG_NEWRULE, ruleTable, f, &c.rule)
}

func (r *Rule) place() (uint8, string) { return r.Family, r.Table }

func (r *Rule) decode(family uint8, a nlsock.Attrs) error {
	*r = Rule{Family: family, Table: r.Table, Chain: r.Chain}
	for a.Next() {
		switch a.Type() {
		case ruleTable:
			nlsock.Reuse(&r.Table, a.Bytes())
		case ruleChain:
			nlsock.Reuse(&r.Chain, a.Bytes())
		case ruleHandle:
			r.Handle = a.BigUint64()
		case rulePosition:
			r.Position = some(a.BigUint64())
		case ruleUserData:
			r.UserData = a.Bytes()
		case ruleCompat:
			n := a.Nested()
			for n.Next() {
				switch n.Type() {
				case compatProto:
					r.CompatProto = some(n.BigUint32())
				case compatFlags:
					r.CompatFlags = n.BigUint32()
				}
			}
			if err := n.Err(); err != nil {
				return err
			}
		case ruleExpressions:
			r.expressions = a.Bytes()
			if err := checkExpressions(r.expressions); err != nil {
				return err
			}
		}
	}
	return a.Err()
}

// Expressions yields what the rule does, in order.
func (r *Rule) Expressions() iter.Seq[Expression] { return expressions(r.expressions) }
