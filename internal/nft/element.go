package nft

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Element looks one key of a set up, and is nil where no element has it or the set is not there. The element
// holds until the next request of the socket.
func (c *Conn) Element(ctx context.Context, set Ref, key []byte) (*Element, error) {
	req := c.request("get element of set "+set.Name, unix.NFT_MSG_GETSETELEM, set.Family)
	req.String(elemListTable, set.Table)
	req.String(elemListSet, set.Name)
	req.Nest(elemListElements, func() {
		req.Nest(listElem, func() { req.Nest(elemKey, func() { req.Bytes(dataValue, key) }) })
	})
	m, err := c.sock.Do(ctx, req, 0)
	if errors.Is(err, syscall.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, refusal(err)
	}
	if m.Type != messageType(unix.NFT_MSG_NEWSETELEM) {
		return nil, req.Fail(fmt.Errorf("%w: answer of type %#x", ErrMalformed, m.Type))
	}
	c.join = intervals{}
	found := false
	_, err = c.elements(m.Data, func(*Element, error) bool { found = true; return true })
	if err != nil || !found {
		return nil, err
	}
	return &c.element, nil
}
