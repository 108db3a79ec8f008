package identity

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// claims are a verified token's claims. Numbers are float64, as JSON has them.
type claims map[string]any

func decodeClaims(payload []byte) (claims, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, fmt.Errorf("the token's claims are not valid")
	}
	return c, nil
}

func (c claims) str(name string) string {
	s, _ := c[name].(string)
	return s
}

// list reads a claim that is a string or a list of strings.
func (c claims) list(name string) ([]string, error) {
	switch v := c[name].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("the token's claim %q is not a list of strings", name)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the token's claim %q is not a list of strings", name)
}

// maxDate is 9999-12-31T23:59:59Z, beyond which RFC 3339 cannot write a time.
const maxDate = 253402300799

// date reads a NumericDate (RFC 7519 section 2), truncated to the second.
func (c claims) date(name string) (t time.Time, ok bool, err error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, false, nil
	}
	f, isNumber := v.(float64)
	if !isNumber || f < 0 || f > maxDate {
		return time.Time{}, false, fmt.Errorf("the token's claim %q is not a time", name)
	}
	return time.Unix(int64(math.Floor(f)), 0).UTC(), true, nil
}

// checkTimes returns when the token stops being honoured: its exp and the leeway.
func (c claims) checkTimes(now time.Time, skew time.Duration) (time.Time, error) {
	exp, ok, err := c.date("exp")
	if err != nil {
		return time.Time{}, err
	}
	if !ok {
		return time.Time{}, fmt.Errorf("the token has no expiry (exp), which is required")
	}
	end := exp.Add(skew)
	if !now.Before(end) {
		return time.Time{}, fmt.Errorf("the token expired at %s", exp.Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		from, ok, err := c.date(name)
		if err != nil {
			return time.Time{}, err
		}
		if ok && now.Add(skew).Before(from) {
			return time.Time{}, fmt.Errorf("the token is not valid before %s (%s); the gateway's clock says %s",
				from.Format(time.RFC3339), name, now.UTC().Format(time.RFC3339))
		}
	}
	return end, nil
}

// checkAudience checks aud, and azp (OpenID Connect Core 1.0 section 3.1.3.7, steps 3 to 5).
func (c claims) checkAudience(i *Issuer) error {
	aud, err := c.list("aud")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(i.Audiences, a) }) {
		return fmt.Errorf("the token's audience %s is not in %s", quoteAll(aud), quoteAll(i.Audiences))
	}
	azp, present := c["azp"]
	if !present {
		if len(i.AuthorizedParties) > 0 || i.Kind == OIDC && len(aud) > 1 {
			return fmt.Errorf("the token does not say to whom it was issued (azp), which is required here")
		}
		return nil
	}
	parties := i.AuthorizedParties
	if len(parties) == 0 {
		parties = i.Audiences
	}
	if s, ok := azp.(string); !ok || !slices.Contains(parties, s) {
		return fmt.Errorf("the token was issued to %s (azp), which is not in %s", clip(fmt.Sprint(azp)), quoteAll(parties))
	}
	return nil
}

func (c claims) checkRequired(required map[string]string) error {
	for name, want := range required {
		if !holds(c[name], want) {
			return fmt.Errorf("the token's claim %q does not have the value that is required here", name)
		}
	}
	return nil
}

func holds(v any, want string) bool {
	switch v := v.(type) {
	case string:
		return v == want
	case bool:
		return strconv.FormatBool(v) == want
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64) == want
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { s, ok := e.(string); return ok && s == want })
	}
	return false
}

// quoteAll writes names for a message, at most eight of them.
func quoteAll(names []string) string {
	var b strings.Builder
	b.WriteByte('[')
	for n, s := range names {
		if n == 8 {
			b.WriteString(" …")
			break
		}
		if n > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(clip(s))
	}
	b.WriteByte(']')
	return b.String()
}
