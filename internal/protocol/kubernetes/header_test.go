package kubernetes

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

// K5, K6, K24: no header of the client names an identity or another method, or takes one of ours away.
func TestUpstreamHeader(t *testing.T) {
	in := header("Accept", "application/json", "Content-Type", "application/json", "User-Agent", "kubectl/v1", "Kubectl-Command", "kubectl get",
		"If-Match", "1", "X-Custom", "a", "X-Custom", "b", "Connection", "Audit-Id, X-Nominated, keep-alive", "X-Nominated", "x",
		"Keep-Alive", "1", "Te", "trailers", "Upgrade", "h2c", "Authorization", "Bearer x", "Cookie", "a=b", "X-Remote-User", "admin",
		"X-Remote-Group", "system:masters", "X-Remote-Extra-Scopes", "x", "X-Forwarded-For", "1.2.3.4", "X-Http-Method-Override", "DELETE",
		"X-HTTP-Method", "DELETE", "X-Method-Override", "DELETE", "Kubectl-Session", "s", "Traceparent", "t", "Audit-Id", "forged",
		"Accept-Encoding", "gzip", "Transfer-Encoding", "chunked")
	in["impersonate-user"] = []string{"admin"} // as no reader of net/http gives it, but a handler might
	want := header("Accept", "application/json", "Content-Type", "application/json", "User-Agent", "kubectl/v1", "Kubectl-Command", "kubectl get",
		"If-Match", "1", "X-Custom", "a", "X-Custom", "b")
	if d := cmp.Diff(want, upstreamHeader(in)); d != "" {
		t.Error("-want +got:\n", d)
	}
}

func TestHeadersThatAreRefused(t *testing.T) {
	for _, h := range []http.Header{
		header("Impersonate-User", "admin"), header("Impersonate-Group", "system:masters"), header("Impersonate-Uid", "1"),
		header("Impersonate-Extra-Scopes", "x"), {"impersonate-user": {"admin"}}, header("Content-Encoding", "gzip"),
		header("Content-Type", "application/json", "Content-Type", "application/yaml"), header("Content-Encoding", "identity", "Content-Encoding", "gzip"),
	} {
		if checkHeaders(h) == nil {
			t.Errorf("%v passed", h)
		}
	}
	if why := checkHeaders(header("Content-Encoding", "identity", "Accept", "a", "Accept", "b")); why != nil {
		t.Error(why)
	}
}

func TestAnswerHeader(t *testing.T) {
	in := header("Content-Type", "application/json", "Warning", "299 - x", "Content-Length", "3", "Connection", "X-Hop", "X-Hop", "1",
		"Transfer-Encoding", "chunked", "Alt-Svc", "h3", "Set-Cookie", "a=b", "Location", "https://elsewhere", "Audit-Id", "1", "Upgrade", "h2c")
	if d := cmp.Diff(header("Content-Type", "application/json", "Warning", "299 - x", "Audit-Id", "1"), answerHeader(in, false)); d != "" {
		t.Error("-want +got:\n", d)
	}
	if answerHeader(in, true).Get("Set-Cookie") == "" {
		t.Error("a proxied server's cookie is lost")
	}
}
