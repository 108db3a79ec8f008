package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// ErrLoginRequired says that there is no token, and none can be had without a person.
var ErrLoginRequired = errors.New("not logged in: run gatebook login")

// Config names an issuer and a client of it.
type Config struct {
	// Issuer is the issuer's URL.
	Issuer string
	// ClientID is a public client that may use the wanted flow.
	ClientID string
	// Scopes are asked for beside openid and offline_access. Default: profile, email, groups.
	Scopes []string
	// Client reaches the issuer, with the certificate authorities that it takes. Default: http.DefaultClient.
	Client *http.Client
	// Prompt receives what the person is to read. It must not be the program's standard output where that carries a token.
	Prompt io.Writer
	// OpenBrowser opens an address; a failure only means that the person does it. Nil: not tried. OpenBrowser does it.
	OpenBrowser func(url string) error
}

// Token is an identity token and what renews it.
type Token struct {
	// ID is the identity token, the bearer token of the gateway.
	ID string `json:"idToken"`
	// Refresh renews it, once; empty where the issuer gives none.
	Refresh string `json:"refreshToken,omitempty"`
	// Expires is when ID does.
	Expires time.Time `json:"expires"`
}

// session is one issuer, discovered.
type session struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
}

// connect returns the issuer's endpoints, and a context that carries the client to them.
func (c Config) connect(ctx context.Context) (context.Context, *session, error) {
	if c.Client != nil {
		ctx = oidc.ClientContext(ctx, c.Client)
	}
	provider, err := oidc.NewProvider(ctx, c.Issuer)
	if err != nil {
		return nil, nil, fmt.Errorf("reaching issuer %s: %w", c.Issuer, err)
	}
	scopes := c.Scopes
	if scopes == nil {
		scopes = []string{"profile", "email", "groups"}
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	return ctx, &session{
		oauth:    oauth2.Config{ClientID: c.ClientID, Endpoint: endpoint, Scopes: append([]string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess}, scopes...)},
		verifier: provider.Verifier(&oidc.Config{ClientID: c.ClientID}),
	}, nil
}

// accept checks the identity token of an answer. An empty nonce is not checked: only the code flow has one.
func (s *session) accept(ctx context.Context, t *oauth2.Token, nonce string) (Token, error) {
	raw, _ := t.Extra("id_token").(string)
	if raw == "" {
		return Token{}, errors.New("the issuer sent no identity token: the client needs the scope openid")
	}
	id, err := s.verifier.Verify(ctx, raw)
	if err != nil {
		return Token{}, fmt.Errorf("checking the identity token: %w", err)
	}
	if nonce != "" && id.Nonce != nonce {
		return Token{}, errors.New("the identity token is of another login (nonce)")
	}
	return Token{ID: raw, Refresh: t.RefreshToken, Expires: id.Expiry}, nil
}

// Renew exchanges a refresh token. The error is ErrLoginRequired where the issuer refuses it.
func Renew(ctx context.Context, c Config, old Token) (Token, error) {
	if old.Refresh == "" {
		return Token{}, ErrLoginRequired
	}
	ctx, s, err := c.connect(ctx)
	if err != nil {
		return Token{}, err
	}
	t, err := s.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: old.Refresh}).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.ErrorCode == "invalid_grant" {
		return Token{}, ErrLoginRequired
	}
	if err != nil {
		return Token{}, fmt.Errorf("renewing the token: %w", err)
	}
	return s.accept(ctx, t, "")
}
