package model

import (
	"context"
	"net/http"
	"strings"
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
