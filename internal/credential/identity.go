package credential

import (
	"net/http"
	"net/textproto"
	"strings"

	"gatebook/internal/access"
)

// StripIdentity removes every header by which a client could speak for somebody: credentials, impersonation, and
// the request headers that an API server trusts from a front proxy.
func StripIdentity(h http.Header) {
	for name := range h {
		if isIdentity(name) {
			delete(h, name)
		}
	}
}

func isIdentity(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case "Authorization", "Proxy-Authorization", "Cookie", "X-Forwarded-User", "X-Forwarded-Email":
		return true
	}
	return strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Remote-")
}

// impersonate sets Kubernetes' impersonation headers for p. The pod and node of a bound token travel as the extra
// fields that the API server itself would set for it, so that its admission and audit see them.
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
func impersonate(h http.Header, p access.Principal) {
	h.Set("Impersonate-User", p.Name)
	for _, g := range p.Groups {
		h.Add("Impersonate-Group", g)
	}
	w := p.Workload
	if w.ServiceAccountUID != "" {
		h.Set("Impersonate-Uid", w.ServiceAccountUID)
	}
	extra := func(key, value string) {
		if value != "" {
			h.Set("Impersonate-Extra-Authentication.kubernetes.io%2f"+key, value)
		}
	}
	extra("pod-name", w.Pod)
	extra("pod-uid", w.PodUID)
	extra("node-name", w.Node)
	extra("node-uid", w.NodeUID)
}
