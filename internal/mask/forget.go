package mask

import (
	"bytes"
	"encoding/hex"
	"maps"
	"slices"
)

// Forget makes value, and all that was learned of it, known no longer, and keeps it from being learned again: it is for what
// became known by mistake, or by somebody's intent, and stands everywhere. It is still masked where a Shape names it. It
// gives how many patterns were known until now.
//
// It rebuilds the index, so it takes long where much is known, and others go on with the old one meanwhile.
func (e *Engine) Forget(value []byte) (patterns int) {
	l := &learner{e: e, collect: map[digest]bool{}}
	l.whole(value)
	clear(l.buf[:])
	l.collect[e.digestOf(bytes.TrimSpace(value))] = true // a token, which is known by its form
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.index.Load()
	for mac := range l.collect {
		if old.byMAC(&mac) != nil {
			patterns++
		}
	}
	e.forget(slices.Collect(maps.Keys(l.collect)))
	if patterns > 0 {
		e.rebuild(old)
	}
	return patterns
}

// Digest identifies value to who has the engine's key, and says to nobody what it is.
func (e *Engine) Digest(value []byte) string {
	d := e.digestOf(value)
	return hex.EncodeToString(d[:])
}

// rebuild replaces the index by one without what is forgotten. The caller holds mu.
func (e *Engine) rebuild(old *index) {
	x := newIndex(e.keys, len(old.records))
	for i := range old.count {
		if !(*e.forgotten.Load())[old.records[i].MAC] {
			x.add(&old.records[i])
		}
	}
	e.index.Store(x)
	e.full.Store(x.count >= e.o.MaxValues)
}

// forget notes patterns that are not learned again. The caller holds mu.
func (e *Engine) forget(patterns []digest) {
	all := maps.Clone(*e.forgotten.Load())
	for _, d := range patterns {
		all[d] = true
	}
	e.changes += uint64(len(patterns))
	e.forgotten.Store(&all)
}
