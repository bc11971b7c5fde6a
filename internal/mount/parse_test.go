package mount

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func parseAll(r io.Reader) ([]Mount, error) {
	var list []Mount
	for m, err := range Parse(r) {
		if err != nil {
			return list, err
		}
		list = append(list, *m)
	}
	return list, nil
}

var compareMounts = cmp.Options{cmp.AllowUnexported(Mount{}), cmpopts.EquateEmpty()}

func TestParse(t *testing.T) {
	tests := []struct {
		name, line string
		want       Mount
	}{
		{
			"the example of the manual page",
			`36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`,
			Mount{ID: 36, Parent: 35, Major: 98, Root: "/mnt1", Target: "/mnt2", Master: 1, FSType: "ext3", Source: "/dev/root",
				rawOptions: "rw,noatime", rawSuperOptions: "rw,errors=continue"},
		},
		{
			"no optional field",
			`22 27 0:21 / /proc rw,relatime - proc proc rw`,
			Mount{ID: 22, Parent: 27, Minor: 21, Root: "/", Target: "/proc", FSType: "proc", Source: "proc", rawOptions: "rw,relatime", rawSuperOptions: "rw"},
		},
		{
			"all optional fields and one that is not known yet",
			`1 1 4095:1048575 / / ro shared:2 master:3 propagate_from:4 unbindable later:x,y - rootfs none ro`,
			Mount{ID: 1, Parent: 1, Major: 4095, Minor: 1048575, Root: "/", Target: "/", Shared: 2, Master: 3, PropagateFrom: 4, Unbindable: true,
				FSType: "rootfs", Source: "none", rawOptions: "ro", rawSuperOptions: "ro"},
		},
		{
			"escapes",
			`5 1 0:7 /a\040b /c\011d\012e\134040 rw - fuse.x\040y \043s rw,lowerdir=/a\054b`,
			Mount{ID: 5, Parent: 1, Minor: 7, Root: "/a b", Target: "/c\td\ne\\040", FSType: "fuse.x y", Source: "#s",
				rawOptions: "rw", rawSuperOptions: `rw,lowerdir=/a\054b`},
		},
		{
			"empty source",
			`5 1 0:7 / /c rw - tmpfs  rw,size=4k`,
			Mount{ID: 5, Parent: 1, Minor: 7, Root: "/", Target: "/c", FSType: "tmpfs", rawOptions: "rw", rawSuperOptions: "rw,size=4k"},
		},
		{
			"invalid UTF-8, carriage return, spaces in the superblock's options",
			"5 1 0:7 / /\xff\r rw - t s rw,a=b c",
			Mount{ID: 5, Parent: 1, Minor: 7, Root: "/", Target: "/\xff\r", FSType: "t", Source: "s", rawOptions: "rw", rawSuperOptions: "rw,a=b c"},
		},
		{
			"a namespace file",
			`9 1 0:4 net:[4026532008] /run/netns/x rw - nsfs nsfs rw`,
			Mount{ID: 9, Parent: 1, Minor: 4, Root: "net:[4026532008]", Target: "/run/netns/x", FSType: "nsfs", Source: "nsfs", rawOptions: "rw", rawSuperOptions: "rw"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAll(strings.NewReader(tt.line + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Mount{tt.want}, got, compareMounts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	const good = "1 1 0:1 / / rw - t s rw\n"
	tests := []struct{ name, line, want string }{
		{"empty line", "", "fewer than ten fields"},
		{"too few fields", "36 35 98:0 /mnt1 /mnt2", "fewer than ten fields"},
		{"no separator", "36 35 98:0 / /mnt2 rw shared:1 ext3 /dev/root rw", `no " - "`},
		{"nothing behind the separator", "36 35 98:0 / /mnt2 rw -", `no " - "`},
		{"no source", "36 35 98:0 / /mnt2 rw - ext3", "fewer than ten fields"},
		{"no superblock options", "36 35 98:0 / /mnt2 rw - ext3 /dev/root", "fewer than ten fields"},
		{"signed id", "+36 35 98:0 / /mnt2 rw - ext3 /dev/root rw", "mount id: "},
		{"negative parent", "36 -1 98:0 / /mnt2 rw - ext3 /dev/root rw", "parent id: "},
		{"no device number", "36 35 98 / /mnt2 rw - ext3 /dev/root rw", "minor number: "},
		{"no major", "36 35 :0 / /mnt2 rw - ext3 /dev/root rw", "major number: "},
		{"peer group without number", "36 35 98:0 / /mnt2 rw shared: - ext3 /dev/root rw", "optional field shared: "},
		{"id over 32 bits", "4294967296 35 98:0 / /mnt2 rw - ext3 /dev/root rw", "mount id: "},
		{"two spaces", "36  35 98:0 / /mnt2 rw - ext3 /dev/root rw", "parent id: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAll(strings.NewReader(good + tt.line + "\n" + good))
			var line *LineError
			if !errors.As(err, &line) {
				t.Fatalf("error %v, want *LineError", err)
			}
			if line.Line != 2 || line.Text != tt.line || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("line %d %q: %v; want line 2 %q: …%s", line.Line, line.Text, err, tt.line, tt.want)
			}
			if len(got) != 1 {
				t.Errorf("%d mounts before the error, want 1", len(got))
			}
		})
	}
}

func TestParseEnds(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		r    io.Reader
		want error
	}{
		{"reader breaks", io.MultiReader(strings.NewReader("1 1 0:1 / / rw - t s rw\n"), errReader{broken}), broken},
		{"last line is cut", strings.NewReader("1 1 0:1 / / rw - t s rw\n1 1 0:1 / / rw - t s r"), io.ErrUnexpectedEOF},
		{"nothing", strings.NewReader(""), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseAll(tt.r); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestParseLongLine(t *testing.T) {
	lower := strings.Repeat("/a/long/path:", 20_000)
	got, err := parseAll(strings.NewReader("1 1 0:1 / / rw - overlay o rw,lowerdir=" + lower + "\n"))
	if err != nil || len(got) != 1 || got[0].rawSuperOptions != "rw,lowerdir="+lower {
		t.Errorf("%d mounts, %v", len(got), err)
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		raw  string
		want []string
	}{
		{"", nil},
		{"rw", []string{"rw"}},
		{"rw,nosuid,relatime", []string{"rw", "nosuid", "relatime"}},
		{`rw,lowerdir=/a\054b:/c\040d,upperdir=/e`, []string{"rw", "lowerdir=/a,b:/c d", "upperdir=/e"}},
		{`rw,context="system_u:object_r:t:s0:c1,c2",x`, []string{"rw", `context="system_u:object_r:t:s0:c1,c2"`, "x"}},
		{`rw,odd="x,y`, []string{"rw", `odd="x`, "y"}},
		{`a\b,c\09,\`, []string{`a\b`, `c\09`, `\`}},
		{",,a,", []string{"a"}},
		{`high=\777\377`, []string{"high=\\777\xff"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, slices.Collect(splitOptions(tt.raw))); diff != "" {
			t.Errorf("%q: %s", tt.raw, diff)
		}
	}
	for range splitOptions("a,b") {
		break // a consumer may stop
	}
}

func TestReadOnly(t *testing.T) {
	tests := []struct {
		mount, super string
		want         bool
	}{
		{"rw", "rw", false}, {"ro,nosuid", "rw", true}, {"rw", "ro", true}, {"rw,nosuid", "rw,errors=remount-ro", false},
		{"rw", "rw,emergency_ro", true}, {"rw", "shutdown,rw", true},
	}
	for _, tt := range tests {
		m := Mount{rawOptions: tt.mount, rawSuperOptions: tt.super}
		if m.ReadOnly() != tt.want {
			t.Errorf("%q, %q: %v", tt.mount, tt.super, m.ReadOnly())
		}
	}
}

func TestPropagation(t *testing.T) {
	tests := map[string]Mount{
		"private":      {},
		"shared":       {Shared: 1},
		"slave":        {Master: 1},
		"slave,shared": {Shared: 2, Master: 1, PropagateFrom: 3},
		"unbindable":   {Unbindable: true},
	}
	for _, want := range slices.Sorted(maps.Keys(tests)) {
		m := tests[want]
		if got := m.Propagation(); got != want {
			t.Errorf("%+v: %s, want %s", m, got, want)
		}
	}
}

// escape does what the kernel's mangle() does.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(" \t\n\\#", s[i]) >= 0 {
			fmt.Fprintf(&b, `\%03o`, s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// write makes a line as show_mountinfo in fs/proc_namespace.c does.
func write(m *Mount) string {
	optional := ""
	for _, group := range []struct {
		tag string
		id  uint32
	}{{"shared", m.Shared}, {"master", m.Master}, {"propagate_from", m.PropagateFrom}} {
		if group.id != 0 {
			optional += fmt.Sprintf(" %s:%d", group.tag, group.id)
		}
	}
	if m.Unbindable {
		optional += " unbindable"
	}
	return fmt.Sprintf("%d %d %d:%d %s %s %s%s - %s %s %s\n", m.ID, m.Parent, m.Major, m.Minor, escape(m.Root), escape(m.Target),
		m.rawOptions, optional, escape(m.FSType), escape(m.Source), m.rawSuperOptions)
}

// TestRoundTrip: whatever bytes paths and sources have, what the kernel writes is read back.
func TestRoundTrip(t *testing.T) {
	text := rapid.StringOf(rapid.RuneFrom([]rune(" \t\n\\#,/ab\"é\r0\x7f-")))
	path := rapid.Map(text, func(s string) string { return "/" + s })
	number := rapid.Uint32()
	anyMount := rapid.Custom(func(t *rapid.T) Mount {
		return Mount{
			ID: number.Draw(t, "id"), Parent: number.Draw(t, "parent"), Major: number.Draw(t, "major"), Minor: number.Draw(t, "minor"),
			Root: path.Draw(t, "root"), Target: path.Draw(t, "target"),
			Shared: number.Draw(t, "shared"), Master: number.Draw(t, "master"), PropagateFrom: number.Draw(t, "from"),
			Unbindable: rapid.Bool().Draw(t, "unbindable"), FSType: "fuse." + text.Draw(t, "type"), Source: text.Draw(t, "source"),
			rawOptions: rapid.StringMatching(`r[ow](,[a-z]{1,9}){0,4}`).Draw(t, "options"), rawSuperOptions: rapid.StringMatching(`r[ow](,[a-z]{1,9}=[a-z\\]{0,9}){0,4}`).Draw(t, "super"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(anyMount).Draw(t, "mounts")
		var text strings.Builder
		for i := range want {
			text.WriteString(write(&want[i]))
		}
		got, err := parseAll(strings.NewReader(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, compareMounts); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzParse: no input makes the parser panic, and what it takes for a mount it takes again when the
// kernel's way of writing is applied to it.
func FuzzParse(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Add("5 1 0:7 /a\\040b /c\\011d\\012e\\134 rw shared:1 unbindable - fuse.x \\043 rw,lowerdir=/a\\054b,c=\"d,e\"\n")
	f.Add("5 1 0:7 / /c rw - tmpfs  rw\n")
	f.Fuzz(func(t *testing.T, text string) {
		for m, err := range Parse(strings.NewReader(text)) {
			if err != nil {
				return
			}
			want := *m
			got, err := parseAll(strings.NewReader(write(m)))
			if err != nil {
				t.Fatalf("%+v: %v", want, err)
			}
			if diff := cmp.Diff([]Mount{want}, got, compareMounts); diff != "" {
				t.Fatal(diff)
			}
			for range want.Options() {
			}
			for range want.SuperOptions() {
			}
		}
	})
}
