package attack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// refusedWithin asks again and again until a token is refused: by then, at the latest, its issuer was asked again.
func refusedWithin(t *testing.T, g *lab.Gateway, token string, bound time.Duration) answer {
	t.Helper()
	c := over(t, g, h1)
	for deadline := time.Now().Add(bound); ; time.Sleep(200 * time.Millisecond) {
		if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
			t.Fatal(err)
		}
		a := c.do(request{path: "/t/lab/api/v1/namespaces", token: token})
		if a.code != http.StatusOK {
			return a
		}
		if time.Now().After(deadline) {
			t.Fatalf("still honoured after %s", bound)
		}
	}
}

// I78: real tokens of the cluster's own issuer: for another audience, expired, of a pod that is gone, of a service
// account that is gone.
func TestI78ServiceAccountTokens(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box", "")
	g := cluster.StartGateway(t, binary, lab.Options{})
	token := func(args ...string) string {
		return strings.TrimSpace(must(t, admin(t, "", append([]string{"-n", ns, "create", "token"}, args...)...)).Stdout)
	}
	must(t, admin(t, "", "-n", ns, "create", "sa", "short"))
	for name, tok := range map[string]string{
		"for the API server": token("claude"),
		"another audience":   token("claude", "--audience=vault"),
	} {
		t.Run(name, func(t *testing.T) { refusesToken(t, g, tok) })
	}
	agent := g.Agent(ns, "claude", "box")
	short := g.Agent(ns, "short", "")
	for name, tok := range map[string]string{"of a pod": agent, "of an account": short} {
		if a := over(t, g, h1).do(request{path: "/t/lab/api/v1/namespaces", token: tok}); a.code != http.StatusOK {
			t.Fatalf("%s, while it stands: %d %s", name, a.code, a.body)
		}
	}
	must(t, admin(t, "", "-n", ns, "delete", "pod", "box", "--grace-period=0", "--force"))
	must(t, admin(t, "", "-n", ns, "delete", "sa", "short"))
	for name, tok := range map[string]string{"of a pod that is gone": agent, "of an account that is gone": short} {
		a := refusedWithin(t, g, tok, lab.Patience) // 10 s by right; the machine may be slow
		if s := a.status(t); a.code != http.StatusForbidden && a.code != http.StatusUnauthorized || !strings.Contains(s.Message, "no longer honours") {
			t.Errorf("%s: %d %s", name, a.code, a.body)
		}
	}
}

// stream is a command that goes on until it is cut.
type stream struct {
	name  string
	ended chan error
}

// run starts kubectl through the gateway, and gives it when it has said want.
func run(t *testing.T, g *lab.Gateway, config, want string, args ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*lab.Patience)
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Bin, "kubectl"), append([]string{"--kubeconfig", config}, args...)...)
	cmd.Env = []string{"HOME=" + g.Dir}
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &stream{name: strings.Join(args, " "), ended: make(chan error, 1)}
	t.Cleanup(cancel)
	go func() {
		err := cmd.Wait()
		w.Close()
		s.ended <- err
	}()
	said := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		found := false
		for lines.Scan() {
			if !found && strings.Contains(lines.Text(), want) {
				found = true
				said <- true
			}
		}
		said <- false
	}()
	select {
	case ok := <-said:
		if !ok {
			t.Fatalf("kubectl %q never says %q", args, want)
		}
	case <-time.After(lab.Patience):
		t.Fatalf("kubectl %q does not say %q", args, want)
	}
	return s
}

// I80: revoking a session, a subject or a token cuts everything that streams under it, and leaves others alone.
func TestI80RevocationCutsStreams(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box", "    ports: [{containerPort: 7070}]")
	must(t, admin(t, "", "-n", ns, "exec", "box", "--", "sh", "-c", "nc -lk -p 7070 -e cat >/dev/null 2>&1 & echo up"))
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	neighbour := g.Kubeconfig(g.Agent(ns, "neighbour", ""))
	other := run(t, g, neighbour, "box", "-n", ns, "get", "pods", "-w")
	admins, auditor := g.API(g.Person("root", "admins")), g.API(g.Person("grace", "auditors"))
	for i, revocation := range []func(access.Principal, access.SessionID) access.Revocation{
		func(_ access.Principal, s access.SessionID) access.Revocation { return access.Revocation{Session: s} },
		func(p access.Principal, _ access.SessionID) access.Revocation {
			return access.Revocation{TokenID: p.TokenID}
		},
		func(p access.Principal, _ access.SessionID) access.Revocation {
			return access.Revocation{Subject: p.Key()}
		},
	} {
		account := fmt.Sprintf("claude%d", i)
		token := g.Agent(ns, account, "")
		config := g.Kubeconfig(token)
		streams := []*stream{
			run(t, g, config, "tick", "-n", ns, "exec", "box", "--", "sh", "-c", "while true; do echo tick; sleep 0.2; done"),
			run(t, g, config, "box", "-n", ns, "get", "pods", "-w"),
			run(t, g, config, "started", "-n", ns, "logs", "-f", "box"),
			run(t, g, config, "Forwarding", "-n", ns, "port-forward", "--address=127.0.0.1", "pod/box", ":7070"),
		}
		page, err := auditor.Operations(t.Context(), client.Query{Principal: "system:serviceaccount:" + ns + ":" + account})
		if err != nil || len(page.Items) == 0 {
			t.Fatalf("operations: %d %v", len(page.Items), err)
		}
		op := page.Items[0].Operation
		r := revocation(op.Principal, op.Session)
		r.Reason = "taken back"
		if _, err := admins.Revoke(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		bound := time.After(lab.Patience) // one second by right; the machine may be slow
		for _, s := range streams {
			select {
			case <-s.ended:
			case <-bound:
				t.Errorf("revoked %+v, and this goes on: %s", r, s.name)
			}
		}
		a := over(t, g, h1).do(request{path: "/t/lab/api/v1/namespaces", token: token})
		if s := a.status(t); a.code != http.StatusForbidden || !strings.Contains(s.Message, "revoked") {
			t.Errorf("after revocation: %d %s", a.code, a.body)
		}
		for _, rec := range own(book(t, g, "system:serviceaccount:"+ns+":"+account)) {
			k := rec.Operation.Kubernetes
			if rec.Outcome == nil {
				t.Errorf("%s has no end", rec.Operation.Command)
			} else if (k.Subresource == "exec" || k.Verb == "watch") && rec.Outcome.Truncated == "" {
				t.Errorf("%s was cut, and its record says nothing of it: %+v", rec.Operation.Command, rec.Outcome)
			}
		}
	}
	select {
	case err := <-other.ended:
		t.Errorf("the stream of somebody who was not revoked was cut: %v", err)
	default:
	}
}
