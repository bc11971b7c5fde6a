package acl

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzParse feeds Parse arbitrary files. Whatever it is given it returns a policy or a *ParseError that points
// into the file, and no policy gives a stranger more than an anonymous caller has.
func FuzzParse(f *testing.F) {
	f.Add([]byte(exampleFile))
	f.Add([]byte("group = [{name = \"a\", users = [\"uid:1\"]}]\nace = [{right = \"write\", groups = [\"a\"]}]\npolicy = {}\n"))
	f.Add([]byte("[[group]]\nname = \"a\"\nmember_groups = [\"b\"]\n[[group]]\nname = \"b\"\nmember_groups = [\"a\"]\n"))
	f.Add([]byte(users(`"uid:01"`)))
	f.Add([]byte(ace("right = \"read\"\nmethods = [\"*\"]")))
	f.Add([]byte(token1(`name = """ci"""`)))
	f.Add([]byte("policy.anonymous_local = 'admin'\r\npolicy.trusted_uids = [0x10, 0b1, 1_0]\r\n"))
	f.Add([]byte("[[group]]\n[group.x]\n[[group.x.y]]\n\"a.b\" = [[{c = []}]]\n"))
	stranger := Caller{Kind: KindKey, Key: keyThree, UID: 4242, Local: true}
	anonymous := Caller{Local: true}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("f", data, testMethods)
		if err != nil {
			var wrong *ParseError
			if !errors.As(err, &wrong) {
				t.Fatalf("error %T: %v", err, err)
			}
			if lines := bytes.Count(data, []byte("\n")) + 1; wrong.Line < 1 || wrong.Line > lines || wrong.Reason == "" {
				t.Fatalf("%v: the file has %d lines", wrong, lines)
			}
			return
		}
		if p.KnowsKey(stranger.Key) {
			return
		}
		for _, m := range testMethods {
			if got, want := p.Right(&stranger, m), p.Right(&anonymous, m); got != want {
				t.Fatalf("a stranger has %v on %s, anonymous callers %v", got, m.Name, want)
			}
		}
		p.Summary(testTime)
	})
}
