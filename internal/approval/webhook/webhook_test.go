package webhook_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/approval/webhook"
	"gatebook/internal/store"
)

var secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("a key of thirty-two bytes, or so"))

// got is a message as the receiver saw it.
type got struct {
	id   string
	body []byte
	at   time.Time
}

// receiver is somebody's server: it checks signatures with the verifier that Standard Webhooks publishes, and answers
// what answer says to the nth message.
type receiver struct {
	*httptest.Server
	t      *testing.T
	answer func(n int, w http.ResponseWriter)

	mu       sync.Mutex
	messages []got
	arrived  chan struct{}
}

func listen(t *testing.T, answer func(n int, w http.ResponseWriter)) *receiver {
	r := &receiver{t: t, answer: answer, arrived: make(chan struct{}, 1000)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	if v, err := standard.NewWebhook(secret); err != nil {
		r.t.Error(err)
	} else if err := v.VerifyIgnoringTimestamp(body, req.Header); err != nil {
		r.t.Errorf("the signature does not verify: %v", err)
	} else if err := v.VerifyIgnoringTimestamp(append(slices.Clone(body), ' '), req.Header); err == nil {
		r.t.Error("the signature verifies for another body")
	}
	if req.Method != http.MethodPost || req.URL.Path != "/hook" || req.Header.Get("Authorization") != "" {
		r.t.Errorf("%s %s", req.Method, req.URL)
	}
	r.mu.Lock()
	r.messages = append(r.messages, got{req.Header.Get("webhook-id"), body, time.Now()})
	n := len(r.messages)
	r.mu.Unlock()
	r.answer(n, w)
	r.arrived <- struct{}{}
}

// clock can be moved, so that nothing waits for a retry.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

type office struct {
	*approval.Desk
	store *store.Store
	clock *clock
	path  string
}

func open(t *testing.T, path string) *office {
	t.Helper()
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &clock{}
	return &office{store: s, clock: c, path: path, Desk: approval.New(approval.Options{Store: s, Now: c.Now,
		Message:    webhook.Message("https://gatebook.example.com/approvals/"),
		MayApprove: func(access.Principal, access.Approval) bool { return true }, MayBreakGlass: func(access.Principal, access.Approval) bool { return true }})}
}

func (o *office) sender(t *testing.T, url string) *webhook.Sender {
	t.Helper()
	s, err := webhook.New(webhook.Options{URL: url + "/hook", Secret: secret, Outbox: o.store, Now: o.clock.Now, GiveUp: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run sends until done says so, and stops; the clock runs ahead so that retries are due.
func (o *office) run(t *testing.T, s *webhook.Sender, done func() bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	deadline := time.After(30 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); !done(); {
		select {
		case <-tick.C:
			o.clock.advance(time.Minute)
		case <-deadline:
			t.Fatal("it never came to that")
		}
	}
	stop()
	<-ended
}

func (o *office) empty(t *testing.T) bool {
	t.Helper()
	_, ok, err := o.store.NextMessage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return !ok
}

func (o *office) ask(t *testing.T, card access.Card) access.Approval {
	t.Helper()
	op := &access.Operation{ID: access.OperationID(access.NewID(time.Now())), Session: "s", Digest: access.Digest{1}, Target: access.Target{Name: "prod"},
		Principal: access.Principal{Issuer: "k8s", Subject: "sa", Name: "agent", TokenID: "token-id-canary", Workload: access.Workload{Pod: "pod-1"}},
		Command:   "kubectl delete namespace \u202eteam", Client: access.Client{Reason: "because <b>I</b> want"}}
	dec := access.Decision{Effect: access.Approve, Risk: access.RiskHigh, Reason: "namespaces hold everything", Policy: access.Digest{2},
		Rules: []access.RuleHit{{ID: "namespaces"}}, Approval: &access.ApprovalTerms{Count: 1, Expires: 7 * 24 * time.Hour}}
	a, err := o.Ask(t.Context(), op, dec, func(context.Context) (access.Card, error) { return card, nil })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMessage(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "index.db"))
	r := listen(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) })
	a := o.ask(t, access.Card{Object: "kind: Namespace", Diff: "-a", Uninspectable: []access.Uninspectable{{Field: "f", Why: "w"}}})
	if _, err := o.Answer(t.Context(), a.ID, access.Answer{Approver: access.Principal{Issuer: "idp", Subject: "1", Name: "ada", TokenID: "token-id-canary"}, Yes: true, BreakGlass: true, Reason: "fire"}); err != nil {
		t.Fatal(err)
	}
	o.run(t, o.sender(t, r.URL), func() bool { return o.empty(t) })
	types := map[string]map[string]any{}
	for _, m := range r.messages {
		if strings.Contains(string(m.body), "canary") {
			t.Errorf("a message tells the credential: %s", m.body)
		}
		var body struct {
			Type string
			Data map[string]any
		}
		if err := json.Unmarshal(m.body, &body); err != nil {
			t.Fatal(err)
		}
		types[body.Type] = body.Data
	}
	if len(r.messages) != 3 || len(types) != 3 || types["approval.answered"] == nil || types["approval.breakglass"] == nil {
		t.Fatalf("got %v", types)
	}
	asked := types["approval.asked"]
	for field, want := range map[string]any{
		"id": string(a.ID), "url": "https://gatebook.example.com/approvals/" + string(a.ID), "command": "kubectl delete namespace \u202eteam",
		"risk": "high", "state": "pending", "target": "prod", "requesterSays": "because <b>I</b> want",
	} {
		if asked[field] != want {
			t.Errorf("%s: got %v, want %v", field, asked[field], want)
		}
	}
	if card, _ := asked["card"].(map[string]any); card["object"] != "kind: Namespace" || card["diff"] != "-a" || card["uninspectable"] == nil {
		t.Errorf("card: %v", asked["card"])
	}
	if state := types["approval.breakglass"]["state"]; state != "granted" {
		t.Errorf("state %v", state)
	}
}

// I103: a card that is too large for a message is left out, never shown in part.
func TestLargeCard(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "index.db"))
	o.ask(t, access.Card{Object: strings.Repeat("a: b\n", 1<<16)})
	m, ok, err := o.store.NextMessage(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	var body struct{ Data map[string]any }
	if err := json.Unmarshal(m.Body, &body); err != nil {
		t.Fatal(err)
	}
	if len(m.Body) > 4096 || body.Data["card"] != nil || body.Data["command"] != nil || body.Data["leftOut"] == nil {
		t.Errorf("%d bytes: %v", len(m.Body), body.Data)
	}
}

// Refused, redirected and failed messages are sent again, with the same id and body, also after a restart.
func TestRetry(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	r := listen(t, func(n int, w http.ResponseWriter) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
	path := filepath.Join(t.TempDir(), "index.db")
	o := open(t, path)
	a := o.ask(t, access.Card{})
	o.run(t, o.sender(t, r.URL), func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.messages) >= 2 })
	o2 := open(t, path) // as after a restart
	o2.clock.advance(time.Hour)
	o2.run(t, o2.sender(t, r.URL), func() bool { return o2.empty(t) })
	if len(r.messages) != 4 {
		t.Fatalf("%d attempts, want 4", len(r.messages))
	}
	for _, m := range r.messages[1:] {
		if m.id != r.messages[0].id || string(m.body) != string(r.messages[0].body) {
			t.Error("an attempt differs")
		}
	}
	if b, err := o2.Get(t.Context(), a.ID); err != nil || b.State != access.ApprovalPending {
		t.Errorf("what the receiver answered changed the approval: %v %v", b.State, err)
	}
}

func TestGivesUp(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "index.db"))
	r := listen(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusGone) })
	o.ask(t, access.Card{})
	o.clock.advance(47 * time.Hour)
	o.run(t, o.sender(t, r.URL), func() bool { return o.empty(t) })
	if n := len(r.messages); n < 2 {
		t.Errorf("given up after %d attempts, %v old", n, 47*time.Hour)
	}
}

func TestOptions(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "index.db"))
	for _, c := range []struct {
		url, secret string
		ok          bool
	}{
		{"https://chat.example.com/x?token=canary", secret, true},
		{"http://127.0.0.1:1/x", secret, true},
		{"http://[::1]/x", secret, true},
		{"http://localhost/x", secret, true},
		{"http://chat.example.com/canary", secret, false},
		{"http://127.0.0.1.example.com/", secret, false},
		{"ftp://127.0.0.1/", secret, false},
		{"https:///x", secret, false},
		{"", secret, false},
		{"https://chat.example.com", "", false},
		{"https://chat.example.com", strings.TrimPrefix(secret, "whsec_"), false},
		{"https://chat.example.com", "whsec_c2hvcnQ=", false},
		{"https://chat.example.com", "whsec_%canary", false},
	} {
		_, err := webhook.New(webhook.Options{URL: c.url, Secret: c.secret, Outbox: o.store})
		if (err == nil) != c.ok {
			t.Errorf("%q %q: %v", c.url, c.secret, err)
		}
		if err != nil && strings.Contains(err.Error(), "%canary") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}
