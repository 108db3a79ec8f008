package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

const denyAll = `rules:
  - {id: nothing, protocol: kubernetes, effect: deny, reason: nothing is allowed now}
`

// A changed policy is in force within moments; one that does not load changes nothing, and is said.
func TestPolicyReload(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"p.yaml": allowAll}})
	agent := g.Agent(ns, "claude", "")
	list := func() lab.Result { return g.Kubectl(agent, "", "-n", ns, "get", "pods") }
	must(t, list())
	g.WritePolicy(map[string]string{"p.yaml": "rules:\n  - {id: x, protocol: kubernetes, effect: deny, when: kubernetes.namspace == 'a'}\n"})
	logged(t, g, "the changed policy is not used")
	if !strings.Contains(g.Log(), "namspace") || !strings.Contains(g.Log(), "p.yaml:2") {
		t.Errorf("the log does not name the mistake and its line:\n%s", g.Log())
	}
	must(t, list())
	g.WritePolicy(map[string]string{"p.yaml": denyAll})
	logged(t, g, "policy loaded")
	if r := list(); r.Code == 0 || !strings.Contains(r.Stderr, "nothing is allowed now") || !strings.Contains(r.Stderr, "rule nothing") {
		t.Errorf("after the change: %d %s", r.Code, r.Out())
	}
}

func logged(t *testing.T, g *lab.Gateway, text string) {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); !strings.Contains(g.Log(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not say %q:\n%s", text, g.Log())
		}
	}
}

// What is wrong is said with its place and a remedy, and the exit code tells a mistake from a failure.
func TestMistakesAreSaid(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := "issuers: [{name: a, url: 'https://i', audiences: [gatebook]}]\ntargets:\n- {name: a, url: 'https://127.0.0.1:1', token: {env: HOME}}\n"
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown key", []string{"config", "check", file("a.yaml", good+"lissten: x\n")}, 2, `line 4: unknown key "lissten"; did you mean "listen"?`},
		{"accounts of no cluster", []string{"config", "check", file("c.yaml", strings.Replace(good, "{name: a,", "{name: a, kubernetes: true,", 1))}, 2, "line 1: issuers[0] (a).cluster: missing"},
		{"at the start, too", []string{"serve", "--config", file("c.yaml", strings.Replace(good, "{name: a,", "{name: a, kubernetes: true,", 1))}, 2, "line 1: issuers[0] (a).cluster: missing"},
		{"issuers that overlap", []string{"config", "check", file("d.yaml", strings.Replace(good, "[{name: a,", "[{name: b, url: 'https://j', audiences: [gatebook]}, {name: a,", 1))}, 2, "give each its own"},
		{"no such file", []string{"serve", "--config", filepath.Join(dir, "none")}, 2, "no such file"},
		{"good", []string{"config", "check", file("b.yaml", good)}, 0, "is good"},
		{"policy", []string{"policy", "check", file("p/../x", "")}, 2, "reading the policy"},
		{"unknown flag", []string{"serve", "--confg", "x"}, 2, "unknown flag"},
		{"unreachable gateway", []string{"sessions", "--gateway", "https://127.0.0.1:1", "--token-file", file("tok", "x")}, 1, "connection refused"},
		{"not logged in", []string{"sessions", "--gateway", "https://127.0.0.1:1"}, 1, "gatebook login"},
		{"no book", []string{"verify", "--data", dir}, 2, "public key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary, c.args...)
			cmd.Env = []string{"HOME=" + dir}
			b, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(b), c.want) {
				t.Errorf("exit %d, want %d, with %q:\n%s", cmd.ProcessState.ExitCode(), c.code, c.want, b)
			}
		})
	}
}

// Approvals are told to a webhook, signed so that a receiver can tell them from forgeries.
func TestWebhookIsSigned(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	type notice struct{ id, stamp, signature, body string }
	got := make(chan notice, 8)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- notice{r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), r.Header.Get("webhook-signature"), string(b)}
	}))
	defer receiver.Close()
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{
		Config: "approvals: {hold: 1ms, webhook: {url: '" + receiver.URL + "', secret: {env: HOOK}}}\n",
		Env:    []string{"HOOK=whsec_" + base64.StdEncoding.EncodeToString(key)},
	})
	agent := g.Agent(ns, "claude", "")
	r := g.Kubectl(agent, "", "delete", "namespace", ns, "--wait=false")
	if r.Code == 0 || !strings.Contains(r.Stderr, "is pending") || !strings.Contains(r.Stderr, "run exactly the same command again") {
		t.Errorf("a refusal that can be joined later: %d %s", r.Code, r.Out())
	}
	select {
	case n := <-got:
		m := hmac.New(sha256.New, key)
		m.Write([]byte(n.id + "." + n.stamp + "." + n.body))
		if want := "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil)); n.signature != want {
			t.Errorf("signature %q, want %q", n.signature, want)
		}
		if !strings.Contains(n.body, "approval.asked") || !strings.Contains(n.body, "kubectl delete namespace "+ns) {
			t.Errorf("body %s", n.body)
		}
	case <-time.After(lab.Patience):
		t.Fatalf("no notice came\n%s", g.Log())
	}
}

// A cluster that cannot be reached is an answer that kubectl prints, and a record.
func TestUnreachableCluster(t *testing.T) {
	dir := t.TempDir()
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"p.yaml": allowAll}, Config: "sessions: {idle: 1h}\n",
		Target: "  - {name: gone, url: 'https://127.0.0.1:1', token: {env: HOME}}\n"})
	kc := filepath.Join(dir, "kc")
	b, err := os.ReadFile(g.Kubeconfig(g.Person("ada")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kc, []byte(strings.ReplaceAll(string(b), "/t/lab", "/t/gone")), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := cluster.Kubectl(t.Context(), kc, "", "get", "--raw", "/api/v1/namespaces")
	if err != nil || r.Code == 0 || !strings.Contains(r.Stderr, `target "gone" cannot be reached`) {
		t.Errorf("%v %d %s", err, r.Code, r.Out())
	}
	rec := found(t, g.API(g.Person("grace", "auditors")), client.Query{Principal: "ada", Text: "namespaces"}, 1)[0]
	if rec.Outcome.Code != http.StatusBadGateway || !strings.Contains(rec.Outcome.Message, "cannot be reached") {
		t.Errorf("recorded as %+v", rec.Outcome)
	}
}
