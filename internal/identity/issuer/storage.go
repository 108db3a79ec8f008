package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	requestLife = 10 * time.Minute // from authorize to the login
	codeUseLife = time.Minute      // from the redirect to the token request
	maxPending  = 4096
)

var (
	errNotFound    = errors.New("not found, used already, or expired")
	errTooMany     = errors.New("too many logins are pending")
	errUnsupported = errors.New("not supported")
)

// storage is what the protocol library keeps state in. All of it is in memory and bounded.
type storage struct {
	op.Storage // nil: what is not implemented here is not reachable
	client     client
	keys       *keys
	people     *directory
	now        func() time.Time
	loginLife  time.Duration
	tokenLife  time.Duration

	mu      sync.Mutex
	byID    map[string]*authRequest
	byCode  map[string]*authRequest
	devices map[string]*device // by device code
	refresh map[string]*refreshToken
}

func newStorage(o Options, c client, k *keys, d *directory) *storage {
	return &storage{
		client: c, keys: k, people: d, now: o.Now, loginLife: o.LoginLife, tokenLife: o.TokenLife,
		byID: map[string]*authRequest{}, byCode: map[string]*authRequest{}, devices: map[string]*device{}, refresh: map[string]*refreshToken{},
	}
}

// authRequest is a login in a browser. It implements op.AuthRequest.
type authRequest struct {
	*oidc.AuthRequest
	id      string
	browser string // the secret of the browser that began it
	until   time.Time
	user    string // set when done
	at      time.Time
}

func (a *authRequest) GetID() string          { return a.id }
func (a *authRequest) GetACR() string         { return "" }
func (a *authRequest) GetAMR() []string       { return []string{"pwd"} }
func (a *authRequest) GetAudience() []string  { return []string{ClientID} }
func (a *authRequest) GetAuthTime() time.Time { return a.at }
func (a *authRequest) GetClientID() string    { return a.ClientID }
func (a *authRequest) GetNonce() string       { return a.Nonce }
func (a *authRequest) GetScopes() []string    { return a.Scopes }
func (a *authRequest) GetSubject() string     { return a.user }
func (a *authRequest) Done() bool             { return a.user != "" }
func (a *authRequest) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: a.CodeChallenge, Method: oidc.CodeChallengeMethodS256}
}

type browserKey struct{}

// CreateAuthRequest implements op.AuthStorage. It insists on PKCE with S256, and on a browser to bind the login to.
func (s *storage) CreateAuthRequest(ctx context.Context, r *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	browser, _ := ctx.Value(browserKey{}).(string)
	if browser == "" {
		return nil, oidc.ErrServerError().WithDescription("no browser to bind the login to")
	}
	if r.CodeChallenge == "" || r.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("PKCE with code_challenge_method S256 is required")
	}
	if r.ResponseMode != "" && r.ResponseMode != oidc.ResponseModeQuery {
		return nil, oidc.ErrInvalidRequest().WithDescription("response_mode is not supported")
	}
	if slices.Contains(r.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired()
	}
	now := s.now()
	a := &authRequest{AuthRequest: r, id: rand.Text(), browser: browser, until: now.Add(requestLife)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(now)
	if len(s.byID) >= maxPending {
		return nil, errTooMany
	}
	s.byID[a.id] = a
	return a, nil
}

// purge forgets what is over. s.mu is held.
func (s *storage) purge(now time.Time) {
	for id, a := range s.byID {
		if !now.Before(a.until) {
			delete(s.byID, id)
		}
	}
	for code, a := range s.byCode {
		if !now.Before(a.until) {
			delete(s.byCode, code)
		}
	}
	for code, d := range s.devices {
		if !now.Before(d.state.Expires.Add(requestLife)) {
			delete(s.devices, code)
		}
	}
	for token, r := range s.refresh {
		if !now.Before(r.login.until) {
			delete(s.refresh, token)
		}
	}
}

// pending returns the login that id names, if browser began it.
func (s *storage) pending(id, browser string) (*authRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.byID[id]
	if a == nil || a.browser != browser || !s.now().Before(a.until) {
		return nil, errNotFound
	}
	return a, nil
}

// finish says who logged in. It can be said once.
func (s *storage) finish(a *authRequest, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.user != "" || s.byID[a.id] != a {
		return errNotFound
	}
	a.user, a.at = user, s.now()
	return nil
}

// AuthRequestByID implements op.AuthStorage.
func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.byID[id]; a != nil && s.now().Before(a.until) {
		return a, nil
	}
	return nil, errNotFound
}

// SaveAuthCode implements op.AuthStorage. From here the login is known by its code alone.
func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.byID[id]
	if a == nil || a.user == "" {
		return errNotFound
	}
	delete(s.byID, id)
	a.until = s.now().Add(codeUseLife)
	s.byCode[code] = a
	return nil
}

// AuthRequestByCode implements op.AuthStorage. It uses the code up: of two that present it at once, one is served.
func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.byCode[code]
	delete(s.byCode, code)
	if a == nil || !s.now().Before(a.until) {
		return nil, errNotFound
	}
	return a, nil
}

// DeleteAuthRequest implements op.AuthStorage.
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
	return nil
}

// CreateAccessToken implements op.AuthStorage. Nothing here accepts access tokens: the identity token is what counts.
func (s *storage) CreateAccessToken(context.Context, op.TokenRequest) (string, time.Time, error) {
	return rand.Text(), s.now().Add(s.tokenLife), nil
}

// SigningKey implements op.AuthStorage.
func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	jwk, err := s.keys.signing()
	return signingKey{jwk}, err
}

// SignatureAlgorithms implements op.AuthStorage.
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}

// KeySet implements op.AuthStorage.
func (s *storage) KeySet(context.Context) ([]op.Key, error) { return s.keys.published() }

// GetClientByClientID implements op.OPStorage.
func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != ClientID {
		return nil, oidc.ErrInvalidClient().WithDescription("unknown client")
	}
	return s.client, nil
}

// AuthorizeClientIDSecret implements op.OPStorage: the client is public.
func (s *storage) AuthorizeClientIDSecret(context.Context, string, string) error {
	return errUnsupported
}

// GetKeyByIDAndClientID implements op.OPStorage.
func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnsupported
}

// SetUserinfoFromScopes implements op.OPStorage: it fills the identity token's claims about the person.
func (s *storage) SetUserinfoFromScopes(_ context.Context, info *oidc.UserInfo, name, _ string, _ []string) error {
	u, ok := s.people.find(name)
	if !ok {
		return errNotFound
	}
	info.Subject = u.Name
	info.PreferredUsername = u.Name
	if u.Email != "" {
		info.Email, info.EmailVerified = u.Email, true
	}
	if len(u.Groups) > 0 {
		info.AppendClaims("groups", u.Groups)
	}
	return nil
}

// Health implements op.Storage.
func (s *storage) Health(context.Context) error { return nil }
