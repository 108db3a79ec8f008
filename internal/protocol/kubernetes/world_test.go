package kubernetes

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// world is a handler with the real gate, recorder and upstream client; the API server behind is the test's, since here
// it has to misbehave.
type world struct {
	t       *testing.T
	front   *httptest.Server
	h       *Handler
	rec     *recording.Recorder
	index   *index
	journal string
	decide  func(op *access.Operation) (access.Decision, []string)
	desk    *desk
	log     logged
	// pods says that the API server has pods to read: otherwise none that uses a Secret.
	pods bool

	mu       sync.Mutex
	cut      []func(error) // of each operation that was admitted
	upstream http.HandlerFunc
	sent     []sent
}

// sent is one request as the API server got it.
type sent struct {
	*http.Request
	body string
}

var allMasks = []access.Mask{{Name: access.MaskSecrets}, {Name: access.MaskKnown}}

func allow(*access.Operation) (access.Decision, []string) {
	return access.Decision{Effect: access.Allow, Masks: allMasks}, nil
}

func newWorld(t *testing.T, upstream http.HandlerFunc) *world {
	t.Helper()
	w := &world{t: t, upstream: upstream, decide: allow, index: &index{rows: map[access.OperationID]access.Record{}}, desk: &desk{}}
	w.record()
	back := httptest.NewServer(http.HandlerFunc(w.serveUpstream))
	t.Cleanup(back.Close)
	up, err := credential.New(credential.Options{URL: back.URL, Insecure: true,
		Secret: credential.Token(func() (string, error) { return "upstream-token", nil })})
	must(t, err)
	t.Cleanup(up.Close)
	masks, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32)})
	must(t, err)
	g, err := gate.New(gate.Options{Policy: func() gate.Policy { return w }, Approvals: w.desk, Revocations: w, Recorder: w.rec,
		Log: slog.New(slog.NewTextHandler(&w.log, nil))})
	must(t, err)
	w.h, err = New(Options{Target: access.Target{Name: "test"}, Gate: g, Upstream: up, Masks: masks, SpoolDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Limits: Limits{RequestBodyBytes: 1 << 20, RequestMemoryBytes: 1 << 10}})
	must(t, err)
	by := protocol.Caller{Principal: access.Principal{Issuer: "i", Subject: "agent", Name: "agent"}, Session: "0123456789abcdefghjkmnpqrs", Address: "192.0.2.1:1"}
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.h.Serve(rw, r, by) }))
	t.Cleanup(w.front.Close)
	return w
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
	if !w.pods && readsPod(r) {
		http.NotFound(rw, r) // so that it uses no Secrets
		return
	}
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

// readsPod reports whether r is the gateway's own read of a pod whose output was asked for: no test here is about it.
func readsPod(r *http.Request) bool {
	parts := strings.Split(r.URL.Path, "/")
	return r.UserAgent() == "gatebook" && len(parts) > 5 && parts[5] == "pods"
}

func (w *world) Decide(op *access.Operation) (access.Decision, []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.decide(op)
}

func (w *world) Register(_ access.Principal, _ access.SessionID, cancel func(error)) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = append(w.cut, cancel)
	return func() {}
}
func (*world) Check(access.Principal, access.SessionID) error { return nil }

// desk holds what was asked, and answers at once.
type desk struct {
	mu    sync.Mutex
	cards []access.Card
	ops   []access.Operation
	yes   bool
}

func (d *desk) Ask(ctx context.Context, op *access.Operation, _ access.Decision, card func(context.Context) (access.Card, error)) (access.Approval, error) {
	c, err := card(ctx)
	if err != nil {
		return access.Approval{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cards, d.ops = append(d.cards, c), append(d.ops, *op)
	state := access.ApprovalPending
	if d.yes {
		state = access.ApprovalGranted
	}
	return access.Approval{ID: "approval-1", State: state, Operation: *op, Card: c}, nil
}

func (d *desk) Wait(ctx context.Context, id access.ApprovalID) (access.Approval, error) {
	return access.Approval{ID: id, State: access.ApprovalDenied}, nil
}

func (d *desk) Use(context.Context, access.ApprovalID, *access.Operation, access.Decision) error {
	return nil
}

// index keeps what the recorder tells it.
type index struct {
	mu   sync.Mutex
	rows map[access.OperationID]access.Record
}

func (i *index) putSession(access.Session) error { return nil }

func (i *index) putOperation(r access.Record) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rows[r.Operation.ID] = r
	return nil
}

func (i *index) endOperation(id access.OperationID, out access.Outcome) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := i.rows[id]
	r.Outcome = &out
	i.rows[id] = r
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
	for i := 0; i < len(kv); i += 2 {
		r.Header.Add(kv[i], kv[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	must(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

// last is the last request that the API server got; nil where it got none.
func (w *world) last() *sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) == 0 {
		return nil
	}
	return &w.sent[len(w.sent)-1]
}

func (w *world) requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sent)
}

// recorded is everything on disk, as the recorder has it when all has ended.
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

// rows are the operations in the index, oldest first, each with its outcome.
func (w *world) rows() []access.Record {
	w.t.Helper()
	w.front.Close()
	must(w.t, w.rec.Close())
	w.index.mu.Lock()
	defer w.index.mu.Unlock()
	var out []access.Record
	for _, r := range w.index.rows {
		if k := r.Operation.Kubernetes; r.Operation.Parent != "" && k != nil && k.Resource == "pods" {
			continue // as readsPod
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b access.Record) int { return strings.Compare(string(a.Operation.ID), string(b.Operation.ID)) })
	return out
}

// leaks names the encodings in which secret is in b.
func leaks(b []byte, secret string) []string {
	var out []string
	forms := map[string]string{"raw": secret, "hex": hex.EncodeToString([]byte(secret))}
	for i := range 3 {
		long := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", i) + secret))
		forms["base64 at "+string(rune('0'+i))] = strings.TrimRight(long[4*((i+2)/3):], "=")[:len(secret)]
	}
	for name, f := range forms {
		if bytes.Contains(b, []byte(f)) {
			out = append(out, name)
		}
	}
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

func (i *index) PutBatch(entries []access.IndexEntry) error {
	for _, e := range entries {
		var err error
		switch {
		case e.Session != nil:
			err = i.putSession(*e.Session)
		case e.Record != nil:
			err = i.putOperation(*e.Record)
		case e.End != nil:
			err = i.endOperation(e.End.ID, e.End.Outcome)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// logged is what the operator's log has.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logged) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.all.Bytes())
}
