package nft

import (
	"context"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Table is a table (NFT_MSG_NEWTABLE).
type Table struct {
	Family   uint8
	Name     string
	Flags    uint32 // NFT_TABLE_F_*
	Use      uint32 // chains, sets, objects and flowtables in it
	Handle   uint64
	Owner    uint32 // netlink port of the process that owns it; 0: none
	UserData []byte
}

// enum nft_table_attributes.
const (
	tableName = iota + 1
	tableFlags
	tableUse
	tableHandle
	_
	tableUserData
	tableOwner
)

// Tables yields the tables.
func (c *Conn) Tables(ctx context.Context, f Filter) iter.Seq2[*Table, error] {
	return dump(ctx, c, "dump tables", unix.NFT_MSG_GETTABLE, unix.NFT_MSG_NEWTABLE, 0, f, &c.table)
}

func (t *Table) place() (uint8, string) { return t.Family, t.Name }

func (t *Table) decode(family uint8, a nlsock.Attrs) error {
	*t = Table{Family: family}
	for a.Next() {
		switch a.Type() {
		case tableName:
			t.Name = a.String()
		case tableFlags:
			t.Flags = a.BigUint32()
		case tableUse:
			t.Use = a.BigUint32()
		case tableHandle:
			t.Handle = a.BigUint64()
		case tableUserData:
			t.UserData = a.Bytes()
		case tableOwner:
			t.Owner = a.BigUint32()
		}
	}
	return a.Err()
}

// Chain is a chain (NFT_MSG_NEWCHAIN).
type Chain struct {
	Family      uint8
	Table, Name string
	Handle      uint64
	Flags       uint32 // NFT_CHAIN_*
	Use         uint32 // rules in it and jumps to it
	UserData    []byte

	// Of a base chain, one that packets come to by themselves:
	Base     bool
	Type     string // filter, nat, route
	Hook     uint32 // see HookName
	Priority int32
	Devices  []string
	Policy   Opt[uint32] // NF_ACCEPT or NF_DROP
	Counters Opt[Counter]
}

// enum nft_chain_attributes.
const (
	chainTable = iota + 1
	chainHandle
	chainName
	chainHook
	chainPolicy
	chainUse
	chainType
	chainCounters
	_
	chainFlags
	_
	chainUserData
)

// Chains yields the chains of each table.
func (c *Conn) Chains(ctx context.Context, f Filter) iter.Seq2[*Chain, error] {
	return dump(ctx, c, "dump chains", unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_NEWCHAIN, chainTable, f, &c.chain)
}

func (c *Chain) place() (uint8, string) { return c.Family, c.Table }

func (c *Chain) decode(family uint8, a nlsock.Attrs) error {
	*c = Chain{Family: family, Table: c.Table, Devices: c.Devices[:0]}
	for a.Next() {
		switch a.Type() {
		case chainTable:
			nlsock.Reuse(&c.Table, a.Bytes())
		case chainHandle:
			c.Handle = a.BigUint64()
		case chainName:
			c.Name = a.String()
		case chainPolicy:
			c.Policy = some(a.BigUint32())
		case chainUse:
			c.Use = a.BigUint32()
		case chainType:
			c.Type = a.String()
		case chainFlags:
			c.Flags = a.BigUint32()
		case chainUserData:
			c.UserData = a.Bytes()
		case chainHook:
			if err := c.hook(&a); err != nil {
				return err
			}
		case chainCounters:
			var counter Counter
			if _, err := Decode(a.Bytes(), &counter); err != nil {
				return err
			}
			c.Counters = some(counter)
		}
	}
	return a.Err()
}

// enum nft_hook_attributes; those of flowtables have the same numbers but for the devices.
const (
	hookNumber = iota + 1
	hookPriority
	hookDevice
	hookDevices
)

func (c *Chain) hook(a *nlsock.Attrs) (err error) {
	c.Base = true
	var one string // a single device stands in NFTA_HOOK_DEV and, since Linux 5.5, in the list as well
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case hookNumber:
			c.Hook = n.BigUint32()
		case hookPriority:
			c.Priority = int32(n.BigUint32())
		case hookDevice:
			one = n.String()
		case hookDevices:
			if c.Devices, err = devices(c.Devices, &n); err != nil {
				return err
			}
		}
	}
	if len(c.Devices) == 0 && one != "" {
		c.Devices = append(c.Devices, one)
	}
	return n.Err()
}

// enum nft_devices_attributes.
const (
	deviceName   = 1
	devicePrefix = 2 // Linux 6.17: every device whose name begins so
)

func devices(list []string, a *nlsock.Attrs) ([]string, error) {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case deviceName:
			list = append(list, n.String())
		case devicePrefix:
			list = append(list, n.String()+"*")
		}
	}
	return list, n.Err()
}

// Flowtable is a flowtable (NFT_MSG_NEWFLOWTABLE).
type Flowtable struct {
	Family      uint8
	Table, Name string
	Handle      uint64
	Hook        uint32 // see HookName, family netdev
	Priority    int32
	Devices     []string
	Flags       uint32 // NFT_FLOWTABLE_*
	Use         uint32
}

// enum nft_flowtable_attributes.
const (
	flowtableTable = iota + 1
	flowtableName
	flowtableHook
	flowtableUse
	flowtableHandle
	_
	flowtableFlags

	flowtableHookDevices = 3
)

// Flowtables yields the flowtables of each table. A kernel without them has none.
func (c *Conn) Flowtables(ctx context.Context, f Filter) iter.Seq2[*Flowtable, error] {
	return dump(ctx, c, "dump flowtables", unix.NFT_MSG_GETFLOWTABLE, unix.NFT_MSG_NEWFLOWTABLE, flowtableTable, f, &c.flowtable)
}

func (t *Flowtable) place() (uint8, string) { return t.Family, t.Table }

func (t *Flowtable) decode(family uint8, a nlsock.Attrs) error {
	*t = Flowtable{Family: family, Table: t.Table, Devices: t.Devices[:0]}
	for a.Next() {
		switch a.Type() {
		case flowtableTable:
			nlsock.Reuse(&t.Table, a.Bytes())
		case flowtableName:
			t.Name = a.String()
		case flowtableUse:
			t.Use = a.BigUint32()
		case flowtableHandle:
			t.Handle = a.BigUint64()
		case flowtableFlags:
			t.Flags = a.BigUint32()
		case flowtableHook:
			if err := t.hook(&a); err != nil {
				return err
			}
		}
	}
	return a.Err()
}

func (t *Flowtable) hook(a *nlsock.Attrs) (err error) {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case hookNumber:
			t.Hook = n.BigUint32()
		case hookPriority:
			t.Priority = int32(n.BigUint32())
		case flowtableHookDevices:
			if t.Devices, err = devices(t.Devices, &n); err != nil {
				return err
			}
		}
	}
	return n.Err()
}
