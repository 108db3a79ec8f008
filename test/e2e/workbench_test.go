package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"gatebook/test/lab"
)

// secretValue is what no command may show.
const secretValue = "correct-horse-battery-staple"

// workbench is what the kubectl commands work on: a namespace with a deployment, pods, a secret and so on, a node object
// without a machine, and a folder of files.
type workbench struct{ ns, node, dir string }

func newWorkbench(t *testing.T, ns string) *workbench {
	t.Helper()
	w := &workbench{ns: ns, node: ns + "-node", dir: t.TempDir()}
	csr := base64.StdEncoding.EncodeToString(certificateRequest(t))
	w.files(t, csr)
	requests := fmt.Sprintf(request, "b", csr) + "---\n" + fmt.Sprintf(request, "c", csr)
	must(t, admin(t, strings.ReplaceAll(requests, "NS-", ns+"-"), "apply", "-f", "-"))
	must(t, admin(t, w.fill(objects), "apply", "-f", "-"))
	must(t, admin(t, "", "-n", ns, "set", "env", "deployment/web", "SECOND=revision"))
	t.Cleanup(func() {
		admin(t, "", "delete", "node", w.node, w.node+"-off", "--wait=false")
		admin(t, "", "delete", "csr", ns+"-a", ns+"-b", ns+"-c", "--ignore-not-found", "--wait=false")
	})
	for _, what := range []string{"pod/box", "pod/reader", "deployment/web"} {
		condition := "--for=condition=Ready"
		if strings.HasPrefix(what, "deployment") {
			condition = "--for=condition=Available"
		}
		must(t, admin(t, "", "-n", ns, "wait", condition, what, "--timeout=180s"))
	}
	must(t, admin(t, "", "-n", ns, "wait", "--for=condition=complete", "job/once", "--timeout=180s"))
	return w
}

// sees shows the gateway the secret once, so that it knows its value.
func (w *workbench) sees(g *lab.Gateway) {
	g.Kubectl(g.Agent(w.ns, "claude", ""), "", "-n", w.ns, "get", "secret", "db", "-o", "yaml")
}

func (w *workbench) fill(s string) string {
	return strings.NewReplacer("NS", w.ns, "NODE", w.node, "DIR", w.dir).Replace(s)
}

func (w *workbench) pattern(s string) *regexp.Regexp { return regexp.MustCompile("(?s)" + w.fill(s)) }

func (w *workbench) files(t *testing.T, csr string) {
	t.Helper()
	for name, text := range map[string]string{
		"web.yaml":  strings.Replace(deployment, "replicas: 1", "replicas: 2", 1),
		"more.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more, namespace: NS}\ndata: {a: b}\n",
		"kustomization.yaml": "namespace: NS\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n" +
			"generatorOptions: {disableNameSuffixHash: true}\n",
		"roles.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reader, namespace: NS}\n" +
			"rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n",
		"file.txt": "from here\n",
		"csr.yaml": fmt.Sprintf(request, "a", "@"),
	} {
		text = strings.ReplaceAll(w.fill(text), "@", csr)
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func certificateRequest(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "someone"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: c, image: "lab.local/busybox:1", imagePullPolicy: Never, command: [sleep, "100000"]}
`

// request is a certificate request, of a name and of PEM in base64.
const request = `apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: NS-%s}
spec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: %s}
`

const objects = deployment + `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: paused, namespace: NS}
spec:
  paused: true
  replicas: 0
  selector: {matchLabels: {app: paused}}
  template:
    metadata: {labels: {app: paused}}
    spec: {containers: [{name: c, image: "lab.local/busybox:1"}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewers, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default, namespace: NS}]
---
apiVersion: v1
kind: Node
metadata: {name: NODE-off}
spec: {unschedulable: true, taints: [{key: test, value: alone, effect: NoSchedule}]}
---
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: NS, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: "lab.local/busybox:1", imagePullPolicy: Never, stdin: true, command: [sh, -c, 'mkdir -p /tmp/w; echo hello > /tmp/w/index.html; echo started; busybox httpd -p 8080 -h /tmp/w; while read l; do echo "got:$l"; done; sleep 100000']}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, namespace: NS}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: "lab.local/busybox:1", imagePullPolicy: Never, command: [sh, -c, 'echo password=$PASSWORD; sleep 100000'],
     env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: idle, namespace: NS}
spec:
  nodeName: NODE
  tolerations: [{operator: Exists}]
  containers:
  - {name: c, image: "lab.local/busybox:1"}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: NS}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "lab.local/busybox:1", imagePullPolicy: Never, command: [echo, done]}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: NS}
spec: {schedule: "0 3 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "lab.local/busybox:1", imagePullPolicy: Never, command: [echo, done]}]}}}}}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: NS}
stringData: {password: ` + secretValue + `, user: administrator}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NS}
data: {colour: blue}
---
apiVersion: v1
kind: Service
metadata: {name: box, namespace: NS}
spec: {selector: {app: box}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Node
metadata: {name: NODE}
spec: {taints: [{key: test, value: alone, effect: NoSchedule}]}
`

// until collects output, and gives it once, as soon as it matches.
type until struct {
	pattern *regexp.Regexp
	seen    chan string
	mu      sync.Mutex
	buf     bytes.Buffer
	matched bool
}

func (u *until) Write(b []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.buf.Write(b)
	if !u.matched && u.pattern.Match(u.buf.Bytes()) {
		u.matched = true
		u.seen <- u.buf.String()
	}
	return len(b), nil
}

func (u *until) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.buf.String()
}

// split cuts a command line at spaces, but not within single quotes.
func split(s string) []string {
	var out []string
	var word strings.Builder
	quoted, any := false, false
	for _, c := range s + " " {
		switch {
		case c == '\'':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			if any {
				out = append(out, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(c)
			any = true
		}
	}
	return out
}
