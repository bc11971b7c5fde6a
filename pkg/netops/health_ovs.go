package netops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/internal/ovstext"
	"github.com/geomind/my_os_server/internal/unixctl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// lossTime is how long after datapaths lost packets net.health tells of it.
const lossTime = time.Minute

// ovsFacts is what net.health looks at of Open vSwitch.
type ovsFacts struct {
	database    error // why the database cannot be read or written
	daemon      error // why ovs-vswitchd does not answer
	current     int64 // configuration in force
	next        int64 // configuration asked for
	lost        int64 // packets that datapaths lost, in all
	lostSince   bool  // and more of them not long ago
	faults      []string
	initialised bool
}

// checkOVS looks at Open vSwitch where one runs, or something of ours needs it.
func (n *Net) checkOVS(ctx context.Context) []registry.HealthCheck {
	if err := n.runsOVS(); err != nil && !n.needsOVS() {
		return nil
	} else if err != nil {
		return judgeOVS(&ovsFacts{database: err})
	}
	ctx, cancel := context.WithTimeout(ctx, mostOf(ctx, 2*besideTime))
	defer cancel()
	f := &ovsFacts{}
	f.database = n.ovsDatabaseFacts(ctx, f)
	f.daemon = n.ovsDaemonFacts(ctx, f)
	return judgeOVS(f)
}

// needsOVS tells whether something is registered that stands in Open vSwitch's database.
func (n *Net) needsOVS() bool {
	for _, k := range n.kept.kinds {
		for _, s := range k.all() {
			if onOVS(s) {
				return true
			}
		}
	}
	return false
}

func (n *Net) ovsDatabaseFacts(ctx context.Context, f *ovsFacts) error {
	ctx, cancel := context.WithTimeout(ctx, mostOf(ctx, besideTime))
	defer cancel()
	results, err := n.askOVS(ctx, ovsdb.Select("Open_vSwitch", nil, "cur_cfg", "next_cfg"),
		ovsdb.Select("Interface", ovsdb.Where{{"error", "!=", ovsdb.Set{}}}, "name"))
	if err != nil {
		return err
	}
	for _, row := range results[0].Rows {
		f.initialised = true
		f.current, _ = row.Int("cur_cfg")
		f.next, _ = row.Int("next_cfg")
	}
	for _, row := range results[1].Rows {
		f.faults = append(f.faults, row.Text("name"))
	}
	slices.Sort(f.faults)
	_, err = n.askOVS(ctx, ovsdb.Touch())
	return err
}

func (n *Net) ovsDaemonFacts(ctx context.Context, f *ovsFacts) error {
	ctx, cancel := context.WithTimeout(ctx, mostOf(ctx, besideTime))
	defer cancel()
	d, err := unixctl.Find(n.ovsRunFile(""), "ovs-vswitchd")
	if err != nil {
		return err
	}
	text, err := d.Text(ctx, "dpctl/show")
	var refused *unixctl.Refused
	if errors.As(err, &refused) { // there is no datapath: it answers all the same
		text, err = "", nil
	}
	if err != nil {
		return err
	}
	paths, err := ovstext.Datapaths(text)
	if err != nil {
		return err
	}
	lost := map[string]int64{}
	for _, p := range paths {
		lost[p.Name] = max(p.Lost, 0)
		f.lost += lost[p.Name]
	}
	f.lostSince = n.losses.note(lost, time.Now())
	return nil
}

// losses remembers how many packets datapaths had lost when they were looked at last.
type losses struct {
	mu   sync.Mutex
	last map[string]int64 // nil: nobody has looked
	rose time.Time
}

// note takes new counters, and tells whether they have risen not long ago. Of a datapath that was not there before
// nobody knows since when it loses.
func (l *losses) note(now map[string]int64, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, count := range now {
		if before, ok := l.last[name]; ok && count > before {
			l.rose = at
		}
	}
	l.last = maps.Clone(now)
	return !l.rose.IsZero() && at.Sub(l.rose) < lossTime
}

// judgeOVS makes a check of it: without its daemons bridges of Open vSwitch forward nothing, or what they did last.
func judgeOVS(f *ovsFacts) []registry.HealthCheck {
	c := registry.HealthCheck{Name: "ovs", Status: registry.CheckStatusOk, Message: "ovsdb-server and ovs-vswitchd answer"}
	data := map[string]string{}
	var faults []string
	if f.database != nil {
		c.Status = registry.CheckStatusFailed
		faults = append(faults, f.database.Error())
	} else if !f.initialised {
		c.Status = registry.CheckStatusFailed
		faults = append(faults, "the database is not initialised")
	}
	if f.daemon != nil {
		c.Status = registry.CheckStatusFailed
		faults = append(faults, "ovs-vswitchd does not answer: "+f.daemon.Error())
	}
	if f.database == nil && f.initialised {
		data["current_config"], data["next_config"] = strconv.FormatInt(f.current, 10), strconv.FormatInt(f.next, 10)
	}
	if f.lostSince {
		faults = append(faults, "its datapaths lose packets")
	}
	if f.daemon == nil && f.database == nil {
		data["lost"] = strconv.FormatInt(f.lost, 10)
	}
	if len(f.faults) > 0 {
		faults = append(faults, "ovs-vswitchd cannot use "+strings.Join(f.faults[:min(len(f.faults), 3)], ", ")+more(len(f.faults)-3))
		data["interfaces_with_error"] = strconv.Itoa(len(f.faults))
	}
	if len(faults) > 0 {
		c.Message = strings.Join(faults, "; ")
		if c.Status == registry.CheckStatusOk {
			c.Status = registry.CheckStatusDegraded
		}
	}
	if len(data) > 0 {
		c.Data = data
	}
	return []registry.HealthCheck{c}
}

// more says how many others there are.
func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
