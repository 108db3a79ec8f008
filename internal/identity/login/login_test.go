package login_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"gatebook/internal/access"
	"gatebook/internal/identity"
	"gatebook/internal/identity/issuer"
	"gatebook/internal/identity/login"
)

const password = "correct horse battery"

// world is an embedded issuer behind TLS, below a prefix, and an authenticator that trusts it.
type world struct {
	t      *testing.T
	url    string
	server *httptest.Server
	issuer *issuer.Issuer
	auth   *identity.Authenticator

	mu    sync.Mutex
	codes []string // shown to the operator
}

func newWorld(t *testing.T, change func(*issuer.Options)) *world {
	t.Helper()
	w := &world{t: t, server: httptest.NewUnstartedServer(nil)}
	w.url = "https://" + w.server.Listener.Addr().String() + "/gatebook/issuer"
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 10)
	if err != nil {
		t.Fatal(err)
	}
	o := issuer.Options{
		URL: w.url, KeyFile: filepath.Join(t.TempDir(), "keys.json"),
		Users:    []issuer.User{{Name: "ada", PasswordHash: string(hash), Groups: []string{"approvers"}, Email: "ada@example.com"}},
		Operator: &issuer.Operator{Groups: []string{"owners"}, Show: w.show},
	}
	if change != nil {
		change(&o)
	}
	if w.issuer, err = issuer.New(o); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/gatebook/issuer/", w.issuer)
	w.server.Config.Handler = mux
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	w.auth, err = identity.New(t.Context(), identity.Options{Issuers: []identity.Issuer{{
		Name: "gatebook", URL: w.url, Audiences: []string{w.issuer.Audience()}, Keys: identity.Keys{Client: w.server.Client()},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.auth.Close)
	return w
}

func (w *world) show(code string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.codes = append(w.codes, code)
}

func (w *world) code() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.codes) == 0 {
		w.t.Error("no code was shown")
		return ""
	}
	return w.codes[len(w.codes)-1]
}

func (w *world) config() login.Config {
	return login.Config{Issuer: w.url, ClientID: issuer.ClientID, Client: w.server.Client(), Prompt: io.Discard}
}

func (w *world) principal(t login.Token) access.Principal {
	w.t.Helper()
	p, err := w.auth.Authenticate(w.t.Context(), t.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// person is a browser with cookies.
type person struct {
	t    *testing.T
	http *http.Client
}

func (w *world) person() person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return person{w.t, &http.Client{Transport: w.server.Client().Transport, Jar: jar}}
}

// get returns the final page.
func (p person) get(address string) (int, string) {
	resp, err := p.http.Get(address)
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	return p.body(resp)
}

func (p person) body(resp *http.Response) (int, string) {
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Error(err)
	}
	return resp.StatusCode, string(b)
}

var (
	formAction  = regexp.MustCompile(`action="([^"]*)"`)
	hiddenID    = regexp.MustCompile(`name="id" value="([^"]*)"`)
	shownCode   = regexp.MustCompile(`enter the code  (\S+)`)
	shownDevice = regexp.MustCompile(`https://\S+`)
)

// submit sends the form of a page that base served.
func (p person) submit(base, page string, fields url.Values) (int, string) {
	u, err := url.Parse(base)
	if err != nil {
		p.t.Error(err)
	}
	m := formAction.FindStringSubmatch(page)
	if m == nil {
		p.t.Errorf("the page has no form: %s", page)
		return 0, ""
	}
	u.Path, u.RawQuery = html.UnescapeString(m[1]), ""
	if id := hiddenID.FindStringSubmatch(page); id != nil {
		fields.Set("id", id[1])
	}
	resp, err := p.http.PostForm(u.String(), fields)
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	return p.body(resp)
}

func TestBrowserLogin(t *testing.T) {
	w := newWorld(t, nil)
	c := w.config()
	c.OpenBrowser = func(address string) error {
		go func() {
			p := w.person()
			_, page := p.get(address)
			status, page := p.submit(address, page, url.Values{"name": {"ada"}, "secret": {"wrong"}})
			if status != http.StatusUnauthorized || !strings.Contains(page, "do not fit") {
				t.Errorf("wrong password: %d %s", status, page)
			}
			status, page = p.submit(address, page, url.Values{"name": {"ada"}, "secret": {password}})
			if status != http.StatusOK || !strings.Contains(page, "You are logged in") {
				t.Errorf("right password: %d %s", status, page)
			}
		}()
		return nil
	}
	token, err := login.Browser(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got := w.principal(token)
	want := access.Principal{
		Issuer: "gatebook", Subject: "ada", Name: "ada", Groups: []string{"approvers"}, Aliases: []string{"ada@example.com"},
		TokenID: got.TokenID, Expires: token.Expires.Add(30 * time.Second).UTC(),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if token.Refresh == "" {
		t.Error("no refresh token")
	}
}

func TestOperatorLogin(t *testing.T) {
	w := newWorld(t, func(o *issuer.Options) { o.Users = nil })
	c := w.config()
	c.OpenBrowser = func(address string) error {
		go func() {
			p := w.person()
			_, page := p.get(address)
			if strings.Contains(page, `name="name"`) {
				t.Errorf("the page asks for a name: %s", page)
			}
			p.submit(address, page, url.Values{"secret": {strings.ToLower(w.code())}})
		}()
		return nil
	}
	token, err := login.Browser(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if p := w.principal(token); p.Name != "operator" || !p.InGroup("owners") {
		t.Errorf("principal %+v", p)
	}
	status, page := w.person().get(w.url + "/device")
	if status != http.StatusOK || len(w.codes) != 2 {
		t.Errorf("after its use a code is not replaced: %d, %d codes, %s", status, len(w.codes), page)
	}
}

// deviceScreen is what the waiting device shows.
type deviceScreen struct {
	bytes.Buffer
	once  sync.Once
	shown chan [2]string // address, code
}

func (d *deviceScreen) Write(b []byte) (int, error) {
	n, err := d.Buffer.Write(b)
	if code := shownCode.FindSubmatch(d.Bytes()); code != nil {
		d.once.Do(func() { d.shown <- [2]string{string(shownDevice.Find(d.Bytes())), string(code[1])} })
	}
	return n, err
}

func TestDeviceLogin(t *testing.T) {
	for name, answer := range map[string]string{"allow": "", "deny": "denied"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			screen := &deviceScreen{shown: make(chan [2]string, 1)}
			c := w.config()
			c.Prompt = screen
			go func() {
				s := <-screen.shown
				p := w.person()
				_, page := p.get(s[0] + "?user_code=" + s[1])
				status, page := p.submit(s[0], page, url.Values{"user_code": {s[1]}, "answer": {name}, "name": {"ada"}, "secret": {password}})
				if status != http.StatusOK {
					t.Errorf("%d %s", status, page)
				}
			}()
			token, err := login.Device(t.Context(), c)
			if answer != "" {
				if err == nil || !strings.Contains(err.Error(), answer) {
					t.Errorf("err %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p := w.principal(token); p.Name != "ada" {
				t.Errorf("principal %+v", p)
			}
		})
	}
}

func TestCallbackOfAnotherLoginIsIgnored(t *testing.T) {
	w := newWorld(t, nil)
	c := w.config()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := errors.New("enough")
	c.OpenBrowser = func(address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		redirect := u.Query().Get("redirect_uri")
		go func() {
			status, _ := w.person().get(redirect + "?code=stolen&state=guessed")
			if status != http.StatusBadRequest {
				t.Errorf("a callback with another state: %d", status)
			}
			cancel(done)
		}()
		return nil
	}
	if _, err := login.Browser(ctx, c); !errors.Is(err, done) {
		t.Errorf("err %v", err)
	}
}

// loggedIn returns ada's token.
func loggedIn(t *testing.T, w *world) login.Token {
	t.Helper()
	c := w.config()
	c.OpenBrowser = func(address string) error {
		go func() {
			p := w.person()
			_, page := p.get(address)
			p.submit(address, page, url.Values{"name": {"ada"}, "secret": {password}})
		}()
		return nil
	}
	token, err := login.Browser(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Many kubectls ask at once; a refresh token can be used once.
func TestCacheRenewsOnce(t *testing.T) {
	w := newWorld(t, nil)
	cache := login.Cache{Dir: filepath.Join(t.TempDir(), "tokens")}
	if _, err := cache.Token(t.Context(), w.config(), "https://gw"); !errors.Is(err, login.ErrLoginRequired) {
		t.Fatalf("an empty cache: %v", err)
	}
	first := loggedIn(t, w)
	stale := first
	stale.Expires = time.Now().Add(30 * time.Second)
	if err := cache.Save(w.config(), "https://gw", stale); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	tokens := make([]login.Token, 8)
	for n := range tokens {
		wg.Go(func() {
			var err error
			if tokens[n], err = cache.Token(t.Context(), w.config(), "https://gw"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, got := range tokens[1:] {
		if d := cmp.Diff(tokens[0], got); d != "" {
			t.Error(d)
		}
	}
	if tokens[0].Refresh == first.Refresh || w.principal(tokens[0]).Name != "ada" {
		t.Errorf("renewed as %+v", tokens[0])
	}
	// The used refresh token ends the login, for its thief and its holder.
	if _, err := login.Renew(t.Context(), w.config(), first); !errors.Is(err, login.ErrLoginRequired) {
		t.Errorf("a used refresh token: %v", err)
	}
	if _, err := login.Renew(t.Context(), w.config(), tokens[0]); !errors.Is(err, login.ErrLoginRequired) {
		t.Errorf("the refresh token after that: %v", err)
	}
}

func TestCacheIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	cache := login.Cache{Dir: dir}
	c := login.Config{Issuer: "https://i", ClientID: "c"}
	if err := cache.Save(c, "gw", login.Token{ID: "x", Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "/*.json")
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got, err := cache.Token(t.Context(), c, "gw"); err != nil || got.ID != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := cache.Token(t.Context(), c, "other gateway"); !errors.Is(err, login.ErrLoginRequired) {
		t.Errorf("another gateway's token: %v", err)
	}
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Token(t.Context(), c, "gw"); err == nil || !strings.Contains(err.Error(), "others can read it") {
		t.Errorf("a readable file: %v", err)
	}
}

func TestFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for n := range 2 {
		// {"exp":1000000000+n}
		raw := fmt.Sprintf("e30.%s.c2ln", []string{"eyJleHAiOjEwMDAwMDAwMDB9", "eyJleHAiOjEwMDAwMDAwMDF9"}[n])
		if err := os.WriteFile(path, []byte(raw+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := login.File(path)
		if err != nil || got.ID != raw || got.Expires.Unix() != int64(1000000000+n) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := login.File(path); err == nil {
		t.Error("an empty file is a token")
	}
}

func TestExecCredential(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	for info, want := range map[string]string{
		"": `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"expirationTimestamp":"2030-01-02T03:04:05Z","token":"tok"}}`,
		`{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","spec":{"interactive":true}}`: `{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","status":{"expirationTimestamp":"2030-01-02T03:04:05Z","token":"tok"}}`,
	} {
		got, err := login.ExecCredential(info, login.Token{ID: "tok", Expires: at})
		if err != nil || string(got) != want {
			t.Errorf("%s, %v", got, err)
		}
		if !json.Valid(got) {
			t.Error("not JSON")
		}
	}
	if _, err := login.ExecCredential(`{"apiVersion":"client.authentication.k8s.io/v9"}`, login.Token{}); err == nil {
		t.Error("an unknown version is served")
	}
}
