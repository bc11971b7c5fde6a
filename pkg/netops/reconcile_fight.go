package netops

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// Another manager may want an object otherwise, and put it back each time that it is mended. Each mending of one
// object is followed by a rest that doubles, so that the two do not spin; net.health tells.

const (
	fightRest   = time.Second     // after the first
	fightLonger = 5 * time.Minute // the longest
	fightTold   = 4               // so many in a row are told as a fight
)

// fight is the history of one object that was mended.
type fight struct {
	count int       // in a row
	last  time.Time // when it was mended last
	cause string    // why that failed; "": it did not
}

// rest is how long the object is left alone after the last time.
func (f *fight) rest() time.Duration {
	return min(fightRest<<min(f.count-1, 20), fightLonger)
}

// calm tells whether it has stayed as it was mended for long enough that the next time is another story.
func (f *fight) calm(now time.Time) bool { return now.Sub(f.last) > 4*f.rest()+time.Minute }

func (f *fight) due() time.Time { return f.last.Add(f.rest()) }

// mayTry tells whether it is time to mend an object.
func (r *reconciler) mayTry(what string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.fights[what]
	if f != nil && f.calm(now) {
		delete(r.fights, what)
		return true
	}
	return f == nil || !now.Before(f.due())
}

// tried notes that an object was mended, or could not be.
func (r *reconciler) tried(what string, err error, now time.Time) {
	log := &r.net.options.Log
	r.mu.Lock()
	f := r.fights[what]
	if f == nil {
		f = &fight{}
		r.fights[what] = f
	}
	f.count, f.last, f.cause = f.count+1, now, ""
	if err != nil {
		f.cause = err.Error()
	}
	count, rest := f.count, f.rest()
	r.mu.Unlock()
	switch {
	case err != nil:
		log.Error().Err(err).Str("object", what).Stringer("next", rest).Msg("could not be mended")
	case count >= fightTold:
		log.Warn().Str("object", what).Int("times", count).Stringer("next", rest).Msg("mended once more: something else changes it")
	default:
		log.Info().Str("object", what).Msg("mended")
	}
}

// nextTry is how long from now the first object that is not as it is to be may be mended.
func (r *reconciler) nextTry(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := sweepTime
	for what, f := range r.fights {
		switch {
		case r.stands(what):
			next = min(next, f.due().Sub(now))
		case f.calm(now):
			delete(r.fights, what)
		}
	}
	return max(next, restLeast)
}

// stands tells whether the last round saw something amiss with what was mended. r.mu is held.
func (r *reconciler) stands(what string) bool {
	for told := range r.told {
		if told == what || strings.HasPrefix(told, what+" ") {
			return true
		}
	}
	return false
}

// check is what net.health tells of the rounds.
func (r *reconciler) check(now time.Time) []registry.HealthCheck {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		return nil
	}
	fights := map[string]fight{}
	for what, f := range r.fights {
		if !f.calm(now) {
			fights[what] = *f
		}
	}
	overruns := int64(0)
	for _, l := range r.watching {
		overruns += l.Overruns()
	}
	return judgeReconcile(r.mode(), cmp.Or(r.deaf, r.switched.deaf()), r.failed, overruns, fights, now)
}

// judgeReconcile is degraded where something else changes an object again and again, or where it cannot be
// mended.
func judgeReconcile(mode ReconcileMode, deaf, failed string, overruns int64, fights map[string]fight, now time.Time) []registry.HealthCheck {
	c := registry.HealthCheck{Name: "reconcile", Status: registry.CheckStatusOk, Data: map[string]string{"mode": string(mode)},
		Message: "changes are heard of, and " + map[ReconcileMode]string{ReconcileReport: "told", ReconcileRepair: "mended"}[mode]}
	if overruns > 0 {
		c.Data["overruns"] = fmt.Sprint(overruns)
	}
	switch {
	case failed != "":
		c.Status, c.Message = registry.CheckStatusUnknown, failed
	case deaf != "":
		c.Status, c.Message = registry.CheckStatusUnknown, fmt.Sprintf("not all changes are heard of, but looked for every %v: %s", sweepTime, deaf)
	}
	var texts []string
	for _, what := range slices.Sorted(maps.Keys(fights)) {
		f := fights[what]
		if f.count < fightTold && f.cause == "" {
			continue
		}
		text := fmt.Sprintf("%s was mended %d times and changes again", what, f.count)
		if f.cause != "" {
			text = fmt.Sprintf("%s could not be mended: %s", what, f.cause)
		}
		texts = append(texts, text)
		c.Data["next_try"] = f.due().UTC().Format(time.RFC3339)
	}
	if len(texts) > 0 {
		c.Status, c.Message = registry.CheckStatusDegraded, strings.Join(texts, "; ")
	}
	return []registry.HealthCheck{c}
}
