package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
)

// What retention lets go leaves the index when it is in the book for good, on record; show and verify work as before.
func TestRetention(t *testing.T) {
	s := newSite(t, "retention: {index: 1h, approvals: 1h, notices: 1h, cut: 1h}")
	g := s.start()
	h := s.live(g)
	op := h.op
	op.ID = access.OperationID(access.NewID(time.Now()))
	o, err := g.recorder.Begin(&op, access.Decision{Effect: access.Allow}, nil, strings.NewReader("the body"), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.End(access.Outcome{Code: 200, ExitCode: -1}); err != nil {
		t.Fatal(err)
	}
	s.remembers(g, h)
	cut := filepath.Join(s.data, "ledger", "cut", "at-1-x")
	if err := os.MkdirAll(cut, 0o700); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(24 * time.Hour)
	found := func() string {
		_, out := s.call(g, "auditor", "GET", "operations?text=kubectl", "")
		return out
	}
	if err := g.prune(t.Context(), later); err != nil || !strings.Contains(found(), string(op.ID)) {
		t.Errorf("what is not sealed is pruned (%v): %s", err, found())
	}
	for range 2 { // the second removes the first from the journal, once it is in the index
		time.Sleep(100 * time.Millisecond)
		if err := g.recorder.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(cut, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := g.prune(t.Context(), time.Now()); err != nil || !strings.Contains(found(), string(op.ID)) {
		t.Errorf("what is younger than its retention is pruned (%v): %s", err, found())
	}
	if err := g.prune(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"operations": `{"items":[]}`, "sessions": `{"items":[]}`} {
		if code, out := s.call(g, "auditor", "GET", path, ""); code != http.StatusOK || strings.TrimSpace(out) != want {
			t.Errorf("%s: %s", path, out)
		}
	}
	if _, err := os.Stat(cut); !os.IsNotExist(err) {
		t.Errorf("what was cut off the ledger: %v", err)
	}
	if code, _ := s.call(g, "mallory", "GET", "whoami", ""); code != http.StatusForbidden {
		t.Errorf("a revocation for good is pruned: mallory gets %d", code)
	}
	s.stop(g)
	archive, key := filepath.Join(s.data, "archive"), filepath.Join(s.data, "auditor.key")
	for _, id := range []string{"s1", "s1/" + string(op.ID), string(op.ID)} {
		if out, err := invoke(t, "show", id, "--archive", archive, "--key", key); err != nil || !strings.Contains(out, "kubectl delete namespace a") {
			t.Errorf("show %s: %v\n%s", id, err, out)
		}
	}
	if out, err := invoke(t, "verify", "--data", s.data, "--key", key); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	notes := 0
	for _, session := range sessionsIn(t, archive) {
		out, err := invoke(t, "show", session, "--archive", archive, "--key", key)
		if err == nil {
			notes += strings.Count(out, "note retention")
		}
	}
	if notes != 4 { // operations, sessions, and twice what was cut off
		t.Errorf("%d prunings are on record", notes)
	}
}

func sessionsIn(t *testing.T, archive string) (out []string) {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(archive, "sessions"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		out = append(out, e.Name())
	}
	return out
}

// A book that is far behind is no longer ready, and says why; it shows how far it is.
func TestReadySaysHowFarBehind(t *testing.T) {
	s := newSite(t, "")
	g := s.start()
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		g.admin().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	h := s.live(g)
	s.remembers(g, h)
	if code, out := get("/readyz"); code != http.StatusOK || !strings.HasPrefix(out, "ok\nsealing ") {
		t.Errorf("%d %s", code, out)
	}
	g.cfg.Recording.MaxBehind = time.Nanosecond
	if code, out := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(out, "to be sealed") {
		t.Errorf("%d %s", code, out)
	}
	if _, out := get("/metrics"); strings.Contains(out, "gatebook_sealing_behind_bytes 0\n") || !strings.Contains(out, "gatebook_index_behind_seconds") {
		t.Errorf("metrics do not say how far it is behind:\n%s", out)
	}
	if err := g.recorder.Seal(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // the index follows
	if code, out := get("/readyz"); code != http.StatusOK {
		t.Errorf("sealed: %d %s", code, out)
	}
	s.stop(g)
}
