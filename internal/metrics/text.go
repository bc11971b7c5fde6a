package metrics

import (
	"strconv"
	"strings"
)

// Type is what kind of metric a family holds.
type Type string

// The types of the text format.
const (
	TypeCounter   Type = "counter"
	TypeGauge     Type = "gauge"
	TypeHistogram Type = "histogram"
	TypeSummary   Type = "summary"
)

// Text is a page in the making: families, each with its samples behind it.
type Text struct {
	b      []byte
	family string
}

var escapeHelp = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

// Family begins a family of metrics. Its name stands once on a page.
func (t *Text) Family(name string, kind Type, help string) {
	t.family = name
	t.b = append(append(append(t.b, "# HELP "...), name...), ' ')
	t.b = append(append(t.b, escapeHelp.Replace(help)...), "\n# TYPE "...)
	t.b = append(append(append(append(t.b, name...), ' '), kind...), '\n')
}

// Sample appends one sample of the family. labels are names and values in turn.
func (t *Text) Sample(value float64, labels ...string) { t.sample("", "", value, labels...) }

// sample appends a sample whose name has a suffix: told are labels that appendLabel has made, and more are names
// and values of those that it has not.
func (t *Text) sample(suffix, told string, value float64, more ...string) {
	t.b = append(append(t.b, t.family...), suffix...)
	if told != "" || len(more) > 0 {
		t.b = append(append(t.b, '{'), told...)
		for i := 0; i+1 < len(more); i += 2 {
			t.b = appendLabel(t.b, more[i], more[i+1])
		}
		t.b[len(t.b)-1] = '}' // in the place of the last comma
	}
	t.b = append(append(append(t.b, ' '), formatFloat(value)...), '\n')
}

var escapeValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// appendLabel appends name="value" and a comma.
func appendLabel(b []byte, name, value string) []byte {
	b = append(append(b, name...), `="`...)
	if strings.ContainsAny(value, "\\\n\"") {
		value = escapeValue.Replace(value)
	}
	return append(append(b, value...), `",`...)
}

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
