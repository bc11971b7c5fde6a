package netops

import (
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/registry"
)

// elementChunk gathers elements of one set into items.
type elementChunk struct {
	list      registry.NftElements
	key, data nft.Layout
	verdicts  bool
}

func (b *firewallRow) elementsOf(s *nft.Set) *elementChunk {
	if b.elements == nil {
		b.elements = make([]registry.NftElement, 0, elementsAtOnce)
	}
	return &elementChunk{
		list: registry.NftElements{
			Family:   registry.NftFamily(nftFamily(s.Family)),
			Table:    s.Table,
			Set:      s.Name,
			Elements: b.elements[:0],
		},
		key:      s.KeyLayout(),
		data:     s.DataLayout(),
		verdicts: s.DataType == nft.DataVerdict,
	}
}

func (c *elementChunk) add(e *nft.Element) {
	row := registry.NftElement{
		Key:      hexText(e.Key),
		KeyEnd:   hexText(e.KeyEnd),
		CatchAll: isTrue(e.CatchAll),
		Data:     hexText(e.Data),
		Verdict:  nftVerdict(e.Verdict),
		Object:   registry.NonZero(e.Object),
		TimeoutS: when(e.Timeout.Set, float64(e.Timeout.Value)/1000),
		ExpiresS: when(e.Expires.Set, float64(e.Expires.Value)/1000),
		Raw:      hexText(e.Raw),
	}
	if e.Key != nil {
		text, ok := c.key.Text(e.Key, e.KeyEnd)
		row.KeyText = when(ok, text)
	}
	if e.Data != nil && !c.verdicts {
		text, ok := c.data.Text(e.Data, nil)
		row.DataText = when(ok, text)
	}
	for x := range e.Expressions() {
		row.Expressions = append(row.Expressions, nftStateful(x))
	}
	row.Comment, row.UserData = userData(e.UserData, nft.UserComment)
	c.list.Elements = append(c.list.Elements, row)
}

func (c *elementChunk) send(out limited[registry.NftItem]) error {
	err := out.send(&registry.NftItem{Elements: &c.list})
	c.list.Elements = c.list.Elements[:0]
	return err
}
