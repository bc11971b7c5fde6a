package nft

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const printed = `table inet filter { # handle 1
	comment "all of it"
	set s { # handle 9
		type ipv4_addr
		elements = { 1.2.3.4 comment "x # handle 7" }
	}

	counter c { # handle 3
		packets 0 bytes 0
	}

	chain input { # handle 2
		comment "first # handle 8"
		type filter hook input priority filter; policy drop;
		tcp dport 22 accept comment "# handle 7" # handle 5
		ip saddr { 1.1.1.1, 2.2.2.2,
			     3.3.3.3 } drop # handle 6
		comment "nothing but this" # handle 11
		log prefix "a;" # handle 12
	}
}
table ip nat { # handle 2
	chain input { # handle 1
		jump other # handle 5
	}
}
`

func TestParseListing(t *testing.T) {
	got, err := ParseListing([]byte(printed))
	if err != nil {
		t.Fatal(err)
	}
	want := map[RuleRef]string{
		{"inet", "filter", 5}:  `tcp dport 22 accept comment "# handle 7"`,
		{"inet", "filter", 6}:  `ip saddr { 1.1.1.1, 2.2.2.2, 3.3.3.3 } drop`,
		{"inet", "filter", 11}: `comment "nothing but this"`,
		{"inet", "filter", 12}: `log prefix "a;"`,
		{"ip", "nat", 5}:       `jump other`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseListing(f *testing.F) {
	f.Add([]byte(printed))
	f.Fuzz(func(t *testing.T, b []byte) {
		texts, err := ParseListing(b)
		if err != nil {
			t.Fatal(err)
		}
		for at := range texts {
			if at.Family == "" && at.Table != "" {
				t.Errorf("%+v", at)
			}
		}
	})
}
