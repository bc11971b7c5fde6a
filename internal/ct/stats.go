package ct

import (
	"context"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// CPUStats are the counters of one CPU in one network namespace (IPCTNL_MSG_CT_GET_STATS_CPU), by
// attribute number: Stat* are the indices. Which of them a kernel keeps differs: see Has.
type CPUStats struct {
	CPU   uint16
	Count [StatCount]uint32

	has uint32
}

// Counters of a CPU (enum ctattr_stats_cpu), and behind them those of expectations (enum
// ctattr_expect_stats), which the kernel tells by another message.
const (
	StatSearched = iota + 1
	StatFound
	StatNew
	StatInvalid
	StatIgnore
	StatDelete
	StatDeleteList
	StatInsert
	StatInsertFailed
	StatDrop
	StatEarlyDrop
	StatError
	StatSearchRestart
	StatClashResolve
	StatChainTooLong
	StatExpectNew
	StatExpectCreate
	StatExpectDelete

	StatCount // one more than the last
)

// Has tells whether the kernel told a counter.
func (s *CPUStats) Has(stat int) bool { return s.has&(1<<stat) != 0 }

func (s *CPUStats) set(stat int, v uint32) {
	s.Count[stat] = v
	s.has |= 1 << stat
}

// StatsByCPU returns the counters of each CPU, in the kernel's order. A kernel without connection
// tracking is ErrNoConntrack.
func (c *Conn) StatsByCPU(ctx context.Context) ([]CPUStats, error) {
	var all []CPUStats
	err := c.statsDump(ctx, "dump conntrack statistics", unix.NFNL_SUBSYS_CTNETLINK, msgGetStatsCPU, func(cpu uint16, a *nlsock.Attrs) error {
		s := CPUStats{CPU: cpu}
		for a.Next() {
			if t := int(a.Type()); t >= StatSearched && t <= StatChainTooLong {
				s.set(t, a.BigUint32())
			}
		}
		all = append(all, s)
		return a.Err()
	})
	if err != nil {
		return nil, refusal(err)
	}
	return all, c.expectStats(ctx, all)
}

// expectStats adds the counters of expectations, which a kernel may do without.
func (c *Conn) expectStats(ctx context.Context, all []CPUStats) error {
	err := c.statsDump(ctx, "dump expectation statistics", unix.NFNL_SUBSYS_CTNETLINK_EXP, msgExpGetStatsCPU, func(cpu uint16, a *nlsock.Attrs) error {
		for a.Next() {
			t := int(a.Type())
			if t < 1 || t > 3 {
				continue
			}
			for i := range all {
				if all[i].CPU == cpu {
					all[i].set(StatExpectNew-1+t, a.BigUint32())
				}
			}
		}
		return a.Err()
	})
	if errors.Is(refusal(err), ErrNoConntrack) {
		return nil
	}
	return err
}

// statsDump calls take with the attributes of each CPU, which res_id of struct nfgenmsg numbers.
func (c *Conn) statsDump(ctx context.Context, op string, subsystem, typ uint16, take func(cpu uint16, a *nlsock.Attrs) error) error {
	req := c.request(op, subsystem, typ, unix.AF_UNSPEC)
	for m, err := range c.sock.Dump(ctx, req) {
		if err != nil {
			return err
		}
		if len(m.Data) < headerSize {
			return req.Fail(ErrMalformed)
		}
		a := nlsock.Attributes(m.Data[headerSize:])
		if err := take(binary.BigEndian.Uint16(m.Data[2:]), &a); err != nil {
			return req.Fail(err)
		}
	}
	return nil
}

// Expectations counts the connections that are expected and have not come (IPCTNL_MSG_EXP_GET).
func (c *Conn) Expectations(ctx context.Context) (int, error) {
	n := 0
	req := c.request("dump expectations", unix.NFNL_SUBSYS_CTNETLINK_EXP, msgExpGet, unix.AF_UNSPEC)
	for m, err := range c.sock.Dump(ctx, req) {
		if err != nil {
			return 0, refusal(err)
		}
		if m.Type == unix.NFNL_SUBSYS_CTNETLINK_EXP<<8|msgExpNew {
			n++
		}
	}
	return n, nil
}

// Global is the table as a whole.
type Global struct {
	Entries    uint32 // in use in the socket's network namespace
	MaxEntries uint32 // most entries; 0 where the kernel does not tell (before 5.13)
}

const (
	globalEntries    = 1
	globalMaxEntries = 2
)

// Stats asks how full the table is (IPCTNL_MSG_CT_GET_STATS).
func (c *Conn) Stats(ctx context.Context) (Global, error) {
	req := c.request("get conntrack statistics", unix.NFNL_SUBSYS_CTNETLINK, msgGetStats, unix.AF_UNSPEC)
	m, err := c.sock.Do(ctx, req, 0)
	if err != nil {
		return Global{}, refusal(err)
	}
	if len(m.Data) < headerSize {
		return Global{}, req.Fail(ErrMalformed)
	}
	var g Global
	a := nlsock.Attributes(m.Data[headerSize:])
	for a.Next() {
		switch a.Type() {
		case globalEntries:
			g.Entries = a.BigUint32()
		case globalMaxEntries:
			g.MaxEntries = a.BigUint32()
		}
	}
	return g, a.Err()
}
