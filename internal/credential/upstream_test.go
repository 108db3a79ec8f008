package credential

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/gate"
)

// far is an upstream and what reached it.
type far struct {
	*httptest.Server
	mu     sync.Mutex
	got    []*http.Request
	answer http.HandlerFunc
}

func (f *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.got = append(f.got, r)
	f.mu.Unlock()
	if f.answer != nil {
		f.answer(w, r)
	}
}

func (f *far) take() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.got
	f.got = nil
	return out
}

func newFar(t *testing.T) *far {
	t.Helper()
	f := &far{}
	f.Server = httptest.NewUnstartedServer(f)
	f.EnableHTTP2 = true
	f.Config.ErrorLog = nil
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *far) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
}

func newUpstream(t *testing.T, o Options) *Upstream {
	t.Helper()
	if o.Secret == nil {
		o.Secret = Token(func() (string, error) { return "upstream-secret", nil })
	}
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// send sends a request for a path and gives the answer, which is closed.
func send(t *testing.T, u *Upstream, p gate.Permit, path string, h http.Header) (*http.Response, error) {
	t.Helper()
	to, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := u.RoundTrip(p, (&http.Request{Method: "GET", URL: to, Header: h, Host: "client.example", RequestURI: path}).WithContext(t.Context()))
	if err == nil {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
	}
	return resp, err
}

// Nothing is dialled, and no credential read, without a permit that is good now.
func TestPermitRequired(t *testing.T) {
	f := newFar(t)
	reads := 0
	u := newUpstream(t, Options{URL: f.URL, CA: f.ca(), Secret: Token(func() (string, error) { reads++; return "s", nil })})
	ended := permit(t, agent)
	if err := ended.End(access.Outcome{}); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	gone := permitIn(ctx, t, agent)
	leave()
	<-gone.Context().Done()
	for name, p := range map[string]gate.Permit{"zero": {}, "ended": ended, "gone": gone} {
		resp, err := send(t, u, p, "/", nil)
		var why *access.Refusal
		if !errors.As(err, &why) || resp != nil {
			t.Errorf("%s: %v %v", name, resp, err)
		}
	}
	if got := f.take(); len(got) > 0 || reads > 0 {
		t.Errorf("%d requests went out, the credential was read %d times", len(got), reads)
	}
}

// The path goes upstream byte for byte, behind the base's.
func TestPath(t *testing.T) {
	for _, base := range []string{"", "/prefix", "/pre%2Ffix/"} {
		f := newFar(t)
		u := newUpstream(t, Options{URL: f.URL + base, CA: f.ca()})
		for _, path := range []string{"/", "/api/v1/pods?watch=1&x=%2F", "/a%2Fb", "/a%20b/c;d", "/api/v1/namespaces/a/services/http:s:80/proxy/x%3Fy//z"} {
			if _, err := send(t, u, permit(t, agent), path, nil); err != nil {
				t.Fatal(err)
			}
			if got, want := f.take()[0].RequestURI, strings.TrimSuffix(base, "/")+path; got != want {
				t.Errorf("asked for %s, want %s", got, want)
			}
		}
	}
}

// H71, K3: an answer that points elsewhere is given back, and nothing follows it.
func TestRedirectsAreNotFollowed(t *testing.T) {
	f, elsewhere := newFar(t), newFar(t)
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/steal", http.StatusTemporaryRedirect)
	}
	u := newUpstream(t, Options{URL: f.URL, CA: f.ca()})
	resp, err := send(t, u, permit(t, agent), "/api", nil)
	if err != nil || resp.StatusCode != http.StatusTemporaryRedirect || len(f.take()) != 1 || len(elsewhere.take()) != 0 {
		t.Errorf("%v %v", resp, err)
	}
	if _, err := u.ForIdentity().Get(f.URL + "/openid/v1/jwks"); err != nil || len(elsewhere.take()) != 0 {
		t.Errorf("%v", err)
	}
}

// An upstream that is not who it should be gets no credential.
func TestUntrusted(t *testing.T) {
	f, other := newFar(t), newFar(t)
	other.TLS.Certificates = nil
	read := false
	u := newUpstream(t, Options{URL: f.URL, ServerName: "another.example", CA: f.ca(), Secret: Token(func() (string, error) { read = true; return "s", nil })})
	_, err := send(t, u, permit(t, agent), "/", nil)
	var why *access.Refusal
	if !errors.As(err, &why) || why.Code != access.CodeUpstream || !strings.Contains(why.Message, "not trusted") || strings.Contains(why.Message, f.URL) {
		t.Errorf("%v", err)
	}
	if len(f.take()) > 0 || !read {
		t.Error("a request was sent to somebody else")
	}
}

func TestBadURL(t *testing.T) {
	s := Token(func() (string, error) { return "s", nil })
	for _, o := range []Options{
		{URL: "http://a", Secret: s}, {URL: "ftp://a", Insecure: true, Secret: s}, {URL: "https://user:pw@a", Secret: s}, {URL: "https://a?x=1", Secret: s},
		{URL: "https://a#x", Secret: s}, {URL: "a:443", Secret: s}, {URL: "https:///x", Secret: s}, {URL: "https://a"}, {URL: "https://a", CA: []byte("x"), Secret: s},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", o.URL, err)
		}
	}
}
