package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
)

// who may what: everybody who is not named gets 403. A route that is missing here fails the test.
var who = map[string][]string{
	"GET whoami":                  callers(),
	"GET sessions":                {"auditor"},
	"GET operations":              {"auditor"},
	"GET operations/{id}":         {"auditor"},
	"GET operations/{id}/explain": {"auditor"},
	"GET why":                     {"auditor"},
	"GET sessions/{id}/timeline":  {"auditor"},
	"POST otlp/v1/traces":         callers(), // each says it of themselves
	"POST otlp/v1/metrics":        callers(),
	"POST otlp/v1/logs":           callers(),
	"GET approvals":               callers(), // each sees their own: TestApprovals
	"GET approvals/{id}":          callers(),
	"POST approvals/{id}/answer":  callers(),
	"POST approvals/{id}/end":     callers(),
	"GET revocations":             {"admin", "auditor", "restorer"},
	"POST revocations":            {"admin"},
	"POST revocations/{id}/undo":  {"restorer"},
	"POST forgotten":              {"admin"},
	"GET archive":                 {"auditor"},
	"GET archive/{name...}":       {"auditor"},
	"GET ledger/{name...}":        {"auditor"},
	"GET sessions/{id}/frames":    {"auditor"},
	"GET frames":                  {"auditor"},
}

// readings are the routes of which every use is on record, in the session that is read (empty: the gateway's own).
var readings = map[string]access.SessionID{
	"GET operations/{id}": session, "GET operations/{id}/explain": session, "GET archive/{name...}": session,
	"GET sessions/{id}/frames": session, "GET frames": "", "GET why": session, "GET sessions/{id}/timeline": session,
}

// path fills in a route's wildcards with what is there.
func (w *world) path(route string, op access.Operation, id access.ApprovalID) (method, path, body string) {
	method, path, _ = strings.Cut(route, " ")
	switch {
	case strings.HasPrefix(path, "operations/"):
		path = strings.Replace(path, "{id}", string(op.ID), 1)
	case strings.HasPrefix(path, "approvals/"):
		path, body = strings.Replace(path, "{id}", string(id), 1), `{"yes":false}`
	case strings.HasPrefix(path, "sessions/"):
		path = strings.Replace(path, "{id}", string(session), 1)
	case strings.HasPrefix(path, "archive/"):
		path = "archive/" + file
	case strings.HasPrefix(path, "ledger/"):
		path = "ledger/checkpoint"
	case strings.HasPrefix(path, "revocations/"):
		path, body = strings.Replace(path, "{id}", w.revocation(people["other"].Key()), 1), `{"reason":"a mistake"}`
	case path == "forgotten":
		body = `{"value":"kept-in-the-dark","reason":"a mistake"}`
	case path == "why":
		path += "?q=" + string(op.ID)
	case strings.HasPrefix(path, "otlp/"):
		body = `{"resourceSpans":[]}`
	case path == "revocations":
		body = `{"subject":"cluster|x","reason":"gone"}`
	}
	if method == http.MethodGet {
		body = ""
	}
	return method, path, body
}

func TestEveryRouteForEverybody(t *testing.T) {
	w := open(t)
	op := w.operation()
	for route, h := range w.api.routes() {
		allowed, ok := who[route]
		if !ok {
			t.Errorf("nothing says who may %s", route)
		}
		for _, name := range callers() {
			id := w.question(route + name)
			w.take()
			method, path, body := w.path(route, op, id)
			code, answer := w.call(name, method, path, body)
			notes := w.take()
			want := http.StatusForbidden
			switch {
			case name == "":
				want = http.StatusUnauthorized
			case slices.Contains(allowed, name):
				want = http.StatusOK
			}
			if strings.HasPrefix(path, "approvals/") {
				want = code // TestApprovals, TestAnswer
				if name == "" {
					want = http.StatusUnauthorized
				}
			}
			if code != want {
				t.Errorf("%s by %q: %d %s, want %d", route, name, code, answer, want)
			}
			if code == http.StatusUnauthorized || code == http.StatusForbidden {
				var e client.Error
				if err := json.Unmarshal([]byte(answer), &e); err != nil || e.Code == "" || e.Message == "" || len(notes) > 0 || strings.Contains(answer, string(op.ID)) {
					t.Errorf("%s by %q is refused with %s, and noted as %v", route, name, answer, notes)
				}
				continue
			}
			if session, ok := readings[route]; ok && (len(notes) != 1 || !strings.HasPrefix(notes[0], string(session)+" reading ") || !strings.Contains(notes[0], people[name].Key())) {
				t.Errorf("%s by %q is noted as %q", route, name, notes)
			}
		}
		if len(h.roles) == 0 && len(allowed) != len(callers()) {
			t.Errorf("%s names no role", route)
		}
	}
	if len(who) != len(w.api.routes()) {
		t.Error("there are routes that are no more")
	}
}

// What cannot be recorded is not read, and not revoked.
func TestNotRecordedIsNotDone(t *testing.T) {
	w := open(t)
	op, id := w.operation(), w.question("q")
	w.deaf = errDeaf
	for route := range who {
		_, reads := readings[route]
		name, changes := map[string]string{"POST revocations": "admin", "POST revocations/{id}/undo": "restorer", "POST approvals/{id}/answer": "approver"}[route]
		switch {
		case reads:
			name = "auditor"
		case !changes:
			continue
		}
		method, path, body := w.path(route, op, id)
		code, answer := w.call(name, method, path, body)
		if code != http.StatusServiceUnavailable || strings.Contains(answer, "sealed") || strings.Contains(answer, "frames\n") || strings.Contains(answer, op.Command) || strings.Contains(answer, "no space") {
			t.Errorf("%s: %d %s", route, code, answer)
		}
	}
	if len(w.revoked) > 0 || len(w.restored) > 0 {
		t.Error("revoked, or restored, without a record")
	}
	if a, err := w.desk.Get(t.Context(), id); err != nil || a.State != access.ApprovalPending {
		t.Errorf("answered without a record: %s %v", a.State, err)
	}
}

// One token, in one header, and nothing that a browser sends by itself.
func TestCredential(t *testing.T) {
	w := open(t)
	id := w.question("q")
	for _, h := range [][]string{
		{"Cookie", "token=approver"}, {"Authorization", "Basic approver"}, {"Authorization", "approver"},
		{"Authorization", "Bearer approver", "Authorization", "Bearer approver"}, {"Authorization", "Bearer agent", "Authorization", "Bearer approver"},
		{"X-Forwarded-User", "approver"},
	} {
		if code, _ := w.call("", "GET", "whoami", "", h...); code != http.StatusUnauthorized {
			t.Errorf("%q: %d", h, code)
		}
	}
	for _, u := range []string{"approvals/" + string(id) + "/answer?yes=true", "approvals/" + string(id) + "/answer?access_token=approver"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			if code, _ := w.call("approver", method, u, `{"yes":true}`); code/100 == 2 {
				t.Errorf("%s %s: %d", method, u, code)
			}
		}
	}
	// What a form of another site can send (Fetch, "CORS-safelisted request-header").
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", w.front.URL+client.Prefix+"approvals/"+string(id)+"/answer", strings.NewReader(`{"yes":true}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer approver")
		r.Header["Content-Type"] = []string{contentType}
		resp, err := w.front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnsupportedMediaType || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q: %s", contentType, resp.Status)
		}
	}
	if a, err := w.desk.Get(t.Context(), id); err != nil || a.State != access.ApprovalPending {
		t.Errorf("it is %s (%v)", a.State, err)
	}
}

// Who is revoked reads no further.
func TestRevokedInMidStream(t *testing.T) {
	w := open(t)
	body, err := w.client("auditor").Stream(t.Context(), "GET", "frames", url.Values{"follow": {"true"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, len("frames"))); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	cut := w.live["auditor"]
	w.mu.Unlock()
	cut(access.Refuse(access.CodeRevoked, nil, "revoked"))
	if _, err := io.ReadAll(body); err == nil {
		t.Error("a stream that was cut looks as if it had ended")
	}
	w.front.Close() // waits for the handler
	if len(w.live) != 0 {
		t.Error("a call that has ended is still registered")
	}
}

// What is asked wrongly is said, and is no fault of the gateway.
func TestAskedWrongly(t *testing.T) {
	w := open(t)
	w.operation()
	id := w.question("q")
	for _, c := range []struct {
		who, method, path, body string
		code                    int
	}{
		{"auditor", "GET", "operations?cursor=x", "", 400},
		{"auditor", "GET", "sessions?cursor=x", "", 400},
		{"auditor", "GET", "sessions?cursor=1x.y", "", 400},
		{"auditor", "GET", "operations?limit=-1", "", 400},
		{"auditor", "GET", "operations?risk=huge", "", 400},
		{"auditor", "GET", "operations?effect=maybe", "", 400},
		{"auditor", "GET", "operations?since=yesterday", "", 400},
		{"auditor", "GET", "operations?name=x", "", 400},
		{"auditor", "GET", "operations?verb=x&verb=y", "", 400},
		{"auditor", "GET", "approvals?stat=pending", "", 400},
		{"auditor", "GET", "approvals?state=open", "", 400},
		{"auditor", "GET", "operations/00000000000000000000000000", "", 404},
		{"auditor", "GET", "approvals/x", "", 404},
		{"auditor", "GET", "archive?prefix=../../etc/", "", 400},
		{"auditor", "GET", "archive?prefix=/", "", 400},
		{"auditor", "GET", "archive/sessions/..%2f..%2fetc%2fpasswd", "", 404},
		{"auditor", "GET", "archive/sessions/x/y.gbr.age", "", 404},
		{"auditor", "GET", "ledger/..%2fsecret.key", "", 404},
		{"auditor", "GET", "ledger/tile", "", 404},
		{"auditor", "GET", "sessions/..%2fx/frames", "", 404},
		{"auditor", "GET", "nothing", "", 404},
		{"auditor", "PATCH", "sessions", "", 404},
		{"approver", "POST", "approvals/" + string(id) + "/answer", `{"yes":true,"approver":{"name":"admin"}}`, 400},
		{"approver", "POST", "approvals/" + string(id) + "/answer", `{"yes":false}{"yes":true}`, 400},
		{"approver", "POST", "approvals/" + string(id) + "/answer", ``, 400},
		{"approver", "POST", "approvals/" + string(id) + "/answer", `{"yes":true,"scope":"forever"}`, 400},
		{"approver", "POST", "approvals/" + string(id) + "/answer", `{"yes":true,"reason":"` + strings.Repeat("x", 1<<20) + `"}`, 400},
		{"admin", "POST", "revocations", `{"reason":"x"}`, 400},
		{"admin", "POST", "revocations", `{"subject":"cluster|x"}`, 400},
		{"admin", "POST", "revocations", `{"subject":"cluster|x","reason":" "}`, 400},
		{"admin", "POST", "revocations", `{"subject":"cluster|x","tokenId":"y","reason":"x"}`, 400},
		{"admin", "POST", "revocations", `{"subject":"claude","reason":"a name is no subject"}`, 400},
		{"admin", "POST", "revocations", `{"subject":"cluster|","reason":"x"}`, 400},
		{"admin", "POST", "revocations", `{"session":"../x","reason":"x"}`, 400},
		{"admin", "POST", "revocations", `{"subject":"cluster|x","reason":"x","until":"2001-01-01T00:00:00Z"}`, 400},
		{"admin", "POST", "approvals/" + string(id) + "/end", `{}`, 404},
		{"approver", "POST", "approvals/" + string(id) + "/end", `{}`, 400},
		{"approver", "POST", "approvals/" + string(id) + "/end", `{"reason":"x"}`, 409},
		{"approver", "POST", "approvals/" + string(id) + "/end", `{"reason":"x","by":"y"}`, 400},
		{"agent", "POST", "approvals/" + string(id) + "/end", `{"reason":"x"}`, 403},
		{"restorer", "POST", "revocations/none/undo", `{"reason":"x"}`, 404},
		{"restorer", "POST", "revocations/" + w.revocation("cluster|x") + "/undo", `{"reason":" "}`, 400},
		{"restorer", "POST", "revocations/" + w.revocation(people["restorer"].Key()) + "/undo", `{"reason":"mine"}`, 403},
	} {
		code, answer := w.call(c.who, c.method, c.path, c.body)
		var e client.Error
		if err := json.Unmarshal([]byte(answer), &e); code != c.code || err != nil || e.Message == "" || len(answer) > 2000 {
			t.Errorf("%s %s %.80s: %d %.300s, want %d", c.method, c.path, c.body, code, answer, c.code)
		}
	}
	if len(w.revoked) > 0 || len(w.restored) > 0 {
		t.Errorf("revoked: %v, restored: %v", w.revoked, w.restored)
	}
}

func TestRevoke(t *testing.T) {
	w := open(t)
	until := time.Now().Add(time.Hour).UTC()
	got, err := w.client("admin").Revoke(t.Context(), access.Revocation{ID: "mine", By: "idp|somebody else", Session: session, Reason: "gone", Until: until})
	if err != nil || got.ID == "mine" || got.By != people["admin"].Key() || got.Time.IsZero() || !got.Until.Equal(until) {
		t.Errorf("%+v %v", got, err)
	}
	if notes := w.take(); len(notes) != 1 || !strings.HasPrefix(notes[0], string(session)+" revocation ") || !strings.Contains(notes[0], got.ID) {
		t.Errorf("noted as %q", notes)
	}
	if len(w.revoked) != 1 || w.revoked[0].ID != got.ID {
		t.Errorf("revoked %+v", w.revoked)
	}
	_, err = w.client("auditor").Revoke(t.Context(), access.Revocation{Session: session, Reason: "x"})
	var e *client.Error
	if !errors.As(err, &e) || e.Status != http.StatusForbidden || e.Code != access.CodeDenied {
		t.Errorf("%v", err)
	}
}

// A revocation is taken back on record, once.
func TestRestore(t *testing.T) {
	w := open(t)
	id := w.revocation(people["other"].Key())
	got, err := w.client("restorer").Restore(t.Context(), id, "the wrong one")
	if err != nil || got.Revocation.ID != id || got.By != people["restorer"].Key() || got.Reason != "the wrong one" || got.Time.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	if notes := w.take(); len(notes) != 1 || !strings.HasPrefix(notes[0], " revocation.undone ") || !strings.Contains(notes[0], id) || !strings.Contains(notes[0], got.By) {
		t.Errorf("noted as %q", notes)
	}
	if !slices.Equal(w.restored, []string{id}) {
		t.Errorf("restored %q", w.restored)
	}
	var e *client.Error
	if _, err := w.client("restorer").Restore(t.Context(), id, "again"); !errors.As(err, &e) || e.Status != http.StatusNotFound {
		t.Errorf("restored twice: %v", err)
	}
}

// A list of nothing is a list.
func TestEmptyLists(t *testing.T) {
	w := open(t)
	w.api.o.Targets = nil
	for route := range who {
		method, path, _ := strings.Cut(route, " ")
		if method != http.MethodGet || strings.Contains(path, "{") || path == "frames" {
			continue
		}
		if path == "archive" {
			path += "?prefix=none"
		}
		if path == "why" {
			path += "?q=nothing"
		}
		if _, answer := w.call("auditor", method, path, ""); !strings.Contains(answer, "[]") || strings.Contains(answer, "null") {
			t.Errorf("%s: %s", path, answer)
		}
	}
}

// Whatever looks in the index finds what was recorded before it was asked for.
func TestIndexCatchesUp(t *testing.T) {
	for _, path := range []string{"sessions", "operations", "operations/{id}", "operations/{id}/explain", "sessions/{session}/timeline", "why?q={id}"} {
		w := open(t)
		op := w.operation()
		op.ID, op.Session = access.OperationID(access.NewID(time.Now())), access.SessionID(strings.Repeat("z", 26))
		w.api.o.CatchUp = func(context.Context) {
			if err := w.store.PutBatch([]access.IndexEntry{{Session: &access.Session{ID: op.Session, Principal: op.Principal, Started: op.Time, Last: op.Time}}, {Record: &access.Record{Operation: op}}}); err != nil {
				t.Error(err)
			}
		}
		path = strings.NewReplacer("{id}", string(op.ID), "{session}", string(op.Session)).Replace(path)
		if code, answer := w.call("auditor", http.MethodGet, path, ""); code != http.StatusOK || !strings.Contains(answer, string(op.ID)) && !strings.Contains(answer, string(op.Session)) && !strings.HasSuffix(path, "explain") {
			t.Errorf("%s: %d %s", path, code, answer)
		}
	}
}

// Who asks for a session that is not there begins none.
func TestReadingWhatIsNotThere(t *testing.T) {
	w := open(t)
	if code, answer := w.call("auditor", "GET", "sessions/nonsense/frames", ""); code != http.StatusOK || answer != "frames" {
		t.Errorf("%d %s", code, answer)
	}
	if notes := w.take(); len(notes) != 1 || !strings.HasPrefix(notes[0], " reading ") || !strings.Contains(notes[0], "nonsense") {
		t.Errorf("noted as %q", notes)
	}
}
