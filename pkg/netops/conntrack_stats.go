package netops

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/internal/sysctl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ConntrackStats handles net.conntrack.stats. How full the table is stands in procfs, for everybody to
// read; the counters are netlink's, for those with CAP_NET_ADMIN.
func (n *Net) ConntrackStats(ctx context.Context, _ *registry.NetConntrackStatsParams) (*registry.NetConntrackStatsResult, error) {
	result := &registry.NetConntrackStatsResult{}
	settings := n.inside(func() error { return readConntrackState(n.options.Root, result) })
	if settings != nil && !errors.Is(settings, fs.ErrNotExist) {
		return nil, settings
	}
	err := n.readConntrackCounters(ctx, result, settings != nil)
	if settings == nil && errors.Is(err, syscall.EPERM) {
		err = nil
	}
	if err != nil {
		return nil, conntrackError(err)
	}
	return result, nil
}

// readConntrackState reads net/netfilter/nf_conntrack_*. A kernel without connection tracking, or a host
// without /proc, is fs.ErrNotExist.
func readConntrackState(root string, result *registry.NetConntrackStatsResult) (err error) {
	dir, err := sysctl.Open(root, "net/netfilter")
	if err != nil {
		return err
	}
	defer dir.Close()
	if result.Count, err = dir.Int("nf_conntrack_count"); err != nil {
		return err
	}
	if result.Max, err = dir.Int("nf_conntrack_max"); err != nil {
		return err
	}
	var accounting, timestamps registry.Opt[int64]
	for name, to := range map[string]*registry.Opt[int64]{
		"nf_conntrack_buckets":    &result.Buckets,
		"nf_conntrack_expect_max": &result.ExpectMax,
		"nf_conntrack_acct":       &accounting,
		"nf_conntrack_timestamp":  &timestamps,
	} {
		v, err := dir.Int(name)
		if err == nil {
			*to = registry.Some(v)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	result.Accounting = wire.When(accounting.IsSet(), accounting.Or(0) != 0)
	result.Timestamps = wire.When(timestamps.IsSet(), timestamps.Or(0) != 0)
	return nil
}

// readConntrackCounters asks by netlink for the counters and, where procfs does not have it, for how
// full the table is.
func (n *Net) readConntrackCounters(ctx context.Context, result *registry.NetConntrackStatsResult, fill bool) error {
	conn, err := n.conntracks.Get()
	if err != nil {
		return err
	}
	defer n.conntracks.Put(conn)
	if fill {
		global, err := conn.Stats(ctx)
		if err != nil {
			return err
		}
		result.Count, result.Max = int64(global.Entries), int64(global.MaxEntries)
	}
	cpus, err := conn.StatsByCPU(ctx)
	if err != nil {
		return err
	}
	expected, err := conn.Expectations(ctx)
	if err != nil {
		return err
	}
	result.ExpectCount = registry.Some(int64(expected))
	setConntrackCounters(result, cpus)
	return nil
}

func setConntrackCounters(result *registry.NetConntrackStatsResult, cpus []ct.CPUStats) {
	var sum conntrackSums
	for i := range cpus {
		sum.add(&cpus[i])
		var one conntrackSums
		one.add(&cpus[i])
		result.Cpus = append(result.Cpus, cpuCounters(cpus[i].CPU, one.counters()))
	}
	if len(cpus) > 0 {
		total := sum.counters()
		result.Total = &total
	}
}

// conntrackSums are sums of counters by their number in ct; absent where no CPU told one.
type conntrackSums [ct.StatCount]registry.Opt[int64]

func (s *conntrackSums) add(cpu *ct.CPUStats) {
	for stat := range s {
		if cpu.Has(stat) {
			s[stat] = registry.Some(s[stat].Or(0) + int64(cpu.Count[stat]))
		}
	}
}

func (s *conntrackSums) counters() registry.ConntrackCounters {
	return registry.ConntrackCounters{
		Found:         s[ct.StatFound].Or(0),
		Invalid:       s[ct.StatInvalid].Or(0),
		Insert:        s[ct.StatInsert].Or(0),
		InsertFailed:  s[ct.StatInsertFailed].Or(0),
		Drop:          s[ct.StatDrop].Or(0),
		EarlyDrop:     s[ct.StatEarlyDrop].Or(0),
		Error:         s[ct.StatError].Or(0),
		SearchRestart: s[ct.StatSearchRestart].Or(0),
		ClashResolve:  s[ct.StatClashResolve],
		ChainTooLong:  s[ct.StatChainTooLong],
		Searched:      s[ct.StatSearched],
		New:           s[ct.StatNew],
		Ignore:        s[ct.StatIgnore],
		Delete:        s[ct.StatDelete],
		DeleteList:    s[ct.StatDeleteList],
		ExpectNew:     s[ct.StatExpectNew],
		ExpectCreate:  s[ct.StatExpectCreate],
		ExpectDelete:  s[ct.StatExpectDelete],
	}
}

func cpuCounters(cpu uint16, c registry.ConntrackCounters) registry.ConntrackCpuCounters {
	return registry.ConntrackCpuCounters{
		CPU:           int64(cpu),
		Found:         c.Found,
		Invalid:       c.Invalid,
		Insert:        c.Insert,
		InsertFailed:  c.InsertFailed,
		Drop:          c.Drop,
		EarlyDrop:     c.EarlyDrop,
		Error:         c.Error,
		SearchRestart: c.SearchRestart,
		ClashResolve:  c.ClashResolve,
		ChainTooLong:  c.ChainTooLong,
		Searched:      c.Searched,
		New:           c.New,
		Ignore:        c.Ignore,
		Delete:        c.Delete,
		DeleteList:    c.DeleteList,
		ExpectNew:     c.ExpectNew,
		ExpectCreate:  c.ExpectCreate,
		ExpectDelete:  c.ExpectDelete,
	}
}
