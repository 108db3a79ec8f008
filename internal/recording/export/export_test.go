package export

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func body(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(k recording.Kind, after time.Duration, change func(*recording.Event)) recording.Event {
	e := recording.Event{Frame: recording.Frame{Kind: k, Session: "s1"}, Number: 7, Operation: "o1", At: start.Add(after)}
	change(&e)
	return e
}

func stream(after time.Duration, s recording.Stream, d recording.Direction, data string) recording.Event {
	return event(recording.KindStream, after, func(e *recording.Event) { e.Stream, e.Direction, e.Data = s, d, []byte(data) })
}

// session is an exec with a terminal.
func session(t *testing.T) []recording.Event {
	opening := recording.Opening{
		Operation: access.Operation{
			ID: "o1", Session: "s1", Time: start.Add(-time.Second), Command: "kubectl exec web -- sh",
			Principal: access.Principal{Issuer: "c", Subject: "sub", Name: "system:serviceaccount:agents:claude", Groups: []string{"g"},
				Workload: access.Workload{Pod: "agent-0", PodUID: "u"}},
			Target: access.Target{Name: "prod"}, Client: access.Client{Address: "10.0.0.1:99", UserAgent: "kubectl"},
			Kubernetes: &access.Kubernetes{Verb: "create", Version: "v1", Resource: "pods", Subresource: "exec", Namespace: "default", Name: "web"},
		},
		Decision: access.Decision{Effect: access.Approve, Risk: access.RiskHigh, Reason: "exec"},
		Approval: &access.Approval{ID: "a1"},
	}
	closing := recording.Closing{Outcome: access.Outcome{Code: 101}}
	return []recording.Event{
		event(recording.KindBegin, 0, func(e *recording.Event) { e.Data = body(t, opening) }),
		event(recording.KindResize, 0, func(e *recording.Event) { e.Cols, e.Rows = 120, 40 }),
		stream(500*time.Millisecond, recording.Stdout, recording.ToClient, "$ \x1b]52;c;eA==\x07\xe2\x82"),
		stream(time.Second, recording.Stdin, recording.FromClient, "ls\r"),
		stream(time.Second, recording.Stdout, recording.ToClient, "\xac\x1b[31m!"),
		event(recording.KindResize, 2*time.Second, func(e *recording.Event) { e.Cols, e.Rows = 80, 24 }),
		stream(2*time.Second, recording.Status, recording.ToClient, `{"status":"Success"}`),
		event(recording.KindEnd, 3*time.Second, func(e *recording.Event) { e.Data = body(t, closing) }),
	}
}

func TestAsciicast(t *testing.T) {
	var out bytes.Buffer
	cast := NewAsciicast(&out, "o1")
	other := stream(0, recording.Stdout, recording.ToClient, "another operation")
	other.Operation = "o2"
	for _, e := range append(session(t), other) {
		if err := cast.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := cast.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"version":2,"width":120,"height":40,"timestamp":1772366400,"title":"kubectl exec web -- sh"}
[0.5,"o","$ "]
[1,"i","ls\r"]
[1,"o","€\u001b[31m!"]
[2,"r","80x24"]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestAsciicastOfNoOutputIsValid(t *testing.T) {
	var out bytes.Buffer
	cast := NewAsciicast(&out, "o1")
	if err := cast.Event(session(t)[0]); err != nil {
		t.Fatal(err)
	}
	if err := cast.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte(`{"version":2,"width":80,"height":24,`)) || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Errorf("wrote %q", out.String())
	}
}

func TestAudit(t *testing.T) {
	var out bytes.Buffer
	audit := &Audit{Out: &out}
	for _, e := range session(t) {
		if err := audit.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "annotations")
	want := map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "o1", "stage": "ResponseComplete",
		"requestURI": "/api/v1/namespaces/default/pods/web/exec", "verb": "create", "userAgent": "kubectl", "sourceIPs": []any{"10.0.0.1"},
		"user": map[string]any{"username": "system:serviceaccount:agents:claude", "uid": "sub", "groups": []any{"g"},
			"extra": map[string]any{"authentication.kubernetes.io/pod-name": []any{"agent-0"}, "authentication.kubernetes.io/pod-uid": []any{"u"}}},
		"objectRef":                map[string]any{"resource": "pods", "namespace": "default", "name": "web", "apiVersion": "v1", "subresource": "exec"},
		"responseStatus":           map[string]any{"metadata": map[string]any{}, "code": float64(101)},
		"requestReceivedTimestamp": "2026-03-01T11:59:59.000000Z", "stageTimestamp": "2026-03-01T12:00:03.000000Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRequestPath(t *testing.T) {
	for want, k := range map[string]access.Kubernetes{
		"/version":                          {Path: "/version"},
		"/apis/apps/v1/deployments":         {Group: "apps", Version: "v1", Resource: "deployments"},
		"/api/v1/namespaces/a":              {Version: "v1", Resource: "namespaces", Name: "a", Namespace: "a"},
		"/api/v1/namespaces/a/secrets":      {Version: "v1", Resource: "secrets", Namespace: "a"},
		"/api/v1/nodes/n/proxy":             {Version: "v1", Resource: "nodes", Name: "n", Subresource: "proxy"},
		"/api/v1/namespaces/a/pods/p/log":   {Version: "v1", Resource: "pods", Name: "p", Subresource: "log", Namespace: "a"},
		"/apis/x.io/v1/namespaces/a/crds/n": {Group: "x.io", Version: "v1", Resource: "crds", Name: "n", Namespace: "a"},
	} {
		if got := requestPath(&k); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	lines := Lines{Out: &out}
	for _, e := range []recording.Event{
		event(recording.KindUnit, 0, func(*recording.Event) {}),
		stream(time.Second, recording.Stdout, recording.ToClient, "text"),
		stream(time.Second, recording.Stdin, recording.FromClient, "\xff"),
		event(recording.KindEnd, 2*time.Second, func(e *recording.Event) { e.Data = []byte(`{"outcome":{}}`) }),
	} {
		if err := lines.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"frame":7,"time":"2026-03-01T12:00:01Z","kind":"stream","session":"s1","operation":"o1","stream":"stdout","direction":"to-client","text":"text"}
{"frame":7,"time":"2026-03-01T12:00:01Z","kind":"stream","session":"s1","operation":"o1","stream":"stdin","direction":"from-client","base64":"/w=="}
{"frame":7,"time":"2026-03-01T12:00:02Z","kind":"end","session":"s1","operation":"o1","body":{"outcome":{}}}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
