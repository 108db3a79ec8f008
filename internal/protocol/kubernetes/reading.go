package kubernetes

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"gatebook/internal/access"
)

// reading is one request as the API server reads it.
type reading struct {
	access.Kubernetes
	// isResource says that the path names a resource; otherwise Path is set.
	isResource bool
	// isStream says that the operation is an exec, attach or port-forward of a pod.
	isStream bool
	// isProxy says that what answers is not the API server, but a pod, service or kubelet behind it.
	isProxy bool
	query   url.Values
}

// apiServer reads paths, configured as the API server configures it (DefaultLegacyAPIPrefix and APIGroupPrefix of
// k8s.io/apiserver/pkg/server).
var apiServer = request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

// readRequest reads method, path and query. What it gives beside a refusal is as much as could be read.
func readRequest(r *http.Request) (*reading, *access.Refusal) {
	k := &reading{}
	k.Path = r.URL.Path
	k.Verb = strings.ToLower(r.Method)
	if !slices.Contains(methods, r.Method) {
		return k, malformed("HTTP method %q is not one that the API server knows", r.Method)
	}
	if why := checkPath(r.URL); why != nil {
		return k, why
	}
	var why *access.Refusal
	if k.query, why = parseQuery(r.URL); why != nil {
		return k, why
	}
	info, err := apiServer.NewRequestInfo(r)
	if err != nil {
		return k, malformed("the path names no resource: %v", err)
	}
	if !info.IsResourceRequest {
		return k, nil
	}
	return k, k.resource(r, info)
}

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// resource takes over what RequestInfo read, and names verbs as policy does: exec, attach and port-forward create
// whatever the method; proxying is proxy.
func (k *reading) resource(r *http.Request, info *request.RequestInfo) *access.Refusal {
	k.isResource, k.Path = true, ""
	k.Verb, k.Group, k.Version = info.Verb, info.APIGroup, info.APIVersion
	k.Resource, k.Subresource, k.Namespace, k.Name = info.Resource, info.Subresource, info.Namespace, info.Name
	k.FieldSelector, k.LabelSelector = info.FieldSelector, info.LabelSelector
	k.FieldManager = k.query.Get("fieldManager")
	switch {
	case k.Verb == "proxy": // the legacy path /api/v1/proxy/…
		k.isProxy = true
		k.proxied(r, info.Parts[min(2, len(info.Parts)):])
	case k.Group == "" && k.Subresource == "proxy" && slices.Contains([]string{"pods", "services", "nodes"}, k.Resource):
		k.Verb, k.isProxy = "proxy", true
		k.proxied(r, info.Parts[3:])
	case k.Verb == "watch" && r.Method != http.MethodGet:
		return malformed("a path below /watch/ is for GET alone, not %s", r.Method)
	case k.Verb == "":
		return malformed("HTTP method %s means nothing on a resource", r.Method)
	case k.Group == "" && k.Resource == "pods" && slices.Contains([]string{"exec", "attach", "portforward"}, k.Subresource):
		if r.Method == http.MethodGet || r.Method == http.MethodPost {
			k.Verb, k.isStream = "create", true
		}
	case k.Verb == "create" && k.Name != "" && k.Subresource == "":
		return malformed("POST to a named object means nothing; send it to the collection")
	}
	k.DryRun = honoursDryRun(k) && slices.Contains(k.query["dryRun"], "All")
	return nil
}

// honoursDryRun reports whether the API server reads dryRun on this kind of request. A connection ignores it.
func honoursDryRun(k *reading) bool {
	return !k.isStream && !k.isProxy && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, k.Verb)
}

// proxied reads what is behind a proxy path. A kubelet's own exec, attach, run and port-forward are decoded, since they
// run commands whatever the HTTP method is.
func (k *reading) proxied(r *http.Request, rest []string) {
	k.ProxyPath = "/" + strings.Join(rest, "/")
	if len(rest) > 0 && strings.HasSuffix(r.URL.Path, "/") {
		k.ProxyPath += "/"
	}
	if k.Resource != "nodes" || len(rest) < 3 {
		return
	}
	// Kubelet paths: /exec/{namespace}/{pod}[/{uid}]/{container}, likewise attach and run; /portForward/{namespace}/{pod}.
	container := ""
	if len(rest) > 3 {
		container = rest[len(rest)-1]
	}
	switch rest[0] {
	case "exec", "attach":
		k.Exec = &access.Exec{Container: container, Stdin: kubeletFlag(k.query, "input"), Stdout: kubeletFlag(k.query, "output"),
			Stderr: kubeletFlag(k.query, "error"), TTY: kubeletFlag(k.query, "tty")}
		if rest[0] == "exec" {
			k.Exec.Command = k.query["command"]
		}
	case "run":
		k.Exec = &access.Exec{Container: container, Stdout: true, Stderr: true, Command: strings.Split(k.query.Get("cmd"), " ")}
	case "portForward":
		for _, p := range k.query["port"] {
			if n, err := strconv.ParseInt(p, 10, 64); err == nil {
				k.Ports = append(k.Ports, n)
			}
		}
	}
}

// kubeletFlag reads a flag as the kubelet does (k8s.io/kubelet/pkg/cri/streaming/remotecommand.NewOptions).
func kubeletFlag(q url.Values, name string) bool { return q.Get(name) == "1" }

// isChange reports whether the operation is more than a read.
func (k *reading) isChange(method string) bool {
	switch k.Verb {
	case "get", "list", "watch", "head", "options":
		return false
	case "proxy":
		return k.Exec != nil || method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
	}
	return true
}

// is reports whether the request is for this resource, or one of its subresources.
func (k *reading) is(group, resource string) bool {
	return k.isResource && k.Group == group && k.Resource == resource
}
