package issuer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/time/rate"

	"gatebook/internal/access"
)

const (
	maxFormBytes = 16 << 10
	deviceLife   = 10 * time.Minute
	pollInterval = 2 * time.Second
	cookieName   = "__Host-gatebook-login"
)

// Issuer is the issuer's handler, below the path of its URL. It is safe for concurrent use.
type Issuer struct {
	url     string
	base    string // the URL's path
	handler http.Handler
	library http.Handler
	storage *storage
	keys    *keys
	people  *directory
	pages   *template.Template
	starts  *rate.Limiter
	now     func() time.Time
	onLogin func(name, via string, ok bool)
	log     *slog.Logger
}

// New makes an Issuer, and its signing key where there is none. An error is one of configuration, or of the key file.
func New(o Options) (*Issuer, error) {
	o = o.withDefaults()
	u, err := o.validate()
	if err != nil {
		return nil, fmt.Errorf("configuring the embedded issuer: %w", err)
	}
	i := &Issuer{url: o.URL, base: u.Path, starts: rate.NewLimiter(5, 50), now: o.Now, onLogin: o.OnLogin, log: o.Log}
	if i.keys, err = openKeys(o.KeyFile, o.KeyLife, 2*o.TokenLife, o.Now); err != nil {
		return nil, err
	}
	if i.people, err = newDirectory(o); err != nil {
		return nil, fmt.Errorf("configuring the embedded issuer: %w", err)
	}
	if i.pages, err = parsePages(); err != nil {
		return nil, fmt.Errorf("reading the login pages: %w", err)
	}
	i.storage = newStorage(o, client{loginPath: i.base + "/login", tokenLife: o.TokenLife}, i.keys, i.people)
	if i.library, err = newProvider(o, i.base, i.storage); err != nil {
		return nil, fmt.Errorf("configuring the embedded issuer: %w", err)
	}
	i.handler = http.StripPrefix(i.base, i.routes())
	return i, nil
}

func newProvider(o Options, base string, s *storage) (http.Handler, error) {
	config := &op.Config{
		CodeMethodS256:        true,
		GrantTypeRefreshToken: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime: deviceLife, PollInterval: pollInterval, UserFormPath: base + "/device", UserCode: op.UserCodeBase20,
		},
	}
	rand.Read(config.CryptoKey[:]) // access tokens, which nothing accepts, need not outlive the process
	return op.NewProvider(config, s, op.StaticIssuer(o.URL), op.WithCORSOptions(nil), op.WithLogger(o.Log))
}

// Audience is what tokens of this issuer are for.
func (i *Issuer) Audience() string { return ClientID }

// KeySetPath is where below its URL the issuer serves its public keys.
const KeySetPath = "/keys"

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.handler.ServeHTTP(w, r) }

// routes are all that is reachable. The library has more (userinfo, introspection, revocation, sessions), which nothing needs.
func (i *Issuer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+oidc.DiscoveryEndpoint, i.discovery)
	mux.Handle("GET "+KeySetPath, i.library)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("GET /authorize/callback", i.callback)
	mux.HandleFunc("GET /login", i.loginPage)
	mux.HandleFunc("POST /login", i.login)
	mux.HandleFunc("GET /device", i.devicePage)
	mux.HandleFunc("POST /device", i.device)
	mux.HandleFunc("GET /style.css", i.style)
	mux.HandleFunc("POST /oauth/token", i.token)
	mux.HandleFunc("POST /device_authorization", i.deviceAuthorization)
	return hardened(http.NewCrossOriginProtection().Handler(mux))
}

func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		if err := r.ParseForm(); err != nil {
			unreadable(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// unreadable refuses a form that is malformed, too long or too slow.
func unreadable(w http.ResponseWriter, err error) {
	var why *access.Refusal
	if errors.As(err, &why) && why.Code == access.CodeTooSlow {
		oauthError(w, http.StatusRequestTimeout, "invalid_request", why.Message)
		return
	}
	oauthError(w, http.StatusBadRequest, "invalid_request", "the form cannot be read")
}

// discovery tells of what is reachable, and no more (OpenID Connect Discovery 1.0 section 3).
func (i *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                i.url,
		"authorization_endpoint":                i.url + "/authorize",
		"token_endpoint":                        i.url + "/oauth/token",
		"device_authorization_endpoint":         i.url + "/device_authorization",
		"jwks_uri":                              i.url + KeySetPath,
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query"},
		"grant_types_supported":                 grantTypes(),
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "groups", "offline_access"},
		"token_endpoint_auth_methods_supported": []string{"none"},
		"code_challenge_methods_supported":      []string{"S256"},
		"claims_supported":                      []string{"sub", "iss", "aud", "azp", "exp", "iat", "auth_time", "nonce", "preferred_username", "email", "email_verified", "groups"},
	})
}

func grantTypes() []string {
	return []string{string(oidc.GrantTypeCode), string(oidc.GrantTypeRefreshToken), string(oidc.GrantTypeDeviceCode)}
}
