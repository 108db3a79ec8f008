package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
	"gatebook/internal/archive"
	"gatebook/internal/store"
)

const session = access.SessionID("0123456789abcdefghjkmnpqrs")

var file = archive.SegmentName(string(session), "0123456789abcdefghjkmnpqrt")

// people by their token. agent is a workload that asks, owner the person who may be asked by policy's terms alone.
var people = map[string]access.Principal{
	"agent": {Issuer: "cluster", Subject: "system:serviceaccount:a:claude", Name: "system:serviceaccount:a:claude",
		Workload: access.Workload{Namespace: "a", ServiceAccount: "claude", PodUID: "u"}},
	"reborn": {Issuer: "cluster", Subject: "system:serviceaccount:a:claude", Name: "system:serviceaccount:a:claude",
		Workload: access.Workload{Namespace: "a", ServiceAccount: "claude", ServiceAccountUID: "another", PodUID: "w"}},
	"other": {Issuer: "cluster", Subject: "system:serviceaccount:a:other", Name: "system:serviceaccount:a:other",
		Workload: access.Workload{Namespace: "a", ServiceAccount: "other", PodUID: "v"}},
	"nobody":      {Issuer: "idp", Subject: "n", Name: "nobody"},
	"owner":       {Issuer: "idp", Subject: "o", Name: "owner"},
	"approver":    {Issuer: "idp", Subject: "1", Name: "approver", TokenID: "secret-id", Aliases: []string{"me@home"}},
	"auditor":     {Issuer: "idp", Subject: "2", Name: "auditor"},
	"admin":       {Issuer: "idp", Subject: "3", Name: "admin"},
	"break-glass": {Issuer: "idp", Subject: "4", Name: "break-glass"},
	"restorer":    {Issuer: "idp", Subject: "5", Name: "restorer"},
}

// callers are all, and one without a token.
func callers() []string { return append(slices.Sorted(maps.Keys(people)), "") }

// world is the API over the real index and desk. The book, and who is who, are the test's.
type world struct {
	t     *testing.T
	front *httptest.Server
	api   *API
	store *store.Store
	desk  *approval.Desk

	mu      sync.Mutex
	notes   []string
	deaf    error // of the next notes
	revoked []access.Revocation
	// restored are revocations that were taken back.
	restored []string
	// forgotten are values that were forgotten.
	forgotten []string
	live      map[string]func(error) // by principal
}

func open(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, live: map[string]func(error){}}
	var err error
	if w.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	a, err := archive.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if err := a.Put(file, strings.NewReader("sealed")); err != nil {
		t.Fatal(err)
	}
	w.desk = approval.New(approval.Options{Store: w.store, MaxOpen: 1000,
		MayApprove:    func(p access.Principal, _ access.Approval) bool { return w.may(p, Approver) },
		MayEnd:        func(p access.Principal, _ access.Approval) bool { return w.may(p, Approver) },
		Record:        func(e approval.Event) error { return w.note("", "approval", e.Kind) },
		MayBreakGlass: func(p access.Principal, _ access.Approval) bool { return w.may(p, BreakGlass) }})
	w.api = New(Options{
		Authenticate: w.authenticate, Session: func(access.Principal) access.SessionID { return session }, Register: w.register, May: w.may,
		Targets: []client.Target{{Name: "prod", Protocol: "kubernetes", URL: "https://g/t/prod"}},
		Index:   w.store, Desk: w.desk, Note: w.note, Revoke: w.revoke, Restore: w.restore,
		Forget: w.forget, Digest: func(v []byte) string { return fmt.Sprint("digest of ", len(v)) },
		Explain: func(*access.Record) any { return "since" },
		Book:    Book{Archive: a, Ledger: fstest.MapFS{"checkpoint": {Data: []byte("signed")}}, Frames: w.writeFrames},
	})
	w.front = httptest.NewTLSServer(w.api)
	t.Cleanup(w.front.Close)
	return w
}

func (w *world) authenticate(_ context.Context, token string) (access.Principal, error) {
	if p, ok := people[token]; ok {
		return p, nil
	}
	return access.Principal{}, access.Refuse(access.CodeUnauthenticated, nil, "no token was sent")
}

func (w *world) register(p access.Principal, cancel func(error)) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[p.Name] = cancel
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.live, p.Name)
	}
}

func (w *world) may(p access.Principal, r Role) bool { return p.Name == string(r) }

func (w *world) note(session, kind string, v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf != nil {
		return w.deaf
	}
	b, err := json.Marshal(v)
	w.notes = append(w.notes, session+" "+kind+" "+string(b))
	return err
}

func (w *world) revoke(_ context.Context, r access.Revocation) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked = append(w.revoked, r)
	return nil
}

func (w *world) forget(_ context.Context, value []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgotten = append(w.forgotten, string(value))
	return 3, nil
}

func (w *world) restore(ctx context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restored = append(w.restored, id)
	_, err := w.store.DeleteRevocation(ctx, id)
	return err
}

// revocation puts one into the index.
func (w *world) revocation(subject string) string {
	w.t.Helper()
	r := access.Revocation{ID: access.NewID(time.Now()), Subject: subject, Reason: "gone", By: "idp|3", Time: time.Now()}
	if err := w.store.PutRevocation(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

func (w *world) writeFrames(ctx context.Context, out io.Writer, _ access.SessionID, follow bool) error {
	if _, err := io.WriteString(out, "frames"); err != nil || !follow {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// take gives the notes since the last call.
func (w *world) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.notes
	w.notes = nil
	return out
}

// call sends a request as somebody.
func (w *world) call(who, method, path, body string, header ...string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.front.URL+client.Prefix+path, bytes.NewBufferString(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := w.front.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// client is the real client, as somebody.
func (w *world) client(who string) *client.Client {
	w.t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.front.Certificate().Raw})
	c, err := client.New(w.front.URL, ca, func(context.Context) (string, error) { return who, nil })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// operation puts an operation of the agent's into the index.
func (w *world) operation() access.Operation {
	w.t.Helper()
	op := access.Operation{ID: access.OperationID(access.NewID(time.Now())), Session: session, Time: time.Now().UTC(), Principal: people["agent"],
		Target: access.Target{Name: "prod", Protocol: "kubernetes"}, Verb: "delete", Command: "kubectl delete namespace a", Digest: sha256.Sum256([]byte("a"))}
	if err := w.store.PutBatch([]access.IndexEntry{
		{Session: &access.Session{ID: session, Principal: op.Principal, Started: op.Time, Last: op.Time}},
		{Record: &access.Record{Operation: op, Decision: access.Decision{Effect: access.Allow}}},
	}); err != nil {
		w.t.Fatal(err)
	}
	return op
}

// question has the agent ask for approval; users are who policy names, nobody: the approver role.
func (w *world) question(name string, users ...string) access.ApprovalID {
	w.t.Helper()
	op := w.operation()
	op.Digest = sha256.Sum256([]byte(name))
	a, err := w.desk.Ask(w.t.Context(), &op, access.Decision{Effect: access.Approve, Policy: sha256.Sum256([]byte("p")), Reason: "since",
		Rules:    []access.RuleHit{{ID: "r", Effect: access.Approve, Unknown: []string{"kubernetes.object"}, Error: "no such key"}},
		Approval: &access.ApprovalTerms{Count: 1, Users: users, Expires: time.Hour, Valid: time.Hour}}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.ID
}

var errDeaf = errors.New("journal has stopped: no space left on device")
