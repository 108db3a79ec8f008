package model

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/wire/httpheader"
)

// credentials are the headers that some provider takes a key from. Each may bring the gateway's token, none anything
// else, and none is forwarded.
var credentials = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

type carrierKey struct{}

// Token gives the token, wherever a client of some provider puts its key, and takes it off the request. Clients may show
// it twice, as Claude Code does with a helper; two that differ are none.
func (h *Handler) Token(r *http.Request) string {
	var found []string
	for _, name := range credentials {
		for _, v := range r.Header.Values(name) {
			if name == "Authorization" {
				scheme, token, _ := strings.Cut(v, " ")
				if v = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") {
					v = ""
				}
			}
			found = append(found, v)
		}
		r.Header.Del(name)
	}
	switch why := judge(found); {
	case why != "":
		*r = *r.WithContext(context.WithValue(r.Context(), carrierKey{}, why))
		return ""
	case len(found) == 0:
		return ""
	}
	return found[0]
}

// judge says what is wrong with the credentials that a request shows; empty: nothing, as far as can be seen here.
func judge(found []string) string {
	for _, v := range found {
		switch {
		case v != found[0]:
			return "the request shows two credentials that differ"
		case v == "":
			return "the request shows a credential that is no token"
		case foreign(v):
			return "the request shows a provider's own key, which is not taken here"
		}
	}
	return ""
}

// foreign reports whether a credential is a provider's. It only makes the answer clearer: what is no token of a known
// issuer is refused in any case.
func foreign(v string) bool {
	for _, prefix := range []string{"sk-", "sk_", "AIza", "gsk_", "xai-"} {
		if strings.HasPrefix(v, prefix) {
			return true
		}
	}
	return false
}

// shown is what Token found wrong; empty where it found nothing.
func shown(r *http.Request) string {
	why, _ := r.Context().Value(carrierKey{}).(string)
	return why
}

// credentialName is that of a header, or of a parameter, from which some provider or proxy takes a key.
var credentialName = regexp.MustCompile(`(?i)(^|-)(api-?key|(access|auth|subscription)-key|token|auth|authorization|authentication|secret|password|credentials?)$`)

func namesCredential(name string) bool { return credentialName.MatchString(plainName(name)) }

// foreignKey finds what a request shows beside its token where some provider takes a key from: in another header, or in
// the query. what is the key.
func foreignKey(r *http.Request) (what string, why *access.Refusal) {
	taken := slices.Concat(httpheader.Connection, claimHeaders)
	for name, values := range r.Header {
		for _, v := range values {
			if !slices.Contains(taken, name) && (namesCredential(name) || hasForeign(v)) {
				return v, beside("the header " + name)
			}
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", access.Refuse(access.CodeMalformed, err, "the query could be read in two ways")
	}
	for name, values := range query {
		for _, v := range values {
			if namesCredential(name) || strings.EqualFold(name, "key") || hasForeign(v) {
				return v, beside("the query's parameter " + name)
			}
		}
	}
	return "", nil
}

func beside(where string) *access.Refusal {
	return access.Refuse(access.CodeUnauthenticated, nil, "the request shows a credential beside its token, in %s", where)
}

// hasForeign reports whether a provider's key stands in a value.
func hasForeign(v string) bool {
	const shortest = 20
	parts := strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" \t=:;,\"'", r) })
	return slices.ContainsFunc(parts, func(s string) bool { return len(s) >= shortest && foreign(s) })
}
