package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// call is one call of a verb as a command line describes it.
type call struct {
	verb   *verb
	values []*value // one a param, in order
	yes    bool
	watch  string
	wait   bool
}

func newCall(v *verb) *call {
	c := &call{verb: v}
	for i := range v.params {
		c.values = append(c.values, &value{param: &v.params[i]})
	}
	return c
}

// addFlags gives every param its flag.
func (c *call) addFlags(flags *pflag.FlagSet) {
	for _, v := range c.values {
		f := flags.VarPF(v, v.param.flag(), "", v.param.usage())
		if v.param.kind == kindBoolean && !v.param.list {
			f.NoOptDefVal = "true"
		}
	}
}

// usage is the help of the param's flag.
func (p *param) usage() string {
	text := strings.TrimSuffix(strings.ReplaceAll(p.text, "`", "'"), ".")
	if len(p.values) > 0 && len(p.values) <= 12 {
		text += " (" + strings.Join(p.values, ", ") + ")"
	}
	if p.required {
		text += "; required"
	}
	return text
}

// arguments takes what stands on the command line without a flag: the required params that have no flag
// there, in order. A list that comes last takes all that is left.
func (c *call) arguments(args []string) error {
	for _, v := range c.values {
		if len(args) == 0 {
			break
		}
		if !v.param.required || v.set() {
			continue
		}
		n := 1
		if v.param.list && c.isLastRequired(v) {
			n = len(args)
		}
		for _, arg := range args[:n] {
			if err := v.Set(arg); err != nil {
				return fmt.Errorf("%s: %w", v.param.flag(), err)
			}
		}
		args = args[n:]
	}
	if len(args) > 0 {
		return fmt.Errorf("%s is too much: %s", quoted(args[0]), c.takes())
	}
	return nil
}

func (c *call) isLastRequired(v *value) bool {
	last := v
	for _, other := range c.values {
		if other.param.required {
			last = other
		}
	}
	return last == v
}

// takes says which arguments the verb takes.
func (c *call) takes() string {
	var names []string
	for _, v := range c.values {
		if v.param.required {
			names = append(names, v.param.flag())
		}
	}
	if len(names) == 0 {
		return "this verb takes flags only"
	}
	return "this verb takes " + strings.Join(names, ", ") + " and flags"
}

// check names the required params that were not given.
func (c *call) check() error {
	var missing []string
	for _, v := range c.values {
		if v.param.required && !v.set() {
			missing = append(missing, "--"+v.param.flag())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("needs %s", strings.Join(missing, ", "))
	}
	return nil
}

// params are the params of the call as JSON; nil where there are none.
func (c *call) params() []byte {
	b := []byte{'{'}
	for _, v := range c.values {
		if !v.set() {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = jsonwire.AppendString(b, v.param.name)
		b = append(b, ':')
		b = append(b, v.json()...)
	}
	if len(b) == 1 {
		return nil
	}
	return append(b, '}')
}

// value finds the value of a param by its name in the table; nil where the verb has no such param.
func (c *call) value(name string) *value {
	for _, v := range c.values {
		if v.param.name == name {
			return v
		}
	}
	return nil
}
