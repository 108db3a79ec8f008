package login

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/oauth2"
)

// Device logs a person in who has a browser elsewhere (RFC 8628): it shows an address and a code, and returns when the person
// has allowed it there, or ctx ends.
func Device(ctx context.Context, c Config) (Token, error) {
	ctx, s, err := c.connect(ctx)
	if err != nil {
		return Token{}, err
	}
	if s.oauth.Endpoint.DeviceAuthURL == "" {
		return Token{}, fmt.Errorf("issuer %s has no device flow: log in by browser", c.Issuer)
	}
	d, err := s.oauth.DeviceAuth(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("asking for a device code: %w", err)
	}
	c.say("Open this address in a browser on any computer:\n\n  %s\n\nand enter the code  %s\n", d.VerificationURI, d.UserCode)
	t, err := s.oauth.DeviceAccessToken(ctx, d)
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.ErrorCode == "access_denied" {
		return Token{}, errors.New("the login was denied")
	}
	if err != nil {
		return Token{}, fmt.Errorf("waiting for the login: %w", err)
	}
	return s.accept(ctx, t, "")
}
