package issuer

import (
	"net/url"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// client is gatebook-cli, a public native client.
type client struct {
	loginPath string
	tokenLife time.Duration
}

func (c client) GetID() string                       { return ClientID }
func (c client) PostLogoutRedirectURIs() []string    { return nil }
func (c client) ApplicationType() op.ApplicationType { return op.ApplicationTypeNative }
func (c client) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodNone }
func (c client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c client) IDTokenLifetime() time.Duration       { return c.tokenLife }
func (c client) DevMode() bool                        { return false }
func (c client) IsScopeAllowed(scope string) bool     { return scope == "groups" }
func (c client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c client) ClockSkew() time.Duration             { return 0 }

func (c client) LoginURL(id string) string {
	return c.loginPath + "?" + url.Values{"id": {id}}.Encode()
}

func (c client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeDeviceCode}
}

// RedirectURIs are loopback addresses, of which any port is accepted (RFC 8252 section 7.3).
func (c client) RedirectURIs() []string {
	return []string{"http://127.0.0.1" + RedirectPath, "http://[::1]" + RedirectPath, "http://localhost" + RedirectPath}
}

func (c client) RestrictAdditionalIdTokenScopes() func([]string) []string     { return sameScopes }
func (c client) RestrictAdditionalAccessTokenScopes() func([]string) []string { return sameScopes }

func sameScopes(scopes []string) []string { return scopes }

// isLoopbackRedirect reports whether raw is, byte for byte, one of the client's redirect addresses with a port.
// The library decodes the address once more before it compares.
func isLoopbackRedirect(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Port() == "" {
		return false
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		if raw == "http://"+host+":"+u.Port()+RedirectPath {
			return true
		}
	}
	return false
}
