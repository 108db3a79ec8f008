package credential

import (
	"net/http"
	"strings"
)

// teaches reports whether r reads one pod or one Secret: all that a permit to act as the gateway itself is good for. Its
// answer is not the client's; it tells the masker which values are secret.
func teaches(r *http.Request) bool {
	parts := strings.Split(r.URL.EscapedPath(), "/")
	if r.Method != http.MethodGet || r.URL.RawQuery != "" || isUpgrade(r) || len(parts) != 7 {
		return false
	}
	ns, resource, name := parts[4], parts[5], parts[6]
	return strings.Join(parts[:4], "/") == "/api/v1/namespaces" && plainName(ns) && plainName(name) &&
		(resource == "pods" || resource == "secrets")
}

// plainName reports whether s is a name as the API server gives them (RFC 1123): no step up, and nothing escaped.
func plainName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && s != "." && s != ".."
}
