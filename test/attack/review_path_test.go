package attack

import (
	"fmt"
	"strings"
	"testing"

	"gatebook/test/lab"
)

// K5: a service account of one cluster does not act in another as the account that has its name there.
func TestK5AccountOfAnotherCluster(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll},
		Targets: "  - {name: twin, kubeconfig: '" + cluster.Kubeconfig + "'}\n"})
	agent := g.Agent(ns, "claude", "")
	must(t, g.Kubectl(agent, "", "-n", ns, "get", "pods"))
	audit := cluster.Audit(t)
	r := g.Kubectl(agent, "", "--server", g.URL+"/t/twin", "get", "--raw", "/api/v1/namespaces/"+ns+"/configmaps")
	if r.Code == 0 || !strings.Contains(r.Out(), "account of another cluster") {
		t.Errorf("exit %d\n%s", r.Code, r.Out())
	}
	if got := audit.Events(t, ns+":claude"); len(got) != 0 {
		t.Errorf("the cluster got %+v", got)
	}
}

// M: a request that is refused makes nothing known, so that an agent cannot have a word masked for everybody; nor does
// the token of a service account make its namespace's name a secret.
func TestM41WordsAreNoWeapon(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"reads.yaml": `rules:
  - {id: reads, protocol: kubernetes, effect: allow, verbs: [get, list], resources: ["*"], reason: a test allows reads}
  - {id: discovery, protocol: kubernetes, effect: allow, verbs: [get], when: kubernetes.resource == "", reason: a test allows discovery}
`}})
	agent := g.Agent(ns, "claude", "")
	for _, verb := range [][]string{{"create"}, {"apply", "--validate=false"}, {"create", "--dry-run=server"}} {
		for _, word := range []string{"kube-public", "apiVersion", "metadata"} {
			secret := fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: weapon, namespace: %s}, stringData: {x: %s}, dta: {x: %s}}", ns, word, word)
			if r := g.Kubectl(agent, secret, append(verb, "-f", "-")...); r.Code == 0 || !strings.Contains(r.Out(), "no rule allows") {
				t.Fatalf("%v was not refused: %s", verb, r.Out())
			}
		}
	}
	must(t, admin(t, fmt.Sprintf(`{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token,
metadata: {name: token, namespace: %s, annotations: {kubernetes.io/service-account.name: claude}}}`, ns), "create", "-f", "-"))
	for range 50 {
		if r := must(t, g.Kubectl(agent, "", "-n", ns, "get", "secret", "token", "-o", "json")); strings.Contains(r.Stdout, `"namespace": "Z2`) {
			break
		}
	}
	r := must(t, g.Kubectl(agent, "", "get", "namespaces", "-o", "json"))
	for _, word := range []string{`"kube-public"`, `"apiVersion"`, `"metadata"`, `"` + ns + `"`} {
		if !strings.Contains(r.Stdout, word) {
			t.Errorf("%s is masked", word)
		}
	}
}

// M: a dry run stores nothing, and so makes nothing known either, although it is allowed and answered; nor does what the
// API server refuses.
func TestM41WordsOfADryRun(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	agent := g.Agent(ns, "claude", "")
	weapon := func(name string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: %s, namespace: %s}, stringData: {x: kube-public, y: kube-node-lease}}", name, ns)
	}
	must(t, admin(t, "", "-n", ns, "create", "secret", "generic", "there"))
	must(t, g.Kubectl(agent, weapon("weapon"), "create", "--dry-run=server", "-o", "yaml", "-f", "-"))
	must(t, g.Kubectl(agent, weapon("there"), "apply", "--dry-run=server", "-o", "yaml", "-f", "-"))
	must(t, g.Kubectl(agent, weapon("there"), "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "yaml", "-f", "-"))
	must(t, g.Kubectl(agent, weapon("there"), "replace", "--dry-run=server", "-o", "yaml", "-f", "-"))
	if r := g.Kubectl(agent, weapon("-no-name-"), "create", "-f", "-"); r.Code == 0 {
		t.Fatalf("the API server took it: %s", r.Out())
	}
	r := must(t, g.Kubectl(agent, "", "get", "namespaces", "-o", "json"))
	for _, word := range []string{`"kube-public"`, `"kube-node-lease"`} {
		if !strings.Contains(r.Stdout, word) {
			t.Errorf("%s is masked", word)
		}
	}
}

// M41, M43: a log cut by limitBytes within a secret shows none of it.
func TestM43LimitBytes(t *testing.T) {
	ns := namespace(t)
	const secret = "lim1t-Zq8vT1mXw0pLkJ7e"
	must(t, admin(t, "", "-n", ns, "create", "secret", "generic", "s", "--from-literal=x="+secret))
	g := cluster.StartGateway(t, binary, lab.Options{})
	agent := g.Agent(ns, "claude", "")
	must(t, g.Kubectl(agent, "", "-n", ns, "get", "secret", "s"))
	must(t, g.Kubectl(agent, "", "-n", ns, "get", "secret", "s", "-o", "yaml"))
	must(t, admin(t, fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: %s}, spec: {terminationGracePeriodSeconds: 0, restartPolicy: Never,
containers: [{name: c, image: "lab.local/busybox:1", imagePullPolicy: Never, command: [echo, "token=%s"]}]}}`, ns, secret), "apply", "-f", "-"))
	must(t, admin(t, "", "-n", ns, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/p", "--timeout=180s"))
	for _, n := range []int{10, 20, len("token="+secret) - 1, len("token=" + secret)} {
		r := must(t, g.Kubectl(agent, "", "-n", ns, "logs", "p", fmt.Sprintf("--limit-bytes=%d", n)))
		if len(r.Stdout) != n || strings.Contains(r.Stdout, secret[:4]) {
			t.Errorf("limit %d: the agent got %q", n, r.Stdout)
		}
	}
}
