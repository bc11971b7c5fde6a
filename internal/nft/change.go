package nft

import (
	"context"
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Change is a transaction: additions and deletions that the kernel makes all at once or not at all, in the order
// in which they were asked for. It is used once.
type Change struct {
	batch *nlsock.Batch
}

// Change begins a transaction on the socket.
func (c *Conn) Change() *Change {
	t := &Change{c.sock.Batch()}
	t.bound("begin change of ruleset", unix.NFNL_MSG_BATCH_BEGIN)
	return t
}

// Empty tells whether nothing has been asked for.
func (t *Change) Empty() bool { return t.batch.Len() <= 1 }

// Size is how many bytes the transaction has by now. The kernel takes what fits a datagram: some megabytes, less
// without CAP_NET_ADMIN in the first user namespace.
func (t *Change) Size() int { return t.batch.Size() }

// Commit has the kernel make the changes. An error, an [*OpError] that names the one that was refused, means that
// none was made, unless it is the context's: then nobody knows.
func (t *Change) Commit(ctx context.Context) error {
	if t.Empty() {
		return nil
	}
	last := t.batch.Len() - 1
	t.bound("end change of ruleset", unix.NFNL_MSG_BATCH_END)
	return t.batch.Commit(ctx, last, nil)
}

// bound is one of the two messages around the others, whose res_id names the subsystem.
func (t *Change) bound(op string, typ uint16) {
	r := t.batch.Add(op, typ, 0)
	r.Raw(binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, unix.NFNL_SUBSYS_NFTABLES))
}

func (t *Change) add(op string, typ, flags uint16, family uint8) *nlsock.Request {
	r := t.batch.Add(op, messageType(typ), flags)
	r.Raw([]byte{family, unix.NFNETLINK_V0, 0, 0})
	return r
}

// In is a table to work on.
type In struct {
	Family uint8 // unix.NFPROTO_*
	Table  string
}

// AddTable makes a table. One that is there already stays as it is, with all that is in it.
func (t *Change) AddTable(in In, user UserData) {
	r := t.add("add table "+in.Table, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, in.Family)
	r.String(tableName, in.Table)
	r.BigUint32(tableFlags, 0)
	bytesUnlessEmpty(r, tableUserData, user)
}

// DeleteTable takes a table away with all that is in it.
func (t *Change) DeleteTable(in In) {
	r := t.add("delete table "+in.Table, unix.NFT_MSG_DELTABLE, 0, in.Family)
	r.String(tableName, in.Table)
}

// NewChain is a chain to be made. Without a Type it is one that rules jump to.
type NewChain struct {
	Name     string
	Type     string // filter, nat or route
	Hook     uint32 // see HookName
	Priority int32
	Policy   Opt[uint32] // unix.NF_ACCEPT or unix.NF_DROP, of a chain with a Type
}

// AddChain makes a chain; one of the same properties that is there already stays, with its rules, and gets the
// policy.
func (t *Change) AddChain(in In, c NewChain) {
	r := t.add("add chain "+c.Name, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, in.Family)
	r.String(chainTable, in.Table)
	r.String(chainName, c.Name)
	if c.Type == "" {
		return
	}
	r.Nest(chainHook, func() {
		r.BigUint32(hookNumber, c.Hook)
		r.BigUint32(hookPriority, uint32(c.Priority))
	})
	r.String(chainType, c.Type)
	if c.Policy.Set {
		r.BigUint32(chainPolicy, c.Policy.Value)
	}
}

// FlushChain takes all rules of a chain away.
func (t *Change) FlushChain(in In, chain string) {
	r := t.add("flush chain "+chain, unix.NFT_MSG_DELRULE, 0, in.Family)
	r.String(ruleTable, in.Table)
	r.String(ruleChain, chain)
}

// DeleteChain takes a chain away that nothing jumps to, with its rules.
func (t *Change) DeleteChain(in In, chain string) {
	r := t.add("delete chain "+chain, unix.NFT_MSG_DELCHAIN, 0, in.Family)
	r.String(chainTable, in.Table)
	r.String(chainName, chain)
}

// AddRule appends a rule to a chain.
func (t *Change) AddRule(in In, chain string, user UserData, steps ...Step) {
	r := t.add("add rule to chain "+chain, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, in.Family)
	r.String(ruleTable, in.Table)
	r.String(ruleChain, chain)
	r.Nest(ruleExpressions, func() { appendSteps(r, steps) })
	bytesUnlessEmpty(r, ruleUserData, user)
}

// NewSet is a set or map to be made, whose elements are found by their whole key.
type NewSet struct {
	Name     string
	Key      []Field // of its keys, one behind the other
	Data     []Field // of what a map has for them; nil: a set
	Verdicts bool    // a map to verdicts
	Counters bool    // each element counts the packets that find it
	Timeouts bool    // elements may go by themselves
	Size     uint32  // most elements; 0: no limit
	User     UserData
}

// Field is a part of a key or of a map's data: its type in nft(8) and its length in bytes.
type Field struct {
	Type uint32
	Len  int
}

// Fields, with the numbers that nft knows their types by (enum datatypes in nft's datatype.h).
var (
	FieldProtocol  = Field{12, 1}  // inet_proto
	FieldPort      = Field{13, 2}  // inet_service
	FieldIPv4      = Field{7, 4}   // ipv4_addr
	FieldIPv6      = Field{8, 16}  // ipv6_addr
	FieldInterface = Field{41, 16} // ifname
	FieldFamily    = Field{2, 1}   // nf_proto
)

// AppendKey appends a part of a key, padded to the four bytes that each part of several takes.
func AppendKey(b []byte, part []byte) []byte {
	b = append(b, part...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// extent is the type and the length of fields one behind the other. One field alone has its own length,
// several take multiples of four bytes each.
func extent(fields []Field) (typ uint32, size int) {
	if len(fields) == 1 {
		return fields[0].Type, fields[0].Len
	}
	for _, f := range fields {
		typ = typ<<6 | f.Type
		size += (f.Len + 3) &^ 3
	}
	return typ, size
}

// AddSet makes a set or map; one that is there already stays, with its elements.
func (t *Change) AddSet(in In, s NewSet) {
	r := t.add("add set "+s.Name, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, in.Family)
	r.String(setTable, in.Table)
	r.String(setName, s.Name)
	flags := uint32(0)
	if len(s.Key) > 1 {
		flags |= SetConcat
	}
	if s.Data != nil || s.Verdicts {
		flags |= SetMap
	}
	if s.Timeouts {
		flags |= SetTimeout
	}
	r.BigUint32(setFlags, flags)
	typ, size := extent(s.Key)
	r.BigUint32(setKeyType, typ)
	r.BigUint32(setKeyLen, uint32(size))
	switch {
	case s.Verdicts:
		r.BigUint32(setDataType, DataVerdict)
	case s.Data != nil:
		typ, size := extent(s.Data)
		r.BigUint32(setDataType, typ)
		r.BigUint32(setDataLen, uint32(size))
	}
	r.BigUint32(setID, uint32(t.batch.Len())) // needed by the message's form; names do the rest
	t.describe(r, s)
	if s.Counters {
		r.Nest(setExpr, func() { Count().append(r) })
	}
	bytesUnlessEmpty(r, setUserData, append(keyOrder(s.Key), s.User...))
}

// keyOrder tells nft that names of interfaces, alone in a key, are not numbers in network order.
func keyOrder(key []Field) UserData {
	if len(key) != 1 || key[0] != FieldInterface {
		return nil
	}
	return binary.NativeEndian.AppendUint32(UserData{UserSetKeyOrder, 4}, userOrderHost)
}

// describe tells the kernel how many elements there may be and, of a concatenation, how long its fields are.
func (t *Change) describe(r *nlsock.Request, s NewSet) {
	if s.Size == 0 && len(s.Key) == 1 {
		return
	}
	r.Nest(setDesc, func() {
		if s.Size > 0 {
			r.BigUint32(setDescSize, s.Size)
		}
		if len(s.Key) > 1 {
			r.Nest(setDescConcat, func() {
				for _, f := range s.Key {
					r.Nest(listElem, func() { r.BigUint32(setFieldLen, uint32(f.Len)) })
				}
			})
		}
	})
}

// DeleteSet takes a set away that no rule uses.
func (t *Change) DeleteSet(in In, name string) {
	r := t.add("delete set "+name, unix.NFT_MSG_DELSET, 0, in.Family)
	r.String(setTable, in.Table)
	r.String(setName, name)
}

// NewElement is an element to be added or deleted; for that its key alone counts.
type NewElement struct {
	Key     []byte
	Data    []byte        // of a map
	Verdict Opt[Verdict]  // of a map to verdicts
	Timeout time.Duration // after which it goes by itself, of a set with timeouts; 0: it stays
	User    UserData
}

// elementsInMessage is how many elements go in one message, whose attribute with them all has a length of 16 bits.
const elementsInMessage = 250

// AddElements adds elements. One whose key is there already is refused (EEXIST).
func (t *Change) AddElements(in In, set string, elements []NewElement) {
	t.elements("add elements to set "+set, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_EXCL, in, set, elements)
}

// DeleteElements deletes elements. One whose key is not there is refused (ENOENT).
func (t *Change) DeleteElements(in In, set string, elements []NewElement) {
	t.elements("delete elements of set "+set, unix.NFT_MSG_DELSETELEM, 0, in, set, elements)
}

// FlushSet deletes all elements.
func (t *Change) FlushSet(in In, set string) {
	r := t.add("flush set "+set, unix.NFT_MSG_DELSETELEM, 0, in.Family)
	r.String(elemListTable, in.Table)
	r.String(elemListSet, set)
}

func (t *Change) elements(op string, typ, flags uint16, in In, set string, elements []NewElement) {
	for len(elements) > 0 {
		n := min(elementsInMessage, len(elements))
		r := t.add(op, typ, flags, in.Family)
		r.String(elemListTable, in.Table)
		r.String(elemListSet, set)
		r.Nest(elemListElements, func() {
			for i := range n {
				r.Nest(listElem, func() { elements[i].append(r) })
			}
		})
		elements = elements[n:]
	}
}

func (e *NewElement) append(r *nlsock.Request) {
	r.Nest(elemKey, func() { r.Bytes(dataValue, e.Key) })
	switch {
	case e.Verdict.Set:
		r.Nest(elemData, func() { appendVerdict(r, e.Verdict.Value) })
	case e.Data != nil:
		r.Nest(elemData, func() { r.Bytes(dataValue, e.Data) })
	}
	if e.Timeout > 0 {
		r.BigUint64(elemTimeout, uint64(max(e.Timeout.Milliseconds(), 1)))
	}
	bytesUnlessEmpty(r, elemUserData, e.User)
}

func bytesUnlessEmpty(r *nlsock.Request, typ uint16, b []byte) {
	if len(b) > 0 {
		r.Bytes(typ, b)
	}
}

// Comment is the user data that nft shows as a comment: of a table, chain, rule or element with UserComment, of a
// set with UserSetComment.
func Comment(typ uint8, text string) UserData {
	return append(append(UserData{typ, uint8(len(text) + 1)}, text...), 0)
}
