package ovsdb

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"
)

// maxUpdate bounds what is kept of one notification, in bytes. A larger one ends the connection, and is as any change
// that came while there was none: something has changed.
const maxUpdate = 4 << 20

// How long a lost connection stays lost: at first, and where the server is away for long.
const (
	leastAway = 50 * time.Millisecond
	mostAway  = 5 * time.Second
)

// Watcher hears of changes of a database, over a connection of its own (RFC 7047, section 4.1.5: monitor).
type Watcher struct {
	client   *Client
	database string
	tables   map[string][]string
	wanted   func(table string, before, after Row) bool
	changed  func()

	mu  sync.Mutex
	err error
}

// Watch calls changed whenever columns of a row change, or a row comes or goes, for which wanted holds: before has the
// columns that the change has taken away or altered (all of them where the row has gone), after all that are watched
// (none where it has gone). Tables are given with their columns: nothing is heard of others. It is called, too,
// each time that the server is reached, since nobody knows what has changed before. Where it is lost, it is
// looked for again until ctx ends. Both are called on one goroutine, and the rows are theirs.
func (c *Client) Watch(ctx context.Context, database string, tables map[string][]string, wanted func(table string, before, after Row) bool, changed func()) *Watcher {
	w := &Watcher{client: c, database: database, tables: tables, wanted: wanted, changed: changed, err: ErrNotYet}
	go w.run(ctx)
	return w
}

// Err is why nothing is heard now; nil: it is.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Watcher) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *Watcher) run(ctx context.Context) {
	for away := leastAway; ; away = min(2*away, mostAway) {
		begun := time.Now()
		w.note(w.once(ctx))
		if time.Since(begun) > mostAway {
			away = leastAway
		}
		t := time.NewTimer(away)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// once listens until the connection is lost, and returns why it was.
func (w *Watcher) once(ctx context.Context) error {
	socket, err := w.client.dial(ctx)
	if err != nil {
		return err
	}
	conn := newConn(socket, maxUpdate, w.notice)
	defer func() {
		conn.end(ErrClosed)
		<-conn.over
	}()
	m, _, _, err := conn.call(ctx, "monitor", []any{w.database, nil, w.request()}, true)
	if err != nil {
		return err
	}
	if refused, ok := m.failure(); ok {
		return refused
	}
	w.note(nil)
	w.changed()
	select {
	case <-conn.over:
		return conn.cause
	case <-ctx.Done():
		return ctx.Err()
	}
}

// request asks for changes alone: what there is at first is not told.
func (w *Watcher) request() map[string]any {
	all := make(map[string]any, len(w.tables))
	for table, columns := range w.tables {
		all[table] = map[string]any{"columns": columns, "select": map[string]bool{"initial": false}}
	}
	return all
}

// notice takes a notification.
func (w *Watcher) notice(m *message) error {
	switch m.Method {
	case "update":
		change, err := updateOf(m.Params)
		if err == nil && change.any(w.wanted) {
			w.changed()
		}
		return err
	case "monitor_canceled": // the server no longer has the database (ovsdb-server(7), section 4.1.15)
		return io.EOF
	}
	return nil
}

// update is what an update notification tells, by table and row.
type update map[string]map[string]rowUpdate

type rowUpdate struct{ before, after Row }

// any tells whether something holds for a row.
func (u update) any(holds func(table string, before, after Row) bool) bool {
	for table, rows := range u {
		for _, r := range rows {
			if holds(table, r.before, r.after) {
				return true
			}
		}
	}
	return false
}

// updateOf decodes the params of an update notification: the monitor's name, and {table: {row: {"old": ..., "new":
// ...}}} (RFC 7047, section 4.1.6).
func updateOf(raw json.RawMessage) (update, error) {
	var params []json.RawMessage
	if err := unmarshal(raw, &params); err != nil {
		return nil, err
	}
	if len(params) != 2 {
		return nil, protocol("an update of %d params", len(params))
	}
	var tables map[string]map[string]struct{ Old, New map[string]any }
	if err := unmarshal(params[1], &tables); err != nil {
		return nil, err
	}
	u := make(update, len(tables))
	for table, rows := range tables {
		u[table] = make(map[string]rowUpdate, len(rows))
		for id, r := range rows {
			before, err := rowOf(r.Old)
			if err != nil {
				return nil, err
			}
			after, err := rowOf(r.New)
			if err != nil {
				return nil, err
			}
			u[table][id] = rowUpdate{before, after}
		}
	}
	return u, nil
}
