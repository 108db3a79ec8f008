package issuer

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/oauth2"
)

const password = "correct horse battery"

type fixture struct {
	*Issuer
	t      *testing.T
	server *httptest.Server
	clock  *clock
	codes  []string
	logins []string
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

func serve(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), minHashCost)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, server: httptest.NewUnstartedServer(nil), clock: &clock{at: time.Now()}}
	o := Options{
		URL: "https://" + f.server.Listener.Addr().String() + "/gatebook/issuer", KeyFile: filepath.Join(t.TempDir(), "keys.json"), Now: f.clock.now,
		Users:    []User{{Name: "ada", PasswordHash: string(hash)}},
		Operator: &Operator{Show: func(code string) { f.codes = append(f.codes, code) }},
		OnLogin:  func(name, via string, ok bool) { f.logins = append(f.logins, fmt.Sprint(name, " ", via, " ", ok)) },
	}
	if change != nil {
		change(&o)
	}
	if f.Issuer, err = New(o); err != nil {
		t.Fatal(err)
	}
	f.server.Config.Handler = f.Issuer
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f
}

// browser keeps cookies and follows no redirect.
func (f *fixture) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return &http.Client{Transport: f.server.Client().Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (f *fixture) do(c *http.Client, r *http.Request) (*http.Response, string) {
	f.t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp, string(b)
}

func (f *fixture) get(c *http.Client, path string) (*http.Response, string) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), "GET", f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.do(c, r)
}

func (f *fixture) post(c *http.Client, path string, form url.Values, header ...string) (*http.Response, string) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), "POST", f.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	return f.do(c, r)
}

const verifier = "a-verifier-of-forty-three-characters-or-more-0123456789"

// query is a good authorization request, changed.
func query(change ...string) url.Values {
	q := url.Values{
		"client_id": {ClientID}, "response_type": {"code"}, "scope": {"openid offline_access"}, "state": {"s"}, "nonce": {"n"},
		"redirect_uri": {"http://127.0.0.1:4711/callback"}, "code_challenge_method": {"S256"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)},
	}
	for n := 0; n < len(change); n += 2 {
		if change[n+1] == "" {
			q.Del(change[n])
		} else {
			q.Set(change[n], change[n+1])
		}
	}
	return q
}

// begin starts a login in c and returns its id.
func (f *fixture) begin(c *http.Client) string {
	f.t.Helper()
	resp, body := f.get(c, "/authorize?"+query().Encode())
	to, err := resp.Location()
	if err != nil || to.Path != "/gatebook/issuer/login" {
		f.t.Fatalf("authorize: %s to %v: %s", resp.Status, to, body)
	}
	return to.Query().Get("id")
}

// code logs ada in and returns the code that reaches the loopback address.
func (f *fixture) code(c *http.Client) string {
	f.t.Helper()
	f.clock.advance(10 * time.Second) // logins may not follow each other too fast
	id := f.begin(c)
	resp, body := f.post(c, "/login", url.Values{"id": {id}, "name": {"ada"}, "secret": {password}})
	if resp.StatusCode != http.StatusSeeOther {
		f.t.Fatalf("login: %s %s", resp.Status, body)
	}
	resp, body = f.get(c, "/authorize/callback?id="+id)
	to, err := resp.Location()
	if err != nil || to.Host != "127.0.0.1:4711" || to.Query().Get("state") != "s" {
		f.t.Fatalf("callback: %s to %v: %s", resp.Status, to, body)
	}
	return to.Query().Get("code")
}

func exchange(code string, change ...string) url.Values {
	q := url.Values{"grant_type": {"authorization_code"}, "client_id": {ClientID}, "code": {code}, "code_verifier": {verifier},
		"redirect_uri": {"http://127.0.0.1:4711/callback"}}
	for n := 0; n < len(change); n += 2 {
		q.Set(change[n], change[n+1])
	}
	return q
}
