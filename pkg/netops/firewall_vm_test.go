//go:build vmtest

package netops

import (
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// TestFlowtableWitness compares rulesets where the kernel has flowtables, and other expressions that this
// machine's may lack.
func TestFlowtableWitness(t *testing.T) {
	vmtest.Guest(t)
	for _, module := range []string{"nf_tables", "nf_flow_table", "nf_flow_table_inet", "nft_flow_offload"} {
		testhost.Command(t, "modprobe", module)
	}
	if r := compareRulesets(t, 1, 40); !r.flowtables {
		t.Error("the kernel takes no flowtables")
	}
}
