package identity

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	// MaxTokenBytes is the longest token that is looked at.
	MaxTokenBytes = 16 << 10

	defaultSkew         = 30 * time.Second
	maxSkew             = 5 * time.Minute
	defaultRefresh      = 10 * time.Minute
	defaultMaxStale     = 24 * time.Hour
	defaultCacheEntries = 4096
)

// Kind says how an issuer's claims are read.
type Kind string

const (
	// OIDC reads user name and groups from the claims that Mapping names. It is the default.
	OIDC Kind = "oidc"
	// Kubernetes reads the claims of a bound service-account token.
	Kubernetes Kind = "kubernetes"
)

// Options configure an Authenticator.
type Options struct {
	// Issuers are those whose tokens are accepted; at least one.
	Issuers []Issuer
	// Client fetches keys where an issuer has no client of its own. Default: one with a time-out of ten seconds.
	Client *http.Client
	// Revocations, where set, are asked on every Authenticate for the subject and the token.
	Revocations *Revocations
	// CacheEntries bounds how many verified tokens are remembered. Default: 4096.
	CacheEntries int
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log receives failures to fetch keys. Default: discarded.
	Log *slog.Logger
}

// Issuer is one source of tokens.
type Issuer struct {
	// Name is what the rest of Gatebook calls it: lower-case letters, digits, '-' and '.'.
	Name string
	// URL is the exact iss claim. Several issuers may share one (clusters often do) as long as their keys differ:
	// the one whose key verifies the token is taken.
	URL string
	// Kind defaults to OIDC.
	Kind Kind
	// Keys says where its public keys are.
	Keys Keys
	// Audiences are those of which a token must name at least one. Required.
	Audiences []string
	// AuthorizedParties are the accepted azp claims. Where empty, azp, if present, must be one of Audiences. A token of an
	// OIDC issuer with several audiences must have an azp.
	AuthorizedParties []string
	// Algorithms default to RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512 and EdDSA, and can only name those.
	Algorithms []string
	// Skew is how far clocks may differ. Default: 30 s; at most 5 min.
	Skew time.Duration
	// Required are claims that must have this value, or hold it where they are lists.
	Required map[string]string
	// Claims says which claims make the name, the groups and the aliases.
	Claims Mapping
	// Review, where set, asks the issuer online whether the token still stands.
	Review Reviewer
}

// Mapping says which claims make a principal. For a Kubernetes issuer only the prefixes are used.
type Mapping struct {
	// Username is the claim that names the user. Default: sub. With email, email_verified must be true.
	Username string
	// UsernamePrefix is put before every name. No two issuers of one kind may share it, and none may begin another.
	UsernamePrefix string
	// Groups is the claim that lists the groups. Default: groups.
	Groups string
	// GroupsPrefix is put before every group. Default: UsernamePrefix.
	GroupsPrefix string
	// Aliases are claims with other names of the same person. Default: email (if email_verified) and preferred_username.
	Aliases []string
}

// Keys says where an issuer's public keys are. At most one of URL, APIServer, File and Static is set; with none, they
// are found by OpenID Connect discovery below Issuer.URL.
type Keys struct {
	// URL is that of a JSON Web Key Set.
	URL string
	// APIServer is the base URL of a Kubernetes API server, whose /openid/v1/jwks is read. Issuer.URL need not be reachable.
	APIServer string
	// File is a JSON Web Key Set on disk, read again on every refresh.
	File string
	// Static is a JSON Web Key Set.
	Static []byte
	// Client fetches, with the credentials and the certificate authorities that it takes. Default: Options.Client.
	Client *http.Client
	// Refresh is the interval at which the keys are fetched again. Default: 10 min; at least 10 s.
	Refresh time.Duration
	// MaxStale is how long known keys are used while the issuer cannot be reached. Default: 24 h.
	MaxStale time.Duration
}

// Reviewer asks an issuer whether token still stands. An error means that it could not be asked. It is called from
// several goroutines, never twice at once for the same token, and must not keep the token.
type Reviewer func(ctx context.Context, token string) (authenticated bool, username, uid string, extra map[string][]string, err error)

func (o Options) withDefaults() Options {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: fetchTimeout}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CacheEntries <= 0 {
		o.CacheEntries = defaultCacheEntries
	}
	o.Issuers = slices.Clone(o.Issuers)
	for i := range o.Issuers {
		o.Issuers[i] = o.Issuers[i].withDefaults(o.Client)
	}
	return o
}

func (i Issuer) withDefaults(client *http.Client) Issuer {
	if i.Kind == "" {
		i.Kind = OIDC
	}
	if len(i.Algorithms) == 0 {
		i.Algorithms = algorithms()
	}
	if i.Skew == 0 {
		i.Skew = defaultSkew
	}
	if i.Claims.Username == "" {
		i.Claims.Username = "sub"
	}
	if i.Claims.Groups == "" {
		i.Claims.Groups = "groups"
	}
	if i.Claims.GroupsPrefix == "" {
		i.Claims.GroupsPrefix = i.Claims.UsernamePrefix
	}
	if i.Claims.Aliases == nil {
		i.Claims.Aliases = []string{"email", "preferred_username"}
	}
	if i.Keys.Client == nil {
		i.Keys.Client = client
	}
	if i.Keys.Refresh == 0 {
		i.Keys.Refresh = defaultRefresh
	}
	if i.Keys.MaxStale == 0 {
		i.Keys.MaxStale = defaultMaxStale
	}
	return i
}

func algorithms() []string {
	return []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
}

var issuerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

func (o Options) validate() error {
	if len(o.Issuers) == 0 {
		return fmt.Errorf("no issuer is configured: nobody could authenticate")
	}
	seen := map[string]bool{}
	for _, i := range o.Issuers {
		if !issuerName.MatchString(i.Name) {
			return fmt.Errorf("issuer name %q: use lower-case letters, digits, '-' and '.', at most 63", i.Name)
		}
		if seen[i.Name] {
			return fmt.Errorf("issuer %s is configured twice", i.Name)
		}
		seen[i.Name] = true
		if err := i.validate(); err != nil {
			return fmt.Errorf("issuer %s: %w", i.Name, err)
		}
	}
	return checkPrefixes(o.Issuers)
}

func (i Issuer) validate() error {
	if i.URL == "" {
		return fmt.Errorf("url is missing: it is the token's iss claim")
	}
	if i.Kind != OIDC && i.Kind != Kubernetes {
		return fmt.Errorf("kind %q: want %q or %q", i.Kind, OIDC, Kubernetes)
	}
	if len(i.Audiences) == 0 || slices.Contains(i.Audiences, "") {
		return fmt.Errorf("audiences: at least one, none empty; otherwise tokens made for others would be accepted")
	}
	for _, a := range i.Algorithms {
		if !slices.Contains(algorithms(), a) {
			return fmt.Errorf("algorithm %q is not accepted: want one of %s", a, strings.Join(algorithms(), ", "))
		}
	}
	if i.Skew < 0 || i.Skew > maxSkew {
		return fmt.Errorf("skew %s: want 0 to %s", i.Skew, maxSkew)
	}
	return i.Keys.validate(i.URL)
}

func (k Keys) validate(issuerURL string) error {
	set := 0
	for _, s := range []bool{k.URL != "", k.APIServer != "", k.File != "", len(k.Static) > 0} {
		if s {
			set++
		}
	}
	if set > 1 {
		return fmt.Errorf("keys: set only one of url, apiServer, file and static")
	}
	if k.Refresh < fetchCooldown {
		return fmt.Errorf("keys: refresh %s: at least %s", k.Refresh, fetchCooldown)
	}
	if k.MaxStale < k.Refresh {
		return fmt.Errorf("keys: maxStale %s is shorter than refresh %s", k.MaxStale, k.Refresh)
	}
	switch {
	case k.File != "" || len(k.Static) > 0:
		return nil
	case k.URL != "":
		return checkFetchURL(k.URL)
	case k.APIServer != "":
		return checkFetchURL(k.APIServer)
	}
	return checkFetchURL(issuerURL)
}

// checkFetchURL accepts https, and http to a loopback address.
func checkFetchURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("reading URL %q: %w", raw, err)
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("URL %q: want https://host/path", raw)
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("URL %q: keys are fetched over https only", raw)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
