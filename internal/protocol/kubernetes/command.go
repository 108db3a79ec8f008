package kubernetes

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxInlinePatch is the length up to which a patch is written into the command; a longer one is the body, as with
// create -f -.
const maxInlinePatch = 2048

// command writes an operation in kubectl's words, whole and quoted for a shell. masked is the request's body as it is
// recorded; kind and name are those of the object in it.
func command(r *http.Request, k *reading, masked []byte, object map[string]any) string {
	if !k.isResource || k.isProxy {
		return rawCommand(r)
	}
	w := words{"kubectl"}
	switch {
	case k.isStream:
		w.stream(k)
	case k.Verb == "get" && k.Resource == "pods" && k.Subresource == "log" && k.Group == "":
		w.logs(k)
	case k.Verb == "get" || k.Verb == "list" || k.Verb == "watch":
		if k.Subresource != "" && !slices.Contains(kubectlSubresources, k.Subresource) {
			return rawCommand(r)
		}
		w.get(r, k)
	case k.Verb == "create" && k.Resource == "serviceaccounts" && k.Subresource == "token":
		w.token(k, object)
	case k.Verb == "delete" || k.Verb == "deletecollection":
		w.remove(k, object)
	case k.Subresource != "" && !slices.Contains(kubectlSubresources, k.Subresource) || k.Verb == "create" && k.Subresource != "":
		return rawCommand(r)
	case k.Verb == "create" || k.Verb == "update":
		w.write(k, object)
	case k.Verb == "patch":
		w.patch(k, masked, object)
	default:
		return rawCommand(r)
	}
	return w.String() + unflagged(k)
}

// kubectlSubresources are those that kubectl's --subresource takes.
var kubectlSubresources = []string{"status", "scale", "resize"}

type words []string

func (w *words) add(s ...string) { *w = append(*w, s...) }

func (w *words) flag(name, value string) {
	if value != "" {
		w.add(name, value)
	}
}

func (w *words) when(yes bool, s ...string) {
	if yes {
		w.add(s...)
	}
}

// String quotes each word. A word that begins with "# " is a comment, and is last.
func (w words) String() string {
	out := make([]string, len(w))
	for i, s := range w {
		out[i] = shellQuote(s)
	}
	return strings.Join(out, " ")
}

func (w *words) namespace(k *reading) {
	if k.Resource != "namespaces" {
		w.flag("-n", k.Namespace)
	}
}

func (w *words) stream(k *reading) {
	verb := k.Subresource
	if verb == "portforward" {
		verb = "port-forward"
	}
	w.add(verb)
	w.namespace(k)
	w.add(k.Name)
	for _, p := range k.Ports {
		w.add(strconv.FormatInt(p, 10))
	}
	if k.Exec == nil {
		return
	}
	w.flag("-c", k.Exec.Container)
	w.when(k.Exec.Stdin, "-i")
	w.when(k.Exec.TTY, "-t")
	if len(k.Exec.Command) > 0 {
		w.add("--")
		w.add(k.Exec.Command...)
	}
}

func (w *words) logs(k *reading) {
	w.add("logs")
	w.namespace(k)
	w.add(k.Name)
	w.flag("-c", k.query.Get("container"))
	for _, f := range [][2]string{{"follow", "-f"}, {"previous", "--previous"}, {"timestamps", "--timestamps"}} {
		w.when(queryTrue(k.query, f[0]), f[1])
	}
	for _, f := range [][2]string{{"sinceSeconds", "--since"}, {"sinceTime", "--since-time"}, {"tailLines", "--tail"}, {"limitBytes", "--limit-bytes"}} {
		if v := k.query.Get(f[0]); v != "" {
			if f[0] == "sinceSeconds" {
				v += "s"
			}
			w.add(f[1] + "=" + v)
		}
	}
}

func (w *words) get(r *http.Request, k *reading) {
	w.add("get", resourceWord(k, false))
	w.namespace(k)
	named := k.Name != "" && k.Verb == "get"
	w.when(k.Namespace == "" && !named && !clusterScoped[k.Resource], "-A")
	w.when(named, k.Name)
	w.selectors(k)
	w.subresource(k)
	w.when(k.Verb == "watch", "--watch")
	w.when(!strings.Contains(r.Header.Get("Accept"), "as=Table"), "-o", "json")
}

func (w *words) selectors(k *reading) {
	w.flag("-l", k.LabelSelector)
	w.flag("--field-selector", k.FieldSelector)
}

func (w *words) subresource(k *reading) {
	w.when(k.Subresource != "", "--subresource="+k.Subresource)
}

func (w *words) write(k *reading, object map[string]any) {
	w.add(map[string]string{"create": "create", "update": "replace"}[k.Verb])
	w.namespace(k)
	w.subresource(k)
	w.dryRun(k)
	w.add("-f", "-", comment(k, object))
}

func (w *words) patch(k *reading, masked []byte, object map[string]any) {
	if k.PatchType == "apply" {
		w.add("apply", "--server-side")
		w.namespace(k)
		w.subresource(k)
		w.when(k.FieldManager != "", "--field-manager="+k.FieldManager)
		w.when(queryTrue(k.query, "force"), "--force-conflicts")
		w.dryRun(k)
		w.add("-f", "-", comment(k, object))
		return
	}
	w.add("patch", resourceWord(k, true))
	w.namespace(k)
	w.add(k.Name)
	w.subresource(k)
	w.when(k.PatchType != "", "--type="+k.PatchType)
	w.dryRun(k)
	if len(masked) <= maxInlinePatch {
		w.add("-p", string(masked))
	} else {
		w.add("--patch-file=/dev/stdin")
	}
}

func (w *words) remove(k *reading, options map[string]any) {
	w.add("delete", resourceWord(k, k.Name != ""))
	w.namespace(k)
	if k.Name != "" {
		w.add(k.Name)
		w.subresource(k)
	} else {
		w.selectors(k)
		w.when(k.LabelSelector == "" && k.FieldSelector == "", "--all")
		w.when(k.Namespace == "" && !clusterScoped[k.Resource], "-A")
	}
	grace := k.query.Get("gracePeriodSeconds")
	policy := k.query.Get("propagationPolicy")
	if options != nil { // the API server reads the query only where there is no body
		grace, policy = "", ""
		if n, ok := options["gracePeriodSeconds"]; ok {
			grace = fmt.Sprint(n)
		}
		policy, _ = options["propagationPolicy"].(string)
	}
	w.when(grace != "", "--grace-period="+grace)
	w.when(policy != "" && policy != "Background", "--cascade="+strings.ToLower(policy)) // Background is kubectl's default
	w.dryRun(k)
}

func (w *words) token(k *reading, object map[string]any) {
	w.add("create", "token")
	w.namespace(k)
	w.add(k.Name)
	spec, _ := object["spec"].(map[string]any)
	audiences, _ := spec["audiences"].([]any)
	for _, a := range audiences {
		w.add("--audience=" + fmt.Sprint(a))
	}
	if n, ok := spec["expirationSeconds"]; ok && n != nil {
		w.add(fmt.Sprintf("--duration=%vs", n))
	}
	if ref, ok := spec["boundObjectRef"].(map[string]any); ok {
		for _, f := range [][2]string{{"kind", "--bound-object-kind="}, {"name", "--bound-object-name="}, {"uid", "--bound-object-uid="}} {
			if v, ok := ref[f[0]].(string); ok && v != "" {
				w.add(f[1] + v)
			}
		}
	}
	w.dryRun(k)
}

func (w *words) dryRun(k *reading) { w.when(k.DryRun, "--dry-run=server") }

// comment says which object a body holds.
func comment(k *reading, object map[string]any) string {
	kind, _ := object["kind"].(string)
	if kind == "" {
		kind = resourceWord(k, false)
	}
	meta, _ := object["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if k.Name != "" {
		name = k.Name
	}
	if generate, _ := meta["generateName"].(string); name == "" && generate != "" {
		name = generate + "*"
	}
	if k.Namespace != "" && k.Resource != "namespaces" {
		name = k.Namespace + "/" + name
	}
	return strings.TrimSuffix("# "+kind+" "+name, " ")
}

// rawCommand is kubectl's way to send any path. It has none for methods but four.
func rawCommand(r *http.Request) string {
	uri := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		uri += "?" + r.URL.RawQuery
	}
	switch r.Method {
	case http.MethodGet:
		return words{"kubectl", "get", "--raw", uri}.String()
	case http.MethodPost:
		return words{"kubectl", "create", "--raw", uri, "-f", "-"}.String()
	case http.MethodPut:
		return words{"kubectl", "replace", "--raw", uri, "-f", "-"}.String()
	case http.MethodDelete:
		return words{"kubectl", "delete", "--raw", uri}.String()
	}
	return words{"kubectl", "get", "--raw", uri, "# by method " + r.Method}.String()
}

// unflagged writes what of the query has no flag, as a comment, so that the command is whole.
func unflagged(k *reading) string {
	var left []string
	for _, name := range slices.Sorted(maps.Keys(k.query)) {
		if !slices.Contains(flagged, name) {
			left = append(left, url.Values{name: k.query[name]}.Encode())
		}
	}
	if len(left) == 0 {
		return ""
	}
	return " # ?" + strings.Join(left, "&")
}

// flagged are parameters that have become words of the command, or say only how the answer is to travel.
var flagged = []string{"labelSelector", "fieldSelector", "watch", "container", "command", "stdin", "stdout", "stderr", "tty", "ports",
	"follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "dryRun", "force", "gracePeriodSeconds",
	"propagationPolicy", "fieldManager", "fieldValidation", "limit", "continue", "timeout", "timeoutSeconds", "resourceVersion",
	"resourceVersionMatch", "allowWatchBookmarks", "sendInitialEvents", "pretty", "includeObject"}

// resourceWord names a resource as kubectl takes it, in the singular where one object is meant and its name is known.
func resourceWord(k *reading, singular bool) string {
	w := k.Resource
	if s, ok := singulars[k.Resource]; ok && singular {
		w = s
	}
	if k.Group != "" {
		w += "." + k.Group
	}
	return w
}

var singulars = map[string]string{
	"namespaces": "namespace", "pods": "pod", "secrets": "secret", "configmaps": "configmap", "services": "service",
	"nodes": "node", "events": "event", "endpoints": "endpoints", "serviceaccounts": "serviceaccount",
	"persistentvolumes": "persistentvolume", "persistentvolumeclaims": "persistentvolumeclaim", "deployments": "deployment",
	"statefulsets": "statefulset", "daemonsets": "daemonset", "replicasets": "replicaset", "jobs": "job", "cronjobs": "cronjob",
	"roles": "role", "rolebindings": "rolebinding", "clusterroles": "clusterrole", "clusterrolebindings": "clusterrolebinding",
	"ingresses": "ingress", "networkpolicies": "networkpolicy", "customresourcedefinitions": "customresourcedefinition",
}

// clusterScoped are well-known resources without a namespace: a list of them needs no -A.
var clusterScoped = map[string]bool{
	"namespaces": true, "nodes": true, "persistentvolumes": true, "clusterroles": true, "clusterrolebindings": true,
	"customresourcedefinitions": true, "storageclasses": true, "priorityclasses": true, "certificatesigningrequests": true,
	"validatingwebhookconfigurations": true, "mutatingwebhookconfigurations": true, "apiservices": true,
	"ingressclasses": true, "runtimeclasses": true, "componentstatuses": true, "csidrivers": true, "csinodes": true,
}

// queryTrue reads a boolean parameter as the API server does (runtime.Convert_Slice_string_To_bool): there and not
// "false" or "0" is true.
func queryTrue(q url.Values, name string) bool {
	vs, ok := q[name]
	if !ok {
		return false
	}
	if len(vs) == 0 {
		return true
	}
	v := strings.ToLower(vs[0])
	return v != "false" && v != "0"
}

// shellQuote quotes s for a POSIX shell; where it holds what does not print, for bash, with escapes, so that what is
// shown is all there is. A comment stays as it is, but for what does not print.
func shellQuote(s string) string {
	safe, printable := s != "", true
	for _, c := range s {
		if !unicode.IsPrint(c) {
			printable = false
		}
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./:=,@%+", c)) {
			safe = false
		}
	}
	switch {
	case strings.HasPrefix(s, "# "):
		q := strconv.Quote(s)
		return q[1 : len(q)-1]
	case safe:
		return s
	case printable:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return ansiQuote(s)
}

// ansiQuote writes bash's $'…'.
func ansiQuote(s string) string {
	var b strings.Builder
	b.WriteString("$'")
	for i, c := range s {
		switch {
		case c == unicode.ReplacementChar && s[i] != 0xEF:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteString("'")
	return b.String()
}
