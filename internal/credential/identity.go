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

// reserved begins the names and groups that each cluster gives out by itself.
const reserved = "system:"

// localised is p as an upstream is to know them. A service account of its own has the name that the cluster gave it,
// without the prefix that tells issuers apart here. Anybody else keeps their name, which must not be one that the
// upstream gives to accounts of its own, and has no pod or node there.
func localised(p access.Principal, own bool) (access.Principal, error) {
	w := p.Workload
	if own {
		if w.ServiceAccount != "" && p.Name != p.Subject {
			p.Name = p.Subject
			p.Groups = []string{reserved + "authenticated", reserved + "serviceaccounts", reserved + "serviceaccounts:" + w.Namespace}
		}
		return p, nil
	}
	for _, name := range append([]string{p.Name}, p.Groups...) {
		if strings.HasPrefix(name, reserved) && name != reserved+"authenticated" {
			why := access.Refuse(access.CodeDenied, nil, "%s of issuer %s is an account of another cluster, and would be taken for this one's own", p.Name, p.Issuer)
			why.Advice = "Ask the gateway's operator: the issuer needs prefixes for its names and groups, or the target has to list it under accounts."
			return p, why
		}
	}
	p.Workload = access.Workload{}
	return p, nil
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
