package ruleset

import (
	"sync"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// elementsAtOnce is how many elements go into one item: more would be memory for nothing.
const elementsAtOnce = 64

// elementChunk gathers elements of one set.
type elementChunk struct {
	elements  []registry.NftElement
	key, data nft.Layout
	verdicts  bool
}

func elementsOf(s *nft.Set) elementChunk {
	return elementChunk{key: s.KeyLayout(), data: s.DataLayout(), verdicts: s.DataType == nft.DataVerdict}
}

func (c *elementChunk) add(e *nft.Element) {
	row := registry.NftElement{
		Key:      wire.Hex(e.Key),
		KeyEnd:   wire.Hex(e.KeyEnd),
		CatchAll: wire.True(e.CatchAll),
		Data:     wire.Hex(e.Data),
		Verdict:  verdictOf(e.Verdict),
		Object:   registry.NonZero(e.Object),
		TimeoutS: wire.When(e.Timeout.Set, float64(e.Timeout.Value)/1000),
		ExpiresS: wire.When(e.Expires.Set, float64(e.Expires.Value)/1000),
		Raw:      wire.Hex(e.Raw),
	}
	if e.Key != nil {
		text, ok := c.key.Text(e.Key, e.KeyEnd)
		row.KeyText = wire.When(ok, text)
	}
	if e.Data != nil && !c.verdicts {
		text, ok := c.data.Text(e.Data, nil)
		row.DataText = wire.When(ok, text)
	}
	for x := range e.Expressions() {
		row.Expressions = append(row.Expressions, statefulOf(x))
	}
	row.Comment, row.UserData = userData(e.UserData, nft.UserComment)
	if c.elements == nil {
		c.elements = *elementLists.Get().(*[]registry.NftElement)
	}
	c.elements = append(c.elements, row)
}

// take hands over what was gathered.
func (c *elementChunk) take() []registry.NftElement {
	list := c.elements
	c.elements = nil
	return list
}

var elementLists = sync.Pool{New: func() any {
	list := make([]registry.NftElement, 0, elementsAtOnce)
	return &list
}}

// giveBack has the memory of a list used again.
func giveBack(list []registry.NftElement) {
	if list != nil {
		clear(list)
		list = list[:0]
		elementLists.Put(&list)
	}
}
