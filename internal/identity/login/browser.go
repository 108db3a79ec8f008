package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// callbackPath is the path of the redirect address, whose port is free.
const callbackPath = "/callback"

// Browser logs a person in by browser: it listens on a loopback address, shows (and tries to open) the issuer's address, and
// returns when the browser comes back, or ctx ends.
func Browser(ctx context.Context, c Config) (Token, error) {
	ctx, s, err := c.connect(ctx)
	if err != nil {
		return Token{}, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Token{}, fmt.Errorf("listening for the browser: %w", err)
	}
	s.oauth.RedirectURL = "http://" + listener.Addr().String() + callbackPath
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	answers := make(chan answer, 1)
	server := &http.Server{Handler: callback(state, answers), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	c.send(s.oauth.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))
	var a answer
	select {
	case a = <-answers:
	case err = <-served:
		return Token{}, fmt.Errorf("listening for the browser: %w", err)
	case <-ctx.Done():
		return Token{}, errors.Join(fmt.Errorf("waiting for the browser: %w", context.Cause(ctx)), server.Close())
	}
	finish, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := server.Shutdown(finish); err != nil { // lets the browser read its page
		c.say("Closing the local listener failed: %v\n", err)
	}
	if a.err != nil {
		return Token{}, a.err
	}
	t, err := s.oauth.Exchange(ctx, a.code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Token{}, fmt.Errorf("exchanging the code: %w", err)
	}
	return s.accept(ctx, t, nonce)
}

func (c Config) send(address string) {
	c.say("Log in by opening this address in a browser on this computer:\n\n  %s\n\n", address)
	if c.OpenBrowser == nil {
		return
	}
	if err := c.OpenBrowser(address); err != nil {
		c.say("No browser could be opened (%v). On a computer without one: gatebook login --device\n", err)
	}
}

// say writes to the person. That nobody reads it is no reason to fail.
func (c Config) say(format string, args ...any) {
	if c.Prompt != nil {
		fmt.Fprintf(c.Prompt, format, args...)
	}
}

type answer struct {
	code string
	err  error
}

// callback takes the one answer that carries state, and ignores the rest.
func callback(state string, answers chan<- answer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+callbackPath, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
			page(w, http.StatusBadRequest, "This is not the login that is waiting here.")
			return
		}
		a := read(q)
		select {
		case answers <- a:
		default: // answered already
		}
		if a.err != nil {
			page(w, http.StatusOK, "The login failed. The terminal says why.")
			return
		}
		page(w, http.StatusOK, "You are logged in. You can close this page.")
	})
	return mux
}

func read(q url.Values) answer {
	if code := q.Get("error"); code != "" {
		return answer{err: fmt.Errorf("the issuer refused the login: %+q %+q", code, q.Get("error_description"))}
	}
	if q.Get("code") == "" {
		return answer{err: errors.New("the issuer sent no code")}
	}
	return answer{code: q.Get("code")}
}

func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!doctype html><html lang=en><meta charset=utf-8><title>Gatebook</title><p role=status>%s</p></html>\n", html.EscapeString(text))
}

// OpenBrowser opens an address with the desktop's tool, and does not wait for it.
func OpenBrowser(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("not an address for a browser: %q", address)
	}
	cmd := exec.Command("xdg-open", address)
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
