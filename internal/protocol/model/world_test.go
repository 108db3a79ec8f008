package model

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/credential"
	"gatebook/internal/gate"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/recording"
)

// world is a handler with the real gate, recorder and upstream client; the provider behind is the test's, since here it
// has to misbehave.
type world struct {
	t       testing.TB
	h       *Handler
	front   *httptest.Server
	rec     *recording.Recorder
	masks   *mask.Engine
	journal string
	index   *index
	decide  func(*access.Operation) access.Decision
	by      protocol.Caller

	mu       sync.Mutex
	upstream http.HandlerFunc
	sent     []sent
	emitted  []access.ToolCall
	// told is called for each tool call that attribution is told of, card for each card that an approver would see.
	told func(access.ToolCall)
	card func(access.Card)
	// granted, when it is closed, is a person's yes to everything that is asked.
	granted chan struct{}
	// gateLog takes what the gate logs.
	gateLog io.Writer
}

type sent struct {
	*http.Request
	body string
}

func newWorld(t testing.TB, upstream http.HandlerFunc, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, upstream: upstream, index: &index{rows: map[access.OperationID]access.Record{}},
		decide: func(*access.Operation) access.Decision { return access.Decision{Effect: access.Allow} },
		by:     protocol.Caller{Principal: access.Principal{Issuer: "i", Subject: "agent", Name: "agent"}, Session: "0123456789abcdefghjkmnpqrs", Address: "192.0.2.1:1"}}
	w.record()
	back := httptest.NewServer(http.HandlerFunc(w.serveUpstream))
	t.Cleanup(back.Close)
	up, err := credential.New(credential.Options{URL: back.URL, Insecure: true, Impersonate: func(access.Principal) bool { return false },
		Secret: credential.Header("X-Api-Key", func() (string, error) { return "the-real-key", nil })})
	must(t, err)
	t.Cleanup(up.Close)
	w.masks = newEngine(t)
	g, err := gate.New(gate.Options{Policy: func() gate.Policy { return w }, Approvals: w, Revocations: w, Recorder: w.rec, Attribution: w, Log: slog.New(slog.NewTextHandler(gateLog{w}, nil))})
	must(t, err)
	o := Options{Target: access.Target{Name: "test"}, Gate: g, Upstream: up, Masks: w.masks, MaskKey: maskKey, Hold: time.Second,
		Limits: Limits{RequestBodyBytes: 1 << 20, EventBytes: 1 << 20, AnswerBytes: 1 << 20}}
	for _, f := range change {
		f(&o)
	}
	w.h, err = New(o)
	must(t, err)
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.h.Token(r)
		w.h.Serve(rw, r, w.by)
	}))
	t.Cleanup(w.front.Close)
	return w
}

// gateLog is where the gate of a world logs.
type gateLog struct{ w *world }

func (l gateLog) Write(b []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.w.gateLog == nil {
		return len(b), nil
	}
	return l.w.gateLog.Write(b)
}

var maskKey = bytes.Repeat([]byte{7}, 32)

func newEngine(t testing.TB) *mask.Engine {
	t.Helper()
	e, err := mask.New(mask.Options{Key: maskKey})
	must(t, err)
	return e
}

func (w *world) record() {
	w.journal = w.t.TempDir()
	j, err := journal.Open(w.journal, journal.Options{})
	must(w.t, err)
	key, _, err := note.GenerateKey(nil, "test")
	must(w.t, err)
	signer, err := note.NewSigner(key)
	must(w.t, err)
	l, err := ledger.Open(w.t.TempDir(), ledger.Options{Signer: signer})
	must(w.t, err)
	a, err := archive.OpenFolder(w.t.TempDir())
	must(w.t, err)
	id, err := age.GenerateX25519Identity()
	must(w.t, err)
	w.rec, err = recording.Open(recording.Options{Journal: j, Ledger: l, Archive: a, Dir: w.t.TempDir(), Recipients: []age.Recipient{id.Recipient()},
		Index: w.index, Durability: recording.Crash, SealAge: -1, SealIdle: time.Hour})
	must(w.t, err)
}

func (w *world) serveUpstream(rw http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	w.sent = append(w.sent, sent{r, string(b)})
	f := w.upstream
	w.mu.Unlock()
	f(rw, r)
}

func (w *world) Decide(op *access.Operation) (access.Decision, []string) { return w.decide(op), nil }
func (*world) Check(access.Principal, access.SessionID) error            { return nil }
func (*world) Register(access.Principal, access.SessionID, func(error)) func() {
	return func() {}
}

func (w *world) Ask(ctx context.Context, op *access.Operation, _ access.Decision, card func(context.Context) (access.Card, error)) (access.Approval, error) {
	c, err := card(ctx)
	if w.card != nil {
		w.card(c)
	}
	return access.Approval{ID: "approval-1", State: access.ApprovalPending, Operation: *op, Card: c}, err
}

func (w *world) Wait(ctx context.Context, id access.ApprovalID) (access.Approval, error) {
	select {
	case <-ctx.Done():
		return access.Approval{}, ctx.Err()
	case <-w.granted:
		return access.Approval{ID: id, State: access.ApprovalGranted}, nil
	}
}

func (*world) Use(context.Context, access.ApprovalID, *access.Operation, access.Decision) error {
	return nil
}

func (*world) Attribute(*access.Operation) *access.Cause { return nil }
func (*world) Asked(*access.Operation)                   {}

func (w *world) Emitted(_ *access.Operation, c access.ToolCall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.emitted = append(w.emitted, c)
	if w.told != nil {
		w.told(c)
	}
}

// index keeps what the recorder tells it.
type index struct {
	mu   sync.Mutex
	rows map[access.OperationID]access.Record
	ids  []access.OperationID
}

func (i *index) PutBatch(entries []access.IndexEntry) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range entries {
		switch {
		case e.Record != nil:
			if _, there := i.rows[e.Record.Operation.ID]; !there {
				i.ids = append(i.ids, e.Record.Operation.ID)
			}
			i.rows[e.Record.Operation.ID] = *e.Record
		case e.End != nil:
			r := i.rows[e.End.ID]
			r.Outcome = &e.End.Outcome
			i.rows[e.End.ID] = r
		}
	}
	return nil
}

// answer is what the client got.
type answer struct {
	code   int
	header http.Header
	body   string
	broken error
}

func (w *world) do(method, uri, body string, kv ...string) answer {
	w.t.Helper()
	r, err := http.NewRequest(method, w.front.URL+uri, strings.NewReader(body))
	must(w.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(kv); i += 2 {
		r.Header.Add(kv[i], kv[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	must(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

// ask posts to the Messages API.
func (w *world) ask(body string, kv ...string) answer {
	w.t.Helper()
	return w.do("POST", "/v1/messages?beta=true", body, kv...)
}

func (w *world) requests() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]sent(nil), w.sent...)
}

// rows are the operations in the index, in order, each with its outcome.
func (w *world) rows() []access.Record {
	w.t.Helper()
	w.front.Close()
	must(w.t, w.rec.Close())
	w.index.mu.Lock()
	defer w.index.mu.Unlock()
	var out []access.Record
	for _, id := range w.index.ids {
		out = append(out, w.index.rows[id])
	}
	return out
}

// recorded is everything on disk, before it is sealed: rows come after it.
func (w *world) recorded() []byte {
	w.t.Helper()
	w.front.Close()
	var all []byte
	must(w.t, filepath.WalkDir(w.journal, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	}))
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func reply(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

const stream = "text/event-stream; charset=utf-8"

// chunks answers with server-sent events in the pieces given.
func chunks(pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", stream)
		for _, p := range pieces {
			io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
	}
}

// flow is a recorded answer.
func flow(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	return string(b)
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(leave)
	return ctx, leave
}
