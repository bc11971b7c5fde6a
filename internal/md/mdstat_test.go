package md

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func member(name string, number int64, flags string) StatusMember {
	return StatusMember{Name: name, Number: number, Flags: flags}
}

// TestParseStatus takes what the kernel writes, as captured and as drivers/md/md.c has it.
func TestParseStatus(t *testing.T) {
	for text, want := range map[string]Status{
		"md0 : active raid1 sdb1[1] sda1[0]\n      64512 blocks super 1.2 [2/2] [UU]\n      \n": {
			Name: "md0", Active: true, Level: "raid1", Members: []StatusMember{member("sdb1", 1, ""), member("sda1", 0, "")}},
		"md1 : active (auto-read-only) raid5 sdc[3](S) sdb[1](F) sda[0](W)(J)\n      \tresync=PENDING\n": {
			Name: "md1", Active: true, Level: "raid5", Action: "resync", Waiting: "pending",
			Members: []StatusMember{member("sdc", 3, "S"), member("sdb", 1, "F"), member("sda", 0, "WJ")}},
		"md_d2 : inactive sda[0](S)\n      64512 blocks super 1.2\n": {
			Name: "md_d2", Members: []StatusMember{member("sda", 0, "S")}},
		"md3 : active raid1 cciss/c0d0p1[0]\n      1 blocks [1/1] [U]\n      bitmap: 0/1 pages [0KB], 64KB chunk, file: /var/a, file: b\n": {
			Name: "md3", Active: true, Level: "raid1", BitmapFile: "/var/a, file: b", Members: []StatusMember{member("cciss/c0d0p1", 0, "")}},
		"md4 : active raid6 sda[0]\n      [=>...................]  recovery =  6.2% (4032/64512) finish=0.9min speed=1008K/sec\n": {
			Name: "md4", Active: true, Level: "raid6", Action: "recover", Percent: 6.2, FinishMin: 0.9, Members: []StatusMember{member("sda", 0, "")}},
		"md5 : active raid6 sda[0]\n      [>....................]  check =  0.0% (0/64512) finish=120.0min speed=0K/sec\n": {
			Name: "md5", Active: true, Level: "raid6", Action: "check", FinishMin: 120, Members: []StatusMember{member("sda", 0, "")}},
		"md6 : active raid5 sda[0]\n      [>....................]  reshape =  1.5% (1/64) finish=1.0min speed=8K/sec\n": {
			Name: "md6", Active: true, Level: "raid5", Action: "reshape", Percent: 1.5, FinishMin: 1, Members: []StatusMember{member("sda", 0, "")}},
		"md7 : active raid1 sda[0]\n      \tresync=DELAYED\n": {
			Name: "md7", Active: true, Level: "raid1", Action: "resync", Waiting: "delayed", Members: []StatusMember{member("sda", 0, "")}},
		"md8 : active raid1 sda[0]\n      \tresync=REMOTE\n": {
			Name: "md8", Active: true, Level: "raid1", Action: "resync", Waiting: "remote", Members: []StatusMember{member("sda", 0, "")}},
	} {
		whole := "Personalities : [raid1] [raid6]\n" + text + "\nunused devices: <none>\n"
		if diff := cmp.Diff([]Status{want}, ParseStatus(whole)); diff != "" {
			t.Errorf("%s(-want +got):\n%s", text, diff)
		}
	}
	if list := ParseStatus("Personalities : \nunused devices: <none>\n"); len(list) != 0 {
		t.Errorf("without arrays there are %v", list)
	}
}

// TestRandomStatus writes tables of random arrays as the kernel does and reads them back.
func TestRandomStatus(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var want []Status
		text := "Personalities : [raid0] [raid1]\n"
		for i := range rng.IntN(5) {
			s := Status{Name: fmt.Sprintf("md%d", 127-i), Active: rng.IntN(4) > 0}
			text += s.Name + " : " + map[bool]string{true: "active", false: "inactive"}[s.Active]
			if s.Active {
				s.Level = []string{"raid0", "raid1", "raid5", "raid10", "linear"}[rng.IntN(5)]
				text += []string{" ", " (read-only) "}[rng.IntN(2)] + s.Level
			}
			for j := range 1 + rng.IntN(4) {
				m := member(fmt.Sprintf("sd%c%d", 'a'+j, rng.IntN(9)), rng.Int64N(300), []string{"", "F", "S", "WS"}[rng.IntN(4)])
				s.Members = append(s.Members, m)
				text += fmt.Sprintf(" %s[%d]", m.Name, m.Number)
				for _, flag := range m.Flags {
					text += fmt.Sprintf("(%c)", flag)
				}
			}
			text += "\n      1234 blocks super 1.2 [2/2] [UU]\n      \n"
			want = append(want, s)
		}
		text += "unused devices: <none>\n"
		if diff := cmp.Diff(want, ParseStatus(text)); diff != "" {
			t.Fatalf("%s(-want +got):\n%s", text, diff)
		}
	}
}

// FuzzParseStatus asks that nothing is made up: every name stands in the text, and no number is negative.
func FuzzParseStatus(f *testing.F) {
	captured, err := os.ReadFile("../../testdata/host/md.tree")
	if err != nil {
		f.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(captured), "proc/mdstat:\n")
	table, _, _ := strings.Cut(rest, "unused devices")
	f.Add(strings.ReplaceAll(table, "\n\t", "\n"))
	f.Add("md1 : active (auto-read-only) raid5 sdc[3](S) sdb[1](F)\n      \tresync=PENDING\n")
	f.Add("md3 : active raid1 cciss!c0d0p1[0]\n      bitmap: 0/1 pages, file: /a\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range ParseStatus(text) {
			if !strings.Contains(text, s.Name) || !strings.Contains(text, s.BitmapFile) {
				t.Errorf("made up %q, %q", s.Name, s.BitmapFile)
			}
			for _, m := range s.Members {
				if m.Name == "" || m.Number < 0 {
					t.Errorf("member %+v", m)
				}
			}
			if (s.Waiting != "" || s.Percent != 0) && s.Action == "" {
				t.Errorf("progress of nothing: %+v", s)
			}
		}
	})
}
