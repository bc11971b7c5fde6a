package ovsrow

import (
	"bufio"
	"fmt"
	"io"

	"github.com/geomind/my_os_server/internal/ovstext"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// flowLine is the longest line that a flow may have: a message of OpenFlow has 64 KiB, and a byte of it at most some
// tens of characters.
const flowLine = 4 << 20

// SendFlows sends what ovs-ofctl prints.
func SendFlows(r io.Reader, bridge string, out wire.Limited[registry.OvsFlow]) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), flowLine)
	row := Flow{}
	for lines.Scan() {
		line := lines.Text()
		if ovstext.ReplyHeader(line) || line == "" {
			continue
		}
		if err := row.Read(line, bridge); err != nil {
			return err
		}
		if err := out.Send(&row.row); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Flow makes rows of net.flows out of lines, in memory that each next row uses again.
type Flow struct {
	row  registry.OvsFlow
	flow ovstext.Flow
}

// Read takes a line. The row holds until the next one.
func (b *Flow) Read(line, bridge string) error {
	if text, ok := ovstext.DecodeError(line); ok {
		return Garbled("ovs-ofctl cannot read a flow of "+bridge, text)
	}
	f := &b.flow
	if err := f.Read(line); err != nil {
		return Garbled("ovs-ofctl prints what is no flow", err.Error())
	}
	b.row = registry.OvsFlow{
		Bridge: bridge, Table: int64(f.Table), Priority: int64(f.Priority), Cookie: f.Cookie, DurationS: f.Duration,
		Packets: wire.Counter(f.Packets), Bytes: wire.Counter(f.Bytes),
		IdleTimeoutS: wire.Number(true, f.IdleTimeout), HardTimeoutS: wire.Number(true, f.HardTimeout),
		IdleAgeS: wire.When(f.IdleAge >= 0, float64(f.IdleAge)), HardAgeS: wire.When(f.HardAge >= 0, float64(f.HardAge)),
		Importance: wire.NonZero(f.Importance), Flags: flowFlags(f.Flags),
		Match: appendFields(b.row.Match[:0], f.Match), MatchText: registry.NonZero(f.MatchText),
		Actions: appendActions(b.row.Actions[:0], f.Actions), ActionsText: registry.NonZero(f.ActionsText),
	}
	return nil
}

// flowFlags are the flags, absent where there is none.
func flowFlags(flags []string) []string {
	if len(flags) == 0 {
		return nil
	}
	return flags
}

// Garbled is the answer where Open vSwitch says what is not understood here.
func Garbled(what, text string) error {
	return &registry.OSError{
		OsErrorData: registry.OsErrorData{Op: "read flows", Errno: "EPROTO", Text: registry.NonZero(text)},
		Message:     fmt.Sprintf("%s: %s", what, text),
	}
}

func appendFields(list []registry.OvsField, fields []ovstext.Field) []registry.OvsField {
	if list == nil {
		list = []registry.OvsField{}
	}
	for _, f := range fields {
		list = append(list, registry.OvsField{Name: f.Name, Value: registry.NonZero(f.Value), Mask: registry.NonZero(f.Mask)})
	}
	return list
}

func appendActions(list []registry.OvsAction, actions []ovstext.Action) []registry.OvsAction {
	if list == nil {
		list = []registry.OvsAction{}
	}
	for _, a := range actions {
		list = append(list, registry.OvsAction{Name: a.Name, Arguments: registry.NonZero(a.Arguments)})
	}
	return list
}
