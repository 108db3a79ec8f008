package identity

import (
	"fmt"
	"strings"

	"gatebook/internal/access"
)

const serviceAccountPrefix = "system:serviceaccount:"

// workload reads the private claims of a bound service-account token
// (KEP-1205, kubernetes.io: namespace, serviceaccount, pod, node).
func (m mapper) workload(p *access.Principal, c claims) error {
	bound, ok := c["kubernetes.io"].(map[string]any)
	if !ok {
		return fmt.Errorf("the token is not a bound service-account token (no claim kubernetes.io)")
	}
	k := claims(bound)
	w := access.Workload{Namespace: k.str("namespace")}
	w.ServiceAccount, w.ServiceAccountUID = reference(k["serviceaccount"])
	w.Pod, w.PodUID = reference(k["pod"])
	w.Node, w.NodeUID = reference(k["node"])
	for _, name := range []string{w.Namespace, w.ServiceAccount} {
		if name == "" || strings.Contains(name, ":") {
			return fmt.Errorf("the token does not name its namespace and service account")
		}
	}
	if p.Subject != serviceAccountPrefix+w.Namespace+":"+w.ServiceAccount {
		return fmt.Errorf("the token's subject %s is not the service account of its claim kubernetes.io", clip(p.Subject))
	}
	by := m.issuer.Claims
	p.Workload = w
	p.Name = by.UsernamePrefix + p.Subject
	for _, g := range []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" + w.Namespace} {
		p.Groups = append(p.Groups, by.GroupsPrefix+g)
	}
	return nil
}

func reference(v any) (name, uid string) {
	m, _ := v.(map[string]any)
	return claims(m).str("name"), claims(m).str("uid")
}
