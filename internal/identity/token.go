package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// token is a JWT in compact serialisation (RFC 7519 section 3), taken apart and not verified.
type token struct {
	raw    string
	header header
	issuer string
}

// header is what is read of a JOSE header (RFC 7515 section 4.1). jku, jwk, x5u and x5c are not: a token cannot bring its key.
type header struct {
	Algorithm string         `json:"alg"`
	KeyID     string         `json:"kid"`
	Type      string         `json:"typ"`
	Critical  jsontext.Value `json:"crit"`
}

// parse takes a token apart. It accepts exactly three base64url parts, JSON without duplicate names, no crit header and
// only the types of identity and access tokens.
func parse(raw string) (token, error) {
	t := token{raw: raw}
	if len(raw) > MaxTokenBytes {
		return t, fmt.Errorf("it is longer than %d bytes", MaxTokenBytes)
	}
	head, rest, ok1 := strings.Cut(raw, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || !isBase64URL(head) || !isBase64URL(payload) || !isBase64URL(signature) {
		return t, errors.New("it is not a JSON Web Token (three base64url parts)")
	}
	if err := decodePart(head, &t.header); err != nil {
		return t, errors.New("its header is not valid")
	}
	if t.header.Critical != nil {
		return t, errors.New("its header has critical extensions, which are not supported")
	}
	if !knownType(t.header.Type) {
		return t, fmt.Errorf("its type %s is not that of an identity or access token", clip(t.header.Type))
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := decodePart(payload, &claims); err != nil {
		return t, errors.New("its claims are not valid")
	}
	t.issuer = claims.Issuer
	return t, nil
}

// id names the token where it has no jti: a digest of what is signed, not of the signature, which for some algorithms
// its holder can change into another valid one.
func (t token) id() string {
	sum := sha256.Sum256([]byte(t.raw[:strings.LastIndexByte(t.raw, '.')]))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// isBase64URL keeps out what decoders elsewhere would skip, such as white space.
func isBase64URL(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

func decodePart(part string, v any) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func knownType(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return slices.Contains([]string{"", "jwt", "at+jwt"}, typ)
}

// clip quotes s for a message, and cuts it at 200 bytes.
func clip(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%+q…", s[:200])
	}
	return fmt.Sprintf("%+q", s)
}
