package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/identity"
	"gatebook/internal/identity/identitytest"
)

// direct is an http.Client that calls a handler without a network, so that time can be faked.
func direct(h http.Handler) *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// faked runs f in a bubble of fake time with an authenticator of one issuer, whose keys it has fetched.
func faked(t *testing.T, change func(*identity.Issuer), f func(*testing.T, *identitytest.Issuer, *identity.Authenticator)) {
	t.Helper()
	issuer := identitytest.New(t)
	synctest.Test(t, func(t *testing.T) {
		i := idp(issuer)
		i.Keys.Client = direct(issuer)
		if change != nil {
			change(&i)
		}
		a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
		synctest.Wait()
		f(t, issuer, a)
		a.Close()
	})
}

func accept(t testing.TB, a *identity.Authenticator, token string) {
	t.Helper()
	if _, err := a.Authenticate(t.Context(), token); err != nil {
		t.Errorf("refused: %v", err)
	}
}

func TestI77UnknownKeyFlood(t *testing.T) {
	faked(t, nil, func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		began := time.Now()
		claims := f.Claims(began, "gatebook", map[string]any{"exp": began.Add(time.Hour).Unix()})
		key := identitytest.RSAKey(t)
		tokens := make([]string, 10)
		for n := range tokens {
			tokens[n] = identitytest.Sign(t, "RS256", key, claims, map[string]any{"kid": fmt.Sprint("unknown-", n)})
		}
		good := f.Sign(claims)
		for time.Since(began) < 95*time.Second {
			var wg sync.WaitGroup
			for _, token := range tokens {
				wg.Go(func() { wantRefused(t, a, token, "has no key") })
			}
			wg.Wait()
			accept(t, a, good)
			time.Sleep(time.Second)
		}
		// One at the start, and one every ten seconds: 0, 10, … 90.
		if n := f.Fetches.Load(); n != 10 {
			t.Errorf("%d fetches in 95 s, want 10", n)
		}
	})
}

func TestI77RefusalSaysWhenToTryAgain(t *testing.T) {
	faked(t, nil, func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		time.Sleep(4 * time.Second)
		token := identitytest.Sign(t, "RS256", identitytest.RSAKey(t), f.Claims(time.Now(), "gatebook", nil), map[string]any{"kid": "new"})
		if r := refused(t, a, token); r.RetryAfter != 6*time.Second {
			t.Errorf("retry after %s, want 6s", r.RetryAfter)
		}
	})
}

func TestRotation(t *testing.T) {
	faked(t, nil, func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		now := time.Now()
		old := f.Sign(f.Claims(now, "gatebook", map[string]any{"exp": now.Add(time.Hour).Unix()}))
		accept(t, a, old)
		time.Sleep(11 * time.Second)
		f.AddKey(identitytest.RSAKey(t), "RS256")
		fresh := f.Sign(f.Claims(now, "gatebook", map[string]any{"exp": now.Add(time.Hour).Unix()}))
		accept(t, a, fresh) // an unknown key id fetches
		f.DropKeys()
		time.Sleep(11 * time.Minute) // the background refresh learns that the old key is withdrawn
		accept(t, a, fresh)
		wantRefused(t, a, old, "has no key")
	})
}

func TestKnownKeysOutliveTheIssuerForABoundedTime(t *testing.T) {
	faked(t, func(i *identity.Issuer) { i.Keys.MaxStale = time.Hour }, func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		now := time.Now()
		token := f.Sign(f.Claims(now, "gatebook", map[string]any{"exp": now.Add(24 * time.Hour).Unix()}))
		f.Down.Store(true)
		time.Sleep(59 * time.Minute)
		accept(t, a, token)
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
		time.Sleep(3 * time.Minute)
		wantRefused(t, a, token, "cannot be reached")
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("ready: %v", err)
		}
		f.Down.Store(false)
		time.Sleep(20 * time.Second)
		accept(t, a, token)
	})
}

func TestStartsWithoutItsIssuer(t *testing.T) {
	issuer := identitytest.New(t)
	issuer.Down.Store(true)
	synctest.Test(t, func(t *testing.T) {
		i := idp(issuer)
		i.Keys.Client = direct(issuer)
		a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
		synctest.Wait()
		token := issuer.Sign(issuer.Claims(time.Now(), "gatebook", nil))
		wantRefused(t, a, token, "could not be fetched yet")
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("ready: %v", err)
		}
		issuer.Down.Store(false)
		time.Sleep(retryBound)
		accept(t, a, token)
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
		a.Close()
	})
}

// retryBound is longer than the time after which a failed fetch is tried again.
const retryBound = 16 * time.Second

func TestVerifiedTokensAreRememberedBriefly(t *testing.T) {
	faked(t, nil, func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		now := time.Now()
		token := f.Sign(f.Claims(now, "gatebook", map[string]any{"exp": now.Add(45 * time.Second).Unix()}))
		accept(t, a, token)
		time.Sleep(74 * time.Second) // exp and the leeway are at 75 s
		accept(t, a, token)
		time.Sleep(time.Second)
		wantRefused(t, a, token, "expired at")
	})
}

func TestKeysFromAFileAreReadAgain(t *testing.T) {
	f := identitytest.New(t)
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, f.Public(), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		i := idp(f)
		i.Keys = identity.Keys{File: path}
		a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
		synctest.Wait()
		f.AddKey(identitytest.RSAKey(t), "RS256")
		token := f.Sign(f.Claims(time.Now(), "gatebook", nil))
		wantRefused(t, a, token, "has no key")
		if err := os.WriteFile(path, f.Public(), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		accept(t, a, token)
		a.Close()
	})
}

func TestUnsafeAnswersOfIssuers(t *testing.T) {
	f := identitytest.New(t)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"another issuer": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"issuer":"https://evil.example","jwks_uri":%q}`, f.URL()+"/keys")
		}, "not of"},
		"keys over http": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://evil.example/keys"}`, f.URL())
		}, "https only"},
		"redirect to http": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/", http.StatusFound)
		}, "https only"},
		"keys on this machine": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://127.0.0.1:9090/keys"}`, f.URL())
		}, "leads to https only"},
		"redirect to this machine": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:9090/metrics", http.StatusFound)
		}, "leads to https only"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				w.Write(make([]byte, 1<<19))
			}
		}, "more than"},
		"not JSON": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := idp(f)
				i.Keys.Client = direct(c.handler)
				a := start(t, identity.Options{Issuers: []identity.Issuer{i}})
				synctest.Wait()
				if err := a.Ready(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("ready: %v, want %q", err, c.want)
				}
				a.Close()
			})
		})
	}
}

// reviewer is a Reviewer under a test's control.
type reviewer struct {
	asked  atomic.Int64
	stands atomic.Bool
	broken atomic.Bool
	delay  time.Duration
	user   string
}

func (r *reviewer) review(ctx context.Context, _ string) (bool, string, string, map[string][]string, error) {
	r.asked.Add(1)
	time.Sleep(r.delay)
	if r.broken.Load() {
		return false, "", "", nil, errors.New("dial tcp: secret-internal-address refused")
	}
	return r.stands.Load(), r.user, "", nil, ctx.Err()
}

func withReview(r *reviewer) func(*identity.Issuer) {
	r.stands.Store(true)
	if r.user == "" {
		r.user = "ada"
	}
	return func(i *identity.Issuer) { i.Review = r.review }
}

func TestReviewIsCachedTenSecondsAtMost(t *testing.T) {
	r := &reviewer{delay: 2 * time.Second}
	faked(t, withReview(r), func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		token := f.Sign(f.Claims(time.Now(), "gatebook", nil))
		asked := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { accept(t, a, token) })
		}
		wg.Wait()
		r.stands.Store(false) // the pod is deleted
		time.Sleep(time.Until(asked.Add(10*time.Second - time.Nanosecond)))
		accept(t, a, token)
		if n := r.asked.Load(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
		time.Sleep(time.Nanosecond) // ten seconds after the question, not after its answer
		if got := refused(t, a, token); got.Code != access.CodeRevoked {
			t.Errorf("refused with %s", got)
		}
		if n := r.asked.Load(); n != 2 {
			t.Errorf("asked %d times, want twice", n)
		}
	})
}

func TestReviewFailsClosed(t *testing.T) {
	r := &reviewer{}
	faked(t, withReview(r), func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		token := f.Sign(f.Claims(time.Now(), "gatebook", nil))
		accept(t, a, token)
		r.broken.Store(true)
		time.Sleep(9 * time.Second)
		accept(t, a, token)
		time.Sleep(time.Second)
		got := refused(t, a, token)
		if got.Code != access.CodeUnauthenticated || !strings.Contains(got.Message, "could not be asked") ||
			strings.Contains(got.Message, "secret-internal-address") || got.RetryAfter != time.Second {
			t.Errorf("refused with %s %q, retry %s", got.Code, got.Message, got.RetryAfter)
		}
		n := r.asked.Load()
		refused(t, a, token)
		if r.asked.Load() != n {
			t.Error("a broken reviewer is asked again at once")
		}
		r.broken.Store(false)
		time.Sleep(time.Second)
		accept(t, a, token)
	})
}

func TestReviewOfAnotherUser(t *testing.T) {
	r := &reviewer{user: "eve"}
	faked(t, withReview(r), func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		wantRefused(t, a, f.Sign(f.Claims(time.Now(), "gatebook", nil)), "another's")
	})
}

func TestReviewOutlivesTheCallerThatAsked(t *testing.T) {
	r := &reviewer{delay: 3 * time.Second}
	faked(t, withReview(r), func(t *testing.T, f *identitytest.Issuer, a *identity.Authenticator) {
		token := f.Sign(f.Claims(time.Now(), "gatebook", nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := a.Authenticate(ctx, token); err == nil {
				t.Error("accepted before the reviewer answered")
			}
		}()
		synctest.Wait()
		accept(t, a, token) // waits for the same question
		<-done
		if n := r.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}
