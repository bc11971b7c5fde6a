package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// In a real bash, in a real terminal: what is typed, a TAB, and what stands in the line then.
func TestCompletionInBash(t *testing.T) {
	testhost.Root(t)
	w := newWorld(t)
	bash := w.bash(t)
	for _, c := range []struct{ typed, line string }{
		{"net ro", "net routes "},
		{"net routes a", "net routes add "},
		{"vol list d", "vol list disks "},
		{"net routes --fam", "net routes --family "},
		{"net routes --family ipv6 --ta", "net routes --family ipv6 --ta"},
		{"net routes --family ", "net routes --family ipv"},
		{"net routes --family=ipv6", "net routes --family=ipv6 "},
		{"net interfaces --name w", "net interfaces --name web"},
		{"net bridge --name ", "net bridge --name br0 "},
		{"net bridge delete ", "net bridge delete br0 "},
		{"net bridge connect br", "net bridge connect br0 "},
		{"net bridge add port --bridge ", "net bridge add port --bridge br0 "},
		{"net routes delete 198", "net routes delete 198.51.100.0/24 "},
		{"-o ya", "-o yaml "},
		{"call net.routes.d", "call net.routes.delete "},
		{"vol balance start / --filters da", "vol balance start / --filters data="},
		{"completion z", "completion zsh "},
	} {
		got := ""
		for range 3 { // a machine that is too busy to answer in time completes nothing
			if got = tab(bash, c.typed); got == c.line {
				break
			}
		}
		if got != c.line {
			t.Errorf("%q and TAB is %q, not %q", c.typed, got, c.line)
		}
	}
}

// bash is a bash with completion, in a terminal.
func (w *world) bash(t *testing.T) *terminal {
	t.Helper()
	bin := w.binFolder(t)
	cmd := exec.Command("bash", "--norc", "--noprofile", "-i")
	cmd.Env = append(w.environment(bin), "PS1=READY> ", "HISTFILE=", "INPUTRC="+filepath.Join(bin, "none"))
	term := inTerminal(t, cmd, 200)
	term.expect("READY>")
	term.send("bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; bind 'set show-all-if-ambiguous off'; source <(" + Name + " completion bash); echo loa''ded\n")
	term.expect("loaded\n")
	// What readline has in its line is told by a key that prints it.
	term.send(`show() { printf 'LINE<%s>ENDS\n' "$READLINE_LINE"; }; bind -x '"\C-g": show'; echo bou''nd` + "\n")
	term.expect("bound\n")
	t.Cleanup(func() { leave(term) })
	return term
}

// leave ends a shell.
func leave(term *terminal) {
	term.send("\x15exit\n")
	term.wait()
}

// tab types a line into a shell, then a TAB, and returns the line as it is then.
func tab(term *terminal, typed string) string {
	term.forget()
	term.send("\x15" + Name + " " + typed + "\t\x07")
	term.expect(">ENDS\n")
	_, line, _ := strings.Cut(term.screen(), "LINE<")
	line, _, _ = strings.Cut(line, ">ENDS")
	return strings.TrimPrefix(line, Name+" ")
}

// Every param of every verb offers something or nothing, the words of an enum all of them, and never an
// error: a terminal is no place for errors while one types.
func TestCompletionWithoutAServer(t *testing.T) {
	getenv := func(name string) string {
		return map[string]string{"MY_OS_SERVER_SOCKET": filepath.Join(t.TempDir(), "none")}[name]
	}
	s := newSession(os.Stdin, os.Stdout, os.Stderr, getenv)
	s.global.socket = filepath.Join(t.TempDir(), "none")
	c := s.command(all)
	for i := range verbs {
		for j := range verbs[i].params {
			p := &verbs[i].params[j]
			words, _ := s.completeParam(verbs[i].method, p)(c, nil, "")
			for _, value := range p.values {
				if !slices.Contains(words, value) {
					t.Errorf("%s --%s does not offer %s: %q", verbs[i].method, p.flag(), value, words)
				}
			}
		}
	}
}

// fish says by itself what it would offer.
func TestCompletionInFish(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "fish", "fish")
	w := newWorld(t)
	bin := w.binFolder(t)
	for _, c := range []struct{ typed, offers string }{
		{"net ro", "routes\tList the routes.\n"},
		{"net interfaces --name w", "web0\tveth\nweb1\tveth\n"},
		{"net bridge delete ", "br0\tbridge 192.0.2.1/24\n"},
		{"net routes --family ", "ipv4\nipv6\n"},
		{"net routes --family=", "--family=ipv4\n--family=ipv6\n"},
	} {
		got := ""
		for range 3 {
			cmd := exec.Command("fish", "--no-config", "-c", Name+" completion fish | source; complete -C '"+Name+" "+c.typed+"'")
			cmd.Env = w.environment(bin)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got = string(out); got == c.offers {
				break
			}
		}
		if got != c.offers {
			t.Errorf("%q: fish offers %q, not %q", c.typed, got, c.offers)
		}
	}
}

// zsh in a terminal, as bash above.
func TestCompletionInZsh(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "zsh", "zsh")
	w := newWorld(t)
	zsh := w.zsh(t)
	for _, c := range []struct{ typed, line string }{
		{"net ro", "net routes "},
		{"net routes --fam", "net routes --family"},
		{"net bridge delete ", "net bridge delete br0 "},
		{"net interfaces --name w", "net interfaces --name web"},
		{"-o ya", "-o yaml "},
	} {
		got := ""
		for range 3 {
			if got = tab(zsh, c.typed); strings.TrimRight(got, " ") == strings.TrimRight(c.line, " ") {
				break
			}
		}
		if strings.TrimRight(got, " ") != strings.TrimRight(c.line, " ") {
			t.Errorf("%q and TAB is %q, not %q", c.typed, got, c.line)
		}
	}
}

// zsh is a zsh with completion, in a terminal.
func (w *world) zsh(t *testing.T) *terminal {
	t.Helper()
	cmd := exec.Command("zsh", "-f", "-i")
	cmd.Env = append(w.environment(w.binFolder(t)), "ZDOTDIR="+w.home)
	term := inTerminal(t, cmd, 200)
	term.send("PS1='READY> '; unsetopt zle_bracketed_paste prompt_cr prompt_sp list_beep beep; autoload -Uz compinit; compinit -u -D; source <(" + Name + " completion zsh); echo loa''ded\n")
	term.expect("loaded\n")
	term.send(`show() { zle -I; print -r -- "LINE<$BUFFER>ENDS" }; zle -N show; bindkey '^G' show; echo bou''nd` + "\n")
	term.expect("bound\n")
	t.Cleanup(func() { leave(term) })
	return term
}
