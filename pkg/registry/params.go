package registry

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// maxFaults bounds how many faults of one call are listed, so that a large body full of nonsense does
// not come back larger than it was.
const maxFaults = 100

// maxQuoted is how many bytes of what a caller sent come back in a message.
const maxQuoted = 64

// object is what the generator makes of a params struct and of every object that params can hold.
type object interface {
	members() []Param
	set(d *decoder, member int, raw []byte) // decodes raw into the field of members()[member]
}

// decodeParams is the decode function of every row: it makes the method's params struct of what stands
// in a call, or returns a *ParamsError.
func decodeParams[T any, P interface {
	*T
	object
}](raw []byte) (any, error) {
	p := P(new(T))
	d := decoder{}
	d.params(raw, p)
	if len(d.faults) > 0 {
		return nil, &ParamsError{Faults: d.faults}
	}
	return p, nil
}

// decoder decodes the params of one call and gathers their faults.
type decoder struct {
	faults []Fault
	path   []byte   // of the value that is looked at
	space  [48]byte // what path stands in, as a rule
}

// params decodes the params as a whole: by name, by position, or absent.
func (d *decoder) params(raw []byte, p object) {
	d.path = d.space[:0]
	switch kind := jsonwire.KindOf(raw); {
	case len(raw) == 0:
		d.missing(p.members(), 0)
	case kind == jsonwire.Object:
		d.object(raw, p)
	case kind == jsonwire.Array:
		d.positions(raw, p)
	case kind == jsonwire.Invalid:
		d.syntax(jsonwire.Valid(raw))
	default:
		d.fault("must be an object or an array, not " + kind.String())
	}
}

// object decodes an object, member by member.
func (d *decoder) object(raw []byte, v object) {
	members := v.members()
	seen := uint64(0)
	o := jsonwire.ReadObject(raw)
	for o.Next() {
		i := indexOf(members, o.Name())
		if i < 0 {
			d.unknown(o.Name(), members)
			continue
		}
		mark := d.enter(members[i].Name)
		if bit := uint64(1) << i; seen&bit != 0 {
			d.fault("must be given once")
		} else {
			seen |= bit
			v.set(d, i, o.Value())
		}
		d.leave(mark)
	}
	d.syntax(o.Err())
	d.missing(members, seen)
}

// positions decodes params by position, where null stands for a param that is absent.
func (d *decoder) positions(raw []byte, v object) {
	members := v.members()
	seen := uint64(0)
	n := 0
	a := jsonwire.ReadArray(raw)
	for ; a.Next(); n++ {
		if n >= len(members) || jsonwire.KindOf(a.Value()) == jsonwire.Null {
			continue
		}
		seen |= 1 << n
		mark := d.enter(members[n].Name)
		v.set(d, n, a.Value())
		d.leave(mark)
	}
	d.syntax(a.Err())
	if n > len(members) {
		d.fault(fmt.Sprintf("must be at most %d by position, not %d", len(members), n))
	}
	d.missing(members, seen)
}

// indexOf finds a member by its name, which must be exact in case.
func indexOf(members []Param, name []byte) int {
	for i := range members {
		if members[i].Name == string(name) {
			return i
		}
	}
	return -1
}

// missing notes what is required and not among those seen.
func (d *decoder) missing(members []Param, seen uint64) {
	for i := range members {
		if members[i].Required && seen&(1<<i) == 0 {
			mark := d.enter(members[i].Name)
			d.fault("must be given")
			d.leave(mark)
		}
	}
}

// unknown notes a member that is not among those that there are.
func (d *decoder) unknown(name []byte, members []Param) {
	mark := d.enter(cut(string(name)))
	defer d.leave(mark)
	if len(members) == 0 {
		d.fault("must not be given: there are no members here")
		return
	}
	names := make([]string, len(members))
	for i := range members {
		names[i] = members[i].Name
	}
	d.fault("must not be given: known here are " + strings.Join(names, ", "))
}

// syntax notes that the params are not JSON, which they are where they come out of a valid request.
func (d *decoder) syntax(err error) {
	if err != nil {
		d.fault("must be JSON: " + err.Error())
	}
}

// enter goes to a member of the value that is looked at; leave, given what enter returned, goes back.
func (d *decoder) enter(name string) (mark int) {
	mark = len(d.path)
	if mark > 0 {
		d.path = append(d.path, '.')
	}
	d.path = append(d.path, name...)
	return mark
}

// enterElement is enter for an element of an array.
func (d *decoder) enterElement(i int) (mark int) {
	mark = len(d.path)
	d.path = append(d.path, '[')
	d.path = strconv.AppendInt(d.path, int64(i), 10)
	d.path = append(d.path, ']')
	return mark
}

func (d *decoder) leave(mark int) { d.path = d.path[:mark] }

// must notes that the value must be something else than it is.
func (d *decoder) must(be string, raw []byte) {
	d.fault("must be " + be + ", not " + quoted(raw))
}

// fault notes a fault of the value that is looked at.
func (d *decoder) fault(message string) {
	switch {
	case len(d.faults) < maxFaults:
		d.faults = append(d.faults, Fault{Path: string(d.path), Message: message})
	case len(d.faults) == maxFaults:
		d.faults = append(d.faults, Fault{Message: fmt.Sprintf("have more than %d faults; the rest is not listed", maxFaults)})
	}
}

// quoted shows a value in a message: a string quoted, other scalars as they stand, of anything larger
// its kind.
func quoted(raw []byte) string {
	switch kind := jsonwire.KindOf(raw); kind {
	case jsonwire.String:
		return strconv.Quote(cut(string(jsonwire.Unquote(raw))))
	case jsonwire.Array, jsonwire.Object:
		return kind.String()
	}
	return cut(string(raw))
}

// cut is s, cut at maxQuoted bytes where it is longer.
func cut(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	end := maxQuoted
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
