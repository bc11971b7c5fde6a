package config

import (
	"os"
	"strings"
	"testing"
)

const page = "../../docs/configuration.md"

// documented reads the table of keys: one row of cells a key.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.TrimSpace(cells[0])
		if len(cells) != 5 || !strings.HasPrefix(name, "`") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows[strings.Trim(name, "`")] = cells
	}
	return rows
}

// TestEveryKeyIsDocumented walks Config and compares each key with its row: flag, default, reload.
func TestEveryKeyIsDocumented(t *testing.T) {
	rows, c := documented(t), Default()
	for _, k := range Keys() {
		row, ok := rows[k.Name]
		delete(rows, k.Name)
		if !ok {
			t.Errorf("%s: has no row in %s", k.Name, page)
			continue
		}
		flag, change := "", "restart"
		if k.Flag != "" {
			flag = "`--" + k.Flag + "`"
		}
		if k.Reload {
			change = "reload"
		}
		for i, want := range []string{1: flag, 2: "`" + k.Value(&c) + "`", 3: change} {
			if i > 0 && row[i] != want {
				t.Errorf("%s: the row says %q, want %q", k.Name, row[i], want)
			}
		}
		if row[4] == "" {
			t.Errorf("%s: the row does not say what it means", k.Name)
		}
	}
	for name := range rows {
		t.Errorf("%s: is documented and does not exist", name)
	}
}
