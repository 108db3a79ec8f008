package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
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
)

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
