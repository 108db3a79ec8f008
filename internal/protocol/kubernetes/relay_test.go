package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatebook/internal/access"
)

// A client that asks for one byte more each time must not get a secret bit by bit.
func TestLimitBytesDoesNotCutASecret(t *testing.T) {
	const line = "token=" + hiddenValue + " accepted\n"
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		log := line
		var n int
		if _, err := fmt.Sscan(r.URL.Query().Get("limitBytes"), &n); err == nil {
			log = log[:min(n, len(log))]
		}
		reply(200, "text/plain", log)(rw, r)
	})
	w.h.o.Masks.Learn([]byte(hiddenValue))
	for n := 1; n < len(line); n++ {
		a := w.do("GET", fmt.Sprintf("/api/v1/namespaces/a/pods/p/log?container=c&limitBytes=%d", n), "")
		if a.code != 200 || len(a.body) != n {
			t.Fatalf("limit %d: answered %d, %q", n, a.code, a.body)
		}
		if strings.Contains(a.body, hiddenValue[:4]) {
			t.Fatalf("limit %d: the client got %q", n, a.body)
		}
	}
	if q := w.last().URL.Query(); q.Get("container") != "c" {
		t.Errorf("the rest of the query is lost: %q", q)
	}
	for _, n := range []string{"0", "-1", "x", ""} {
		if a := w.do("GET", "/api/v1/namespaces/a/pods/p/log?limitBytes="+n, ""); a.code != 400 {
			t.Errorf("limitBytes=%s: answered %d", n, a.code)
		}
	}
}

// A part of an answer is neither asked for nor delivered.
func TestRangesAreNotPassedOn(t *testing.T) {
	w := newWorld(t, reply(206, "text/plain", hiddenValue[:10]))
	w.h.o.Masks.Learn([]byte(hiddenValue))
	a := w.do("GET", "/api/v1/namespaces/a/services/s/proxy/x", "", "Range", "bytes=0-9", "If-Range", "x", "Idempotency-Key", "k")
	if h := w.last().Header; h.Get("Range")+h.Get("If-Range")+h.Get("Idempotency-Key") != "" {
		t.Errorf("upstream got %v", h)
	}
	if a.code != 406 || strings.Contains(a.body, hiddenValue[:10]) {
		t.Errorf("answered %d, %s", a.code, a.body)
	}
}

// Headers carry bytes as well as bodies do.
func TestAnswerHeadersAreMaskedAndRecorded(t *testing.T) {
	for _, uri := range []string{"/api/v1/namespaces/a/services/s/proxy/x", "/apis/example.com/v1/namespaces/a/things/t"} {
		t.Run(uri, func(t *testing.T) {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("X-Told", "the-value-told and "+hiddenValue)
				reply(200, typeJSON, `{}`)(rw, r)
			})
			w.h.o.Masks.Learn([]byte(hiddenValue))
			a := w.do("GET", uri, "")
			if got := a.header.Get("X-Told"); !strings.HasPrefix(got, "the-value-told") || strings.Contains(got, hiddenValue) {
				t.Errorf("the client got %q", got)
			}
			rec := w.recorded()
			if !bytes.Contains(rec, []byte("X-Told: the-value-told")) {
				t.Error("the header is not in the record")
			}
			if l := leaks(rec, hiddenValue); l != nil {
				t.Errorf("the record holds the value as %v", l)
			}
		})
	}
}

// An answer that cannot be recorded is refused in the client's own protocol, not broken off.
func TestUnrecordedAnswerIsRefused(t *testing.T) {
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		must(t, w.rec.Close())
		reply(200, typeJSON, `{"kind":"Pod"}`)(rw, r)
	})
	a := w.do("GET", "/api/v1/namespaces/a/pods/p", "")
	if a.code != 503 || a.broken != nil || !strings.Contains(a.body, string(access.CodeNotRecorded)) {
		t.Errorf("answered %d, %s (%v)", a.code, a.body, a.broken)
	}
}

// A limit below what is kept in memory holds for a body of unknown length, too: it is not cut there and forwarded.
func TestSmallBodyLimit(t *testing.T) {
	w := newWorld(t, reply(201, typeJSON, `{}`))
	w.h.o.Limits.RequestBodyBytes, w.h.o.Limits.RequestMemoryBytes = 64, 1024
	body := `{"kind":"ConfigMap"}` + strings.Repeat(" ", 100)
	r, err := http.NewRequest("POST", w.front.URL+"/api/v1/namespaces/a/configmaps", io.MultiReader(strings.NewReader(body)))
	must(t, err)
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != 413 || w.requests() != 0 {
		t.Errorf("answered %d, %d requests upstream", resp.StatusCode, w.requests())
	}
}

// A placeholder means nothing to a server behind a proxy path, and would be stored there in the value's place.
func TestPlaceholderThroughAProxyIsRefused(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", "x="+hiddenValue))
	w.h.o.Masks.Learn([]byte(hiddenValue))
	shown := w.do("GET", "/api/v1/namespaces/a/services/s/proxy/x", "").body
	n := w.requests()
	a := w.do("PUT", "/api/v1/namespaces/a/services/s/proxy/x", shown)
	if a.code != 409 || w.requests() != n {
		t.Errorf("wrote back %q: answered %d %s, %d requests upstream", shown, a.code, a.body, w.requests()-n)
	}
}

// The API server takes the options of a deletion with a body from the body alone.
func TestDryRunOfADeletionThatCannotBeRead(t *testing.T) {
	w := newWorld(t, reply(200, typeJSON, `{}`))
	w.do("DELETE", "/api/v1/namespaces/a/pods/p?dryRun=All", `{"kind":"DeleteOptions","kind":"DeleteOptions"}`)
	rows := w.rows()
	if len(rows) != 1 || rows[0].Operation.Kubernetes.DryRun {
		t.Errorf("recorded as a dry run: %+v", rows)
	}
}

// What follows an upgrade that was refused is not read as requests.
func TestK1RefusedUpgradeClosesTheConnection(t *testing.T) {
	w := newWorld(t, reply(200, typeJSON, `{}`))
	w.decide = func(*access.Operation) (access.Decision, []string) { return access.Decision{Effect: access.Deny}, nil }
	for _, c := range [][]string{
		{"POST", "/api/v1/namespaces/a/pods/p/exec?command=id", "SPDY/3.1"},
		{"GET", "/api/v1/pods", "h2c"},
	} {
		r, err := http.NewRequest(c[0], w.front.URL+c[1], nil)
		must(t, err)
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {c[2]}}
		resp, err := http.DefaultTransport.RoundTrip(r)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode < 400 || !resp.Close {
			t.Errorf("%v: answered %d, connection closed: %v", c, resp.StatusCode, resp.Close)
		}
	}
}

// kept is a filter that keeps what it is given.
type kept struct {
	bytes.Buffer
	plain
}

func (k *kept) Write(b []byte) (int, error) { return k.Buffer.Write(b) }

// M43: compressed content is refused wherever its first bytes are parted, also where each part is to go out at once.
func TestCompressedContentInPieces(t *testing.T) {
	for _, magic := range compressed {
		for at := range magic {
			k := &kept{}
			s := &sniffer{filter: k}
			var err error
			for _, piece := range [][]byte{magic[:at], magic[at:], []byte("content")} {
				if _, err = s.Write(piece); err == nil {
					err = s.Flush()
				}
				if err != nil {
					break
				}
			}
			var why *access.Refusal
			if !errors.As(err, &why) || k.Len() > 0 {
				t.Errorf("%x parted at %d: %v, and %q went out", magic, at, err, k.String())
			}
		}
	}
	k := &kept{}
	s := &sniffer{filter: k}
	if _, err := s.Write([]byte("BP")); err != nil || s.Flush() != nil || k.String() != "BP" {
		t.Errorf("what is not compressed waits: %q, %v", k.String(), err)
	}
}
