package identity

import (
	"container/heap"
	"errors"
	"sync"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// keepNonces is how long a nonce is remembered at least, if there is room. A signature is accepted from skew
// before to maxAge after its time, so that a nonce which has been forgotten by age belongs to a signature
// that is too old.
const keepNonces = 120 * time.Second

// Bounds of what the guard remembers. One key can make 125 signed calls a second for as long as a signature
// is good before the first nonce must be forgotten early.
const (
	maxNoncesPerKey = 8192
	maxNonces       = 65536
	maxStrangers    = 1024
)

var (
	errReplayed  = errors.New("was used before")
	errForgotten = errors.New("is older than what is remembered")
)

// replayGuard sees to it that a signature of a key that the policy names counts once. It never forgets in
// the attacker's favour: for each key it has a floor, the earliest time of signing that it still accepts,
// and where it forgets a nonce, by age or for want of room, it raises the key's floor above that nonce's
// time. This holds when the wall clock is put back as well.
//
// Times are Unix milliseconds, the precision of X-Timestamp.
type replayGuard struct {
	perKey, inAll, strangersInAll int // bounds

	mu     sync.Mutex
	floor  int64 // for all keys: what an earlier daemon may have seen
	keys   map[string]*keyNonces
	nonces int       // in all keys
	swept  time.Time // when all keys were last rid of what is old

	// Keys that the policy does not name and their latest signatures, for the case that the next policy names
	// them: what they signed before then must not be used again.
	policy    *acl.Policy
	strangers map[string]int64
	lost      int64 // latest signature among the strangers that were forgotten
}

// keyNonces are the nonces of one key. It stays when they are gone, for its floor's sake; there are no more of
// these than keys in the ACL file.
type keyNonces struct {
	floor int64
	seen  map[nonce]struct{}
	order signedOrder
}

// newReplayGuard makes a guard that accepts what was signed after start and the skew that an earlier daemon
// has granted.
func newReplayGuard(start time.Time) *replayGuard {
	return &replayGuard{
		perKey:         maxNoncesPerKey,
		inAll:          maxNonces,
		strangersInAll: maxStrangers,
		floor:          start.Add(skew + time.Millisecond - 1).UnixMilli(), // rounded up
		keys:           map[string]*keyNonces{},
		strangers:      map[string]int64{},
	}
}

// use takes note of a signature that has been verified and is within its time. It is errReplayed where the
// nonce was used before, errForgotten where that is not known any more.
func (g *replayGuard) use(p *acl.Policy, key string, n nonce, signed int64, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.follow(p)
	if signed < g.floor {
		return errForgotten
	}
	if !p.KnowsKey(key) {
		g.meet(key, signed)
		return nil
	}
	k := g.of(key)
	if signed < k.floor {
		return errForgotten
	}
	if _, used := k.seen[n]; used {
		return errReplayed
	}
	g.sweep(now)
	g.makeRoom(k)
	k.seen[n] = struct{}{}
	heap.Push(&k.order, seenNonce{nonce: n, signed: signed, used: now})
	g.nonces++
	return nil
}

// of returns the record of a key.
func (g *replayGuard) of(key string) *keyNonces {
	k := g.keys[key]
	if k == nil {
		k = &keyNonces{seen: map[nonce]struct{}{}}
		g.keys[key] = k
	}
	return k
}

// makeRoom forgets the oldest signature of a key that has reached its bound, and that of the key with the most
// where all together have reached theirs: who floods pays.
func (g *replayGuard) makeRoom(k *keyNonces) {
	if len(k.seen) >= g.perKey {
		g.forgetOldest(k)
	}
	if g.nonces < g.inAll {
		return
	}
	most := k
	for _, other := range g.keys {
		if len(other.seen) > len(most.seen) {
			most = other
		}
	}
	g.forgetOldest(most)
}

// sweep forgets what is old enough, at most once per keepNonces/2 so that its cost does not count.
func (g *replayGuard) sweep(now time.Time) {
	if since := now.Sub(g.swept); since >= 0 && since < keepNonces/2 {
		return
	}
	g.swept = now
	for _, k := range g.keys {
		for len(k.order) > 0 && now.Sub(k.order[0].used) >= keepNonces {
			g.forgetOldest(k)
		}
	}
}

// forgetOldest forgets the nonce with the earliest time of signing.
func (g *replayGuard) forgetOldest(k *keyNonces) {
	oldest := heap.Pop(&k.order).(seenNonce)
	delete(k.seen, oldest.nonce)
	k.floor = max(k.floor, oldest.signed+1)
	g.nonces--
}

// follow notices a new policy: a key that it names and the one before did not begins above what it has signed
// as a stranger.
func (g *replayGuard) follow(p *acl.Policy) {
	if p == g.policy {
		return
	}
	if g.policy != nil {
		for key := range p.Keys() {
			if !g.policy.KnowsKey(key) {
				k := g.of(key)
				k.floor = max(k.floor, g.strangers[key]+1, g.lost+1)
				delete(g.strangers, key)
			}
		}
	}
	g.policy = p
}

// meet remembers the latest signature of a key that the policy does not name.
func (g *replayGuard) meet(key string, signed int64) {
	if _, known := g.strangers[key]; !known && len(g.strangers) >= g.strangersInAll {
		g.forgetStranger()
	}
	g.strangers[key] = max(g.strangers[key], signed)
}

// forgetStranger forgets the stranger who has been silent for longest.
func (g *replayGuard) forgetStranger() {
	silent, earliest := "", int64(0)
	for key, signed := range g.strangers {
		if silent == "" || signed < earliest {
			silent, earliest = key, signed
		}
	}
	delete(g.strangers, silent)
	g.lost = max(g.lost, earliest)
}

// seenNonce is a nonce that was used.
type seenNonce struct {
	nonce  nonce
	signed int64
	used   time.Time
}

// signedOrder is a heap (container/heap) with the earliest time of signing on top.
type signedOrder []seenNonce

func (o signedOrder) Len() int           { return len(o) }
func (o signedOrder) Less(i, j int) bool { return o[i].signed < o[j].signed }
func (o signedOrder) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *signedOrder) Push(x any)        { *o = append(*o, x.(seenNonce)) }
func (o *signedOrder) Pop() any {
	last := len(*o) - 1
	x := (*o)[last]
	*o = (*o)[:last]
	return x
}
