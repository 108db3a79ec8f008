package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// allowAll lets everything through, so that a test is about something else; the default masks stay on.
const allowAll = `rules:
  - {id: everything, protocol: kubernetes, effect: allow, reason: a test allows everything}
`

// pod makes a running pod of one busybox container, which has a shell, under the service account claude.
func pod(t *testing.T, ns, name string, env ...string) {
	t.Helper()
	admin(t, "", "-n", ns, "create", "sa", "claude")
	vars := ""
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		vars += "{name: " + k + ", value: '" + v + "'},"
	}
	must(t, admin(t, `
apiVersion: v1
kind: Pod
metadata: {name: `+name+`, namespace: `+ns+`}
spec:
  serviceAccountName: claude
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: "lab.local/busybox:1", imagePullPolicy: Never, env: [`+vars+`], command: [sh, -c, "echo started; sleep 100000"]}
`, "apply", "-f", "-"))
	must(t, admin(t, "", "-n", ns, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=180s"))
}

// What an agent did can be listed, shown, replayed, exported and proved with the command line alone, and a touched book
// is named.
func TestBookByCommandLine(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box")
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	agent := g.Agent(ns, "claude", "box")
	must(t, g.Kubectl(agent, "", "-n", ns, "exec", "box", "--", "sh", "-c", "echo hello from the box; echo wrong >&2"))
	if r := g.Kubectl(agent, "", "-n", ns, "exec", "box", "--", "sh", "-c", "exit 7"); r.Code != 7 {
		t.Errorf("exit %d, want 7: %s", r.Code, r.Out())
	}

	auditor := g.Person("grace", "auditors")
	found(t, g.API(auditor), client.Query{Resource: "pods/exec"}, 2)
	op := found(t, g.API(auditor), client.Query{Text: "hello", Resource: "pods/exec"}, 1)[0].Operation
	if op.Principal.Workload.Pod != "box" {
		t.Errorf("workload %+v", op.Principal.Workload)
	}
	key := g.Data("auditor.key")
	read := func(args ...string) string { t.Helper(); return must(t, g.CLI(auditor, args...)).Stdout }
	if out := read("sessions"); !strings.Contains(out, string(op.Session)) {
		t.Errorf("sessions:\n%s", out)
	}
	if out := read("search", "--resource", "pods/exec", "exit"); !strings.Contains(out, "exit 7") {
		t.Errorf("search:\n%s", out)
	}
	if out := read("show", string(op.ID), "--key", key); !strings.Contains(out, "hello from the box") || !strings.Contains(out, "wrong") {
		t.Errorf("show, not sealed yet:\n%s", out)
	}
	g.Stop() // seals
	checkpoint := filepath.Join(g.Dir, "checkpoint")
	b, err := os.ReadFile(g.Data("ledger", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(checkpoint, b, 0o644); err != nil {
		t.Fatal(err)
	}
	id := string(op.Session) + "/" + string(op.ID)
	if out := read("replay", id, "--archive", g.Data("archive"), "--key", key, "--speed", "0"); out != "hello from the box\nwrong\n" && out != "wrong\nhello from the box\n" {
		t.Errorf("replay: %q", out)
	}
	if out := read("export", id, "--archive", g.Data("archive"), "--key", key, "--format", "asciicast"); !strings.Contains(out, `"version":2`) || !strings.Contains(out, "hello from the box") {
		t.Errorf("asciicast:\n%s", out)
	}
	if out := read("export", string(op.Session), "--archive", g.Data("archive"), "--key", key, "--format", "audit"); !strings.Contains(out, `"subresource":"exec"`) {
		t.Errorf("audit events:\n%s", out)
	}
	if r := g.CLI(auditor, "show", id, "--archive", g.Data("archive")); r.Code == 0 || strings.Contains(r.Out(), "hello") {
		t.Errorf("without a key: %d %s", r.Code, r.Out())
	}
	verify := []string{"verify", "--data", g.Data(), "--key", key, "--checkpoint", checkpoint}
	if out := read(verify...); !strings.Contains(out, "The book is whole") {
		t.Errorf("verify:\n%s", out)
	}
	touch(t, g.Data("archive", "sessions", string(op.Session)))
	if r := g.CLI(auditor, verify...); r.Code != 3 || !strings.Contains(r.Out(), string(op.Session)) {
		t.Errorf("verify of a touched book: exit %d\n%s", r.Code, r.Out())
	}
}

// touch changes one byte of a sealed recording.
func touch(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.gbr.age"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sealed recording in %s: %v", dir, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(files[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Revoking a session cuts its live streams within a second, and its token is good for nothing any more.
func TestRevocationCutsLiveStreams(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box")
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	agent := g.Agent(ns, "claude", "box")
	ended, watched := make(chan lab.Result, 1), make(chan lab.Result, 1)
	go func() { ended <- g.Kubectl(agent, "", "-n", ns, "exec", "box", "--", "sleep", "100000") }()
	go func() { watched <- g.Kubectl(agent, "", "-n", ns, "get", "pods", "--watch") }()
	auditor := g.API(g.Person("grace", "auditors", "admins"))
	var session access.SessionID
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(50 * time.Millisecond) {
		page, err := auditor.Operations(t.Context(), client.Query{})
		if err != nil {
			t.Fatal(err)
		}
		streams := 0
		for _, r := range page.Items { // what kubectl asks before its stream runs too
			if k := r.Operation.Kubernetes; k != nil && r.Outcome == nil && (k.Subresource == "exec" || k.Verb == "watch") {
				streams, session = streams+1, r.Operation.Session
			}
		}
		if streams == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("two streams do not run: %+v", page.Items)
		}
	}
	must(t, g.CLI(g.Person("grace", "admins"), "revoke", "--session", string(session), "--reason", "the contract has ended"))
	began := time.Now()
	for range 2 {
		select {
		case r := <-ended:
			t.Logf("exec, after %s: exit %d %s", time.Since(began), r.Code, r.Out())
		case r := <-watched:
			t.Logf("watch, after %s: exit %d %s", time.Since(began), r.Code, r.Out())
			if !strings.Contains(r.Out(), "this session was revoked") {
				t.Errorf("kubectl does not say why its watch ended: %s", r.Out())
			}
		case <-time.After(lab.Patience):
			t.Fatal("a stream goes on after its session was revoked")
		}
	}
	if r := g.Kubectl(agent, "", "-n", ns, "get", "pods"); r.Code == 0 || !strings.Contains(r.Out(), "revoked") {
		t.Errorf("after revocation: %d %s", r.Code, r.Out())
	}
}
