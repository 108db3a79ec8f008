package model

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/recording"
)

// transcript records a streamed answer, with placeholders for its secrets, each event before it is delivered.
//
// A secret may be split over many events. So each text that comes in pieces goes through a redaction of its own; while that
// holds what may be the beginning of a secret, the events wait, and the book has their place, number and digest, as for
// what is typed in an exec (recording.Stream.Ahead). When it is clear, they are recorded: as they came, or with the secret
// replaced in the first of them and gone from the others.
type transcript struct {
	p       gate.Permit
	redact  redacter
	digest  func(at int64, b []byte) string
	lanes   map[laneKey]*lane
	waiting []waiting
	// waits is how many bytes do, and most how many may.
	waits, most int
	at          int64 // of the next event in the answer
}

// lane is one text on its way to the book.
type lane struct {
	out    bytes.Buffer // what came out since the first event that waits
	t      redaction
	before int64 // masked when the first event that waits came
}

// waiting is an event whose record waits. Its data stand at offset, below 0: not in one place.
type waiting struct {
	raw          []byte
	offset, data int
	spans        []span
}

// span is a piece of an event.
type span struct {
	lane *lane
	path []string
	// from and to are where it stands, as a JSON string, once that is asked.
	from, to int
}

func newTranscript(p gate.Permit, r redacter, digest func(int64, []byte) string, most int) *transcript {
	return &transcript{p: p, redact: r, digest: digest, lanes: map[laneKey]*lane{}, most: most}
}

// event records an event, of which data stands at offset in raw; below 0: not in one place.
func (t *transcript) event(raw, data []byte, offset int, ps []piece) error {
	w := waiting{raw: raw, offset: offset, data: len(data)}
	for _, p := range ps {
		if p.last {
			if err := t.endLanes(p.lane); err != nil {
				return err
			}
			continue
		}
		l, err := t.feed(p)
		if err != nil {
			return err
		}
		w.spans = append(w.spans, span{lane: l, path: p.path})
	}
	t.waiting = append(t.waiting, w)
	at := t.at
	t.at += int64(len(raw))
	if !t.holds() {
		return t.resolve()
	}
	t.waiting[len(t.waiting)-1].raw = slices.Clone(raw)
	if t.waits += len(raw); t.waits > t.most {
		return access.Refuse(access.CodeUnmaskable, nil, "the provider's answer leaves open, for more than %d bytes, whether a secret stands in it", t.most)
	}
	note := fmt.Appendf(nil, `{"at":%d,"bytes":%d,"digest":%q}`+"\n", at, len(raw), t.digest(at, raw))
	return t.p.Record(recording.Body.Ahead(), recording.ToClient, note)
}

// holds reports whether what came last may be the beginning of a secret, in any text.
func (t *transcript) holds() bool {
	for _, l := range t.lanes {
		if l.t.held() > 0 {
			return true
		}
	}
	return false
}

// feed gives a piece to its lane.
func (t *transcript) feed(p piece) (*lane, error) {
	l := t.lanes[p.lane]
	if l == nil {
		l = &lane{}
		l.t = t.redact.text(&l.out)
		t.lanes[p.lane] = l
	}
	if _, err := l.t.Write([]byte(p.text)); err != nil {
		return nil, err
	}
	return l, l.t.Flush()
}

// endLanes ends the texts of an index and an item.
func (t *transcript) endLanes(of laneKey) error {
	for k, l := range t.lanes {
		if k.index != of.index || k.item != of.item {
			continue
		}
		if err := l.t.Close(); err != nil {
			return err
		}
		delete(t.lanes, k)
	}
	return nil
}

// resolve records the events that waited: it is clear now what is in them.
func (t *transcript) resolve() error {
	var given map[*lane]bool
	for _, w := range t.waiting {
		raw, err := w.replaced(&given)
		if err != nil {
			return err
		}
		if err := t.record(raw); err != nil {
			return err
		}
	}
	for _, w := range t.waiting {
		for _, s := range w.spans {
			s.lane.before = s.lane.t.masked()
			s.lane.out.Reset()
		}
	}
	t.waiting, t.waits = t.waiting[:0], 0
	return nil
}

// replaced is the event as it is recorded. All of a text in which a secret was replaced goes into the first event that
// waited for it; given says which have theirs.
func (w waiting) replaced(given *map[*lane]bool) ([]byte, error) {
	var changed []span
	for _, s := range w.spans {
		if s.lane.t.masked() == s.lane.before {
			continue
		}
		if w.offset >= 0 {
			s.from, s.to = locate(w.raw[w.offset:w.offset+w.data], s.path)
		}
		if s.to == 0 {
			return nil, unreadable(nil, "a part of a text, with a secret in it, cannot be found in its event")
		}
		changed = append(changed, s)
	}
	slices.SortFunc(changed, func(a, b span) int { return a.from - b.from })
	raw, moved := w.raw, w.offset
	for _, s := range changed {
		text := ""
		if !(*given)[s.lane] {
			text = s.lane.out.String()
		}
		if *given == nil {
			*given = map[*lane]bool{}
		}
		(*given)[s.lane] = true
		quoted, err := json.Marshal(text, jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return nil, fmt.Errorf("writing a text anew for the record: %w", err)
		}
		raw = slices.Concat(raw[:s.from+moved], quoted, raw[s.to+moved:])
		moved += len(quoted) - (s.to - s.from)
	}
	return raw, nil
}

// record puts bytes into the book, with the secrets replaced that are whole in them.
func (t *transcript) record(b []byte) error {
	out, _, err := t.redact.bytes(b)
	if err != nil {
		return err
	}
	return t.p.Record(recording.Body, recording.ToClient, out)
}

// close ends every text: what waits is clear now.
func (t *transcript) close() error {
	for name, l := range t.lanes {
		if err := l.t.Close(); err != nil {
			return err
		}
		delete(t.lanes, name)
	}
	return t.resolve()
}

// locate finds the string at a path of keys and indices in a JSON text: where it begins and ends, with its quotes. The
// text was read before, and is valid.
func locate(data []byte, path []string) (from, to int) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	want := ""
	for _, p := range path {
		want += "/" + p
	}
	for want != "" {
		k := d.PeekKind()
		if k == 0 {
			return 0, 0
		}
		tok, err := d.ReadToken()
		if err != nil {
			return 0, 0
		}
		if tok.Kind() != '"' || string(d.StackPointer()) != want || !isValue(d) {
			continue
		}
		to = int(d.InputOffset())
		return to - quotedLen(data[:to]), to
	}
	return 0, 0
}

// isValue reports whether the string just read is a value, not a key.
func isValue(d *jsontext.Decoder) bool {
	kind, n := d.StackIndex(d.StackDepth())
	return kind != '{' || n%2 == 0
}

// quotedLen is how long the JSON string at the end of b is.
func quotedLen(b []byte) int {
	for i := len(b) - 2; i >= 0; i-- {
		if b[i] != '"' {
			continue
		}
		slashes := 0
		for j := i - 1; j >= 0 && b[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			return len(b) - i
		}
	}
	return 0
}
