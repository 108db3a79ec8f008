package web

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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

// world is a handler with the real gate, recorder and upstream client; the service behind is the test's.
type world struct {
	t       *testing.T
	front   *httptest.Server
	back    *httptest.Server
	h       *Handler
	masks   *mask.Engine
	rec     *recording.Recorder
	index   *index
	journal string
	decide  func(op *access.Operation) access.Decision
	desk    *desk

	live     sync.WaitGroup // of requests, hijacked ones too
	mu       sync.Mutex
	cut      []func(error)
	upstream http.HandlerFunc
	sent     []sent
	ops      []access.Operation
}

// sent is one request as the service got it.
type sent struct {
	*http.Request
	body string
}

const secret = "hunter2-correct-horse-battery"

var known = []access.Mask{{Name: access.MaskSecrets}, {Name: access.MaskKnown}}

func allow(masks ...access.Mask) func(*access.Operation) access.Decision {
	return func(*access.Operation) access.Decision { return access.Decision{Effect: access.Allow, Masks: masks} }
}

// newWorld makes a world in which secret is known to be one, and everything is allowed.
func newWorld(t *testing.T, upstream http.HandlerFunc, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, upstream: upstream, decide: allow(known...), index: &index{rows: map[access.OperationID]access.Record{}}, desk: &desk{}}
	w.record()
	w.back = httptest.NewUnstartedServer(http.HandlerFunc(w.serveUpstream))
	w.back.EnableHTTP2 = true
	w.back.StartTLS()
	t.Cleanup(w.back.Close)
	up, err := credential.New(credential.Options{URL: w.back.URL + "/base", CA: certificate(w.back), Shared: true, Impersonate: func(access.Principal) bool { return false },
		Secret: credential.Token(func() (string, error) { return "upstream-token", nil })})
	must(t, err)
	t.Cleanup(up.Close)
	w.masks, err = mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	must(t, err)
	w.masks.Learn([]byte(secret))
	g, err := gate.New(gate.Options{Policy: func() gate.Policy { return w }, Approvals: w.desk, Revocations: w, Recorder: w.rec})
	must(t, err)
	o := Options{Target: access.Target{Name: "test"}, Gate: g, Upstream: up, Masks: w.masks, SpoolDir: t.TempDir(),
		Limits: Limits{RequestBodyBytes: 1 << 20, RequestMemoryBytes: 1 << 10, MessageBytes: 1 << 16}}
	for _, c := range change {
		c(&o)
	}
	w.h, err = New(o)
	must(t, err)
	w.front = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.live.Add(1)
		defer w.live.Done()
		w.h.Serve(rw, r, caller)
	}))
	w.front.EnableHTTP2 = true
	w.front.StartTLS()
	t.Cleanup(w.front.Close)
	return w
}

var caller = protocol.Caller{Principal: access.Principal{Issuer: "i", Subject: "agent", Name: "agent"}, Session: "0123456789abcdefghjkmnpqrs", Address: "192.0.2.1:1"}

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
	var b []byte
	if !isGRPC(r) {
		b, _ = io.ReadAll(r.Body)
	}
	w.mu.Lock()
	w.sent = append(w.sent, sent{r, string(b)})
	f := w.upstream
	w.mu.Unlock()
	f(rw, r)
}

func (w *world) Decide(op *access.Operation) (access.Decision, []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, *op)
	return w.decide(op), nil
}

func (w *world) Register(_ access.Principal, _ access.SessionID, cancel func(error)) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = append(w.cut, cancel)
	return func() {}
}
func (*world) Check(access.Principal, access.SessionID) error { return nil }

// revoke cuts what runs.
func (w *world) revoke() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cut {
		c(access.Refuse(access.CodeRevoked, nil, "taken back"))
	}
}

// op is the last operation that was decided.
func (w *world) op() access.Operation {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ops) == 0 {
		w.t.Fatal("nothing was decided")
	}
	return w.ops[len(w.ops)-1]
}

// desk leaves every question open.
type desk struct {
	mu    sync.Mutex
	cards []access.Card
	ops   []access.Operation
}

func (d *desk) Ask(ctx context.Context, op *access.Operation, _ access.Decision, card func(context.Context) (access.Card, error)) (access.Approval, error) {
	c, err := card(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cards, d.ops = append(d.cards, c), append(d.ops, *op)
	return access.Approval{ID: "approval-1", State: access.ApprovalPending, Operation: *op, Card: c}, err
}

func (d *desk) Wait(ctx context.Context, id access.ApprovalID) (access.Approval, error) {
	<-ctx.Done()
	return access.Approval{}, ctx.Err()
}

func (d *desk) Use(context.Context, access.ApprovalID, *access.Operation, access.Decision) error {
	return nil
}

// index keeps what the recorder tells it.
type index struct {
	mu   sync.Mutex
	rows map[access.OperationID]access.Record
}

func (i *index) PutBatch(entries []access.IndexEntry) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range entries {
		switch {
		case e.Record != nil:
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
	code    int
	header  http.Header
	trailer http.Header
	body    string
	broken  error
}

func (w *world) do(method, uri, body string, kv ...string) answer {
	w.t.Helper()
	r, err := http.NewRequest(method, w.front.URL+uri, strings.NewReader(body))
	must(w.t, err)
	for i := 0; i < len(kv); i += 2 {
		r.Header.Add(kv[i], kv[i+1])
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	resp, err := w.front.Client().Transport.RoundTrip(r)
	must(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, resp.Trailer, string(b), err}
}

// last is the last request that the service got; nil where it got none.
func (w *world) last() *sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) == 0 {
		return nil
	}
	return &w.sent[len(w.sent)-1]
}

// recorded is everything on disk, as the recorder has it when all has ended.
func (w *world) recorded() string {
	w.t.Helper()
	w.front.Close()
	w.live.Wait()
	var all []byte
	must(w.t, filepath.WalkDir(w.journal, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	}))
	return string(all)
}

// rows are the operations in the index, oldest first, each with its outcome.
func (w *world) rows() []access.Record {
	w.t.Helper()
	w.front.Close()
	w.live.Wait()
	must(w.t, w.rec.Close())
	w.index.mu.Lock()
	defer w.index.mu.Unlock()
	var out []access.Record
	for _, r := range w.index.rows {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b access.Record) int { return strings.Compare(string(a.Operation.ID), string(b.Operation.ID)) })
	return out
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

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	must(t, err)
	return u
}
