package recording

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

func TestRecordedSealedAndReadBack(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	big := strings.Repeat("0123456789abcdef", 20_000) // more than a chunk, and than a batch
	o := begin(t, b, "s1", "kubectl exec web -- sh", big)
	write(t, o, Stdin, FromClient, "id\n")
	write(t, o, Stdout, ToClient, "uid=0\n")
	write(t, o, Stdout, ToClient, big)
	write(t, o, PortStream(80, 2), ToClient, "pong")
	if err := o.Resize(80, 24); err != nil {
		t.Fatal(err)
	}
	other := begin(t, b, "s2", "kubectl get pods", "")
	if err := b.Seal(); err != nil { // both are open
		t.Fatal(err)
	}
	write(t, o, Stdout, ToClient, "after")
	if err := o.EndWith(Stdout, ToClient, []byte(big+"last"), access.Outcome{Code: 101, ExitCode: 3}); err != nil {
		t.Fatal(err)
	}
	end(t, other, access.Outcome{Code: 200, ExitCode: -1})
	if err := o.End(access.Outcome{}); !errors.Is(err, ErrEnded) {
		t.Errorf("second End: %v", err)
	}
	if err := o.EndWith(Stdout, ToClient, []byte("x"), access.Outcome{}); !errors.Is(err, ErrEnded) {
		t.Errorf("second End: %v", err)
	}
	if err := o.Write(Stdout, ToClient, []byte("x")); !errors.Is(err, ErrEnded) {
		t.Errorf("Write after End: %v", err)
	}

	want := &told{id: o.tally.leaf.Operation, payload: big, ended: true,
		streams: map[Stream]string{Stdin: "id\n", Stdout: "uid=0\n" + big + "after" + big + "last", "port:80#2": "pong"}}
	check := func(when string, got map[access.OperationID]*told) {
		t.Helper()
		if diff := cmp.Diff(map[access.OperationID]*told{want.id: want}, got, cmp.AllowUnexported(told{})); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	both := func(fn func(Event) error) error { return b.Session("s1", fn, b.auditor) }
	check("half sealed", collect(t, both))
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	check("sealed", b.sealed("s1"))
	check("sealed, read through the recorder", collect(t, both))
	if got := b.sealed("s2"); len(got) != 1 {
		t.Errorf("session s2 has %d operations", len(got))
	}
}

func TestLeavesCoverWhatWasRecorded(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	o := begin(t, b, "s1", "kubectl exec web -- sh", "payload")
	if err := o.EndWith(Stdout, ToClient, []byte("out"), access.Outcome{Code: 200}); err != nil {
		t.Fatal(err)
	}
	if err := b.Note("s1", "approval.asked", map[string]string{"id": "a1"}); err != nil {
		t.Fatal(err)
	}
	refusal := access.Refuse(access.CodeDenied, nil, "no")
	if err := b.Refused(operation(b, "s1", "kubectl delete ns x"), access.Decision{}, refusal); err != nil {
		t.Fatal(err)
	}
	if err := b.Refused(&access.Operation{}, access.Decision{}, refusal); err != nil { // nothing could be decoded
		t.Fatal(err)
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	type short struct{ Type, Effect, Refused, Kind string }
	var got []short
	for _, l := range b.leaves() {
		got = append(got, short{l.Type, l.Effect, string(l.Refused), l.Kind})
		if l.Type == LeafOperation && l.Refused == "" && (l.FromClient != 7 || l.ToClient != 3 || l.Frames != 5 || l.Principal != "cluster|agent") {
			t.Errorf("leaf %+v", l)
		}
	}
	want := []short{
		{LeafOperation, "allow", "", ""}, {LeafNote, "", "", "approval.asked"},
		{LeafOperation, "deny", "Denied", ""}, {LeafOperation, "deny", "Denied", ""},
		{LeafKey, "", "", ""}, {LeafKey, "", "", ""}, {LeafSegment, "", "", ""}, {LeafSegment, "", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPayloadThatCannotBeReadWhole(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	for _, payload := range []io.Reader{
		iotest.ErrReader(errors.New("the client has gone")),
		io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000)), iotest.ErrReader(io.ErrUnexpectedEOF)),
	} {
		if _, err := b.Begin(operation(b, "s1", "c"), access.Decision{}, nil, payload, true); err == nil {
			t.Error("an operation was let through whose payload is not recorded whole")
		}
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	got := b.sealed("s1")
	if len(got) != 1 { // of the first nothing was journaled
		t.Fatalf("%d operations", len(got))
	}
	for _, o := range got {
		if !o.ended || o.truncated == "" {
			t.Errorf("the operation is not ended as truncated: %+v", o)
		}
	}
}

func TestPayloadReaderMayGiveBytesWithItsEnd(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	for _, size := range []int{0, 1, maxChunk - 1, maxChunk, maxChunk + 1, 3 * maxChunk} {
		for _, wrap := range []func(io.Reader) io.Reader{iotest.DataErrReader, iotest.HalfReader} {
			want := strings.Repeat("y", size)
			o, err := b.Begin(operation(b, "s1", "c"), access.Decision{}, nil, wrap(strings.NewReader(want)), false)
			if err != nil {
				t.Fatal(err)
			}
			end(t, o, access.Outcome{})
			got := collect(t, func(fn func(Event) error) error { return b.Session("s1", fn, b.auditor) })
			if got[o.tally.leaf.Operation].payload != want {
				t.Errorf("payload of %d bytes came back as %d", size, len(got[o.tally.leaf.Operation].payload))
			}
		}
	}
}

func TestBadNamesAreRefused(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	for _, session := range []string{"../x", "a/b", "", ".x"} {
		if _, err := b.Begin(operation(b, session, "c"), access.Decision{}, nil, nil, false); err == nil {
			t.Errorf("session %q accepted", session)
		}
	}
	o := begin(t, b, "s", "c", "")
	if err := o.Write(Stream(strings.Repeat("x", 65)), ToClient, []byte("x")); err == nil {
		t.Error("a stream name of 65 bytes accepted")
	}
}

func TestFollowGivesFramesAsTheyCome(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	old := begin(t, b, "s1", "old", "")
	write(t, old, Stdout, ToClient, "before")
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, 10)
	failed := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		failed <- b.Follow(ctx, "s1", true, func(e Event) error {
			if e.Kind == KindStream {
				got <- string(e.Data)
				if string(e.Data) == "before" {
					close(started)
				}
			}
			return nil
		})
	}()
	<-started
	write(t, begin(t, b, "s2", "another session", ""), Stdout, ToClient, "not for s1")
	if err := b.beginUnit(); err != nil {
		t.Fatal(err)
	}
	write(t, old, Stdout, ToClient, "after")
	for _, want := range []string{"before", "after"} {
		if s := <-got; s != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow: %v", err)
	}
}

func TestFramesReadsBackAsWritten(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	o := begin(t, b, "s1", "c", "payload")
	write(t, o, Stdout, ToClient, "out")
	end(t, o, access.Outcome{})
	end(t, begin(t, b, "s2", "c", ""), access.Outcome{})
	var out bytes.Buffer
	if err := b.Frames(t.Context(), &out, "s1", false); err != nil {
		t.Fatal(err)
	}
	got := collect(t, func(fn func(Event) error) error { return ReadFrames(bytes.NewReader(out.Bytes()), fn) })
	if len(got) != 1 || got[o.tally.leaf.Operation].streams[Stdout] != "out" || got[o.tally.leaf.Operation].payload != "payload" {
		t.Errorf("read back %+v", got)
	}
	for cut := range out.Len() {
		n := 0
		if err := ReadFrames(bytes.NewReader(out.Bytes()[:cut]), func(Event) error { n++; return nil }); err == nil && n == 8 {
			t.Fatalf("cut at %d of %d reads as whole", cut, out.Len())
		}
	}
}

func TestIndexGetsBeginEndAndRefusal(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	running := begin(t, b, "s1", "running", "")
	done := begin(t, b, "s1", "done", "")
	end(t, done, access.Outcome{Code: 200})
	refused := operation(b, "s2", "refused")
	if err := b.Refused(refused, access.Decision{}, access.Refuse(access.CodeDenied, nil, "no")); err != nil {
		t.Fatal(err)
	}
	b.awaitIndex()
	if r, ok := b.index.get(running.tally.leaf.Operation); !ok || r.Outcome != nil || r.Operation.Command != "running" {
		t.Errorf("running: %+v", r)
	}
	if r, ok := b.index.get(done.tally.leaf.Operation); !ok || r.Outcome == nil || r.Outcome.Code != 200 {
		t.Errorf("done: %+v", r)
	}
	if r, ok := b.index.get(refused.ID); !ok || r.Refused == nil || r.Refused.Code != access.CodeDenied || r.Outcome == nil {
		t.Errorf("refused: %+v", r)
	}
	if len(b.index.sessions) != 2 {
		t.Errorf("%d sessions", len(b.index.sessions))
	}
}

// The index may be behind: what waits for it does not hold up the end, and is not lost by it.
func TestIndexDelayEndsWithTheRecorder(t *testing.T) {
	b := newBook(t)
	b.mustStart(func(o *Options) { o.IndexDelay = time.Hour })
	o := begin(t, b, "s", "late", "")
	end(t, o, access.Outcome{Code: 200})
	b.kill()
	b.mustStart(nil)
	b.awaitIndex()
	if r, ok := b.index.get(o.tally.leaf.Operation); !ok || r.Outcome == nil || r.Outcome.Code != 200 {
		t.Errorf("%+v", r)
	}
}

// Who asks for what has just been recorded does not wait for what might still come.
func TestCatchUp(t *testing.T) {
	b := newBook(t)
	b.mustStart(func(o *Options) { o.IndexDelay = time.Hour })
	for range 3 {
		o := begin(t, b, "s", "soon", "")
		end(t, o, access.Outcome{Code: 200})
		b.CatchUp(t.Context())
		if r, ok := b.index.get(o.tally.leaf.Operation); !ok || r.Outcome == nil || r.Outcome.Code != 200 {
			t.Errorf("%+v", r)
		}
	}
}

// Who asks waits no longer than he said.
func TestCatchUpEnds(t *testing.T) {
	b := newBook(t)
	b.mustStart(nil)
	b.index.mu.Lock()
	b.index.down = true
	b.index.mu.Unlock()
	o := begin(t, b, "s", "never", "")
	end(t, o, access.Outcome{Code: 200})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	b.CatchUp(ctx)
	if ctx.Err() == nil {
		t.Error("the index has what it cannot take")
	}
}

// awaitIndex waits until the index has every frame.
func (b *book) awaitIndex() {
	b.t.Helper()
	for !b.indexed(b.nextFrame.Load()) {
		b.wakeIndex()
		time.Sleep(time.Millisecond)
		if err := b.t.Context().Err(); err != nil {
			b.t.Fatal("the index does not come")
		}
	}
}
