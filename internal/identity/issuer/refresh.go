package issuer

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

const maxRefreshTokens = 16384

// login is one person's login, which refresh tokens renew until it ends.
type login struct {
	user    string
	scopes  []string
	at      time.Time
	until   time.Time
	current string // the one refresh token that is not used up
}

// refreshToken is one token of a login. It implements op.RefreshTokenRequest.
type refreshToken struct{ login *login }

func (r *refreshToken) GetAMR() []string          { return []string{"pwd"} }
func (r *refreshToken) GetAudience() []string     { return []string{ClientID} }
func (r *refreshToken) GetAuthTime() time.Time    { return r.login.at }
func (r *refreshToken) GetClientID() string       { return ClientID }
func (r *refreshToken) GetScopes() []string       { return r.login.scopes }
func (r *refreshToken) GetSubject() string        { return r.login.user }
func (r *refreshToken) SetCurrentScopes([]string) {}

// CreateAccessAndRefreshTokens implements op.AuthStorage.
func (s *storage) CreateAccessAndRefreshTokens(_ context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(now)
	if len(s.refresh) >= maxRefreshTokens {
		return "", "", time.Time{}, errTooMany
	}
	l := &login{user: request.GetSubject(), scopes: request.GetScopes(), at: now, until: now.Add(s.loginLife)}
	if r, ok := request.(*refreshToken); ok {
		l = r.login
		if l.current != current { // another request was faster
			return "", "", time.Time{}, errNotFound
		}
	}
	l.current = rand.Text()
	s.refresh[l.current] = &refreshToken{l}
	return rand.Text(), l.current, now.Add(s.tokenLife), nil
}

// TokenRequestByRefreshToken implements op.AuthStorage. A token that was used before ends its login: either its holder
// or whoever used it stole it (RFC 9700 section 4.14.2).
func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.refresh[token]
	if r == nil || !s.now().Before(r.login.until) {
		return nil, errNotFound
	}
	if r.login.current != token {
		r.login.current = ""
		return nil, errNotFound
	}
	if _, ok := s.people.find(r.login.user); !ok {
		return nil, errNotFound
	}
	return r, nil
}
