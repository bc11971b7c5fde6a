package ondisk

import (
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// Other versions of sfdisk know more types, or name them a little differently: the ones that everybody
// meets must have the same name everywhere.
func TestTypeNamesAgainstSfdisk(t *testing.T) {
	testhost.Tool(t, "sfdisk", "fdisk")
	for table, prefix := range map[string]string{"gpt": "", "dos": "0x"} {
		agree, known := 0, 0
		for line := range strings.Lines(testhost.Command(t, "sfdisk", "-T", "-X", table)) {
			typ, name, _ := strings.Cut(strings.TrimSpace(line), " ")
			if ours := TypeName(table, prefix+strings.ToLower(typ)); ours != "" {
				known++
				if ours == strings.TrimSpace(name) {
					agree++
				}
			}
		}
		if known < 90 || agree < known*9/10 {
			t.Errorf("%s: %d of the names are known, of which %d agree", table, known, agree)
		}
	}
	if TypeName("gpt", "0fc63daf-8483-4772-8e79-3d69d8477de4") != "Linux filesystem" || TypeName("dos", "0x83") != "Linux" || TypeName("dos", "0x3f") != "" {
		t.Error("a name is wrong")
	}
}
