package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

var targetName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// problems are sentences that begin with the key that is wrong, as issuers[0] (its name).url.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

// check reports everything that is wrong, each with its key and a remedy.
func (c *Config) check() problems {
	var p problems
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		p.add("listen: %q is not host:port, such as \":8443\"", c.Listen)
	}
	if c.URL == "" {
		c.URL = "https://localhost:" + port
	}
	c.URL = strings.TrimSuffix(c.URL, "/") // paths are put behind it
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.Path+u.RawQuery+u.Fragment != "" || u.User != nil {
		p.add("url: %q must be https://host[:port] and nothing else", c.URL)
	} else if c.Recording.Origin == "" {
		c.Recording.Origin = u.Hostname() + "/gatebook"
	}
	if _, _, err := net.SplitHostPort(c.Admin); err != nil {
		p.add("admin: %q is not host:port, such as \"127.0.0.1:9090\"", c.Admin)
	}
	if (c.TLS.CertificateFile == "") != (c.TLS.KeyFile == "") {
		p.add("tls: set both certificateFile and keyFile, or neither")
	}
	if !slices.Contains([]string{"crash", "power", "paranoid"}, c.Recording.Durability) {
		p.add("recording.durability: %q is not crash, power or paranoid", c.Recording.Durability)
	}
	if c.Recording.MaxBehind <= c.Recording.SealAge {
		p.add("recording.maxBehind: %s is no more than sealAge (%s), for which everything waits; make it longer", c.Recording.MaxBehind, c.Recording.SealAge)
	}
	notNegative(reflect.ValueOf(c).Elem(), "", &p)
	c.checkIssuers(&p)
	c.checkTargets(&p)
	c.Approvals.Webhook.check(&p)
	return p
}

// notNegative names every number and duration below zero.
func notNegative(v reflect.Value, at string, p *problems) {
	for i := range v.NumField() {
		f, key := v.Field(i), at+v.Type().Field(i).Tag.Get("yaml")
		switch {
		case f.CanInt() && f.Int() < 0:
			p.add("%s: %v is less than nothing", key, f.Interface())
		case f.Kind() == reflect.Struct:
			notNegative(f, key+".", p)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			for j := range f.Len() {
				notNegative(f.Index(j), fmt.Sprintf("%s[%d].", key, j), p)
			}
		}
	}
}

func (c *Config) checkIssuers(p *problems) {
	if len(c.Issuers) == 0 && !c.EmbeddedIssuer.Enabled {
		p.add("issuers: there is none, so nobody could log in; add one, or set embeddedIssuer.enabled")
	}
	names := map[string]bool{"embedded": true}
	for i, is := range c.Issuers {
		at := fmt.Sprintf("issuers[%d] (%s)", i, is.Name)
		if is.Name == "" || names[is.Name] {
			p.add("%s.name: must be set, not \"embedded\", and not used twice", at)
		}
		names[is.Name] = true
		if is.URL == "" {
			p.add("%s.url: missing; it is the iss claim of the issuer's tokens", at)
		}
		if len(is.Audiences) == 0 {
			p.add("%s.audiences: missing; without it a token made for any other service would be accepted. Use for instance [gatebook]", at)
		}
		if is.TokenReview && is.Cluster == "" {
			p.add("%s.tokenReview: needs cluster, the target that is asked", at)
		}
		if is.Cluster != "" && !slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Name == is.Cluster }) {
			p.add("%s.cluster: there is no target %q", at, is.Cluster)
		}
		if is.JWKSURL != "" && is.JWKSFile != "" {
			p.add("%s: set one of jwksURL and jwksFile", at)
		}
		if is.Kubernetes && !c.reaches(is) {
			p.add("%s.cluster: missing, so no target takes its service accounts, whose names another cluster has as well; name the target that is this issuer's cluster, "+
				"or list %q under a target's accounts, or set usernamePrefix, such as %q", at, is.Name, is.Name+":")
		}
		for _, a := range is.Algorithms {
			if !slices.Contains([]string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}, a) {
				p.add("%s.algorithms: %q is not an asymmetric signature algorithm of RFC 7518", at, a)
			}
		}
	}
	for i, u := range c.EmbeddedIssuer.Users {
		if u.Name == "" || u.PasswordHash == "" {
			p.add("embeddedIssuer.users[%d]: name and passwordHash are needed", i)
		}
	}
}

// reaches reports whether the service accounts of a Kubernetes issuer can act at any target: at their own cluster, at
// one that does not impersonate them, or anywhere by a name with a prefix.
func (c *Config) reaches(is Issuer) bool {
	return is.Cluster != "" || is.UsernamePrefix != "" || slices.ContainsFunc(c.Targets, func(t Target) bool {
		return slices.Contains(t.Accounts, is.Name) || !*t.Impersonate || len(t.Direct.Groups)+len(t.Direct.Users) > 0
	})
}

func (c *Config) checkTargets(p *problems) {
	if len(c.Targets) == 0 {
		p.add("targets: there is none, so nothing can be reached; add one")
	}
	names, hosts := map[string]bool{}, map[string]bool{}
	for i, t := range c.Targets {
		at := fmt.Sprintf("targets[%d] (%s)", i, t.Name)
		if !targetName.MatchString(t.Name) || names[t.Name] {
			p.add("%s.name: %q must be lower-case letters, digits and dashes, and not used twice", at, t.Name)
		}
		names[t.Name] = true
		for j, h := range t.Hosts {
			h = strings.ToLower(h)
			t.Hosts[j] = h
			if h == "" || strings.ContainsAny(h, ":/ ") {
				p.add("%s.hosts: %q must be a name alone, without scheme and port", at, h)
			}
			if hosts[h] {
				p.add("%s.hosts: %q is used twice", at, h)
			}
			hosts[h] = true
		}
		if !slices.Contains(protocols, t.Protocol) {
			p.add("%s.protocol: %q is not known; known: %s", at, t.Protocol, strings.Join(protocols, ", "))
		}
		if t.Protocol == "postgres" && c.ListenPostgres == "" {
			p.add("%s: set listenPostgres, the address for its clients", at)
		}
		for _, a := range t.Accounts {
			if !slices.ContainsFunc(c.Issuers, func(is Issuer) bool { return is.Name == a && is.Kubernetes }) {
				p.add("%s.accounts: there is no Kubernetes issuer %q", at, a)
			}
		}
		t.checkUpstream(at, p)
	}
}

// protocols that a target can speak.
var protocols = []string{"kubernetes", "model", "git", "postgres", "web"}

func (t Target) checkUpstream(at string, p *problems) {
	own := 0
	for _, set := range []bool{t.Token != Secret{}, t.CertificateFile != "" || t.KeyFile != ""} {
		if set {
			own++
		}
	}
	switch {
	case t.Kubeconfig != "" && (t.URL != "" || t.CAFile != "" || own > 0):
		p.add("%s: kubeconfig brings URL, CA and credential; remove the others", at)
	case t.Kubeconfig != "":
	case t.URL == "" && len(t.Proxy.Hosts) > 0: // nothing but a proxy
	case t.URL == "":
		p.add("%s.url: missing; or name a kubeconfig", at)
	case own == 0 && (t.Protocol == "git" || t.Protocol == "web"): // what is public needs none
	case own != 1:
		p.add("%s: set one credential: token, or certificateFile with keyFile", at)
	}
	switch {
	case t.Protocol != "kubernetes" && (t.Kubeconfig != "" || t.Context != "" || len(t.Accounts) > 0 || len(t.Direct.Groups)+len(t.Direct.Users) > 0):
		p.add("%s: kubeconfig, context, accounts and direct are for kubernetes only", at)
	case t.Header != "" && (t.User != "" || t.Protocol == "kubernetes" || t.Protocol == "postgres"):
		p.add("%s.header: not with user, and not for %s", at, t.Protocol)
	case t.User != "" && t.Protocol != "git" && t.Protocol != "web" && t.Protocol != "postgres":
		p.add("%s.user: only for git, web and postgres", at)
	case t.Protocol == "postgres" && t.User == "":
		p.add("%s.user: missing; it is the role that the gateway logs in with", at)
	case (t.Header != "" || t.User != "" && t.Protocol != "postgres") && t.Token == Secret{}:
		p.add("%s.token: missing; header and user say how it is shown", at)
	}
	switch {
	case t.Protocol != "postgres" && t.Estimate:
		p.add("%s.estimate: only for postgres", at)
	case t.Protocol != "web" && (t.Opaque || t.Proxy.Intercept || len(t.Proxy.Hosts) > 0):
		p.add("%s: proxy and opaque are for web only", at)
	case t.Proxy.Intercept && len(t.Proxy.Hosts) == 0:
		p.add("%s.proxy.hosts: missing; intercept is for the hosts that it names", at)
	case len(t.Proxy.Hosts) > 0 && (t.ServerName != "" || t.CertificateFile != ""):
		p.add("%s: serverName and certificateFile would be for every host of proxy.hosts; make a target of its own of them", at)
	case len(t.Proxy.Hosts) > 0 && t.URL == "" && t.Token != Secret{}:
		p.add("%s.url: missing; the token is shown to its origin alone", at)
	}
	if (t.CertificateFile == "") != (t.KeyFile == "") {
		p.add("%s: set both certificateFile and keyFile", at)
	}
	t.checkPrices(at, p)
	if t.Token.File != "" && t.Token.Env != "" {
		p.add("%s.token: set one of file and env", at)
	}
}

func (t Target) checkPrices(at string, p *problems) {
	if len(t.Prices) > 0 && t.Protocol != "model" {
		p.add("%s.prices: only for protocol model", at)
	}
	for i, c := range t.Prices {
		if c.Model == "" {
			p.add("%s.prices[%d].model: missing; it is a model's name, or * for all others", at, i)
		}
		if min(c.Input, c.Output, c.CacheRead, c.CacheWrite) < 0 {
			p.add("%s.prices[%d]: a price is less than nothing", at, i)
		}
	}
}

func (w Webhook) check(p *problems) {
	if w.URL == "" {
		return
	}
	if u, err := url.Parse(w.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		p.add("approvals.webhook.url: %q is not an http or https URL", w.URL)
	}
	if w.Secret == (Secret{}) {
		p.add("approvals.webhook.secret: missing; receivers need it to tell a true notice from a forged one")
	}
}

// Read gives the secret's value.
func (s Secret) Read() (string, error) {
	switch {
	case s.File != "":
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("reading a secret: %w", err)
		}
		if v := strings.TrimSpace(string(b)); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("reading a secret: file %s is empty", s.File)
	case s.Env != "":
		if v := os.Getenv(s.Env); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("reading a secret: environment variable %s is not set", s.Env)
	}
	return "", errors.New("reading a secret: neither file nor env is set")
}
