package attack

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// unread leaves the agent the right to work with pods, and takes that to read Secrets. podVerbs are those on pods themselves.
func (s *scene) unread(podVerbs string) {
	s.t.Helper()
	must(s.t, admin(s.t, "", "delete", "clusterrolebinding", "agent-"+s.ns+"-claude"))
	must(s.t, admin(s.t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: worker, namespace: %s}
rules:
- {apiGroups: [""], resources: [pods], verbs: [%s]}
- {apiGroups: [""], resources: [pods/exec, pods/attach, pods/portforward, pods/log], verbs: [create, get]}
- {apiGroups: [""], resources: [secrets], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: worker, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: worker}
subjects: [{kind: ServiceAccount, name: claude, namespace: %[1]s}]
`, s.ns, podVerbs), "create", "-f", "-"))
}

// unseen makes a pod that uses a Secret of its own in each way there is, none of which anybody reads through the gateway,
// and that says all of them in its log.
func (s *scene) unseen(name string) {
	s.t.Helper()
	for _, way := range []string{"mounted", "projected", "env", "from", "init"} {
		s.secret(name+"-"+way, "v="+s.canary(name+way, "/+"))
	}
	must(s.t, admin(s.t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  imagePullSecrets: [{name: not-there}]
  initContainers:
  - name: first
    image: lab.local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, 'echo "first $I"; echo "$I" > /shared/i']
    env: [{name: I, valueFrom: {secretKeyRef: {name: %[1]s-init, key: v}}}]
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: c
    image: lab.local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, 'env | base64; env; cat /m/v /p/v /shared/i; echo logged; (while true; do cat /m/v /p/v | nc -l -p 8000; done) & while sleep 1; do echo "$E"; done']
    env: [{name: E, valueFrom: {secretKeyRef: {name: %[1]s-env, key: v}}}]
    envFrom: [{prefix: F_, secretRef: {name: %[1]s-from}}, {secretRef: {name: optional, optional: true}}]
    volumeMounts: [{name: m, mountPath: /m}, {name: p, mountPath: /p}, {name: shared, mountPath: /shared}]
  volumes:
  - {name: m, secret: {secretName: %[1]s-mounted}}
  - {name: p, projected: {sources: [{secret: {name: %[1]s-projected}}]}}
  - {name: shared, emptyDir: {}}
`, name), "-n", s.ns, "create", "-f", "-"))
	must(s.t, admin(s.t, "", "-n", s.ns, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=180s"))
	for deadline := time.Now().Add(lab.Patience); !strings.Contains(must(s.t, admin(s.t, "", "-n", s.ns, "logs", name)).Stdout, "logged"); {
		if time.Now().After(deadline) {
			s.t.Fatal("the pod does not log")
		}
	}
}

// M41, M42: Secrets that nobody has read through the gateway do not come out of a pod that uses them: each way out is the
// first that the pod's are met, for an agent that may read Secrets, for one that may not, and for one that may not even
// read pods.
func TestM42UnseenSecrets(t *testing.T) {
	for _, who := range []string{"reader", "worker", "blind"} {
		t.Run(who, func(t *testing.T) {
			s := newScene(t)
			switch who {
			case "worker":
				s.unread("get")
			case "blind":
				s.unread("list")
			}
			log := func(more string) func(string) string {
				return func(pod string) string {
					return string(s.do(request{path: "/api/v1/namespaces/" + s.ns + "/pods/" + pod + "/log?" + more}).body)
				}
			}
			ways := map[string]func(pod string) string{"log": log("container=c"), "first": log("container=first")}
			if who != "blind" { // kubectl reads the pod itself
				ways["exec"] = func(pod string) string {
					return s.kubectl("", "exec", pod, "--", "sh", "-c", "env; env | base64 -w 0; cat /m/v /p/v /shared/i").Stdout
				}
				ways["attach"] = func(pod string) string { return s.attached(pod) }
			}
			if who == "reader" {
				ways["forward"] = func(pod string) string {
					b := throughForward(t, s.g.Kubeconfig(s.agent), s.ns, "true", "\n")
					s.give("port-forward", []byte(b))
					return b
				}
			}
			for way, out := range ways {
				pod := map[string]string{"forward": "box"}[way]
				if pod == "" {
					pod = way
				}
				s.unseen(pod)
				if got := out(pod); !strings.Contains(got, "gbm-") {
					t.Errorf("%s: nothing is masked, so that nothing was read: %s", way, got)
				}
			}
			s.check()
		})
	}
}

// attached gives what a pod says that says a line each second: two of them.
func (s *scene) attached(pod string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), lab.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Bin, "kubectl"), "--kubeconfig", s.g.Kubeconfig(s.agent), "-n", s.ns, "attach", pod)
	cmd.Env = []string{"HOME=" + s.g.Dir}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	said, r := "", bufio.NewReader(out)
	for range 2 {
		line, err := r.ReadString('\n')
		if said += line; err != nil {
			s.t.Errorf("kubectl attach ended after %q: %v", said, err)
			break
		}
	}
	cancel()
	rest, _ := io.ReadAll(r) // what it was about to say
	_ = cmd.Wait()           // killed
	s.give("kubectl attach "+pod, []byte(said), rest, errs.Bytes())
	return said
}
