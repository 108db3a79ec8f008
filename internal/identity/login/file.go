package login

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const maxTokenBytes = 16 << 10

// File reads a token, such as a projected service-account token, from a file. It is to be called for each use: the kubelet
// replaces the file.
func File(path string) (Token, error) {
	f, err := os.Open(path)
	if err != nil {
		return Token{}, fmt.Errorf("reading a token: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenBytes+1))
	if err != nil {
		return Token{}, fmt.Errorf("reading a token: %w", err)
	}
	raw := strings.TrimSpace(string(b))
	if raw == "" || len(b) > maxTokenBytes {
		return Token{}, fmt.Errorf("reading a token: %s is empty or longer than %d bytes", path, maxTokenBytes)
	}
	return Token{ID: raw, Expires: expiry(raw)}, nil
}

// expiry is what the token says of its end, unverified: only the gateway's word counts. Zero where it says nothing.
func expiry(raw string) time.Time {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(b, &claims) != nil || claims.Expires <= 0 || claims.Expires > 253402300799 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expires), 0).UTC()
}
