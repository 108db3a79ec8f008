package model

import (
	"slices"
	"sync"

	"github.com/go-json-experiment/json"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/mask/detect"
)

// knownValue is the finding of a value that the gateway knows to be secret.
const knownValue = "known-value"

// find gives the credentials in b, and the names of the detectors that found them, sorted.
func (h *Handler) find(b []byte) (names []string, values [][]byte) {
	for _, f := range h.detectors.Find(b) {
		names, values = append(names, f.Rule.ID), append(values, b[f.Start:f.End])
	}
	slices.Sort(names)
	return slices.Compact(names), values
}

// newDetectors makes the detectors of what is of a form that stands for nothing else: what they find is on record as a
// finding, and a rule that finds what is not there would be switched off.
func newDetectors() (*detect.Set, error) { return detect.Select([]string{detect.Credentials}) }

// unescaped gives a value as it is written, and as it is behind one and two layers of JSON's escapes.
func unescaped(v []byte) [][]byte {
	out := [][]byte{v}
	for range 2 {
		var s string
		if json.Unmarshal(slices.Concat([]byte(`"`), v, []byte(`"`)), &s) != nil || s == string(v) {
			break
		}
		v = []byte(s)
		out = append(out, v)
	}
	return out
}

// finds are the values that were found in what each session sent. They are replaced in the records of that session and nowhere
// else, or whoever sends something could have it masked in those of others, or fill the room that others need.
type finds struct {
	key  []byte
	none *mask.Engine // for sessions of which nothing was found

	mu    sync.Mutex
	known map[access.SessionID]*mask.Engine
	order []access.SessionID // the one of which something was found longest ago first
}

const (
	// maxFinding bounds the sessions of which it is known what was found. A conversation is sent anew with each request, and
	// what was found in it is found again.
	maxFinding = 64
	// maxFound bounds what is known of one.
	maxFound = 4000
)

func newFinds(key []byte) (*finds, error) {
	none, err := mask.New(mask.Options{Key: key})
	return &finds{key: key, none: none, known: map[access.SessionID]*mask.Engine{}}, err
}

// scope is how a session's records are masked, as far as it is known now.
func (f *finds) scope(s access.SessionID) *mask.Scope {
	f.mu.Lock()
	e := f.known[s]
	f.mu.Unlock()
	if e == nil {
		e = f.none
	}
	return e.Scope(s).Claimed()
}

// bare is how they would be masked if nothing had been found.
func (f *finds) bare(s access.SessionID) *mask.Scope { return f.none.Scope(s).Claimed() }

// learn makes a value secret in a session's records, and gives how they are masked from now on.
func (f *finds) learn(s access.SessionID, value []byte) *mask.Scope {
	e := f.engine(s)
	e.Learn(value)
	return e.Scope(s).Claimed()
}

func (f *finds) engine(s access.SessionID) *mask.Engine {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.order, s); i >= 0 {
		f.order = append(slices.Delete(f.order, i, i+1), s)
		return f.known[s]
	}
	e, err := mask.New(mask.Options{Key: f.key, MaxValues: maxFound})
	if err != nil { // one was made of the same key
		return f.none
	}
	if len(f.order) == maxFinding {
		delete(f.known, f.order[0])
		f.order = slices.Delete(f.order, 0, 1)
	}
	f.known[s], f.order = e, append(f.order, s)
	return e
}
