package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/recording"
)

const laneSecret = "correct-horse-battery-staple"

// witness is a Book and an upstream that sees in which order things come to both: nothing goes on that the book does not
// have, as it is, as a placeholder, or as a digest.
type witness struct {
	t      rapid.TB
	scope  *mask.Scope
	in     string          // all that will be written
	record strings.Builder // of the stream itself
	ahead  []bool          // by position: the book has its digest
	sent   []byte
	full   error
}

func (w *witness) Resize(uint16, uint16) error { return nil }

func (w *witness) Record(s recording.Stream, d recording.Direction, b []byte) error {
	switch {
	case w.full != nil:
		return w.full
	case s == recording.Stdin && d == recording.FromClient:
		w.record.Write(b)
		return nil
	case s != recording.Stdin.Ahead() || d != recording.FromClient:
		w.t.Errorf("recorded as %s, %s: %q", s, d, b)
		return nil
	}
	var note struct {
		At     int
		Bytes  int
		Digest string
	}
	if err := json.Unmarshal(b, &note); err != nil || note.At != len(w.sent) || note.Bytes == 0 || !strings.HasPrefix(note.Digest, mask.Prefix) {
		w.t.Errorf("note %q after %d bytes: %v", b, len(w.sent), err)
	}
	for len(w.ahead) < note.At+note.Bytes {
		w.ahead = append(w.ahead, len(w.ahead) >= note.At)
	}
	return nil
}

// told is how many bytes of the input the record of the stream tells of, or -1 where it tells something else. Up to three
// characters of a secret go on before it is noticed; its placeholder then stands for the whole.
func (w *witness) told(in string) int {
	at := 0
	for rest := w.record.String(); rest != ""; {
		if after, ok := strings.CutPrefix(rest, w.scope.Placeholder([]byte(laneSecret))); ok {
			k := 0
			for k < 3 && k < at && !strings.HasPrefix(in[at-k:], laneSecret) {
				k++
			}
			if !strings.HasPrefix(in[at-k:], laneSecret) {
				return -1
			}
			at, rest = at-k+len(laneSecret), after
			continue
		}
		if at >= len(in) || rest[0] != in[at] {
			return -1
		}
		at, rest = at+1, rest[1:]
	}
	return at
}

func (w *witness) send(b []byte) error {
	told := w.told(w.in)
	for i := range b {
		at := len(w.sent) + i
		if at >= told && (at >= len(w.ahead) || !w.ahead[at]) {
			w.t.Errorf("%q went on at %d, and the book had %q", b[i:], at, w.record.String())
			break
		}
	}
	w.sent = append(w.sent, b...)
	return nil
}

func laneScope(t testing.TB) *mask.Scope {
	t.Helper()
	e, err := mask.New(mask.Options{Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	e.Learn([]byte(laneSecret))
	return e.Scope("session")
}

func (w *witness) lane(failed func(error)) *lane {
	m := Masks{
		Record: func(dst io.Writer) Text { return w.scope.Text(dst) },
		Digest: func(s recording.Stream, at int64, b []byte) string {
			return w.scope.Placeholder(fmt.Appendf(nil, "%s %d %s", s, at, b))
		},
	}
	return toUpstream(w, recording.Stdin, m, w.send, failed)
}

// Promise 1: no byte goes upstream before the book has it, however the input is cut, paused and ended. No byte waits
// longer than the linger, the record tells all that went, and of the secret only its first three characters.
func TestInputIsInTheBookBeforeItGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scope := laneScope(t)
		piece := rapid.OneOf(rapid.Just(laneSecret), rapid.Just("corr"), rapid.Just("correct-horse"), rapid.Just("battery-staple\n"),
			rapid.StringMatching(`[a-e \n]{0,40}`), rapid.Custom(func(t *rapid.T) string {
				return laneSecret[:rapid.IntRange(1, len(laneSecret)).Draw(t, "cut")]
			}))
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // without the Deadline, which a bubble has not
			w := &witness{t: t, scope: scope}
			l := w.lane(func(err error) { t.Errorf("failed: %v", err) })
			in := strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "input"), "")
			w.in = in
			for rest := in; rest != ""; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "write")
				if err := l.write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
				time.Sleep(rapid.SampledFrom([]time.Duration{0, linger - 1, linger}).Draw(t, "pause"))
				synctest.Wait()
			}
			time.Sleep(linger)
			synctest.Wait()
			if string(w.sent) != in {
				t.Errorf("after the linger %q was sent of %q", w.sent, in)
			}
			if rapid.Bool().Draw(t, "abandoned") {
				l.abandon()
			} else if err := l.close(); err != nil {
				t.Error(err)
			}
			if w.told(in) != len(in) {
				t.Errorf("the record tells %q of %q", w.record.String(), in)
			}
			if strings.Contains(w.record.String(), laneSecret[:5]) && !strings.Contains(strings.ReplaceAll(in, laneSecret, ""), laneSecret[:5]) {
				t.Errorf("the record has %q", w.record.String())
			}
		})
	})
}

// A key press goes on at once unless a known secret begins so, and then within the linger, also while others follow.
func TestInputWaitsNoLongerThanTheLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := []string{"ls -l\n", laneSecret}
		w := &witness{t: t, scope: laneScope(t), in: strings.Join(lines, "")}
		l := w.lane(func(err error) { t.Error(err) })
		typed := 0
		for at, line := range lines {
			for i := range line {
				if err := l.write([]byte(line[i : i+1])); err != nil {
					t.Fatal(err)
				}
				typed++
				if at == 0 && len(w.sent) != typed {
					t.Errorf("%q waits", line[len(w.sent):typed])
				}
				time.Sleep(5 * time.Millisecond)
				synctest.Wait()
				if late := typed - len(w.sent); late > 5 {
					t.Errorf("%d characters wait for more than the linger", late)
				}
			}
		}
		l.abandon()
	})
}

// What the book cannot take does not go on after the linger either, and that is told at once, not with the next write.
func TestInputThatCannotBeVouchedForStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{t: t, scope: laneScope(t)}
		var told error
		l := w.lane(func(err error) { told = err })
		if err := l.write([]byte("correct-")); err != nil {
			t.Fatal(err)
		}
		l.mu.Lock() // the linger's end reads it
		w.full = errors.New("no space left")
		l.mu.Unlock()
		time.Sleep(linger)
		synctest.Wait()
		var why *access.Refusal
		if !errors.As(told, &why) || why.Code != access.CodeNotRecorded || bytes.Contains(w.sent, []byte("correct")) {
			t.Errorf("%q was sent, and told was %v", w.sent, told)
		}
		if err := l.close(); err == nil {
			t.Error("the lane ends as if nothing had been")
		}
	})
}

// What went on for its digest is recorded also where the upstream stopped reading after it.
func TestInputThatWentOnIsRecordedAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{t: t, scope: laneScope(t), in: "correct-horse"}
		l := w.lane(func(error) {})
		if err := l.write([]byte("correct-")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(linger)
		synctest.Wait()
		l.forward = func([]byte) error { return io.ErrClosedPipe }
		if err := l.write([]byte("horse")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(linger)
		synctest.Wait()
		if err := l.close(); err == nil {
			t.Error("the lane ended well")
		}
		if w.told(w.in) < len("correct-") {
			t.Errorf("recorded %q", w.record.String())
		}
	})
}
