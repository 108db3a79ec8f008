package issuer

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatebook/internal/access"
)

func TestAuthorizeRefuses(t *testing.T) {
	f := serve(t, nil)
	for name, q := range map[string]url.Values{
		"foreign address":        query("redirect_uri", "https://evil.example/callback"),
		"foreign port trick":     query("redirect_uri", "http://127.0.0.1:80@evil.example/callback"),
		"twice encoded":          query("redirect_uri", "http://evil.example%40127.0.0.1:80/callback"),
		"name that looks local":  query("redirect_uri", "http://127.0.0.1.evil.example:80/callback"),
		"userinfo":               query("redirect_uri", "http://evil@127.0.0.1:80/callback"),
		"fragment":               query("redirect_uri", "http://127.0.0.1:80/callback#x"),
		"query":                  query("redirect_uri", "http://127.0.0.1:80/callback?x=y"),
		"other path":             query("redirect_uri", "http://127.0.0.1:80/other"),
		"no address":             query("redirect_uri", ""),
		"script":                 query("redirect_uri", "javascript:alert(1)"),
		"no PKCE":                query("code_challenge", "", "code_challenge_method", ""),
		"plain PKCE":             query("code_challenge_method", "plain"),
		"PKCE without method":    query("code_challenge_method", ""),
		"implicit":               query("response_type", "id_token"),
		"implicit token":         query("response_type", "id_token token"),
		"form post":              query("response_mode", "form_post"),
		"fragment response":      query("response_mode", "fragment"),
		"unknown client":         query("client_id", "evil"),
		"no prompt":              query("prompt", "none"),
		"request object":         query("request", "e30.e30."),
		"two redirect addresses": {"redirect_uri": {"http://127.0.0.1:80/callback", "https://evil.example/"}},
	} {
		resp, _ := f.get(f.browser(), "/authorize?"+q.Encode())
		to, err := resp.Location()
		if err == nil && (to.Host != "127.0.0.1:4711" || !strings.Contains(to.RawQuery+to.Fragment, "error=") || strings.Contains(to.String(), "code=")) {
			t.Errorf("%s: %s to %s", name, resp.Status, to)
		}
	}
}

// I84: an attacker begins a login, sends its address to ada, and would collect her code.
func TestI84LoginFixation(t *testing.T) {
	f := serve(t, nil)
	attacker, victim := f.browser(), f.browser()
	id := f.begin(attacker)
	if resp, body := f.get(victim, "/login?id="+id); resp.StatusCode != 400 || strings.Contains(body, "<form") {
		t.Errorf("another browser gets the form: %s %s", resp.Status, body)
	}
	form := url.Values{"id": {id}, "name": {"ada"}, "secret": {password}}
	if resp, _ := f.post(victim, "/login", form); resp.StatusCode != 400 {
		t.Errorf("another browser can log in: %s", resp.Status)
	}
	own := f.begin(victim)
	if resp, _ := f.post(victim, "/login", url.Values{"id": {own}, "name": {"ada"}, "secret": {password}}); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("login: %s", resp.Status)
	}
	for name, c := range map[string]*http.Client{"attacker": attacker, "no cookie": f.browser()} {
		if resp, _ := f.get(c, "/authorize/callback?id="+own); resp.StatusCode != 400 {
			t.Errorf("%s collects the code: %s", name, resp.Status)
		}
	}
	if resp, _ := f.get(victim, "/authorize/callback?id="+id); resp.StatusCode != 400 {
		t.Errorf("callback of a login that is not done: %s", resp.Status)
	}
}

func TestI84CrossOriginPosts(t *testing.T) {
	f := serve(t, nil)
	c := f.browser()
	id := f.begin(c)
	form := url.Values{"id": {id}, "name": {"ada"}, "secret": {password}}
	for _, h := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		for _, path := range []string{"/login", "/device"} {
			if resp, _ := f.post(c, path, form, h...); resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %s: %s", path, h, resp.Status)
			}
		}
	}
	if resp, _ := f.get(c, "/login?"+form.Encode()); resp.StatusCode != 200 {
		t.Errorf("GET: %s", resp.Status)
	}
	if a, err := f.storage.AuthRequestByID(t.Context(), id); err != nil || a.Done() {
		t.Errorf("a GET or a foreign POST logged in: %v, %v", a.Done(), err)
	}
	resp, _ := f.get(f.browser(), "/authorize?"+query().Encode())
	for _, want := range []string{"__Host-", "HttpOnly", "Secure", "SameSite=Strict", "Path=/;"} {
		if got := resp.Header.Get("Set-Cookie"); !strings.Contains(got, want) {
			t.Errorf("cookie %q has no %s", got, want)
		}
	}
}

func TestI86NamesAreInert(t *testing.T) {
	f := serve(t, nil)
	c := f.browser()
	id := f.begin(c)
	evil := `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	for path, form := range map[string]url.Values{
		"/login":  {"id": {id}, "name": {evil}, "secret": {"x"}},
		"/device": {"user_code": {evil}, "name": {evil}, "secret": {"x"}},
	} {
		resp, body := f.post(c, path, form)
		if strings.Contains(body, "<script") || strings.Contains(body, "<img") || !strings.Contains(body, "&lt;script&gt;") {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
		csp := resp.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q", path, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || resp.Header.Get("X-Frame-Options") != "DENY" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
	}
	if _, body := f.get(c, "/device?user_code="+url.QueryEscape(evil)); strings.Contains(body, "<script") {
		t.Error(body)
	}
	for _, l := range f.logins {
		if strings.Contains(l, "script") {
			t.Errorf("what is not a name was told: %q", l)
		}
	}
}

func TestGuessesAreSlow(t *testing.T) {
	f := serve(t, nil)
	c := f.browser()
	id := f.begin(c)
	try := func(name, secret string) int {
		resp, _ := f.post(c, "/login", url.Values{"id": {id}, "name": {name}, "secret": {secret}})
		return resp.StatusCode
	}
	var got []int
	for range 7 {
		got = append(got, try("ada", "guess"))
	}
	if want := []int{401, 401, 401, 401, 401, 429, 429}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if s := try("ada", password); s != 429 {
		t.Errorf("the right password while too fast: %d", s)
	}
	f.clock.advance(7 * time.Second)
	if s := try("ada", password); s != http.StatusSeeOther {
		t.Errorf("the right password later: %d", s)
	}
}

// A form that does not come in time is refused by the limit's name; one that is too long, too.
func TestFormsThatCannotBeRead(t *testing.T) {
	f := serve(t, nil)
	for _, c := range []struct {
		body func() io.Reader
		code int
		want string
	}{
		{func() io.Reader {
			return iotest.ErrReader(access.Refuse(access.CodeTooSlow, os.ErrDeadlineExceeded, "not within limits.bodyTimeout"))
		}, http.StatusRequestTimeout, "limits.bodyTimeout"},
		{func() io.Reader { return strings.NewReader("name=" + strings.Repeat("a", maxFormBytes)) }, http.StatusBadRequest, "cannot be read"},
		{func() io.Reader { return strings.NewReader("name=%zz") }, http.StatusBadRequest, "cannot be read"},
	} {
		for _, path := range []string{"/login", "/device", "/oauth/token", "/device_authorization"} {
			w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/gatebook/issuer"+path, c.body())
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			f.ServeHTTP(w, r)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%s: answered %d %s", path, w.Code, w.Body)
			}
		}
	}
}
