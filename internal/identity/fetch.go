package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeySetBytes = 1 << 20
	maxKeys        = 100
)

// loader returns what reads the issuer's keys from where Keys says.
func loader(i Issuer) func(context.Context) ([]jose.JSONWebKey, error) {
	k := i.Keys
	switch {
	case len(k.Static) > 0:
		return func(context.Context) ([]jose.JSONWebKey, error) { return decodeKeys(k.Static) }
	case k.File != "":
		return func(context.Context) ([]jose.JSONWebKey, error) { return readKeys(k.File) }
	case k.URL != "":
		return func(ctx context.Context) ([]jose.JSONWebKey, error) { return fetchKeys(ctx, k.Client, k.URL) }
	case k.APIServer != "":
		url := strings.TrimSuffix(k.APIServer, "/") + "/openid/v1/jwks"
		return func(ctx context.Context) ([]jose.JSONWebKey, error) { return fetchKeys(ctx, k.Client, url) }
	}
	return func(ctx context.Context) ([]jose.JSONWebKey, error) {
		url, err := discover(ctx, k.Client, i.URL)
		if err != nil {
			return nil, err
		}
		return fetchKeys(ctx, k.Client, url)
	}
}

// discover finds the URL of the issuer's keys (OpenID Connect Discovery 1.0 section 4).
func discover(ctx context.Context, client *http.Client, issuer string) (string, error) {
	b, err := get(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", fmt.Errorf("discovering the issuer: %w", err)
	}
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return "", fmt.Errorf("reading the discovery document: %w", err)
	}
	if doc.Issuer != issuer {
		return "", fmt.Errorf("the discovery document is of issuer %q, not of %q", doc.Issuer, issuer)
	}
	if err := checkLed(issuer, doc.Keys); err != nil {
		return "", fmt.Errorf("the discovery document's jwks_uri: %w", err)
	}
	return doc.Keys, nil
}

func fetchKeys(ctx context.Context, client *http.Client, url string) ([]jose.JSONWebKey, error) {
	b, err := get(ctx, client, url)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	return decodeKeys(b)
}

func readKeys(path string) ([]jose.JSONWebKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	return decodeKeys(b)
}

// checkLed accepts where one URL leads to: never from https to plain HTTP, so that no issuer can have something fetched from this
// machine, or keys taken from what nobody has proven to be the issuer's.
func checkLed(from, to string) error {
	if err := checkFetchURL(to); err != nil {
		return err
	}
	if strings.HasPrefix(from, "https:") && !strings.HasPrefix(to, "https:") {
		return fmt.Errorf("URL %q: over https an issuer leads to https only", to)
	}
	return nil
}

// get reads a small document. Redirects may not leave https.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	c := *client
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("too many redirects")
		}
		return checkLed(via[len(via)-1].URL.String(), r.URL.String())
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	if len(b) > maxKeySetBytes {
		return nil, fmt.Errorf("GET %s: more than %d bytes", url, maxKeySetBytes)
	}
	return b, nil
}

// decodeKeys reads a JSON Web Key Set (RFC 7517 section 5). What is not a public signature key of a known type is left
// out, as the RFC asks; a set without any other is an error.
func decodeKeys(b []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("reading keys: %d keys, at most %d are accepted", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("reading keys: none of %d is a public key for signatures", len(set.Keys))
	}
	return keys, nil
}
