package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/identity"
	"gatebook/internal/identity/issuer"
)

// embedded is the path, and in the configuration the name, of the issuer inside Gatebook.
const embeddedPath = "/gatebook/issuer"

// localPrefix is before the names and groups of the embedded issuer's people, so that they are nobody else's.
const localPrefix = "local:"

// openIdentity makes the authenticator of all issuers, the embedded one among them.
func (g *gateway) openIdentity(ctx context.Context, upstreams map[string]*credential.Upstream) error {
	o := identity.Options{Revocations: g.revocations, Log: g.log}
	for _, is := range g.cfg.Issuers {
		x, err := newIssuer(is, upstreams[is.Cluster])
		if err != nil {
			return usageError{fmt.Errorf("issuer %s: %w", is.Name, err)}
		}
		o.Issuers = append(o.Issuers, x)
	}
	if g.cfg.EmbeddedIssuer.Enabled {
		x, err := g.openEmbedded()
		if err != nil {
			return usageError{fmt.Errorf("embeddedIssuer: %w", err)}
		}
		o.Issuers = append(o.Issuers, x)
	}
	a, err := identity.New(ctx, o)
	if err != nil {
		return usageError{err}
	}
	g.identity = a
	return nil
}

func newIssuer(is config.Issuer, cluster *credential.Upstream) (identity.Issuer, error) {
	x := identity.Issuer{
		Name: is.Name, URL: is.URL, Audiences: is.Audiences, Algorithms: is.Algorithms, Skew: is.ClockSkew, Required: is.RequiredClaims,
		Keys: identity.Keys{URL: is.JWKSURL, File: is.JWKSFile},
		Claims: identity.Mapping{Username: is.UsernameClaim, UsernamePrefix: is.UsernamePrefix,
			Groups: is.GroupsClaim, GroupsPrefix: is.GroupsPrefix, Aliases: is.AliasClaims},
	}
	if is.Kubernetes {
		x.Kind = identity.Kubernetes
	}
	switch {
	case cluster != nil:
		if is.JWKSURL == "" && is.JWKSFile == "" {
			x.Keys.APIServer, x.Keys.Client = cluster.Base(), cluster.ForIdentity()
		}
		if is.TokenReview {
			x.Review = identity.TokenReviews{APIServer: cluster.Base(), Client: cluster.ForIdentity(), Audiences: is.Audiences}.Review
		}
	case is.CAFile != "":
		c, err := clientWithCA(is.CAFile)
		if err != nil {
			return x, err
		}
		x.Keys.Client = c
	}
	return x, nil
}

func clientWithCA(path string) (*http.Client, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading caFile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("caFile %s: no PEM certificate in it", path)
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, ForceAttemptHTTP2: true}}, nil
}

// openEmbedded makes the embedded issuer, and trusts it.
func (g *gateway) openEmbedded() (identity.Issuer, error) {
	o := issuer.Options{
		URL: g.cfg.URL + embeddedPath, KeyFile: filepath.Join(g.cfg.Data, "issuer.key"), Operator: g.operator,
		LoginLife: g.cfg.EmbeddedIssuer.TokenLifetime, Log: g.log,
		OnLogin: func(name, via string, ok bool) {
			if err := g.recorder.Note("", "login", map[string]any{"name": name, "via": via, "ok": ok}); err != nil {
				g.log.Error("a login could not be recorded", "name", name, "error", err)
			}
		},
	}
	for _, u := range g.cfg.EmbeddedIssuer.Users {
		o.Users = append(o.Users, issuer.User{Name: u.Name, PasswordHash: u.PasswordHash, Groups: u.Groups, Email: u.Email})
	}
	is, err := issuer.New(o)
	if err != nil {
		return identity.Issuer{}, err
	}
	g.embedded = is
	return identity.Issuer{
		Name: "embedded", URL: o.URL, Audiences: []string{is.Audience()},
		Keys:   identity.Keys{URL: o.URL + issuer.KeySetPath, Client: &http.Client{Transport: inProcess{is}}},
		Claims: identity.Mapping{UsernamePrefix: localPrefix},
	}, nil
}

// inProcess asks the embedded issuer without leaving the process.
type inProcess struct{ h http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &answer{head: http.Header{}, code: http.StatusOK}
	t.h.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.code, Header: w.head, Body: io.NopCloser(&w.body), Request: r}, nil
}

type answer struct {
	head http.Header
	code int
	body bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.head }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
