package kubernetes

import (
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatebook/internal/access"
)

func TestCommand(t *testing.T) {
	deployment := map[string]any{"kind": "Deployment", "metadata": map[string]any{"name": "web"}}
	for _, c := range []struct {
		method, uri, accept, patchType, body string
		object                               map[string]any
		want                                 string
	}{
		{method: "DELETE", uri: "/api/v1/namespaces/team-a", object: map[string]any{"propagationPolicy": "Background"}, want: "kubectl delete namespace team-a"},
		{method: "DELETE", uri: "/apis/apps/v1/namespaces/a/deployments/web", object: map[string]any{"gracePeriodSeconds": int64(0), "propagationPolicy": "Orphan"},
			want: "kubectl delete deployment.apps -n a web --grace-period=0 --cascade=orphan"},
		{method: "DELETE", uri: "/api/v1/namespaces/a/pods?labelSelector=app%3Dx&gracePeriodSeconds=1", want: "kubectl delete pods -n a -l app=x --grace-period=1"},
		{method: "DELETE", uri: "/api/v1/pods", want: "kubectl delete pods --all -A"},
		{method: "GET", uri: "/api/v1/namespaces/ns/secrets/x", want: "kubectl get secrets -n ns x -o json"},
		{method: "GET", uri: "/api/v1/namespaces/ns/secrets/x", accept: "application/json;as=Table;v=v1;g=meta.k8s.io", want: "kubectl get secrets -n ns x"},
		{method: "GET", uri: "/api/v1/pods?watch=1&labelSelector=a+in+(b)&limit=500", want: "kubectl get pods -A -l 'a in (b)' --watch -o json"},
		{method: "GET", uri: "/api/v1/nodes?unknown=%27x", want: "kubectl get nodes -o json # ?unknown=%27x"},
		{method: "GET", uri: "/api/v1/namespaces/a/pods/b/log?container=c&follow=true&tailLines=5&sinceSeconds=60", want: "kubectl logs -n a b -c c -f --since=60s --tail=5"},
		{method: "POST", uri: "/apis/apps/v1/namespaces/a/deployments?dryRun=All", object: deployment, want: "kubectl create -n a --dry-run=server -f - # Deployment a/web"},
		{method: "PUT", uri: "/apis/apps/v1/namespaces/a/deployments/web/scale", object: map[string]any{"kind": "Scale"}, want: "kubectl replace -n a --subresource=scale -f - # Scale a/web"},
		{method: "PATCH", uri: "/apis/apps/v1/namespaces/a/deployments/web", patchType: "merge", body: `{"spec":{"replicas":3}}`, want: `kubectl patch deployment.apps -n a web --type=merge -p '{"spec":{"replicas":3}}'`},
		{method: "PATCH", uri: "/apis/apps/v1/namespaces/a/deployments/web?fieldManager=kubectl&force=true", patchType: "apply", object: deployment,
			want: "kubectl apply --server-side -n a --field-manager=kubectl --force-conflicts -f - # Deployment a/web"},
		{method: "POST", uri: "/api/v1/namespaces/a/serviceaccounts/sa/token", object: map[string]any{"spec": map[string]any{"audiences": []any{"vault"}, "expirationSeconds": int64(600)}},
			want: "kubectl create token -n a sa --audience=vault --duration=600s"},
		{method: "POST", uri: "/api/v1/namespaces/a/pods/b/eviction", want: "kubectl create --raw /api/v1/namespaces/a/pods/b/eviction -f -"},
		{method: "GET", uri: "/version", want: "kubectl get --raw /version"},
		{method: "GET", uri: "/api/v1/nodes/n/proxy/exec/a/b/c?command=sh&command=-c", want: "kubectl get --raw '/api/v1/nodes/n/proxy/exec/a/b/c?command=sh&command=-c'"},
		{method: "POST", uri: "/api/v1/namespaces/a/pods/b/exec?command=sh&command=-c&command=rm+-rf+%24HOME%0Aecho+it%27s&container=c&stdin=1&tty=T",
			want: `kubectl exec -n a b -c c -i -t -- sh -c $'rm -rf $HOME\necho it\'s'`},
		{method: "POST", uri: "/api/v1/namespaces/a/configmaps", object: map[string]any{"kind": "ConfigMap", "metadata": map[string]any{"name": "x\nkubectl get pods"}},
			want: `kubectl create -n a -f - # ConfigMap a/x\nkubectl get pods`},
	} {
		r := readLine(t, c.method, c.uri)
		r.Header.Set("Accept", c.accept)
		k, why := readRequest(r)
		if why != nil {
			t.Fatal(c.uri, why)
		}
		if k.isStream {
			k.Exec = &access.Exec{Command: k.query["command"], Container: k.query.Get("container"), Stdin: true, TTY: true}
		}
		k.PatchType = c.patchType
		if got := command(r, k, []byte(c.body), c.object); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.method, c.uri, got, c.want)
		}
	}
}

// What is quoted means, to a shell, what it was; and shows nothing that does not print.
func TestShellQuote(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to ask")
	}
	var words []string
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.RuneFrom([]rune("ab '\"\\$`\n\t\x1b\u202e\u00e9\u4e16#-!*{}\x7f"))).Draw(t, "word")
		if !strings.HasPrefix(s, "# ") {
			words = append(words, s)
		}
	})
	var script strings.Builder
	for _, w := range words {
		script.WriteString("printf '%s\\0' " + shellQuote(w) + "\n")
	}
	cmd := exec.Command(bash, "-s")
	cmd.Env = []string{"LC_ALL=C.UTF-8"}
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	for i, w := range words {
		if got[i] != w {
			t.Fatalf("%q is quoted as %s, which bash reads as %q", w, shellQuote(w), got[i])
		}
		if strings.ContainsAny(shellQuote(w), "\n\t\x1b\u202e\x7f") {
			t.Fatalf("%q is quoted with what does not print", w)
		}
	}
}
