package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recorded is a file that btrfs-progs 6.2 wrote after a scrub of two mirrors, one of which had bad
// sectors.
const recorded = "scrub status:1\n" +
	"70a96b4a-6c43-4bb4-8a0e-6a3c4a3cf6d9:1|data_extents_scrubbed:962|tree_extents_scrubbed:15|data_bytes_scrubbed:62914560|tree_bytes_scrubbed:245760|read_errors:0|csum_errors:0|verify_errors:0|no_csum:0|csum_discards:0|super_errors:0|malloc_errors:0|uncorrectable_errors:0|corrected_errors:0|last_physical:148897792|t_start:1700730000|t_resumed:0|duration:3|canceled:0|finished:1\n" +
	"70a96b4a-6c43-4bb4-8a0e-6a3c4a3cf6d9:2|data_extents_scrubbed:962|tree_extents_scrubbed:15|data_bytes_scrubbed:62914560|tree_bytes_scrubbed:245760|read_errors:0|csum_errors:64|verify_errors:0|no_csum:0|csum_discards:0|super_errors:0|malloc_errors:0|uncorrectable_errors:0|corrected_errors:64|last_physical:127926272|t_start:1700730000|t_resumed:1700730100|duration:4|canceled:1|finished:0\n"

var (
	recordedUUID = UUID{0x70, 0xa9, 0x6b, 0x4a, 0x6c, 0x43, 0x4b, 0xb4, 0x8a, 0x0e, 0x6a, 0x3c, 0x4a, 0x3c, 0xf6, 0xd9}
	recordedWant = []ScrubRecord{
		{UUID: recordedUUID, Device: 1, Progress: ScrubProgress{DataExtentsScrubbed: 962, TreeExtentsScrubbed: 15,
			DataBytesScrubbed: 62914560, TreeBytesScrubbed: 245760, LastPhysical: 148897792},
			Started: time.Unix(1700730000, 0).UTC(), Duration: 3 * time.Second, Finished: true},
		{UUID: recordedUUID, Device: 2, Progress: ScrubProgress{DataExtentsScrubbed: 962, TreeExtentsScrubbed: 15,
			DataBytesScrubbed: 62914560, TreeBytesScrubbed: 245760, CsumErrors: 64, CorrectedErrors: 64, LastPhysical: 127926272},
			Started: time.Unix(1700730000, 0).UTC(), Resumed: time.Unix(1700730100, 0).UTC(), Duration: 4 * time.Second, Canceled: true},
	}
)

func TestParseScrubRecord(t *testing.T) {
	got, err := ParseScrubRecord(strings.NewReader(recorded))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recordedWant, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseScrubRecordTakesTheLastOfADevice(t *testing.T) {
	line := "70a96b4a-6c43-4bb4-8a0e-6a3c4a3cf6d9:1|csum_errors:%d|later_field:9|duration:18446744073709551615|t_start:18446744073709551615\n\n"
	got, err := ParseScrubRecord(strings.NewReader("scrub status:1\n" + fmt.Sprintf(line, 1) + fmt.Sprintf(line, 2)))
	if err != nil {
		t.Fatal(err)
	}
	want := []ScrubRecord{{UUID: recordedUUID, Device: 1, Progress: ScrubProgress{CsumErrors: 2}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParseScrubRecordRefuses(t *testing.T) {
	const uuid = "70a96b4a-6c43-4bb4-8a0e-6a3c4a3cf6d9"
	for name, text := range map[string]string{
		"nothing":                 "",
		"another version":         "scrub status:2\n",
		"no UUID":                 "scrub status:1\n70a96b4a:1|duration:1\n",
		"a UUID without hyphens":  "scrub status:1\n" + strings.ReplaceAll(uuid, "-", "x") + ":1|duration:1\n",
		"a UUID of other letters": "scrub status:1\n" + strings.ReplaceAll(uuid, "a", "g") + ":1|duration:1\n",
		"no device":               "scrub status:1\n" + uuid + "|duration:1\n",
		"a negative number":       "scrub status:1\n" + uuid + ":1|duration:-1\n",
		"no number":               "scrub status:1\n" + uuid + ":1|duration\n",
	} {
		if _, err := ParseScrubRecord(strings.NewReader(text)); !errors.Is(err, ErrScrubRecord) {
			t.Errorf("%s: %v, want ErrScrubRecord", name, err)
		}
	}
}

func TestReadScrubRecord(t *testing.T) {
	dir := t.TempDir()
	if got, err := ReadScrubRecord(dir, recordedUUID); err != nil || len(got) != 0 {
		t.Errorf("without a record: %v, %v; want nothing", got, err)
	}
	file := filepath.Join(dir, "scrub.status."+recordedUUID.String())
	if err := os.WriteFile(file, []byte(recorded), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadScrubRecord(dir, recordedUUID); err != nil || cmp.Diff(recordedWant, got) != "" {
		t.Errorf("from the file: %v, %v", got, err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "scrub.progress."+recordedUUID.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	go func() {
		conn, err := socket.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Write([]byte(strings.ReplaceAll(recorded, "csum_errors:64", "csum_errors:65")))
	}()
	got, err := ReadScrubRecord(dir, recordedUUID)
	if err != nil || len(got) != 2 || got[1].Progress.CsumErrors != 65 {
		t.Errorf("from the process: %v, %v; want 65 errors", got, err)
	}
}

func TestProgressAdds(t *testing.T) {
	sum := recordedWant[0].Progress
	sum.Add(&recordedWant[1].Progress)
	want := ScrubProgress{DataExtentsScrubbed: 1924, TreeExtentsScrubbed: 30, DataBytesScrubbed: 125829120,
		TreeBytesScrubbed: 491520, CsumErrors: 64, CorrectedErrors: 64, LastPhysical: 148897792}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if sum.Errors() != 64 {
		t.Errorf("%d errors, want 64", sum.Errors())
	}
}

func FuzzParseScrubRecord(f *testing.F) {
	f.Add([]byte(recorded))
	f.Add([]byte("scrub status:1\n70a96b4a-6c43-4bb4-8a0e-6a3c4a3cf6d9:1|a:1|b:2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := ParseScrubRecord(bytes.NewReader(b))
		if err != nil && len(records) > 0 {
			t.Error("an error and records")
		}
		for _, r := range records {
			if !r.Started.IsZero() {
				if _, err := r.Started.MarshalText(); err != nil {
					t.Errorf("started %v: %v", r.Started, err)
				}
			}
			if r.Duration < 0 {
				t.Errorf("duration %v", r.Duration)
			}
		}
	})
}

func FuzzParseUUID(f *testing.F) {
	f.Add("70a96b4a-6c43-4bb4-8a0e-6a3c4a3cf6d9")
	f.Add("70A96B4A-6C43-4BB4-8A0E-6A3C4A3CF6D9")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUUID(s)
		if err == nil && !strings.EqualFold(u.String(), s) {
			t.Errorf("%q became %s", s, u)
		}
	})
}
