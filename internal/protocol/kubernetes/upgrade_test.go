package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	apiproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/rest"
	client "k8s.io/client-go/tools/remotecommand"
	clientspdy "k8s.io/client-go/transport/spdy"
	cri "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"gatebook/internal/access"
)

// script is what runs in the place of a container: it reads all input, says it back with a word before, and fails.
type script struct{}

func (script) ExecInContainer(_ context.Context, _, _, _ string, cmd []string, in io.Reader, out, errOut io.WriteCloser, _ bool,
	_ <-chan cri.TerminalSize, _ time.Duration) error {
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	for _, c := range b { // byte by byte, so that every value is split at every offset
		if _, err := out.Write([]byte{c}); err != nil {
			return err
		}
	}
	if _, err := errOut.Write([]byte(strings.Join(cmd, " ") + " " + execCanary)); err != nil {
		return err
	}
	return utilexec.CodeExitError{Err: errors.New("exit status 7"), Code: 7}
}

// execServer is an API server and a container runtime in one, made of their own code.
func execServer(t *testing.T) http.HandlerFunc {
	t.Helper()
	run := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cri.ServeExec(w, r, script{}, "p", "u", "c", r.URL.Query()["command"], &cri.Options{Stdin: true, Stdout: true, Stderr: true},
			time.Minute, 5*time.Second, cri.SupportedStreamingProtocols)
	}))
	t.Cleanup(run.Close)
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/missing/") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"missing\" not found near `+execCanary+`","reason":"NotFound","code":404}`)
			return
		}
		location, err := url.Parse(run.URL)
		must(t, err)
		location.RawQuery = r.URL.RawQuery
		apiproxy.NewStreamTranslatorHandler(location, http.DefaultTransport, 0, apiproxy.Options{Stdin: true, Stdout: true, Stderr: true}).ServeHTTP(w, r)
	}
}

const execCanary = "canary-3b9f70c2d41e"

func runExec(t *testing.T, base, protocol, pod, in string) (string, string, error) {
	t.Helper()
	u, err := url.Parse(base + "/api/v1/namespaces/n/pods/" + pod + "/exec?stdin=1&stdout=1&stderr=1&command=say")
	must(t, err)
	config := &rest.Config{Host: base}
	var e client.Executor
	if protocol == "spdy" {
		rt, up, err := clientspdy.RoundTripperFor(config)
		must(t, err)
		e, err = client.NewSPDYExecutorForTransports(rt, up, "POST", u)
		must(t, err)
	} else {
		e, err = client.NewWebSocketExecutor(config, "GET", u.String())
		must(t, err)
	}
	var out, errOut bytes.Buffer
	err = e.StreamWithContext(t.Context(), client.StreamOptions{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errOut})
	return out.String(), errOut.String(), err
}

// K9: exec by GET (WebSocket) and by POST (SPDY) are one operation, with one digest. M42, M43: a known value is hidden
// from the client and from the book, though it came byte by byte; the command gets the true bytes of its input.
func TestK9M42Exec(t *testing.T) {
	w := newWorld(t, execServer(t))
	w.h.o.Masks.Learn([]byte(execCanary))
	served := make(chan struct{}, 2) // a server does not wait for connections that were upgraded
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.front.Config.Handler.ServeHTTP(rw, r)
		served <- struct{}{}
	}))
	defer front.Close()
	for _, protocol := range []string{"websocket", "spdy"} {
		out, errOut, err := runExec(t, front.URL, protocol, "p", "it is "+execCanary+".\n")
		<-served
		var exit interface{ ExitStatus() int }
		if !errors.As(err, &exit) || exit.ExitStatus() != 7 {
			t.Errorf("%s: %v", protocol, err)
		}
		if l := append(leaks([]byte(out), execCanary), leaks([]byte(errOut), execCanary)...); len(l) > 0 || !strings.HasPrefix(out, "it is ") || !strings.HasPrefix(errOut, "say ") {
			t.Errorf("%s: the client got %q and %q: %q", protocol, out, errOut, l)
		}
	}
	book := w.recorded()
	if l := leaks(book, execCanary); len(l) > 0 {
		t.Errorf("the book holds the execCanary: %q", l)
	}
	rows := w.rows()
	if len(rows) != 2 {
		t.Fatalf("%d operations, want 2", len(rows))
	}
	if a, b := rows[0].Operation, rows[1].Operation; a.Digest != b.Digest || a.Verb != "create" || b.Verb != "create" {
		t.Errorf("%s by %s and %s by %s", a.Digest, a.Verb, b.Digest, b.Verb)
	}
	for _, r := range rows {
		if r.Outcome.ExitCode != 7 || r.Outcome.Code != 101 || r.Outcome.Masked != 2 || r.Outcome.RequestBytes != int64(len("it is "+execCanary+".\n")) {
			t.Errorf("outcome %+v", r.Outcome)
		}
	}
}

// K1: a declined upgrade gets the API server's own Status, masked, and the connection is closed.
func TestK1DeclinedExec(t *testing.T) {
	for _, protocol := range []string{"websocket", "spdy"} {
		w := newWorld(t, execServer(t))
		w.h.o.Masks.Learn([]byte(execCanary))
		_, _, err := runExec(t, w.front.URL, protocol, "missing", "")
		if err == nil || !strings.Contains(err.Error(), `pods "missing" not found`) || len(leaks([]byte(err.Error()), execCanary)) > 0 {
			t.Errorf("%s: the client was told %v", protocol, err)
		}
		kv := []string{"Connection", "Upgrade", "Upgrade", "SPDY/3.1", "X-Stream-Protocol-Version", "v4.channel.k8s.io"}
		got := w.do("POST", "/api/v1/namespaces/n/pods/missing/exec?command=id&stdout=1", "", kv...)
		if got.code != 404 || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v", protocol, got)
		}
		rows := w.rows()
		if o := rows[len(rows)-1].Outcome; o == nil || o.Code != 404 || o.ExitCode != -1 || o.Truncated != "" {
			t.Errorf("%s: outcome %+v", protocol, o)
		}
	}
}

// K4, K8: an upgrade to something else, or of something else, reaches nobody.
func TestK4K8OtherUpgradesAreRefused(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { t.Error("the upstream was asked") })
	ws := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	h2c := []string{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "Http2-Settings", "AAMAAABkAAQAAP__"}
	for _, c := range []struct {
		uri string
		kv  []string
	}{
		{"/api/v1/namespaces/n/pods/p/exec?command=id&stdout=1", h2c},
		{"/api/v1/namespaces/n/pods/p/exec?command=id&stdout=1", []string{"Connection", "Upgrade", "Upgrade", "raw"}},
		{"/api/v1/namespaces/n/pods/p/exec?command=id&stdout=1", append([]string{"Upgrade", "h2c"}, ws...)},
		{"/api/v1/pods", h2c},
		{"/api/v1/pods?watch=1", ws},
		{"/api/v1/nodes/n/proxy/exec/ns/p/c?command=id&output=1", ws},
		{"/api/v1/namespaces/n/pods/p/proxy/", ws},
		{"/api/v1/namespaces/n/pods/p/status", ws},
		{"/api/v1/namespaces/n/services/s/proxy/", ws},
		{"/apis/example.com/v1/namespaces/n/pods/p/exec?command=id", ws},
	} {
		if got := w.do("GET", c.uri, "", c.kv...); got.code != 400 || !strings.Contains(got.body, "gatebook: ") {
			t.Errorf("%s %q: %d %s", c.uri, c.kv, got.code, got.body)
		}
	}
	for _, r := range w.rows() {
		if r.Refused == nil || r.Refused.Code != access.CodeMalformed {
			t.Errorf("%+v", r)
		}
	}
}

// A refusal says what is wrong with the upgrade, not merely that it is not passed on.
func TestRefusedUpgradeSaysWhy(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { t.Error("the upstream was asked") })
	const exec = "/api/v1/namespaces/n/pods/p/exec?command=id&stdout=1"
	key := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	for _, c := range []struct {
		method, uri string
		kv          []string
		says        string
	}{
		{"GET", exec, append([]string{"Sec-Websocket-Version", "12"}, key...), `WebSocket version [\"12\"] is not 13`},
		{"GET", exec, []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13"}, "the WebSocket key is not one of 16 octets"},
		{"POST", exec, append([]string{"Sec-Websocket-Version", "13"}, key...), "an upgrade to WebSocket by method POST"},
		{"GET", exec, []string{"Connection", "Upgrade", "Upgrade", "raw"}, `an upgrade to \"raw\" is not understood`},
		{"GET", exec, []string{"Upgrade", "websocket"}, "the headers Connection and Upgrade contradict each other"},
		{"GET", "/api/v1/pods?watch=1", append([]string{"Sec-Websocket-Version", "13"}, key...), `an upgrade to \"websocket\" is not passed on here`},
	} {
		if got := w.do(c.method, c.uri, "", c.kv...); got.code != 400 || !strings.Contains(got.body, c.says) {
			t.Errorf("%s %s %q: %d %s; want %s", c.method, c.uri, c.kv, got.code, got.body, c.says)
		}
	}
}
