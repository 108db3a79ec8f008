package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
	"gatebook/internal/config"
	"gatebook/internal/identity/identitytest"
	"gatebook/internal/recording"
)

// site is a gateway's configuration and data folder, and who logs in there.
type site struct {
	t            *testing.T
	issuer       *identitytest.Issuer
	config, data string
}

func newSite(t *testing.T, more string) *site {
	t.Helper()
	s := &site{t: t, issuer: identitytest.New(t)}
	dir := t.TempDir()
	s.config, s.data = filepath.Join(dir, "config.yaml"), filepath.Join(dir, "data")
	if err := os.WriteFile(filepath.Join(dir, "jwks"), s.issuer.Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write(fmt.Sprintf(`issuers: [{name: people, url: '%s', audiences: [gatebook], jwksFile: '%s'}]
targets: [{name: lab, url: 'https://127.0.0.1:1', token: {env: HOME}}]
roles: {approvers: {users: [approver]}, auditors: {users: [auditor]}, admins: {users: [admin]}, restorers: {users: [restorer]}}
%s
`, s.issuer.URL(), filepath.Join(dir, "jwks"), more))
	return s
}

func (s *site) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.config, []byte("data: '"+s.data+"'\n"+text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// crashed gives the site as it is on disk now, as if the gateway that runs had just died.
func (s *site) crashed() *site {
	s.t.Helper()
	at := *s
	dir := s.t.TempDir()
	at.config, at.data = filepath.Join(dir, "config.yaml"), filepath.Join(dir, "data")
	if err := os.CopyFS(at.data, os.DirFS(s.data)); err != nil {
		s.t.Fatal(err)
	}
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	at.write(rest)
	return &at
}

func (s *site) open() (*gateway, error) {
	s.t.Helper()
	cfg, err := config.LoadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	return openGateway(context.Background(), cfg, slog.New(slog.DiscardHandler), nil)
}

func (s *site) start() *gateway {
	s.t.Helper()
	g, err := s.open()
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

func (s *site) stop(g *gateway) {
	s.t.Helper()
	if err := g.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) loseIndex() {
	s.t.Helper()
	if err := removeIndex(filepath.Join(s.data, "index.db")); err != nil {
		s.t.Fatal(err)
	}
}

// call asks the gateway's own API as somebody.
func (s *site) call(g *gateway, who, method, path, body string) (int, string) {
	s.t.Helper()
	claims := s.issuer.Claims(time.Now(), "gatebook", map[string]any{"sub": who})
	r := httptest.NewRequest(method, client.Prefix+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+s.issuer.Sign(claims))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	g.own().ServeHTTP(w, r)
	b, err := io.ReadAll(w.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return w.Code, string(b)
}

// history is what must not be forgotten: somebody revoked, somebody revoked and let in again, a yes that was used.
type history struct {
	used access.ApprovalID
	op   access.Operation
	dec  access.Decision
}

func (s *site) live(g *gateway) history {
	s.t.Helper()
	revoke := func(who string) string {
		code, out := s.call(g, "admin", "POST", "revocations", `{"subject":"people|`+who+`","reason":"gone"}`)
		if code != http.StatusOK {
			s.t.Fatal(code, out)
		}
		_, id, _ := strings.Cut(out, `"id":"`)
		return id[:26]
	}
	revoke("mallory")
	id := revoke("eve")
	if code, out := s.call(g, "restorer", "POST", "revocations/"+id+"/undo", `{"reason":"a mistake"}`); code != http.StatusOK {
		s.t.Fatal(code, out)
	}
	h := history{dec: access.Decision{Effect: access.Approve, Policy: sha256.Sum256([]byte("p")),
		Approval: &access.ApprovalTerms{Count: 1, Expires: time.Hour, Valid: time.Hour}}}
	h.op = access.Operation{ID: "o1", Session: "s1", Time: time.Now().UTC(), Principal: access.Principal{Issuer: "people", Subject: "a", Name: "a"},
		Target: access.Target{Name: "lab", Protocol: "kubernetes"}, Verb: "delete", Command: "kubectl delete namespace a", Digest: sha256.Sum256([]byte("a"))}
	a, err := g.desk.Ask(s.t.Context(), &h.op, h.dec, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if code, out := s.call(g, "approver", "POST", "approvals/"+string(a.ID)+"/answer", `{"yes":true}`); code != http.StatusOK {
		s.t.Fatal(code, out)
	}
	if err := g.desk.Use(s.t.Context(), a.ID, &h.op, h.dec); err != nil {
		s.t.Fatal(err)
	}
	o, err := g.recorder.Begin(&h.op, h.dec, nil, nil, true)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := o.End(access.Outcome{Code: 200, ExitCode: -1}); err != nil {
		s.t.Fatal(err)
	}
	h.used = a.ID
	return h
}

// remembers checks that nothing is forgotten.
func (s *site) remembers(g *gateway, h history) {
	s.t.Helper()
	for who, want := range map[string]int{"mallory": http.StatusForbidden, "eve": http.StatusOK, "admin": http.StatusOK} {
		if code, out := s.call(g, who, "GET", "whoami", ""); code != want {
			s.t.Errorf("%s gets %d %s, want %d", who, code, out, want)
		}
	}
	again := h.op
	again.ID = "o2"
	if err := g.desk.Use(s.t.Context(), h.used, &again, h.dec); !errors.Is(err, approval.ErrUsed) {
		s.t.Errorf("the approval that was used: %v", err)
	}
	if a, err := g.desk.Get(s.t.Context(), h.used); err != nil || len(a.Answers) != 1 || a.UsedBy != h.op.ID {
		s.t.Errorf("%+v (%v)", a, err)
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, ok, err := g.store.Operation(s.t.Context(), h.op.ID)
		if ok && r.Outcome != nil {
			return
		}
		if time.Now().After(until) {
			s.t.Fatalf("the operation is not found: %v", err)
		}
	}
}

// An index that is gone while its journal is whole is made anew from the journal, before anybody is let in.
func TestIndexLostInACrash(t *testing.T) {
	s := newSite(t, "")
	g := s.start()
	h := s.live(g)
	dead := s.crashed()
	s.stop(g)
	dead.loseIndex()
	g = dead.start()
	dead.remembers(g, h)
	dead.stop(g)
}

// An index that is gone when the journal has let go of what was in it stops the gateway from starting, until it is
// rebuilt.
func TestIndexLost(t *testing.T) {
	s := newSite(t, "")
	g := s.start()
	early := s.crashed()
	h := s.live(g)
	s.stop(g)
	s.stop(s.start()) // with its index nothing is missed
	rebuild := func(args ...string) (string, error) {
		return invoke(t, append([]string{"index", "rebuild", "--config", s.config}, args...)...)
	}
	refused := func(what string) {
		t.Helper()
		g, err := s.open()
		if !errors.Is(err, recording.ErrIndexLost) || !strings.Contains(err.Error(), "gatebook index rebuild") {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			s.stop(g)
		}
	}
	s.loseIndex()
	refused("without an index")
	refused("again") // the refused start left an empty one
	old, err := os.ReadFile(filepath.Join(early.data, "index.db"))
	if err == nil {
		s.loseIndex()
		err = os.WriteFile(filepath.Join(s.data, "index.db"), old, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	refused("with an index of before")
	if _, err := rebuild("--key", os.DevNull); err == nil {
		t.Error("rebuilt without the auditor's key")
	}
	if out, err := rebuild(); err != nil || !strings.Contains(out, "2 revocations of which 1 were taken back") {
		t.Errorf("%s %v", out, err)
	}
	g = s.start()
	if _, err := rebuild(); err == nil || !strings.Contains(err.Error(), "stop the gateway first") {
		t.Errorf("rebuilt under a gateway that runs: %v", err)
	}
	s.remembers(g, h)
	s.stop(g)
}

// A book that is not whole is no source of an index, unless somebody says so.
func TestRebuildNeedsTheWholeBook(t *testing.T) {
	s := newSite(t, "")
	g := s.start()
	s.live(g)
	s.stop(g)
	s.loseIndex()
	if err := os.RemoveAll(filepath.Join(s.data, "archive", "sessions", "s1")); err != nil {
		t.Fatal(err)
	}
	_, err := invoke(t, "index", "rebuild", "--config", s.config)
	var broken brokenError
	if !errors.As(err, &broken) || !strings.Contains(err.Error(), "sessions/s1/") {
		t.Errorf("%v", err)
	}
	if _, err := invoke(t, "index", "rebuild", "--config", s.config, "--incomplete"); err != nil {
		t.Error(err)
	}
	g = s.start()
	if code, _ := s.call(g, "mallory", "GET", "whoami", ""); code != http.StatusForbidden {
		t.Errorf("mallory gets %d", code)
	}
	s.stop(g)
}
