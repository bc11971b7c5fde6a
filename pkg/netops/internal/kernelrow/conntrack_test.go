package kernelrow

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/pkg/registry"
)

// What no kernel here can be brought to: the members of rare protocols and states.
func TestConntrackRareMembers(t *testing.T) {
	var b Conntrack
	b.protocolInfo(&ct.Info{Proto: unix.IPPROTO_SCTP, VTagOrig: 1, VTagReply: 1<<32 - 1})
	b.protocolInfo(&ct.Info{Proto: unix.IPPROTO_DCCP, Role: 1, HandshakeSeq: 1<<48 - 1})
	want := registry.ConntrackEntry{
		SctpVtagOriginal: registry.Some[int64](1),
		SctpVtagReply:    registry.Some[int64](1<<32 - 1),
		DccpRole:         registry.Some("server"),
		DccpHandshakeSeq: registry.Some("ffffffffffff"),
	}
	if diff := cmp.Diff(string(want.AppendJSON(nil)), string(b.row.AppendJSON(nil))); diff != "" {
		t.Error(diff)
	}
	if got, want := seqAdjust(ct.SeqAdj{Position: 1<<32 - 1, Before: -5, After: 5}), (registry.ConntrackSeqAdjust{Position: 1<<32 - 1, OffsetBefore: -5, OffsetAfter: 5}); got != want {
		t.Errorf("%+v", got)
	}
}
