package issuer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
)

// authorize begins a login in a browser, and binds it to that browser by a cookie.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	if !i.starts.AllowN(i.now(), 1) {
		i.tell(w, http.StatusTooManyRequests, "Too many logins", "Wait a moment and try again.")
		return
	}
	if !isLoopbackRedirect(r.URL.Query().Get("redirect_uri")) || len(r.URL.Query()["redirect_uri"]) != 1 {
		i.tell(w, http.StatusBadRequest, "Login refused", "The redirect address must be http://127.0.0.1:PORT"+RedirectPath+".")
		return
	}
	browser := browserOf(r)
	if browser == "" {
		browser = rand.Text()
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: browser, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	i.library.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), browserKey{}, browser)))
}

func browserOf(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil || len(c.Value) != len(rand.Text()) {
		return ""
	}
	return c.Value
}

// callback ends a login in the browser that began it: knowing its id is not enough to collect the code.
func (i *Issuer) callback(w http.ResponseWriter, r *http.Request) {
	if _, err := i.storage.pending(r.URL.Query().Get("id"), browserOf(r)); err != nil {
		i.notPending(w)
		return
	}
	i.library.ServeHTTP(w, r)
}

// token serves the grants of the two flows.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(grantTypes(), r.PostForm.Get("grant_type")) {
		oauthError(w, http.StatusBadRequest, "unsupported_grant_type", "")
		return
	}
	for name, values := range r.PostForm {
		if len(values) != 1 {
			oauthError(w, http.StatusBadRequest, "invalid_request", "a parameter is repeated: "+name)
			return
		}
	}
	if r.Header.Get("Authorization") != "" || r.URL.RawQuery != "" {
		oauthError(w, http.StatusBadRequest, "invalid_request", "parameters belong in the form; the client has no secret")
		return
	}
	i.library.ServeHTTP(w, r)
}

func (i *Issuer) deviceAuthorization(w http.ResponseWriter, r *http.Request) {
	if !i.starts.AllowN(i.now(), 1) {
		oauthError(w, http.StatusTooManyRequests, "slow_down", "too many logins begin at once")
		return
	}
	i.library.ServeHTTP(w, r)
}

// oauthError answers as RFC 6749 section 5.2 asks.
func oauthError(w http.ResponseWriter, status int, code, description string) {
	body := map[string]any{"error": code}
	if description != "" {
		body["error_description"] = description
	}
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, v map[string]any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
}
