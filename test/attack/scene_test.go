package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatebook/test/lab"
)

// scene is an agent behind a gateway, and everything that it was ever given: each masking case plays in one of its own.
type scene struct {
	t     *testing.T
	g     *lab.Gateway
	ns    string
	agent string // the agent's token

	mu     sync.Mutex
	given  []gift
	hidden map[string]canary
	search *search
}

// gift is what the agent was given by one command or request.
type gift struct {
	what  string
	bytes []byte
}

// newScene starts a gateway whose policy allows everything, with the default masks.
func newScene(t *testing.T) *scene { return newSceneWith(t, lab.Options{}) }

func newSceneWith(t *testing.T, o lab.Options) *scene {
	t.Helper()
	ns := namespace(t)
	if o.Policy == nil {
		o.Policy = map[string]string{"all.yaml": allowAll}
	}
	g := cluster.StartGateway(t, binary, o)
	s := &scene{t: t, g: g, ns: ns, agent: g.Agent(ns, "claude", ""), hidden: map[string]canary{}, search: newSearch()}
	t.Cleanup(func() { admin(t, "", "delete", "clusterrolebinding", "agent-"+ns+"-claude", "--wait=false") })
	return s
}

// canary gives a value that must not be seen from now on.
func (s *scene) canary(name, awkward string) string {
	c := newCanary(s.ns+name, awkward)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[name] = c
	s.search.hide(name, c)
	return string(c.value)
}

// secret makes a Secret of key=value pairs, directly in the cluster.
func (s *scene) secret(name string, pairs ...string) {
	s.t.Helper()
	s.object(secretJSON(s.ns, name, pairs...))
}

// object makes an object directly in the cluster.
func (s *scene) object(doc string) {
	s.t.Helper()
	must(s.t, admin(s.t, doc, "-n", s.ns, "create", "-f", "-"))
}

// secretJSON is a Secret of key=value pairs.
func secretJSON(ns, name string, pairs ...string) string {
	data := map[string][]byte{}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		data[k] = []byte(v)
	}
	return toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": ns}, "data": data})
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and strings always can
	}
	return string(b)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// give keeps what the agent was given.
func (s *scene) give(what string, b ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = append(s.given, gift{what, bytes.Join(b, []byte("\n"))})
}

// kubectl runs kubectl as the agent, at a verbosity that shows headers and bodies.
func (s *scene) kubectl(stdin string, args ...string) lab.Result {
	s.t.Helper()
	return s.kubectlEnv(nil, stdin, args...)
}

func (s *scene) kubectlEnv(env []string, stdin string, args ...string) lab.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), lab.Patience)
	defer cancel()
	r, err := cluster.KubectlEnv(ctx, s.g.Kubeconfig(s.agent), env, stdin, append([]string{"-n", s.ns}, args...)...)
	if err != nil && ctx.Err() == nil {
		s.t.Fatalf("kubectl %q: %v\n%s", args, err, r.Out())
	}
	s.give("kubectl "+strings.Join(args, " "), []byte(r.Stdout), []byte(r.Stderr))
	return r
}

// do sends one request as the agent.
func (s *scene) do(q request) answer {
	s.t.Helper()
	q.token = s.agent
	if !strings.HasPrefix(q.path, "/t/lab") {
		q.path = "/t/lab" + q.path
	}
	a := over(s.t, s.g, h1).do(q)
	what := strings.TrimSpace(q.method + " " + q.path + " " + strings.Join(q.header, ", "))
	s.give(fmt.Sprintf("%s → %d", what, a.code), a.body, headerBytes(a.header))
	return a
}

// doH2 reads over HTTP/2, as much as there is.
func (s *scene) doH2(q request) answer {
	s.t.Helper()
	ca, err := os.ReadFile(s.g.Data("ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.g.Target+q.path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range append(q.header, "Authorization: Bearer "+s.agent) {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Add(k, v)
	}
	resp, err := (&http.Client{Transport: tr, Timeout: lab.Patience}).Do(r)
	if err != nil || resp.ProtoMajor != 2 {
		s.t.Fatalf("%s by HTTP/2: %+v %v", q.path, resp, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("%s by HTTP/2: %v", q.path, err)
	}
	s.give(fmt.Sprintf("HTTP/2 %s %v → %d", q.path, q.header, resp.StatusCode), b, headerBytes(resp.Header))
	return answer{resp.StatusCode, resp.Header, b}
}

func headerBytes(h map[string][]string) []byte {
	var b bytes.Buffer
	for k, vs := range h {
		fmt.Fprintf(&b, "%s: %s\n", k, strings.Join(vs, ", "))
	}
	return b.Bytes()
}

// send is a request with a JSON body.
func (s *scene) send(method, path, contentType, body string) answer {
	s.t.Helper()
	return s.do(request{method: method, path: path, header: []string{"Content-Type: " + contentType, "Accept: application/json"}, body: body})
}

// secretsPath is the path of the scene's Secrets, or of one.
func (s *scene) secretsPath(name ...string) string {
	return strings.Join(append([]string{"/api/v1/namespaces", s.ns, "secrets"}, name...), "/")
}

// check asserts that no canary is in anything that the agent was given, in anything that the gateway keeps, or in any
// of its recordings. The gateway is stopped.
func (s *scene) check() {
	s.t.Helper()
	for _, x := range s.given {
		s.clean(x.what, x.bytes)
	}
	s.keeps("while it runs")
	s.g.Stop()
	s.keeps("after it ended")
	s.recordings()
}

// clean reports each canary that is in b.
func (s *scene) clean(where string, b []byte) {
	s.t.Helper()
	for name, ways := range s.search.in(b) {
		s.t.Errorf("%s: secret %q can be read, %v\n%s", where, name, ways, s.hidden[name].around(b))
	}
}

// around shows what is around a canary that is there in clear.
func (c canary) around(b []byte) string {
	i := bytes.Index(b, c.value[:min(pieceBytes, len(c.value))])
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("…%q…", b[max(0, i-120):min(len(b), i+80)])
}

// keeps looks through every file of the gateway.
func (s *scene) keeps(when string) {
	s.t.Helper()
	err := filepath.WalkDir(s.g.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		s.clean(strings.TrimPrefix(path, s.g.Dir)+" "+when, b)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		s.t.Error(err)
	}
}

// recordings opens every sealed recording, as the auditors do, and looks through all that it holds: as it is exported,
// and each stream's bytes put together.
func (s *scene) recordings() {
	s.t.Helper()
	sessions, err := filepath.Glob(s.g.Data("archive", "sessions", "*"))
	if err != nil || len(sessions) == 0 {
		s.t.Fatalf("nothing was recorded: %v", err)
	}
	auditor := s.g.Person("grace", "auditors")
	for _, dir := range sessions {
		id := filepath.Base(dir)
		for _, format := range []string{"jsonl", "audit"} {
			r := must(s.t, s.g.CLI(auditor, "export", id, "--archive", s.g.Data("archive"), "--key", s.g.Data("auditor.key"), "--format", format))
			s.clean("recording "+id+" as "+format, []byte(r.Stdout))
			if format == "jsonl" {
				for name, b := range streamsOf(s.t, r.Stdout) {
					s.clean("recorded "+name, b)
				}
			}
		}
	}
}

// streamsOf puts together the bytes of each stream and direction of each operation.
func streamsOf(t *testing.T, lines string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for line := range strings.Lines(lines) {
		var f struct {
			Kind, Operation, Stream string
			Direction               string
			Text                    string
			Base64                  []byte
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("a line of a recording: %v\n%s", err, line)
		}
		if f.Kind != "stream" && f.Kind != "payload" {
			continue
		}
		name := strings.Join([]string{f.Operation, f.Kind, f.Stream, f.Direction}, " ")
		out[name] = append(append(out[name], f.Text...), f.Base64...)
	}
	return out
}
