package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// placeholder is what a masked value looks like where base64 stands, and in clear.
const placeholder = `(Z2JtL|gbm-)`

// kubectlCommands are run in this order; a later one may need what an earlier one made.
func kubectlCommands() []try {
	var all []try
	for _, some := range [][]try{reads(), selfAndServer(), creates(), changes(), rollouts(), streams(), nodes(), rights(), deletions()} {
		all = append(all, some...)
	}
	return all
}

func reads() []try {
	return []try{
		{args: "get pods -n NS", wants: `box .*Running`, does: "as directly", byDefault: "passes"},
		{args: "get pods,deployments -A -o wide", wants: `deployment.apps/web`, does: "as directly", byDefault: "passes"},
		{args: "get deployment web -n NS -o yaml", wants: `replicas: 1`, does: "as directly", byDefault: "passes"},
		{args: "get secret db -n NS -o yaml", wants: `password: ` + placeholder, does: "values are placeholders", byDefault: "passes"},
		{args: "get secret db -n NS -o jsonpath={.data.password}", wants: placeholder, does: "a placeholder", byDefault: "passes"},
		{args: "describe secret db -n NS", wants: `password: +\d+ bytes`, does: "the length of the placeholder", byDefault: "passes"},
		{args: "describe pod box -n NS", wants: `Events:`, does: "as directly", byDefault: "passes"},
		{args: "get pods -n NS --watch", wants: `box`, probe: ended, does: "event by event", byDefault: "passes"},
		{args: "get --raw /apis/apps/v1", wants: `APIResourceList`, does: "as directly", byDefault: "passes"},
		{args: "logs job/once -n NS", wants: `done`, does: "known secrets masked", byDefault: "passes"},
		{args: "logs reader -n NS", wants: `password=` + placeholder, does: "a secret that a program printed is a placeholder", byDefault: "passes"},
		{args: "logs -f box -n NS", wants: `started`, probe: ended, does: "line by line", byDefault: "passes"},
		{args: "events -n NS", wants: `Started`, does: "as directly", byDefault: "passes"},
		{args: "wait --for=condition=Ready pod/box -n NS --timeout=20s", wants: `condition met`, does: "as directly", byDefault: "passes"},
		{args: "top pod -n NS", wants: `Metrics API not available`, code: 1, does: "as directly: without a metrics server kubectl says so", byDefault: "passes"},
		{args: "diff -f DIR/web.yaml", wants: `\+  replicas: 2`, code: 1, does: "as directly; the dry run is a change to policy", byDefault: "held: change"},
	}
}

func selfAndServer() []try {
	return []try{
		{args: "version", wants: `Server Version: v1`, does: "as directly", byDefault: "passes"},
		{args: "cluster-info", wants: `control plane`, does: "shows the gateway's address", byDefault: "passes"},
		{args: "cluster-info dump -n NS", wants: `PodList`, does: "secrets masked", byDefault: "passes"},
		{args: "api-resources", wants: `deployments`, does: "as directly", byDefault: "passes"},
		{args: "api-versions", wants: `apps/v1`, does: "as directly", byDefault: "passes"},
		{args: "explain pod.spec.containers", wants: `image`, does: "as directly", byDefault: "passes"},
		{args: "config view", wants: `REDACTED`, does: "local", byDefault: "passes"},
		{args: "kustomize DIR", name: "kustomize", wants: `name: made`, does: "local", byDefault: "passes"},
		{args: "create configmap x --from-literal=a=b --dry-run=client -o yaml", wants: `kind: ConfigMap`, does: "local", byDefault: "passes"},
		{args: "auth whoami", wants: `system:serviceaccount:NS:claude`, does: "the agent's own name", byDefault: "passes"},
		{args: "auth can-i delete pods -n NS", wants: `yes`, does: "what the cluster's RBAC says; policy may say no all the same", byDefault: "passes"},
		{args: "auth can-i --list -n NS", wants: `selfsubjectreviews`, does: "as directly", byDefault: "passes"},
		{args: "get pods -n NS --as=someone", wants: `acts as you|server rejected our request`, code: 1, does: "refused (400): the gateway passes no impersonation on (while kubectl has no cached discovery, it does not print why)", byDefault: "refused"},
		{args: "proxy --port=0", wants: `127\.0\.0\.1:\d+`, probe: fetched("/api/", "targets are below"), does: "404: kubectl leaves out the path of the gateway's URL", byDefault: "passes"},
		{args: "proxy --port=0 --append-server-path", wants: `127\.0\.0\.1:\d+`, probe: fetched("/api/v1/namespaces/default", `"Namespace"`), does: "each request is decided by itself; not needed where the target has a host name of its own", byDefault: "passes"},
	}
}

func creates() []try {
	return []try{
		{args: "apply -f DIR/more.yaml", wants: `more created`, does: "as directly", byDefault: "held: change"},
		{args: "apply --dry-run=server -f DIR/web.yaml", wants: `configured \(server dry run\)`, does: "as directly", byDefault: "held: change"},
		{args: "apply -f DIR/web.yaml", wants: `web configured`, does: "as directly", byDefault: "held: change"},
		{args: "apply --server-side --force-conflicts -f DIR/web.yaml", wants: `serverside-applied`, does: "as directly", byDefault: "held: change"},
		{args: "apply -k DIR", name: "apply -k .", wants: `made created`, does: "as directly", byDefault: "held: change"},
		{args: "create configmap here -n NS --from-file=DIR/file.txt", wants: `created`, does: "as directly", byDefault: "held: change"},
		{args: "create secret generic new -n NS --from-literal=token=abcdefghijkl", wants: `created`, does: "the book holds a placeholder", byDefault: "held: modify-secret"},
		{args: "create deployment made -n NS --image=lab.local/busybox:1", wants: `created`, does: "as directly", byDefault: "held: change"},
		{args: "create job now -n NS --from=cronjob/nightly", wants: `created`, does: "as directly", byDefault: "held: change"},
		{args: "create token default -n NS", wants: `^gbm-`, does: "a placeholder: the token would work without the gateway", byDefault: "held: service-account-token"},
		{args: "run one -n NS --image=lab.local/busybox:1 --restart=Never -- echo hi", wants: `created`, does: "as directly", byDefault: "held: change"},
		{args: "run two -n NS --image=lab.local/busybox:1 --restart=Never --rm -i --quiet -- sh -c 'sleep 1; echo hi'", wants: `hi`, does: "as directly; it creates, attaches and deletes, each decided", byDefault: "held: change"},
		{args: "expose deployment web -n NS --port=80", wants: `exposed`, does: "as directly", byDefault: "held: change"},
	}
}

func changes() []try {
	return []try{
		{args: "edit configmap settings -n NS", env: []string{"KUBE_EDITOR=sed -i s/blue/green/"}, wants: `edited`, does: "as directly", byDefault: "held: change"},
		{args: "edit secret db -n NS", env: []string{`KUBE_EDITOR=sed -i 's/^data:/data:\n  more: YWJj/'`}, wants: `edited`, does: "the untouched keys keep their values", byDefault: "held: modify-secret"},
		{args: `patch deployment web -n NS -p '{"spec":{"minReadySeconds":1}}'`, wants: `patched`, does: "as directly", byDefault: "held: change"},
		{args: `patch configmap settings -n NS --type=merge -p '{"data":{"size":"small"}}'`, wants: `patched`, does: "as directly", byDefault: "held: change"},
		{args: `patch configmap settings -n NS --type=json -p '[{"op":"replace","path":"/data/size","value":"big"}]'`, wants: `patched`, does: "as directly", byDefault: "held: change"},
		{args: `patch deployment web -n NS --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'`, wants: `patched`, does: "as directly", byDefault: "held: change"},
		{args: "replace -f DIR/more.yaml", wants: `replaced`, does: "as directly", byDefault: "held: change"},
		{args: "replace --force -f DIR/more.yaml", wants: `replaced`, does: "as directly; it deletes and creates, each decided", byDefault: "held: change"},
		{args: "label pod box -n NS tier=front", wants: `labeled`, does: "as directly", byDefault: "held: change"},
		{args: "annotate pod box -n NS note=x", wants: `annotated`, does: "as directly", byDefault: "held: change"},
		{args: "set image deployment/web c=lab.local/pause:1 -n NS", wants: `image updated`, does: "as directly", byDefault: "held: change"},
		{args: "set env deployment/web A=b -n NS", wants: `env updated`, does: "as directly", byDefault: "held: change"},
		{args: "set env deployment/web --from=secret/db -n NS", wants: `env updated`, does: "as directly", byDefault: "held: workload-with-secret"},
		{args: "set env pod/reader --list --resolve -n NS", wants: `PASSWORD=` + placeholder, does: "values are placeholders", byDefault: "passes"},
		{args: "set resources deployment/web --limits=cpu=100m -n NS", wants: `resource requirements updated`, does: "as directly", byDefault: "held: change"},
		{args: "set serviceaccount deployment/web default -n NS", wants: `serviceaccount updated`, does: "as directly", byDefault: "held: change"},
		{args: "scale deployment web --replicas=2 -n NS", wants: `scaled`, does: "as directly", byDefault: "held: change"},
		{args: "autoscale deployment web --min=1 --max=2 --cpu=50% -n NS", wants: `autoscaled`, does: "as directly", byDefault: "held: change"},
	}
}

func rollouts() []try {
	return []try{
		{args: "rollout history deployment/web -n NS", wants: `REVISION`, does: "as directly", byDefault: "passes"},
		{args: "rollout undo deployment/web --to-revision=1 -n NS", wants: `rolled back`, does: "as directly", byDefault: "held: change"},
		{args: "rollout restart deployment/web -n NS", wants: `restarted`, does: "as directly", byDefault: "held: change"},
		{args: "rollout status deployment/web -n NS --timeout=60s", wants: `successfully rolled out`, does: "as directly", byDefault: "passes"},
		{args: "rollout pause deployment/web -n NS", wants: `paused`, does: "as directly", byDefault: "held: change"},
		{args: "rollout resume deployment/paused -n NS", wants: `resumed`, does: "as directly", byDefault: "held: change"},
	}
}

func streams() []try {
	return []try{
		{args: "exec box -n NS -- echo hello", wants: `hello`, does: "both streams recorded, the exit code kept", byDefault: "held: exec"},
		{args: "exec box -n NS -- sh -c 'exit 7'", code: 7, does: "exit code 7", byDefault: "held: exec"},
		{args: "exec -i box -n NS -- cat", stdin: "to and fro", wants: `to and fro`, does: "as directly", byDefault: "held: exec"},
		{args: "exec reader -n NS -- env", wants: `PASSWORD=` + placeholder, does: "known secrets masked", byDefault: "held: exec"},
		{args: "cp DIR/file.txt NS/box:/tmp/file.txt", name: "cp file.txt box:/tmp/file.txt", does: "as directly", byDefault: "held: exec"},
		{args: "cp NS/box:/tmp/file.txt DIR/back.txt", name: "cp box:/tmp/file.txt back.txt", does: "as directly", byDefault: "held: exec"},
		{args: "attach -i box -n NS", stdin: "attached\n", wants: `got:attached`, probe: ended, does: "as directly", byDefault: "held: exec"},
		{args: "port-forward pod/box :8080 -n NS", wants: `127\.0\.0\.1:\d+`, probe: fetched("/", "hello"), does: "each connection recorded", byDefault: "held: port-forward"},
		{args: "port-forward service/box :8080 -n NS", wants: `127\.0\.0\.1:\d+`, probe: fetched("/", "hello"), does: "each connection recorded", byDefault: "held: port-forward"},
		{args: "get --raw /api/v1/namespaces/NS/services/box:8080/proxy/", wants: `hello`, does: "known secrets masked", byDefault: "held: proxy"},
		{args: "debug box -n NS --image=lab.local/busybox:1 --quiet -- true", does: "an ephemeral container", byDefault: "held: privileged-workload"},
		{args: "debug box -n NS --image=lab.local/busybox:1 --copy-to=copy --same-node -- sleep 1", does: "a copy of the pod", byDefault: "held: privileged-workload"},
	}
}

func nodes() []try {
	return []try{
		{args: "describe node NODE", wants: `Taints:`, does: "as directly", byDefault: "passes"},
		{args: "cordon NODE", wants: `cordoned`, does: "as directly", byDefault: "held: cluster-infrastructure"},
		{args: "drain NODE --force --grace-period=0 --ignore-daemonsets --timeout=30s", wants: `drained`, does: "evicts pod by pod", byDefault: "held: cluster-infrastructure"},
		{args: "uncordon NODE-off", name: "uncordon node-1", wants: `uncordoned`, does: "as directly", byDefault: "held: cluster-infrastructure"},
		{args: "taint node NODE key=value:NoSchedule", wants: `tainted`, does: "as directly", byDefault: "held: cluster-infrastructure"},
		{args: "get --raw /api/v1/nodes/labnode/proxy/pods", name: "get --raw /api/v1/nodes/N/proxy/pods", wants: `PodList`, does: "known secrets masked", byDefault: "denied: node-proxy"},
	}
}

func rights() []try {
	return []try{
		{args: "create -f DIR/csr.yaml", wants: `created`, does: "as directly", byDefault: "denied: certificate-requests"},
		{args: "certificate approve NS-b", name: "certificate approve csr", wants: `approved`, does: "as directly; the certificate is no login to the gateway", byDefault: "denied: certificate-requests"},
		{args: "certificate deny NS-c", name: "certificate deny csr", wants: `denied`, does: "as directly", byDefault: "denied: certificate-requests"},
		{args: "auth reconcile -f DIR/roles.yaml", wants: `reconciled`, does: "as directly", byDefault: "held: roles"},
		{args: "create rolebinding readers -n NS --role=reader --serviceaccount=NS:default", wants: `created`, does: "as directly", byDefault: "held: role-bindings"},
		{args: "set subject rolebinding viewers --group=team -n NS", wants: `subjects updated`, does: "as directly", byDefault: "held: role-bindings"},
		{args: "create clusterrolebinding NS-admins --clusterrole=view --user=x --dry-run=server", name: "create clusterrolebinding … --dry-run=server", wants: `created \(server dry run\)`, does: "as directly", byDefault: "held: role-bindings"},
	}
}

func deletions() []try {
	return []try{
		{args: "delete pod one -n NS --now", wants: `deleted`, does: "as directly", byDefault: "held: change"},
		{args: "delete configmap --all -n NS", wants: `settings" deleted`, does: "as directly; kubectl lists, then deletes one by one", byDefault: "held: change"},
		{args: "delete -f DIR/web.yaml", wants: `deleted`, does: "as directly", byDefault: "held: change"},
		{args: "wait --for=delete deployment/gone -n NS --timeout=30s", does: "as directly", byDefault: "passes"},
		{args: "delete namespace NS --wait=false", name: "delete namespace", wants: `deleted`, does: "as directly", byDefault: "held: delete-namespace"},
	}
}

// ended is the probe that asks for nothing more than the output.
func ended(string) error { return nil }

// fetched asks for a path at the port that the output names.
func fetched(path, want string) func(string) error {
	return func(out string) error {
		resp, err := http.Get("http://" + regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(out) + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return err
		}
		if !strings.Contains(string(b), want) {
			return fmt.Errorf("%s: %s", resp.Status, b)
		}
		return nil
	}
}
