package attribution

import (
	"slices"
	"strings"

	"gatebook/internal/access"
)

// kubectlVerbs are the API verbs that each kubectl command uses; * is any.
var kubectlVerbs = map[string]string{
	"get": "get list watch", "describe": "get list", "delete": "get list watch delete deletecollection", "apply": "get list create patch update delete", "create": "get create",
	"edit": "get list patch", "patch": "get patch", "replace": "get list watch create update delete", "scale": "get list watch patch update", "label": "get list patch", "annotate": "get list patch",
	"set": "get list patch", "rollout": "get list watch patch update", "expose": "get create", "run": "get list watch create delete", "autoscale": "get create", "exec": "get list create",
	"attach": "get list create", "cp": "get list create", "port-forward": "get list create", "logs": "get list watch", "top": "get list", "drain": "get list create patch delete watch",
	"cordon": "get list patch", "uncordon": "get list patch", "taint": "get list patch", "wait": "get list watch", "auth": "get list create patch update", "debug": "get list watch create patch",
	"events": "get list watch", "diff": "get list create patch", "api-resources": "get", "api-versions": "get", "version": "get", "cluster-info": "get list", "explain": "get",
	"certificate": "get patch update", "proxy": "*", "kubectl": "get",
}

// kubectlLocal are kubectl commands that ask no server.
var kubectlLocal = []string{"config", "kustomize", "completion", "help", "options", "plugin"}

// kubectlValued are kubectl's options that take the next word.
var kubectlValued = strings.Fields(`-n --namespace -l --selector -f --filename -o --output -c --container --context --cluster --user --kubeconfig -s --server --token --as --as-group
	--as-uid --certificate-authority --client-key --client-certificate --cache-dir --request-timeout -v --v -p --patch --type --field-selector --field-manager --from-literal
	--from-file --from-env-file --image --replicas --timeout --for --grace-period --since --since-time --tail --sort-by -L --label-columns -k --kustomize --template --to-revision
	--revision --resource-version --current-replicas --port --target-port --name --env --overrides --restart --min --max --cpu-percent --subresource --patch-file --cascade
	--chunk-size --dry-run --audience --duration --clusterrole --role --serviceaccount --verb --resource --resource-name --target --profile --custom --pod-selector --tls-server-name`)

// kubectlCall is a kubectl command line, read.
type kubectlCall struct {
	verb      string
	namespace string
	// all says that it goes over all namespaces.
	all bool
	// args are the words behind the verb that are no options, up to --.
	args []word
	// files says that objects come from files or standard input.
	files bool
	// unsure says that a word was not known, which could be anything.
	unsure bool
}

func readKubectl(c command) kubectlCall {
	var k kubectlCall
	for args := c.words[1:]; len(args) > 0; args = args[1:] {
		w := args[0]
		name, value, given := strings.Cut(w.text, "=")
		switch {
		case !w.known && !strings.HasPrefix(w.text, "-"):
			k.unsure = true
			k.args = append(k.args, w)
		case w.text == "--":
			return k
		case strings.HasPrefix(w.text, "-"):
			if !given && slices.Contains(kubectlValued, name) && len(args) > 1 {
				args = args[1:]
				value = args[0].text
				w.known = args[0].known
			} else if !given && len(name) > 2 && name[1] != '-' { // -nteam-a
				name, value = name[:2], name[2:]
			}
			k.option(name, value, w.known)
		case k.verb == "":
			k.verb = w.text
		default:
			k.args = append(k.args, w)
		}
	}
	return k
}

func (k *kubectlCall) option(name, value string, known bool) {
	switch name {
	case "-n", "--namespace":
		k.namespace = value
		if !known {
			k.namespace, k.unsure = "", true
		}
	case "-A", "--all-namespaces":
		k.all = true
	case "-f", "--filename", "-k", "--kustomize":
		k.files = true
	}
}

// kubectlFit holds a kubectl command against an operation: first what kubectl itself says that it runs, then verb,
// namespace, resource and names.
func kubectlFit(c command, op *access.Operation) fit {
	o := op.Kubernetes
	if o == nil {
		return cannot
	}
	k := readKubectl(c)
	if slices.Contains(kubectlLocal, k.verb) {
		return cannot
	}
	if as := strings.Fields(op.Client.InvokedAs); len(as) > 1 && as[0] == "kubectl" && k.verb != "" && as[1] != k.verb {
		return cannot
	}
	verbs, known := kubectlVerbs[k.verb]
	switch {
	case k.verb == "" || !known: // a plugin, or not known
		return may
	case o.Resource == "": // what the API offers
		return fits
	case verbs != "*" && !slices.Contains(strings.Fields(verbs), o.Verb):
		return cannot
	case k.namespace != "" && !k.all && o.Namespace != "" && o.Namespace != k.namespace:
		return cannot
	}
	return k.names(o)
}

// names compares the resources and names that are written with those of the operation.
func (k kubectlCall) names(o *access.Kubernetes) fit {
	reads := o.Verb == "get" || o.Verb == "list" || o.Verb == "watch"
	switch k.verb {
	case "exec", "attach", "logs", "port-forward", "cp", "debug", "top", "drain", "cordon", "uncordon", "taint", "events", "proxy", "auth", "run", "expose", "certificate", "cluster-info":
		if o.Verb == "create" && (o.Subresource == "exec" || o.Subresource == "attach" || o.Subresource == "portforward") {
			return k.pod(o)
		}
		return fits
	}
	if k.files || k.unsure || len(k.args) == 0 || k.verb == "describe" && reads {
		return fits // which objects is decided when it runs
	}
	if k.verb == "rollout" || k.verb == "set" || k.verb == "create" { // a word of its own comes first
		if k.verb == "create" {
			return only(reads || sameResource(k.args[0].text, o), fits)
		}
		k.args = k.args[1:]
	}
	return k.targets(o, reads)
}

// pod is whether the command names this pod; through deployments and the like it may be any.
func (k kubectlCall) pod(o *access.Kubernetes) fit {
	if k.unsure || len(k.args) == 0 {
		return fits
	}
	name := k.args[0].text
	if k.verb == "cp" {
		for _, a := range k.args {
			if pod, _, ok := strings.Cut(a.text, ":"); ok {
				name = pod[strings.LastIndexByte(pod, '/')+1:]
			}
		}
	}
	kind, rest, ok := strings.Cut(name, "/")
	switch {
	case ok && !slices.Contains([]string{"pod", "pods", "po"}, kind):
		return fits
	case ok:
		name = rest
	}
	return only(name == o.Name, fits)
}

func (k kubectlCall) targets(o *access.Kubernetes, reads bool) fit {
	if len(k.args) == 0 {
		return fits
	}
	first := k.args[0].text
	if strings.Contains(first, "/") { // TYPE/NAME …
		for _, a := range k.args {
			kind, name, _ := strings.Cut(a.text, "/")
			if sameResource(kind, o) && (o.Name == "" || o.Name == name) {
				return fits
			}
		}
		return cannot
	}
	if !slices.ContainsFunc(strings.Split(first, ","), func(kind string) bool { return kind == "all" || sameResource(kind, o) }) {
		return only(k.verb == "scale" && reads, may)
	}
	if o.Name == "" || len(k.args) == 1 {
		return fits
	}
	return only(slices.ContainsFunc(k.args[1:], func(a word) bool { return a.text == o.Name }), fits)
}

// shortNames are kubectl's own for the built-in resources.
var shortNames = map[string]string{"po": "pods", "deploy": "deployments", "ns": "namespaces", "cm": "configmaps", "svc": "services", "sa": "serviceaccounts", "ds": "daemonsets",
	"sts": "statefulsets", "rs": "replicasets", "rc": "replicationcontrollers", "no": "nodes", "ev": "events", "ing": "ingresses", "pv": "persistentvolumes",
	"pvc": "persistentvolumeclaims", "netpol": "networkpolicies", "hpa": "horizontalpodautoscalers", "cj": "cronjobs", "crd": "customresourcedefinitions",
	"crds": "customresourcedefinitions", "csr": "certificatesigningrequests", "sc": "storageclasses", "ep": "endpoints", "quota": "resourcequotas", "limits": "limitranges",
	"pdb": "poddisruptionbudgets", "pc": "priorityclasses", "cs": "componentstatuses"}

// sameResource compares a resource as people write it (po, pod, Pods, deployments.apps) with the API's.
func sameResource(written string, o *access.Kubernetes) bool {
	name, group, qualified := strings.Cut(strings.ToLower(written), ".")
	if qualified && o.Group != "" && !strings.HasSuffix(group, o.Group) {
		return false
	}
	if full, ok := shortNames[name]; ok {
		name = full
	}
	r := o.Resource
	return name == r || name+"s" == r || name+"es" == r || strings.HasSuffix(name, "y") && strings.TrimSuffix(name, "y")+"ies" == r || strings.EqualFold(name, o.Kind)
}
