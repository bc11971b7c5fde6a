package ovsdb

import (
	"encoding/json"
	"time"
)

// Operation is one operation of a transaction (RFC 7047, section 5.2).
type Operation struct {
	name    string
	table   string
	members map[string]any
	reads   bool // changes nothing
}

// MarshalJSON is the operation as the server takes it.
func (o Operation) MarshalJSON() ([]byte, error) {
	all := map[string]any{"op": o.name}
	if o.table != "" {
		all["table"] = o.table
	}
	for k, v := range o.members {
		all[k] = v
	}
	return json.Marshal(all)
}

// title is how errors call the operation.
func (o Operation) title() string {
	if o.table == "" {
		return o.name
	}
	return o.name + " " + o.table
}

// Condition is a column, a function ("==", "!=", "<", "<=", ">=", ">", "includes", "excludes") and a value.
type Condition [3]any

// Mutation is a column, a mutator ("+=", "insert", "delete", ...) and a value.
type Mutation [3]any

// Where is a list of conditions, of which all must hold; none hold for every row.
type Where []Condition

// Is are the rows, one or none, that a UUID names.
func Is(u UUID) Where { return Where{{"_uuid", "==", u}} }

// Has are the rows whose column has a value.
func Has(column string, value any) Where { return Where{{column, "==", value}} }

func (w Where) list() []Condition {
	if w == nil {
		return []Condition{}
	}
	return w
}

// Select reads the rows of a table for which the conditions hold: some columns of them, or all.
func Select(table string, where Where, columns ...string) Operation {
	members := map[string]any{"where": where.list()}
	if len(columns) > 0 {
		members["columns"] = columns
	}
	return Operation{name: "select", table: table, members: members, reads: true}
}

// Insert makes a row. Others of the transaction call it by the NamedUUID of that name, where one is given.
func Insert(table, name string, row Row) Operation {
	members := map[string]any{"row": row}
	if name != "" {
		members["uuid-name"] = name
	}
	return Operation{name: "insert", table: table, members: members}
}

// Update sets columns.
func Update(table string, where Where, row Row) Operation {
	return Operation{name: "update", table: table, members: map[string]any{"where": where.list(), "row": row}}
}

// Mutate changes columns out of what they are.
func Mutate(table string, where Where, mutations ...Mutation) Operation {
	return Operation{name: "mutate", table: table, members: map[string]any{"where": where.list(), "mutations": mutations}}
}

// Delete removes rows.
func Delete(table string, where Where) Operation {
	return Operation{name: "delete", table: table, members: map[string]any{"where": where.list()}}
}

// WaitAny has the transaction wait until the conditions hold for a row at least, for so long; then it fails with
// TagTimedOut. The column is one of the table's.
func WaitAny(table string, where Where, column string, timeout time.Duration) Operation {
	return Operation{name: "wait", table: table, reads: true, members: map[string]any{
		"where": where.list(), "columns": []string{column}, "until": "!=", "rows": []any{}, "timeout": timeout.Milliseconds(),
	}}
}

// Expect fails the transaction with TagTimedOut where the conditions hold for no row now.
func Expect(table string, where Where, column string) Operation {
	return WaitAny(table, where, column, 0)
}

// Durable has the server answer only once the transaction is on disk.
func Durable() Operation {
	return Operation{name: "commit", members: map[string]any{"durable": true}}
}

// Touch is an operation that changes nothing and that a server refuses with TagNotAllowed where its database is
// read-only.
func Touch() Operation {
	return Operation{name: "commit", members: map[string]any{"durable": false}}
}

// Comment notes in the server's log of transactions what this one is for.
func Comment(text string) Operation {
	return Operation{name: "comment", members: map[string]any{"comment": text}, reads: true}
}

// Result is what an operation came to.
type Result struct {
	Rows  []Row // of Select
	UUID  UUID  // of Insert
	Count int64 // of Update, Mutate and Delete: rows that were changed
}

// resultsOf are the results of a transaction's operations, or the error of the first that was refused.
func resultsOf(ops []Operation, raw json.RawMessage) ([]Result, error) {
	var list []any
	if err := unmarshal(raw, &list); err != nil {
		return nil, err
	}
	results := make([]Result, 0, len(ops))
	for i, item := range list {
		members, ok := item.(map[string]any)
		if !ok {
			if item == nil {
				return nil, protocol("an operation without a result and without an error before it")
			}
			return nil, protocol("a result that is no object")
		}
		if err := refusal(members); err != nil {
			if i < len(ops) {
				err.Operation = ops[i].title()
			}
			return nil, err
		}
		if i >= len(ops) {
			return nil, protocol("%d results of %d operations", len(list), len(ops))
		}
		r, err := resultOf(members)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	if len(results) != len(ops) {
		return nil, protocol("%d results of %d operations", len(results), len(ops))
	}
	return results, nil
}

func refusal(members map[string]any) *Error {
	tag, ok := members["error"].(string)
	if !ok {
		return nil
	}
	details, _ := members["details"].(string)
	return &Error{Tag: tag, Details: details}
}

func resultOf(members map[string]any) (r Result, err error) {
	if rows, ok := members["rows"].([]any); ok {
		r.Rows = make([]Row, 0, len(rows))
		for _, item := range rows {
			columns, ok := item.(map[string]any)
			if !ok {
				return r, protocol("a row that is no object")
			}
			row, err := rowOf(columns)
			if err != nil {
				return r, err
			}
			r.Rows = append(r.Rows, row)
		}
	}
	if n, ok := members["count"].(json.Number); ok {
		if r.Count, err = n.Int64(); err != nil {
			return r, protocol("a count that is none: %s", n)
		}
	}
	if v, ok := members["uuid"]; ok {
		atom, err := atomOf(v)
		if err != nil {
			return r, err
		}
		r.UUID, _ = atom.(UUID)
	}
	return r, nil
}

// rowOf is a row out of JSON that was decoded with numbers as json.Number.
func rowOf(columns map[string]any) (row Row, err error) {
	row = make(Row, len(columns))
	for name, v := range columns {
		if row[name], err = valueOf(v); err != nil {
			return nil, err
		}
	}
	return row, nil
}
