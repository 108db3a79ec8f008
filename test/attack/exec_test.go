package attack

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// K9: exec is one operation, whatever carries it: one decision, one card.
func TestK09ExecByGetAndPost(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	token := g.Person("actor-exec")
	for _, path := range []string{execPath, attachPath, forwardPath} {
		cards := map[string]bool{}
		ways := []request{
			{path: "/t/lab" + path, header: webSocket("v5.channel.k8s.io")},
			{path: "/t/lab" + path, header: webSocket("v4.channel.k8s.io", "v3.channel.k8s.io")},
			{method: "POST", path: "/t/lab" + path, header: spdy("v4.channel.k8s.io")},
			{method: "GET", path: "/t/lab" + path, header: spdy("v4.channel.k8s.io", "v3.channel.k8s.io")},
			{method: "POST", path: "/t/lab" + path},
			{path: "/t/lab" + path},
		}
		for n, q := range ways {
			q.token = token
			a := over(t, g, h1).do(q)
			s := a.status(t)
			if a.code != 403 || cause(s, "GatebookCode") != string(access.CodeApprovalPending) {
				t.Errorf("%s, way %d: answered %d %s", path, n, a.code, a.body)
			}
			cards[cause(s, "GatebookApproval")] = true
		}
		if len(cards) != 1 || cards[""] {
			t.Errorf("%s: %d approvals were asked for: %v", path, len(cards), cards)
		}
	}
	for _, r := range own(book(t, g, "actor-exec")) {
		if r.Operation.Kubernetes.Verb != "create" || !(decidedBy(r.Decision, "exec") || decidedBy(r.Decision, "port-forward")) {
			t.Errorf("decided as %s %+v", r.Operation.Kubernetes.Verb, r.Decision.Rules)
		}
	}
}

// K30: the options of exec are read as the API server reads them.
func TestK30ExecOptions(t *testing.T) {
	g := cluster.StartGateway(t, binary, lab.Options{Config: quick})
	base := "/t/lab/api/v1/namespaces/default/pods/x/exec?"
	var table []attempt
	for query, want := range map[string]access.Exec{
		"stdin=1&tty=T&command=a&command=b":        {Stdin: true, TTY: true, Command: []string{"a", "b"}},
		"stdin=true&stdin=false&command=a":         {Stdin: true, Command: []string{"a"}},
		"stdin=false&stdin=true&command=a":         {Command: []string{"a"}},
		"stdin=0&tty=FALSE&command=a":              {Command: []string{"a"}},
		"stdin=no&stdout=yes&command=a":            {Stdin: true, Stdout: true, Command: []string{"a"}},
		"stdin&command=a":                          {Stdin: true, Command: []string{"a"}},
		"stdin=&command=a":                         {Stdin: true, Command: []string{"a"}},
		"Stdin=1&TTY=1&command=a":                  {Command: []string{"a"}},
		"command=sh&command=-c&command=id%3B%20ls": {Command: []string{"sh", "-c", "id; ls"}},
		"%63ommand=a":                              {Command: []string{"a"}},
		"command=a&container=one&container=two":    {Container: "one", Command: []string{"a"}},
		"command=&command=a":                       {Command: []string{"", "a"}},
		"command=a%20b&command=%0a":                {Command: []string{"a b", "\n"}},
		"command[]=x&command=a&Command=y":          {Command: []string{"a"}},
	} {
		table = append(table, attempt{name: query, code: access.CodeApprovalPending, rule: "exec", request: request{path: base + query}, check: func(t *testing.T, r access.Record) {
			e := r.Operation.Kubernetes.Exec
			if e == nil || e.Stdin != want.Stdin || e.TTY != want.TTY || e.Stdout != want.Stdout || e.Container != want.Container || !slices.Equal(e.Command, want.Command) {
				t.Errorf("%s: read as %+v, want %+v", query, e, want)
			}
		}})
	}
	attack(t, g, table)
}

// K28: what goes into a command without a terminal, and files copied both ways, is recorded byte for byte.
func TestK28InputIsRecorded(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box", "")
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	token := g.Agent(ns, "claude", "box")
	auditor := g.Person("grace", "auditors")
	var sent []string
	for _, websockets := range []string{"true", "false"} {
		kubectl := func(stdin string, args ...string) lab.Result {
			t.Helper()
			r, err := cluster.KubectlEnv(t.Context(), g.Kubeconfig(token), []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + websockets}, stdin, append([]string{"-n", ns}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			return must(t, r)
		}
		in := "line one\n\x00\x01\xff\x7f bytes of " + websockets + "\r\n" + strings.Repeat("0123456789abcdef", 4096)
		if out := kubectl(in, "exec", "-i", "box", "--", "cat").Stdout; out != in {
			t.Errorf("cat gave %d bytes back of %d", len(out), len(in))
		}
		file := filepath.Join(t.TempDir(), "up")
		if err := os.WriteFile(file, []byte("copied up: "+in), 0o600); err != nil {
			t.Fatal(err)
		}
		kubectl("", "cp", file, "box:/tmp/up")
		kubectl("", "cp", "box:/tmp/up", file+".back")
		if b, err := os.ReadFile(file + ".back"); err != nil || string(b) != "copied up: "+in {
			t.Errorf("the copy came back as %d bytes, %v", len(b), err)
		}
		sent = append(sent, in, "copied up: "+in)
		streams := map[string]int{}
		for _, r := range own(book(t, g, "system:serviceaccount:"+ns+":claude")) {
			if r.Operation.Kubernetes.Subresource != "exec" {
				continue
			}
			out := g.CLI(auditor, "show", string(r.Operation.ID), "--key", g.Data("auditor.key"))
			if bytes.Contains([]byte(out.Stdout), []byte("bytes of "+websockets)) {
				streams[strings.Join(r.Operation.Kubernetes.Exec.Command, " ")]++
			}
		}
		if len(streams) < 3 {
			t.Errorf("WebSockets %s: found only in the recordings of %v", websockets, streams)
		}
	}
	exact(t, g, "system:serviceaccount:"+ns+":claude", sent...)
}

// exact asserts that each text went in and came out of some exec byte for byte, by what its streams hold: a file that is
// copied is in a tar. The gateway is stopped.
func exact(t *testing.T, g *lab.Gateway, principal string, texts ...string) {
	t.Helper()
	session := string(own(book(t, g, principal))[0].Operation.Session)
	g.Stop() // seals
	streams := streamsOf(t, must(t, g.CLI("", "export", session, "--archive", g.Data("archive"), "--key", g.Data("auditor.key"))).Stdout)
	for _, text := range texts {
		for _, direction := range []string{"from-client", "to-client"} {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(streams)), func(name string) bool {
				return strings.HasSuffix(name, " "+direction) && bytes.Contains(streams[name], []byte(text))
			}) {
				t.Errorf("no stream %s holds, byte for byte, %.40q", direction, text)
			}
		}
	}
}
