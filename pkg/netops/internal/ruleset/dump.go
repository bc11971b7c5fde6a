package ruleset

import (
	"context"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The table that the daemon keeps its own rules in.
const (
	OwnFamily = unix.NFPROTO_INET
	OwnTable  = "my_os_server"
)

// FamilyNumber is the kernel's number of a family of the table.
func FamilyNumber(family registry.NftFamily) uint8 { return families[family] }

var families = map[registry.NftFamily]uint8{
	registry.NftFamilyInet:   unix.NFPROTO_INET,
	registry.NftFamilyIp:     unix.NFPROTO_IPV4,
	registry.NftFamilyIp6:    unix.NFPROTO_IPV6,
	registry.NftFamilyArp:    unix.NFPROTO_ARP,
	registry.NftFamilyBridge: unix.NFPROTO_BRIDGE,
	registry.NftFamilyNetdev: unix.NFPROTO_NETDEV,
}

// Dump sends a ruleset. Sets are listed on one socket and their elements on others, so that
// little has to be kept between them.
type Dump struct {
	sockets *nft.Pool
	filter  nft.Filter
	out     wire.Limited[registry.NftItem]
	row     maker

	conn     *nft.Conn
	elements []*nft.Conn // opened where there is a set
}

// Open gets a socket and asks whether there is a ruleset to be read at all: nft.ErrNoTables where the kernel
// has none. What the dump tells goes to out. The caller closes it.
func Open(ctx context.Context, sockets *nft.Pool, filter nft.Filter, out wire.Limited[registry.NftItem]) (*Dump, error) {
	conn, err := sockets.Get()
	if err != nil {
		return nil, err
	}
	d := &Dump{sockets: sockets, filter: filter, out: out, conn: conn}
	if _, err = conn.Generation(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// SetTexts has foreign rules told with these texts too.
func (d *Dump) SetTexts(texts map[nft.RuleRef]string) { d.row.texts = texts }

// Close gives the sockets back.
func (d *Dump) Close() {
	d.sockets.Put(d.conn)
	for _, conn := range d.elements {
		d.sockets.Put(conn)
	}
}

// elementSocket is the i-th socket for elements, which is kept for when the ruleset is read again.
func (d *Dump) elementSocket(i int) (*nft.Conn, error) {
	if i < len(d.elements) {
		return d.elements[i], nil
	}
	conn, err := d.sockets.Get()
	if err == nil {
		d.elements = append(d.elements, conn)
	}
	return conn, err
}

// Run sends everything once, and what beside sends behind it. The dumps belong together where the ruleset's
// generation is the same at the end as at the start.
func (d *Dump) Run(ctx context.Context, beside func(context.Context) error) (generation uint32, interrupted bool, err error) {
	if generation, err = d.conn.Generation(ctx); err != nil {
		return 0, false, err
	}
	for _, part := range []func(context.Context) (bool, error){d.tables, d.chains, d.flowtables, d.objects, d.sets, d.rules} {
		flagged, err := part(ctx)
		interrupted = interrupted || flagged
		if err != nil {
			return generation, interrupted, wire.UnlessEnough(err)
		}
	}
	if err := beside(ctx); err != nil {
		return generation, interrupted, wire.UnlessEnough(err)
	}
	after, err := d.conn.Generation(ctx)
	return generation, interrupted || after != generation, err
}

func (d *Dump) tables(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Tables(ctx, d.filter), func(t *nft.Table) registry.NftItem {
		return registry.NftItem{Table: d.row.table(t)}
	})
}

func (d *Dump) chains(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Chains(ctx, d.filter), func(c *nft.Chain) registry.NftItem {
		return registry.NftItem{Chain: d.row.chain(c)}
	})
}

func (d *Dump) flowtables(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Flowtables(ctx, d.filter), func(t *nft.Flowtable) registry.NftItem {
		return registry.NftItem{Flowtable: d.row.flowtable(t)}
	})
}

func (d *Dump) objects(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Objects(ctx, d.filter), func(o *nft.Object) registry.NftItem {
		return registry.NftItem{Object: d.row.object(o)}
	})
}

func (d *Dump) rules(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Rules(ctx, d.filter), func(r *nft.Rule) registry.NftItem {
		return registry.NftItem{Rule: d.row.rule(r)}
	})
}

// sendItems sends every row of a dump.
func sendItems[Row any](d *Dump, rows iter.Seq2[*Row, error], item func(*Row) registry.NftItem) (bool, error) {
	return wire.Each(rows, func(row *Row) error {
		it := item(row)
		return d.out.Send(&it)
	})
}
