package attack

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// gitScene is an agent behind a gateway in front of a git host, where repository team/app.git has a first commit on main.
type gitScene struct {
	t     *testing.T
	host  *lab.GitHost
	g     *lab.Gateway
	agent string // the agent's token
	desk  *client.Client
	c     *lab.Clone
	first string
}

// newGitScene begins one. No policy: the embedded one.
func newGitScene(t *testing.T, rules string) *gitScene {
	return newGitSceneWith(t, lab.Options{}, rules)
}

func newGitSceneWith(t *testing.T, o lab.Options, rules string) *gitScene {
	t.Helper()
	s := &gitScene{t: t, host: lab.StartGitHost(t)}
	s.host.Repository(t, "team/app.git", "uploadpack.allowFilter=true")
	if rules != "" {
		o.Policy = map[string]string{"git.yaml": "rules:\n" + rules}
	}
	o.Targets = s.host.Target("code", "") + o.Targets
	s.g = lab.StartBareGateway(t, binary, o)
	s.agent = s.g.Person("claude", "agents")
	s.desk = s.g.API(s.g.Person("grace", "auditors", "approvers", "admins"))
	s.c = s.g.Clone(t, s.agent, "team/app.git")
	s.first = s.c.Commit("a.txt", "1", "first")
	s.host.Git(t, "team/app.git", "fetch", "-q", s.c.Dir, "main:main")
	return s
}

// heads are all refs of the repository, as its owner sees them.
func (s *gitScene) heads() string {
	s.t.Helper()
	return s.host.Git(s.t, "team/app.git", "for-each-ref", "--format=%(refname) %(objectname)")
}

// pushed counts the pushes that have reached the host.
func (s *gitScene) pushed() int {
	n := 0
	for _, q := range s.host.Seen() {
		if q.Method == http.MethodPost && strings.HasSuffix(q.URI, "/git-receive-pack") {
			n++
		}
	}
	return n
}

// do sends one request as the agent, as it is written.
func (s *gitScene) do(method, path string, body []byte, header ...string) answer {
	s.t.Helper()
	ca, err := os.ReadFile(s.g.Data("ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.g.URL+"/t/code"+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth("agent", s.agent)
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		if k == "Authorization" {
			r.Header.Del(k)
		}
		if v != "" {
			r.Header.Add(k, v)
		}
	}
	resp, err := (&http.Client{Transport: tr, Timeout: lab.Patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b}
}

// push sends a push as it is written.
func (s *gitScene) push(body []byte, header ...string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/team/app.git/git-receive-pack", body, append([]string{"Content-Type: application/x-git-receive-pack-request"}, header...)...)
}

// asked waits until somebody is asked about a command that holds text.
func (s *gitScene) asked(text string) access.Approval {
	s.t.Helper()
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		page, err := s.desk.Approvals(s.t.Context(), access.ApprovalPending)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, a := range page.Items {
			if strings.Contains(a.Operation.Command, text) {
				return a
			}
		}
	}
	s.t.Fatalf("nobody was asked about %q", text)
	return access.Approval{}
}

func (s *gitScene) answer(a access.Approval, yes bool) {
	s.t.Helper()
	if _, err := s.desk.Answer(s.t.Context(), a.ID, client.Answer{Yes: yes, Reason: "since"}); err != nil {
		s.t.Fatal(err)
	}
}

// updates waits until the book has n ref updates, all ended; by ref.
func (s *gitScene) updates(n int) map[string]access.Record {
	s.t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(30 * time.Millisecond) {
		page, err := s.desk.Operations(s.t.Context(), client.Query{Limit: 100, Verb: "push"})
		if err != nil {
			s.t.Fatal(err)
		}
		out, ended := map[string]access.Record{}, 0
		for _, r := range page.Items {
			out[r.Operation.Git.Ref] = r
			if r.Outcome != nil {
				ended++
			}
		}
		if ended == n && len(page.Items) == n {
			return out
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d ref updates of which %d ended, want %d: %+v", len(page.Items), ended, n, page.Items)
		}
	}
}
