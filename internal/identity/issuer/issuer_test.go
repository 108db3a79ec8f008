package issuer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

func TestCodeIsUsedOnceByItsOwner(t *testing.T) {
	f := serve(t, nil)
	c := f.browser()
	code := f.code(c)
	if resp, body := f.post(c, "/oauth/token", exchange(code)); resp.StatusCode != 200 || !strings.Contains(body, "id_token") {
		t.Fatalf("%s %s", resp.Status, body)
	}
	if resp, body := f.post(c, "/oauth/token", exchange(code)); resp.StatusCode < 400 {
		t.Errorf("again: %s %s", resp.Status, body)
	}
	for name, change := range map[string][]string{
		"wrong verifier":  {"code_verifier", verifier + "x"},
		"no verifier":     {"code_verifier", ""},
		"another address": {"redirect_uri", "http://127.0.0.1:4712/callback"},
		"another client":  {"client_id", "evil"},
		"invented":        {"code", "invented"},
		"other grant":     {"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"password grant":  {"grant_type", "password"},
		"client creds":    {"grant_type", "client_credentials"},
		"token exchange":  {"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"},
	} {
		if resp, body := f.post(c, "/oauth/token", exchange(f.code(c), change...)); resp.StatusCode < 400 || strings.Contains(body, "id_token") {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
	late := f.code(c)
	f.clock.advance(codeUseLife)
	if resp, body := f.post(c, "/oauth/token", exchange(late)); resp.StatusCode < 400 {
		t.Errorf("late: %s %s", resp.Status, body)
	}
}

// Whoever presents one code at once, from however many places, one is served.
func TestCodeIsUsedOnceAtOnce(t *testing.T) {
	f := serve(t, nil)
	c := f.browser()
	code := f.code(c)
	var mu sync.Mutex
	var served int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			resp, err := f.server.Client().PostForm(f.url+"/oauth/token", exchange(code))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			if resp.StatusCode == 200 {
				served++
			}
		})
	}
	wg.Wait()
	if served != 1 {
		t.Errorf("served %d times", served)
	}
}

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

func TestOperatorsCode(t *testing.T) {
	f := serve(t, func(o *Options) { o.Users = nil })
	c := f.browser()
	id := f.begin(c)
	try := func(secret string) int {
		f.clock.advance(10 * time.Second)
		resp, _ := f.post(c, "/login", url.Values{"id": {id}, "secret": {secret}})
		return resp.StatusCode
	}
	f.get(c, "/login?id="+id)
	f.get(c, "/login?id="+id)
	if len(f.codes) != 1 || !regexp.MustCompile(`^([B-Z]{4}-){2}[B-Z]{4}$`).MatchString(f.codes[0]) {
		t.Fatalf("codes %q", f.codes)
	}
	for range codeTries {
		if s := try("BBBB-BBBB-BBBB"); s != 401 {
			t.Fatalf("a wrong code: %d", s)
		}
	}
	if s := try(f.codes[0]); s != 401 {
		t.Errorf("the code after %d wrong ones: %d", codeTries, s)
	}
	last := f.codes[len(f.codes)-1]
	if last == f.codes[0] {
		t.Fatal("no new code was shown")
	}
	if s := try(""); s != 401 {
		t.Errorf("no code: %d", s)
	}
	if s := try(" " + strings.ToLower(last)); s != http.StatusSeeOther {
		t.Errorf("the code: %d", s)
	}
	again := f.begin(c)
	id = again
	if s := try(last); s != 401 {
		t.Errorf("the code again: %d", s)
	}
	expiring := f.codes[len(f.codes)-1]
	f.clock.advance(codeLife)
	id = f.begin(c)
	if s := try(expiring); s != 401 {
		t.Errorf("an expired code: %d", s)
	}
}

func TestDeviceCodeIsUsedOnce(t *testing.T) {
	f := serve(t, nil)
	c := f.browser()
	var d struct {
		DeviceCode string `json:"device_code"`
		UserCode   string `json:"user_code"`
		URI        string `json:"verification_uri"`
	}
	ask := func() {
		t.Helper()
		_, body := f.post(c, "/device_authorization", url.Values{"client_id": {ClientID}, "scope": {"openid"}})
		if err := json.Unmarshal([]byte(body), &d); err != nil || d.URI != f.url+"/device" {
			t.Fatalf("%s, %v", body, err)
		}
	}
	poll := func() string {
		t.Helper()
		_, body := f.post(c, "/oauth/token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {ClientID}, "device_code": {d.DeviceCode},
		})
		return body
	}
	allow := url.Values{"answer": {"allow"}, "name": {"ada"}, "secret": {password}}
	ask()
	if body := poll(); !strings.Contains(body, "authorization_pending") {
		t.Errorf("before: %s", body)
	}
	allow.Set("user_code", strings.ToLower(strings.ReplaceAll(d.UserCode, "-", " ")))
	if resp, body := f.post(c, "/device", allow); resp.StatusCode != 200 {
		t.Fatalf("allow: %s %s", resp.Status, body)
	}
	if resp, _ := f.post(c, "/device", allow); resp.StatusCode != 400 {
		t.Errorf("allow again: %s", resp.Status)
	}
	if body := poll(); !strings.Contains(body, "id_token") {
		t.Errorf("after: %s", body)
	}
	if body := poll(); strings.Contains(body, "id_token") {
		t.Errorf("again: %s", body)
	}
	ask()
	wrong := url.Values{"user_code": {d.UserCode}, "answer": {"allow"}, "name": {"ada"}, "secret": {"guess"}}
	if resp, _ := f.post(c, "/device", wrong); resp.StatusCode != 401 {
		t.Errorf("wrong password: %s", resp.Status)
	}
	if body := poll(); !strings.Contains(body, "authorization_pending") {
		t.Errorf("after a wrong password: %s", body)
	}
	f.clock.advance(deviceLife + time.Minute)
	allow.Set("user_code", d.UserCode)
	if resp, _ := f.post(c, "/device", allow); resp.StatusCode != 400 {
		t.Errorf("an expired code: %s", resp.Status)
	}
}

// Of the library's endpoints only those of the two flows are reachable.
func TestNothingElseIsReachable(t *testing.T) {
	f := serve(t, nil)
	c := f.browser()
	for _, path := range []string{"/userinfo", "/oauth/introspect", "/revoke", "/end_session", "/healthz", "/ready", "/", "/page/login.html", "/page/"} {
		if resp, _ := f.get(c, path); resp.StatusCode != 404 {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
		if resp, _ := f.post(c, path, url.Values{"token": {"x"}}); resp.StatusCode != 404 {
			t.Errorf("POST %s: %s", path, resp.Status)
		}
	}
	for _, path := range []string{"/oauth/token", "/device_authorization"} {
		if resp, _ := f.get(c, path+"?"+exchange("x").Encode()); resp.StatusCode != 405 {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
	}
	if resp, _ := f.post(c, "/oauth/token", url.Values{"grant_type": {"authorization_code"}, "code": {strings.Repeat("x", maxFormBytes)}}); resp.StatusCode != 400 {
		t.Errorf("a large form: %s", resp.Status)
	}
	if resp, _ := f.post(c, "/oauth/token", url.Values{"grant_type": {"authorization_code"}, "code": {"a", "b"}}); resp.StatusCode != 400 {
		t.Errorf("a repeated parameter: %s", resp.Status)
	}
	resp, body := f.get(c, "/.well-known/openid-configuration")
	if resp.StatusCode != 200 || strings.Contains(body, "implicit") || strings.Contains(body, "userinfo") || !strings.Contains(body, `"`+f.url+`/keys"`) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, body := f.get(c, "/style.css"); resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/css") {
		t.Errorf("style: %s %s", resp.Status, body)
	}
}

func TestPendingIsBounded(t *testing.T) {
	f := serve(t, nil)
	for n := range 100 {
		f.get(f.browser(), "/authorize?"+query("state", fmt.Sprint(n)).Encode())
	}
	f.storage.mu.Lock()
	n := len(f.storage.byID)
	f.storage.mu.Unlock()
	if n != 50 {
		t.Errorf("%d logins pending, want the burst of 50", n)
	}
	f.clock.advance(requestLife)
	f.begin(f.browser())
	f.storage.mu.Lock()
	defer f.storage.mu.Unlock()
	if len(f.storage.byID) != 1 {
		t.Errorf("%d logins pending after the others expired", len(f.storage.byID))
	}
}

func TestSigningKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	c := &clock{at: time.Now()}
	open := func() *keys {
		t.Helper()
		k, err := openKeys(path, 30*24*time.Hour, 2*time.Hour, c.now)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ids := func(k *keys) []string {
		t.Helper()
		published, err := k.published()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range published {
			out = append(out, p.ID())
		}
		return out
	}
	first := ids(open())
	if got := ids(open()); !slices.Equal(got, first) {
		t.Errorf("keys %q after a restart, want %q", got, first)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	k := open()
	c.advance(31 * 24 * time.Hour)
	second := ids(k)
	if len(second) != 2 || second[1] != first[0] {
		t.Errorf("after a rotation: %q, before it %q", second, first)
	}
	c.advance(31 * 24 * time.Hour)
	if third := ids(open()); len(third) != 2 || third[1] != second[0] {
		t.Errorf("after another: %q, before it %q", third, second)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeys(path, time.Hour, time.Hour, c.now); err == nil || !strings.Contains(err.Error(), "others can read it") {
		t.Errorf("a readable file: %v", err)
	}
	if err := os.WriteFile(path, []byte(`[{"key":{"kty":"oct","k":"AAAA","kid":"x"}}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeys(path, time.Hour, time.Hour, c.now); err == nil {
		t.Error("a symmetric key is accepted")
	}
}

func TestNewRefusesUnsafeConfiguration(t *testing.T) {
	good := Options{URL: "https://gw/gatebook/issuer", KeyFile: filepath.Join(t.TempDir(), "k"), Operator: &Operator{Show: func(string) {}}}
	for want, change := range map[string]func(*Options){
		"want https":       func(o *Options) { o.URL = "http://gw/issuer" },
		"trailing slash":   func(o *Options) { o.URL += "/" },
		"key file":         func(o *Options) { o.KeyFile = "" },
		"nobody could":     func(o *Options) { o.Operator = nil },
		"nowhere":          func(o *Options) { o.Operator = &Operator{} },
		"is not bcrypt":    func(o *Options) { o.Users = []User{{Name: "a", PasswordHash: "secret"}} },
		"user name":        func(o *Options) { o.Users = []User{{Name: "system:a"}} },
		"has cost 4":       func(o *Options) { o.Users = []User{{Name: "a", PasswordHash: cheapHash(t)}} },
		"listed twice":     func(o *Options) { o.Operator.Name, o.Users = "a", []User{{Name: "a", PasswordHash: dearHash(t)}} },
		"no such file or ": func(o *Options) { o.KeyFile = "/nonexistent/keys" },
	} {
		o := good
		operator := *good.Operator
		o.Operator = &operator
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err %v, want %q", err, want)
		}
	}
}

func cheapHash(t *testing.T) string { return hashAt(t, bcrypt.MinCost) }
func dearHash(t *testing.T) string  { return hashAt(t, minHashCost) }

func hashAt(t *testing.T, cost int) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte("x"), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}
