package stream

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/recording"
)

// written is a recorder on disk, with one operation.
type written struct {
	t   *testing.T
	rec *recording.Recorder
	*recording.Operation
}

func (w written) Record(s recording.Stream, d recording.Direction, b []byte) error {
	return w.Write(s, d, b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWritten(t *testing.T) written {
	t.Helper()
	key, _, err := note.GenerateKey(nil, "test")
	must(t, err)
	signer, err := note.NewSigner(key)
	must(t, err)
	j, err := journal.Open(t.TempDir(), journal.Options{})
	must(t, err)
	l, err := ledger.Open(t.TempDir(), ledger.Options{Signer: signer})
	must(t, err)
	a, err := archive.OpenFolder(t.TempDir())
	must(t, err)
	id, err := age.GenerateX25519Identity()
	must(t, err)
	rec, err := recording.Open(recording.Options{Journal: j, Ledger: l, Archive: a, Dir: t.TempDir(), Recipients: []age.Recipient{id.Recipient()},
		Durability: recording.Crash, SealAge: -1})
	must(t, err)
	t.Cleanup(func() { rec.Close(); l.Close(); j.Close() })
	op, err := rec.Begin(&access.Operation{ID: "o1", Session: "s1", Time: time.Now(), Command: "kubectl exec -i web -- sh"}, access.Decision{Effect: access.Allow}, nil, nil, true)
	must(t, err)
	return written{t, rec, op}
}

// streams is what a reader of the journal finds now, by stream.
func (w written) streams() map[recording.Stream]string {
	w.t.Helper()
	var b bytes.Buffer
	out := map[recording.Stream]string{}
	err := w.rec.Frames(context.Background(), &b, "s1", false)
	if err == nil {
		err = recording.ReadFrames(&b, func(e recording.Event) error {
			if e.Kind == recording.KindStream {
				out[e.Stream] += string(e.Data)
			}
			return nil
		})
	}
	if err != nil {
		w.t.Error(err)
	}
	return out
}

// Promise 1, with a journal on disk: at the moment at which input reaches the upstream, who reads the journal finds it
// there, or the place, number and digest of it where it may begin a secret; and the secret never.
func TestInputIsInTheJournalBeforeItGoes(t *testing.T) {
	w, scope := newWritten(t), laneScope(t)
	var sent string
	m := Masks{
		Record: func(dst io.Writer) Text { return scope.Text(dst) },
		Digest: func(_ recording.Stream, _ int64, b []byte) string { return scope.Placeholder(b) },
	}
	went := make(chan string, 16)
	l := toUpstream(w, recording.Stdin, m, func(b []byte) error {
		in := w.streams()
		if !strings.Contains(in[recording.Stdin], string(b)) && !strings.Contains(in[recording.Stdin.Ahead()], scope.Placeholder(b)) {
			t.Errorf("%q went upstream, and the journal has %q", b, in)
		}
		sent += string(b)
		went <- string(b)
		return nil
	}, func(err error) { t.Error(err) })
	for _, piece := range []string{"cat > file\n", "corr", "ect-horse", "-battery", "!\n"} {
		if err := l.write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		for got := <-went; got != piece; got += <-went { // waits out the linger where there is one
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	in := w.streams()
	if want := "cat > file\ncorrect-horse-battery!\n"; sent != want || in[recording.Stdin] != want {
		t.Errorf("%q was sent, and the journal has %q", sent, in)
	}
	if n := strings.Count(in[recording.Stdin.Ahead()], "\n"); n < 3 {
		t.Errorf("only %d pieces waited: %q", n, in[recording.Stdin.Ahead()])
	}
}
