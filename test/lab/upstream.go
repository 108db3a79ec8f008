package lab

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
)

// UpstreamToken is the credential that the gateway has for a made-up upstream.
const UpstreamToken = "the-gateways-own-credential"

// Upstream is a TLS server that behaves as a test wants, where the real API server cannot be made to. It keeps every
// request that reaches it.
type Upstream struct {
	URL    string
	dir    string
	server *httptest.Server

	mu   sync.Mutex
	seen []Seen
}

// Seen is one request as it arrived.
type Seen struct {
	Method, URI string
	Header      http.Header
	// Dump is the head as text.
	Dump string
}

// StartUpstream starts a server with h behind it, over HTTP/1.1, and HTTP/2 where asked for. It ends with the test.
func StartUpstream(t testing.TB, http2 bool, h http.HandlerFunc) *Upstream {
	t.Helper()
	u, err := NewUpstream(t.TempDir(), http2, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// NewUpstream is the same with its files in dir, until Close.
func NewUpstream(dir string, http2 bool, h http.HandlerFunc) (*Upstream, error) {
	u := &Upstream{dir: dir}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.note(r)
		h(w, r)
	}))
	s.EnableHTTP2 = http2
	s.StartTLS()
	u.URL, u.server = s.URL, s
	return u, upstreamFiles(dir, s)
}

// upstreamFiles are what a gateway needs for a server: its CA, and the token that it takes.
func upstreamFiles(dir string, s *httptest.Server) error {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for name, b := range map[string][]byte{"ca.crt": ca, "token": []byte(UpstreamToken)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Close ends it.
func (u *Upstream) Close() { u.server.Close() }

func (u *Upstream) note(r *http.Request) {
	dump, err := httputil.DumpRequest(r, false)
	if err != nil {
		dump = []byte(err.Error())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, Seen{Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone(), Dump: string(dump)})
}

// Seen gives the requests that have reached it, but for the gateway's own reads of a pod or a Secret, by which it learns
// what to mask.
func (u *Upstream) Seen() []Seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(u.seen), func(s Seen) bool {
		return s.Method == http.MethodGet && s.Header.Get("User-Agent") == "gatebook" && learning.MatchString(s.URI)
	})
}

var learning = regexp.MustCompile(`^/api/v1/namespaces/[^/?]+/(pods|secrets)/[^/?]+$`)

// Target is the configuration of a gateway's target that is this upstream, for Options.Targets; more is further YAML,
// indented by four spaces.
func (u *Upstream) Target(name, more string) string {
	return fmt.Sprintf("  - name: %s\n    url: '%s'\n    caFile: %s\n    token: {file: %s}\n    accounts: [lab]\n%s",
		name, u.URL, filepath.Join(u.dir, "ca.crt"), filepath.Join(u.dir, "token"), more)
}

// Service is the same where this upstream is an HTTP service.
func (u *Upstream) Service(name, more string) string {
	return fmt.Sprintf("  - name: %s\n    protocol: web\n    url: '%s'\n    caFile: %s\n    token: {file: %s}\n%s", name, u.URL, filepath.Join(u.dir, "ca.crt"), filepath.Join(u.dir, "token"), more)
}

// ModelTarget is the same for a target of protocol model, whose key is a bearer token.
func (u *Upstream) ModelTarget(name string) string {
	return fmt.Sprintf("  - {name: %s, protocol: model, url: '%s', caFile: %s, token: {file: %s}}\n", name, u.URL, filepath.Join(u.dir, "ca.crt"), filepath.Join(u.dir, "token"))
}
