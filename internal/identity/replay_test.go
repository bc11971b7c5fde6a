package identity

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/pkg/acl"
)

func TestReplay(t *testing.T) {
	v, c := testVerifier()
	p := testPolicy(t, alice, bob)
	r := signedBy(alice, testNow)
	if _, err := v.Identify(p, remotePeer, r); err != nil {
		t.Fatal(err)
	}
	for _, later := range []time.Duration{0, time.Second, 59 * time.Second} {
		c.now = testNow.Add(later)
		for _, peer := range []*Peer{remotePeer, userPeer(0), namelessPeer} {
			_, err := v.Identify(p, peer, r)
			wantRefused(t, err, ErrInvalid, "used before", r.Header.Get("X-Nonce"))
		}
	}
	// The same nonce in another key's hands is another one.
	c.now = testNow
	other := request()
	text := signedText(testNode, other, r.Header.Get("X-Timestamp"), r.Header.Get("X-Nonce"))
	other.Header.Set("X-Public-Key", hexOf(bob))
	other.Header.Set("X-Timestamp", r.Header.Get("X-Timestamp"))
	other.Header.Set("X-Nonce", r.Header.Get("X-Nonce"))
	other.Header.Set("X-Signature", fmt.Sprintf("%x", ed25519.Sign(bob, text)))
	if _, err := v.Identify(p, remotePeer, other); err != nil {
		t.Errorf("bob with alice's nonce: %v", err)
	}
}

// A signature that fails leaves no trace: the right one with the same nonce still counts.
func TestReplayIgnoresFailures(t *testing.T) {
	v, _ := testVerifier()
	p := testPolicy(t, alice)
	r := signedBy(alice, testNow)
	body := r.Body
	r.Body = []byte("x")
	if _, err := v.Identify(p, remotePeer, r); err == nil {
		t.Fatal("a tampered request is accepted")
	}
	r.Body = body
	if _, err := v.Identify(p, remotePeer, r); err != nil {
		t.Error(err)
	}
}

// A key that the policy does not name has nothing to gain by a replay, and takes no room.
func TestReplayOfStranger(t *testing.T) {
	v, _ := testVerifier()
	p := testPolicy(t, alice)
	r := signedBy(mallory, testNow)
	for range 2 {
		if _, err := v.Identify(p, remotePeer, r); err != nil {
			t.Fatal(err)
		}
	}
	if v.replays.nonces != 0 || len(v.replays.keys) != 0 {
		t.Errorf("%d nonces of %d keys are kept", v.replays.nonces, len(v.replays.keys))
	}
}

// A new daemon knows no nonce of the old one's, and accepts nothing that the old one may have accepted.
func TestReplayAcrossRestart(t *testing.T) {
	p := testPolicy(t, alice)
	old, c := testVerifier()
	ahead := signedBy(alice, testNow.Add(skew))
	if _, err := old.Identify(p, remotePeer, ahead); err != nil {
		t.Fatal(err)
	}
	start := testNow.Add(time.Microsecond)
	v := NewVerifier(testNode, start, c.Now)
	for wait := time.Duration(0); wait <= skew+maxAge+time.Second; wait += time.Second {
		c.now = start.Add(wait)
		if _, err := v.Identify(p, remotePeer, ahead); err == nil {
			t.Fatalf("what the old daemon saw is accepted %v after the start", wait)
		}
	}
	for _, test := range []struct {
		signed time.Duration // after the start
		ok     bool
	}{
		{-time.Second, false},
		{0, false},
		{skew - time.Millisecond, false},
		{skew, false}, // X-Timestamp has milliseconds: this is a microsecond before start + 5 s
		{skew + time.Millisecond, true},
		{skew + time.Second, true},
	} {
		c.now = start.Add(skew)
		_, err := v.Identify(p, remotePeer, signedBy(alice, start.Add(test.signed)))
		if (err == nil) != test.ok {
			t.Errorf("signed %v after the start: %v", test.signed, err)
		}
	}
}

// When there is no room, the oldest is forgotten, and with it all that is not newer.
func TestReplayEviction(t *testing.T) {
	v, c := testVerifier()
	v.replays.perKey = 3
	p := testPolicy(t, alice, bob)
	var requests []*Request
	for i := range 4 {
		requests = append(requests, signedBy(alice, testNow.Add(time.Duration(i)*time.Millisecond)))
	}
	c.advance(10 * time.Millisecond)
	for i := range 4 {
		if _, err := v.Identify(p, remotePeer, requests[i]); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	_, err := v.Identify(p, remotePeer, requests[0])
	wantRefused(t, err, ErrInvalid, "older than what is remembered")
	_, err = v.Identify(p, remotePeer, signedBy(alice, testNow))
	wantRefused(t, err, ErrInvalid, "older than what is remembered")
	for i := 1; i < 4; i++ {
		_, err = v.Identify(p, remotePeer, requests[i])
		wantRefused(t, err, ErrInvalid, "used before")
	}
	if _, err := v.Identify(p, remotePeer, signedBy(bob, testNow)); err != nil {
		t.Errorf("bob pays for alice: %v", err)
	}
}

// Where all keys together have filled the room, the one with the most makes way.
func TestReplayFloodPaysItself(t *testing.T) {
	v, c := testVerifier()
	v.replays.inAll = 10
	p := testPolicy(t, alice, bob)
	first := signedBy(bob, testNow)
	if _, err := v.Identify(p, remotePeer, first); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		c.advance(time.Millisecond)
		if _, err := v.Identify(p, remotePeer, signedBy(alice, c.now)); err != nil {
			t.Fatal(err)
		}
	}
	if v.replays.nonces != 10 {
		t.Errorf("%d nonces are kept, want 10", v.replays.nonces)
	}
	_, err := v.Identify(p, remotePeer, first)
	wantRefused(t, err, ErrInvalid, "used before")
	if _, err := v.Identify(p, remotePeer, signedBy(bob, testNow)); err != nil {
		t.Errorf("bob's second request, as old as the first: %v", err)
	}
}

// Nonces go after 120 seconds, and do not come back when the clock does.
func TestReplayExpiry(t *testing.T) {
	v, c := testVerifier()
	p := testPolicy(t, alice, bob)
	r := signedBy(alice, testNow)
	if _, err := v.Identify(p, remotePeer, r); err != nil {
		t.Fatal(err)
	}
	c.advance(keepNonces - time.Millisecond)
	if _, err := v.Identify(p, remotePeer, signedBy(bob, c.now)); err != nil {
		t.Fatal(err)
	}
	if got := len(v.replays.keys[hexOf(alice)].seen); got != 1 {
		t.Errorf("alice's nonce is gone before its time")
	}
	c.advance(keepNonces)
	if _, err := v.Identify(p, remotePeer, signedBy(bob, c.now)); err != nil {
		t.Fatal(err)
	}
	if v.replays.nonces != 1 {
		t.Errorf("%d nonces are kept, want bob's last", v.replays.nonces)
	}
	c.now = testNow
	_, err := v.Identify(p, remotePeer, r)
	wantRefused(t, err, ErrInvalid, "older than what is remembered")
}

// What a stranger signed does not count again once the policy names it.
func TestReplayAfterReload(t *testing.T) {
	v, c := testVerifier()
	before, after := testPolicy(t, alice), testPolicy(t, alice, bob)
	old := signedBy(bob, testNow)
	if _, err := v.Identify(before, remotePeer, old); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Millisecond)
	fresh := signedBy(bob, c.now)
	_, err := v.Identify(after, remotePeer, old)
	wantRefused(t, err, ErrInvalid, "older than what is remembered")
	if _, err := v.Identify(after, remotePeer, fresh); err != nil {
		t.Errorf("a fresh request after the reload: %v", err)
	}
}

// A flood of strangers does not hide one of them, nor shut out those that the policy has named all along.
func TestReplayAfterReloadUnderFlood(t *testing.T) {
	v, c := testVerifier()
	v.replays.strangersInAll = 4
	before, after := testPolicy(t, alice), testPolicy(t, alice, bob)
	old := signedBy(bob, testNow)
	if _, err := v.Identify(before, remotePeer, old); err != nil {
		t.Fatal(err)
	}
	for seed := range byte(20) {
		c.advance(time.Millisecond)
		if _, err := v.Identify(before, remotePeer, signedBy(testKey(seed), c.now)); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.replays.strangers) != 4 {
		t.Errorf("%d strangers are remembered, want 4", len(v.replays.strangers))
	}
	if _, err := v.Identify(after, remotePeer, old); err == nil {
		t.Error("what bob signed as a stranger counts after the reload")
	}
	if _, err := v.Identify(after, remotePeer, signedBy(alice, testNow)); err != nil {
		t.Errorf("alice is shut out: %v", err)
	}
	if _, err := v.Identify(after, remotePeer, signedBy(bob, c.now)); err != nil {
		t.Errorf("bob is shut out: %v", err)
	}
}

// Of many at once with the same nonce one gets through.
func TestReplayRace(t *testing.T) {
	v, _ := testVerifier()
	p := testPolicy(t, alice)
	r := signedBy(alice, testNow)
	var through atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := v.Identify(p, remotePeer, r); err == nil {
				through.Add(1)
			}
		})
	}
	all.Wait()
	if through.Load() != 1 {
		t.Errorf("%d got through", through.Load())
	}
}

// Whatever the order of signatures, the bounds, the clock and the reloads: no signature counts twice while its
// key is named, and one that is new and newer than all before it always counts.
func TestReplayProperty(t *testing.T) {
	keys := []ed25519.PrivateKey{alice, bob, mallory}
	policies := []ed25519.PrivateKey{alice, bob}
	both, one := testPolicy(t, policies...), testPolicy(t, policies[:1]...)
	rapid.Check(t, func(t *rapid.T) {
		g := newReplayGuard(testNow.Add(-time.Hour))
		g.perKey = rapid.IntRange(1, 4).Draw(t, "per key")
		g.inAll = rapid.IntRange(1, 6).Draw(t, "in all")
		g.strangersInAll = rapid.IntRange(1, 2).Draw(t, "strangers")
		now := testNow
		accepted := map[string]bool{} // key and nonce, as a stranger or not
		newest := map[string]int64{}  // by key
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-90_000, 150_000).Draw(t, "clock")) * time.Millisecond)
			p := rapid.SampledFrom([]*acl.Policy{both, one}).Draw(t, "policy")
			key := hexOf(rapid.SampledFrom(keys).Draw(t, "key"))
			signed := now.UnixMilli() - int64(rapid.IntRange(-5_000, 60_000).Draw(t, "age"))
			var n nonce
			binary.BigEndian.PutUint64(n[:], uint64(rapid.IntRange(0, 20).Draw(t, "nonce")))
			// A nonce belongs to one time of signing: the signature covers both.
			id := fmt.Sprint(key, n, signed)
			err := g.use(p, key, n, signed, now)
			switch {
			case err == nil && p.KnowsKey(key) && accepted[id]:
				t.Fatalf("%s counts twice", id)
			case err != nil && !p.KnowsKey(key):
				t.Fatalf("a stranger is refused: %v", err)
			case err != nil && p.KnowsKey(key) && key == hexOf(alice) && signed > newest[key] && !errors.Is(err, errReplayed):
				t.Fatalf("newer than all before, refused: %v", err)
			}
			if err == nil {
				accepted[id] = true
				newest[key] = max(newest[key], signed)
			}
			if g.nonces > g.inAll || len(g.strangers) > g.strangersInAll {
				t.Fatalf("%d nonces, %d strangers are kept", g.nonces, len(g.strangers))
			}
			for _, k := range g.keys {
				if len(k.seen) > g.perKey || len(k.seen) != len(k.order) {
					t.Fatalf("%d nonces of one key, %d in order", len(k.seen), len(k.order))
				}
			}
		}
	})
}
