package main

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/config"
	"gatebook/internal/credential"
)

// offered is what clients are told of a target: of the upstream only what git needs to be sent here instead, and where in it
// tools are served (the label mcp).
func (g *gateway) offered(t config.Target) client.Target {
	out := client.Target{Name: t.Name, Protocol: t.Protocol, URL: g.address(t)}
	if u, err := url.Parse(t.URL); t.Protocol == "git" && err == nil {
		u.User = nil // should somebody have written a credential there
		out.Upstream = u.String()
	}
	if path := t.Labels["mcp"]; t.Protocol == "web" && strings.HasPrefix(path, "/") {
		out.MCP = strings.TrimSuffix(out.URL, "/") + path
	}
	return out
}

// newUpstream makes the far side of a target, which knows the service accounts of its own issuers. Each secret of the
// gateway's own that it uses is told to learn first: it must not come back in an answer, whoever left a copy of it where.
func newUpstream(t config.Target, cfg *config.Config, learn func(secret []byte)) (*credential.Upstream, error) {
	issuers := cfg.Issuers
	own := slices.Clone(t.Accounts)
	for _, is := range issuers {
		if is.Cluster == t.Name {
			own = append(own, is.Name)
		}
	}
	cluster := t.Protocol == "kubernetes"
	o := credential.Options{URL: t.URL, ServerName: t.ServerName,
		Insecure:    !cluster, // where the operator writes http, such as for a service in the same cluster
		Impersonate: func(p access.Principal) bool { return cluster && *t.Impersonate && !t.Direct.Has(p.Name, p.Groups) },
		Own:         func(p access.Principal) bool { return slices.Contains(own, p.Issuer) },
		Reach:       credential.Reach{Own: ownPorts(cfg), Proven: cluster}}
	var err error
	if t.Protocol == "web" {
		err = webUpstream(&o, t)
	}
	switch {
	case err != nil:
	case t.Kubeconfig != "":
		err = fromKubeconfig(&o, t.Kubeconfig, t.Context, learn)
	case t.CertificateFile != "":
		o.Secret = certificateFiles(t.CertificateFile, t.KeyFile, learn)
	case t.Token == config.Secret{}:
		o.Secret = credential.None()
	default:
		o.Secret = shown(t, learn)
	}
	if err == nil && t.CAFile != "" {
		o.CA, err = os.ReadFile(t.CAFile)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("target %s: %w", t.Name, err)}
	}
	u, err := credential.New(o)
	if err != nil {
		return nil, usageError{fmt.Errorf("target %s: %w", t.Name, err)}
	}
	return u, nil
}

// shown is the target's token, as its upstream wants to see it.
func shown(t config.Target, learn func([]byte)) credential.Source {
	read := learning(t.Token.Read, learn)
	_, _ = read() // another target may hold a copy of it; what cannot be read yet is learned when it is used
	switch {
	case t.Header != "":
		return credential.Header(t.Header, read)
	case t.User != "":
		return credential.Basic(t.User, read)
	}
	return credential.Token(read)
}

func certificateFiles(cert, key string, learn func([]byte)) credential.Source {
	return credential.Certificate(certificatePair(cert, key, learn))
}

// certificatePair reads a certificate and its key, for each handshake.
func certificatePair(cert, key string, learn func([]byte)) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) {
		certPEM, err := os.ReadFile(cert)
		if err != nil {
			return nil, err
		}
		keyPEM, err := os.ReadFile(key)
		if err != nil {
			return nil, err
		}
		learnKey(keyPEM, learn)
		c, err := tls.X509KeyPair(certPEM, keyPEM)
		return &c, err
	}
}

// learnKey learns a key as its file has it and as a kubeconfig writes that, which may itself be written in base64.
func learnKey(pem []byte, learn func([]byte)) {
	learn(pem)
	learn([]byte(base64.StdEncoding.EncodeToString(pem)))
}

// learning is get, whose every token is learned before it is used.
func learning(get func() (string, error), learn func([]byte)) func() (string, error) {
	return func() (string, error) {
		token, err := get()
		if err == nil {
			learn([]byte(token))
		}
		return token, err
	}
}

// fromKubeconfig takes URL, CA and credential from a kubeconfig's context, as kubectl would.
func fromKubeconfig(o *credential.Options, path, context string, learn func([]byte)) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if path != config.CurrentKubeconfig {
		rules.ExplicitPath = path
	}
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if c.Insecure {
		return errors.New("the kubeconfig says insecure-skip-tls-verify; give the cluster's certificate-authority instead")
	}
	if err := rest.LoadTLSFiles(c); err != nil {
		return fmt.Errorf("reading the kubeconfig's files: %w", err)
	}
	o.URL, o.CA, o.ServerName = c.Host, c.CAData, c.ServerName
	if !strings.Contains(o.URL, "://") {
		o.URL = "https://" + o.URL
	}
	if len(c.CertData) > 0 {
		pair, err := tls.X509KeyPair(c.CertData, c.KeyData)
		if err != nil {
			return fmt.Errorf("reading the kubeconfig's client certificate: %w", err)
		}
		learnKey(c.KeyData, learn)
		o.Secret = credential.Certificate(func() (*tls.Certificate, error) { return &pair, nil })
		return nil
	}
	o.Secret = credential.Token(learning(func() (string, error) { return tokenOf(c) }, learn))
	return nil
}

// tokenOf gives the bearer token that client-go would send: of the kubeconfig, a file, or an exec plugin, renewed
// as it renews it.
func tokenOf(c *rest.Config) (string, error) {
	var seen string
	rt, err := rest.HTTPWrappersForConfig(c, roundTripper(func(r *http.Request) (*http.Response, error) {
		seen = r.Header.Get("Authorization")
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	}))
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig's credential: %w", err)
	}
	r, err := http.NewRequest(http.MethodGet, "https://gatebook.invalid/", nil)
	if err != nil {
		return "", err
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig's credential: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return "", err
	}
	token, ok := strings.CutPrefix(seen, "Bearer ")
	if !ok {
		return "", errors.New("the kubeconfig's user has neither a client certificate nor a token that can be used")
	}
	return token, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
