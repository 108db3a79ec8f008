package attribution

import (
	"errors"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatebook/internal/access"
)

// kubectlVerbs are the API verbs that each kubectl command uses; * is any.
var kubectlVerbs = map[string]string{
	"get": "get list watch", "describe": "get list", "delete": "get list watch delete deletecollection", "apply": "get list create patch update delete", "create": "get create",
	"edit": "get list patch", "patch": "get patch", "replace": "get list watch create update delete", "scale": "get list watch patch update", "label": "get list patch", "annotate": "get list patch",
	"set": "get list patch", "rollout": "get list watch patch update", "expose": "get create", "run": "get list watch create delete", "autoscale": "get create", "exec": "get list create",
	"attach": "get list create", "cp": "get list create", "port-forward": "get list create", "logs": "get list watch", "top": "get list", "drain": "get list create patch delete watch",
	"cordon": "get list patch", "uncordon": "get list patch", "taint": "get list patch", "wait": "get list watch", "auth": "get list create patch update", "debug": "get list watch create patch",
	"events": "get list watch", "diff": "get list create patch", "cluster-info": "get list", "certificate": "get patch update", "proxy": "*",
	"api-resources": "", "api-versions": "", "version": "", "explain": "",
}

// kubectlOn are the resources that a kubectl command uses whatever its words are, beside those that these name.
var kubectlOn = map[string]string{
	"exec": "pods pods/exec", "attach": "pods pods/attach", "cp": "pods pods/exec", "port-forward": "pods pods/portforward services", "debug": "pods pods/ephemeralcontainers pods/attach pods/log nodes",
	"logs": "pods pods/log", "top": "pods nodes", "drain": "nodes pods pods/eviction daemonsets", "cordon": "nodes", "uncordon": "nodes", "taint": "nodes", "events": "events",
	"auth": "selfsubjectaccessreviews selfsubjectrulesreviews selfsubjectreviews", "run": "pods pods/attach pods/log services",
	"certificate": "certificatesigningrequests certificatesigningrequests/approval", "autoscale": "horizontalpodautoscalers", "expose": "services", "cluster-info": "services",
}

// kubectlLocal are kubectl commands that ask no server.
var kubectlLocal = []string{"config", "kustomize", "completion", "help", "options", "plugin"}

// kubectlValued are kubectl's options that take the next word.
var kubectlValued = strings.Fields(`-n --namespace -l --selector -f --filename -o --output -c --container --context --cluster --user --kubeconfig -s --server --token --as --as-group
	--as-uid --certificate-authority --client-key --client-certificate --cache-dir --request-timeout -v --v -p --patch --type --field-selector --field-manager --from-literal
	--from-file --from-env-file --image --replicas --timeout --for --grace-period --since --since-time --tail --sort-by -L --label-columns -k --kustomize --template --to-revision
	--revision --resource-version --current-replicas --port --target-port --name --env --overrides --restart --min --max --cpu-percent --subresource --patch-file --cascade
	--chunk-size --audience --duration --clusterrole --role --serviceaccount --verb --resource --resource-name --target --profile --custom --pod-selector --tls-server-name --raw
	--schedule --class --rule --docker-server --docker-username --docker-password --docker-email --cert --key --hard --scopes --value --description --tcp --external-name --address`)

// kubectl is a kubectl command line, read.
type kubectl struct {
	verb      string
	namespace string
	context   string
	raw       string
	// all says that it goes over all namespaces.
	all bool
	// args are the words behind the verb that are no options, up to --.
	args []word
	// from says that objects come from files or standard input, and objects which, as far as that is known. whole says that
	// these are all.
	from, whole bool
	objects     []object
	// unsure says that a word was not known, which could be anything.
	unsure bool
}

// object is one that a manifest names.
type object struct {
	Kind     string `yaml:"kind"`
	Metadata struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
	Items []object `yaml:"items"`
}

func (st *shell) newKubectl(c *command) *kubectl {
	k := &kubectl{whole: true}
	for args := c.words[1:]; len(args) > 0; args = args[1:] {
		w := args[0]
		name, value, given := strings.Cut(w.text, "=")
		switch {
		case !w.known && !strings.HasPrefix(w.text, "--"): // what begins it may be what is not known
			k.unsure = true
			k.args = append(k.args, w)
		case w.text == "--":
			return k
		case len(w.text) > 1 && w.text[0] == '-':
			v := word{value, w.known}
			if !given && slices.Contains(kubectlValued, name) && len(args) > 1 {
				args = args[1:]
				v = args[0]
			} else if !given && len(name) > 2 && name[1] != '-' { // -nteam-a
				name, v.text = name[:2], name[2:]
			}
			st.kubectlOption(k, c, name, v)
		case k.verb == "" && !k.unsure:
			k.verb = w.text
		default:
			k.args = append(k.args, w)
		}
	}
	return k
}

func (st *shell) kubectlOption(k *kubectl, c *command, name string, v word) {
	switch name {
	case "-n", "--namespace":
		k.namespace = v.text
		if !v.known {
			k.namespace, k.unsure = "", true
		}
	case "--context":
		if v.known {
			k.context = v.text
		}
	case "--raw":
		k.raw = v.text
	case "-A", "--all-namespaces":
		k.all = true
	case "-k", "--kustomize":
		k.from, k.whole = true, false
	case "-f", "--filename":
		k.from = true
		text := c.stdin
		if v.text != "-" {
			text = st.read(v)
		}
		k.manifest(text)
	}
}

// manifest reads the objects of a manifest.
func (k *kubectl) manifest(text word) {
	k.whole = k.whole && text.known
	d := yaml.NewDecoder(strings.NewReader(text.text))
	for range maxCommands {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			break
		}
		if o.Kind != "" && !strings.HasSuffix(o.Kind, "List") {
			k.objects = append(k.objects, o)
		}
		k.objects = append(k.objects, o.Items...)
	}
	k.whole = false
}

// fit holds a kubectl command against an operation: verb, namespace, resource and names.
func (k *kubectl) fit(s *subject) fit {
	o := s.op.Kubernetes
	if o == nil || slices.Contains(kubectlLocal, k.verb) {
		return cannot
	}
	f := k.on(o)
	if f == fits && k.context != "" && k.context != s.op.Target.Name { // contexts may have names of their own
		return may
	}
	return f
}

func (k *kubectl) on(o *access.Kubernetes) fit {
	verbs, known := kubectlVerbs[k.verb]
	switch {
	case k.verb == "" || !known: // a plugin, or not known
		return may
	case o.Resource == "":
		return k.path(o)
	case k.raw != "":
		return max(may, when(k.rawOn(o), fits))
	case verbs != "*" && !slices.Contains(strings.Fields(verbs), o.Verb):
		return cannot
	case !k.inNamespace(o):
		return cannot
	case verbs == "*":
		return fits
	}
	return k.names(o)
}

// path is for requests that are not for a resource: what the API offers, which every command may ask, and others.
func (k *kubectl) path(o *access.Kubernetes) fit {
	switch p, _, _ := strings.Cut(k.raw, "?"); {
	case k.raw != "" && (o.Path == "" || p == o.Path):
		return fits
	case k.raw != "":
		return when(discovers(o.Path), may)
	}
	return when(discovers(o.Path) || k.verb == "proxy", fits)
}

// rawOn reports whether a path that is written is of what the operation is on.
func (k *kubectl) rawOn(o *access.Kubernetes) bool {
	parts := []string{o.Resource, o.Name, o.Subresource}
	if o.Namespace != "" && o.Resource != "namespaces" {
		parts = append([]string{"namespaces", o.Namespace}, parts...)
	}
	path, _, _ := strings.Cut(k.raw, "?")
	return strings.Contains(path+"/", "/"+strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "/")+"/")
}

func discovers(path string) bool {
	return path == "" || path == "/version" || slices.ContainsFunc([]string{"/api", "/apis", "/openapi"}, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

func (k *kubectl) inNamespace(o *access.Kubernetes) bool {
	switch {
	case k.all:
		return o.Namespace == "" || k.verb != "get" || o.Verb == "get"
	case k.namespace == "" || o.Namespace == k.namespace:
		return true
	case o.Namespace == "": // of the cluster, or over all namespaces, which is not asked for
		return !namespaced[o.Resource] || o.Group != "" && o.Group != "apps" && o.Group != "batch"
	}
	return o.Resource == "services" && k.verb == "cluster-info"
}

// namespaced are the usual resources that are in namespaces.
var namespaced = map[string]bool{"pods": true, "services": true, "configmaps": true, "secrets": true, "serviceaccounts": true, "events": true, "endpoints": true,
	"persistentvolumeclaims": true, "replicationcontrollers": true, "deployments": true, "statefulsets": true, "daemonsets": true, "replicasets": true, "jobs": true, "cronjobs": true}

// reads reports whether an operation only reads.
func reads(o *access.Kubernetes) bool {
	return o.Verb == "get" || o.Verb == "list" || o.Verb == "watch"
}

// names compares the resources and names that are written with those of the operation.
func (k *kubectl) names(o *access.Kubernetes) fit {
	if kubectlVerbs[k.verb] == "" {
		return cannot
	}
	if on, fixed := kubectlOn[k.verb]; fixed {
		return k.fixed(o, strings.Fields(on))
	}
	switch {
	case k.from:
		return k.manifests(o)
	case k.unsure || len(k.args) == 0:
		return fits // which objects is decided when it runs
	}
	args := k.args
	switch k.verb {
	case "rollout", "set": // a word of its own comes first
		args = args[1:]
	case "create":
		return k.creates(o)
	case "describe": // looks around what it describes
		if f := targets(args, o); f != cannot || o.Resource != "events" {
			return max(f, may)
		}
		return fits
	}
	f := targets(args, o)
	if f == cannot && reads(o) && (k.verb == "scale" || k.verb == "rollout") && slices.Contains([]string{"replicasets", "controllerrevisions", "pods"}, o.Resource) {
		return may
	}
	return f
}

// fixed is for commands that say by themselves what kind of thing they are for.
func (k *kubectl) fixed(o *access.Kubernetes, on []string) fit {
	resource := o.Resource
	if o.Subresource != "" {
		resource += "/" + o.Subresource
	}
	switch {
	case k.verb == "auth" && len(k.args) > 0 && k.args[0].text == "reconcile":
		return k.manifests(o)
	case k.verb == "cluster-info" && len(k.args) > 0 && k.args[0].text == "dump":
		return when(reads(o), fits)
	case !slices.Contains(on, resource): // deployment/x, whose pods are looked for
		return when(reads(o) && len(k.args) > 0 && (k.unsure || targets(k.args[:1], o) != cannot || k.verb == "expose" || k.verb == "autoscale"), fits)
	case o.Resource == "nodes" && o.Name != "" && k.verb != "top" && k.verb != "debug", o.Resource == "pods" && k.verb == "run" && o.Name != "":
		return when(k.unsure || len(k.args) == 0 || slices.ContainsFunc(k.args, func(w word) bool { return strings.TrimPrefix(w.text, "node/") == o.Name }), fits)
	case o.Resource == "pods" && o.Name != "" && k.verb != "drain" && k.verb != "top" && k.verb != "debug":
		return k.pod(o)
	}
	return fits
}

// pod is whether the command names this pod; through deployments and the like it may be any.
func (k *kubectl) pod(o *access.Kubernetes) fit {
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
	return when(name == o.Name, fits)
}

// creates compares what `kubectl create KIND [TYPE] NAME` is to make.
func (k *kubectl) creates(o *access.Kubernetes) fit {
	kind := k.args[0].text
	switch {
	case kind == "token":
		return when(o.Resource == "serviceaccounts" && slices.ContainsFunc(k.args[1:], func(w word) bool { return w.text == o.Name }), fits)
	case reads(o):
		return when(o.Verb == "get", may) // --from
	case !sameResource(kind, o):
		return cannot
	}
	return when(o.Name == "" || len(k.args) < 2 || k.args[len(k.args)-1].text == o.Name, fits)
}

// manifests compares the objects that come from files.
func (k *kubectl) manifests(o *access.Kubernetes) fit {
	if o.Subresource != "" && o.Subresource != "status" && o.Subresource != "scale" {
		return cannot
	}
	if len(k.objects) == 0 {
		return fits // which objects is decided when it runs
	}
	for _, x := range k.objects {
		if sameResource(x.Kind, o) && (o.Name == "" || x.Metadata.Name == "" || o.Name == x.Metadata.Name) &&
			(o.Namespace == "" || x.Metadata.Namespace == "" || o.Namespace == x.Metadata.Namespace) {
			return fits
		}
	}
	return when(!k.whole || reads(o), may)
}

// targets compares the words TYPE NAME …, TYPE[,TYPE] or TYPE/NAME ….
func targets(args []word, o *access.Kubernetes) fit {
	if len(args) == 0 {
		return fits
	}
	first := args[0].text
	if strings.Contains(first, "/") {
		for _, a := range args {
			kind, name, _ := strings.Cut(a.text, "/")
			if sameResource(kind, o) && (o.Name == "" || o.Name == name) {
				return fits
			}
		}
		return cannot
	}
	if !slices.ContainsFunc(strings.Split(first, ","), func(kind string) bool { return kind == "all" && ofAll[o.Resource] || sameResource(kind, o) }) {
		return cannot
	}
	if o.Name == "" || len(args) == 1 {
		return fits
	}
	return when(slices.ContainsFunc(args[1:], func(a word) bool { return a.text == o.Name || strings.ContainsAny(a.text, "=") }), fits)
}

// ofAll are the resources of kubectl's category all.
var ofAll = map[string]bool{"pods": true, "services": true, "replicationcontrollers": true, "deployments": true, "statefulsets": true, "daemonsets": true, "replicasets": true,
	"jobs": true, "cronjobs": true, "horizontalpodautoscalers": true}

// shortNames are kubectl's own for the built-in resources.
var shortNames = map[string]string{"po": "pods", "deploy": "deployments", "ns": "namespaces", "cm": "configmaps", "svc": "services", "sa": "serviceaccounts", "ds": "daemonsets",
	"sts": "statefulsets", "rs": "replicasets", "rc": "replicationcontrollers", "no": "nodes", "ev": "events", "ing": "ingresses", "pv": "persistentvolumes",
	"pvc": "persistentvolumeclaims", "netpol": "networkpolicies", "hpa": "horizontalpodautoscalers", "cj": "cronjobs", "crd": "customresourcedefinitions",
	"crds": "customresourcedefinitions", "csr": "certificatesigningrequests", "sc": "storageclasses", "ep": "endpoints", "quota": "resourcequotas", "limits": "limitranges",
	"pdb": "poddisruptionbudgets", "pc": "priorityclasses", "cs": "componentstatuses"}

// sameResource compares a resource as people write it (po, pod, Pods, deployments.apps) with the API's.
func sameResource(written string, o *access.Kubernetes) bool {
	name, group, qualified := strings.Cut(strings.ToLower(written), ".")
	if qualified && o.Group != "" && !strings.HasSuffix(group, o.Group) || qualified && o.Group == "" && group != "v1" {
		return false
	}
	if full, ok := shortNames[name]; ok {
		name = full
	}
	r := o.Resource
	return name == r || name+"s" == r || name+"es" == r || strings.HasSuffix(name, "y") && strings.TrimSuffix(name, "y")+"ies" == r || o.Kind != "" && strings.EqualFold(name, o.Kind)
}

// when is f where that is so, and excludes otherwise.
func when(so bool, f fit) fit {
	if so {
		return f
	}
	return cannot
}
