package attack

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatebook/test/lab"
)

const allowAllGit = "  - {id: everything, protocol: git, effect: allow, reason: a test allows everything}\n"

// A path that two readers could read differently, or that names nothing that git asks for, reaches no host.
func TestK14GitPaths(t *testing.T) {
	s := newGitScene(t, allowAllGit)
	for _, path := range []string{"/team//app.git/info/refs?service=git-upload-pack", "/team/../app.git/HEAD", "/team/%2e%2e/app.git/HEAD", "/team%2fapp.git/HEAD", "/team/app.git;x/HEAD", "/team/app.git/HEAD%00",
		"/team/%61pp.git/HEAD", "/team/app.git\\HEAD", "/team/app.git.git/HEAD", "/team/app/.git/HEAD", "/.git/HEAD", "/HEAD", "/team/app.git/config", "/team/app.git/objects/info/alternates",
		"/team/app.git/objects/info/http-alternates", "/team/app.git/info/refs?service=git-upload-pack&service=git-receive-pack", "/team/app.git/info/refs?service=git-upload-archive",
		"/team/app.git/info/refs?Service=git-upload-pack", "/team/app.git/HEAD?x=1", "/api/v1/repos", "/team/app.git/git-upload-archive", "/team/app.git/info/lfs/locks"} {
		if a := s.do(http.MethodGet, path, nil); a.code != http.StatusBadRequest && a.code != http.StatusNotFound {
			t.Errorf("%s: %d %q", path, a.code, a.body)
		}
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "HEAD"} {
		if a := s.do(method, "/team/app.git/git-upload-pack", nil); a.code < 400 && !strings.Contains(string(a.body), "ERR") {
			t.Errorf("%s: %d %q", method, a.code, a.body)
		}
	}
	if n := len(s.host.Seen()); n != 0 {
		t.Errorf("%d requests reached the host: %v", n, s.host.Seen())
	}
}

// One repository has one name for policy, however it is written.
func TestH106ARepositoryHasOneName(t *testing.T) {
	s := newGitScene(t, allowAllGit+"  - {id: secret, protocol: git, effect: deny, when: 'git.repository == \"team/app\"', reason: not this one, advice: none}\n")
	for _, name := range []string{"team/app.git", "team/app"} {
		if a := s.do(http.MethodGet, "/"+name+"/info/refs?service=git-upload-pack", nil); a.code != http.StatusForbidden {
			t.Errorf("%s: %d", name, a.code)
		}
	}
	if n := len(s.host.Seen()); n != 0 {
		t.Errorf("%d requests reached the host", n)
	}
}

// What would lead round the gateway is neither offered nor passed on, and no redirect is followed.
func TestH71GitDetours(t *testing.T) {
	s := newGitScene(t, allowAllGit)
	s.host.Git(t, "team/app.git", "config", "uploadpack.advertiseBundleURIs", "true")
	s.host.Git(t, "team/app.git", "config", "uploadpack.advertiseSidebandAll", "true")
	s.host.Git(t, "team/app.git", "config", "uploadpack.blobPackfileUri", "x y https://elsewhere.test/")
	s.host.Git(t, "team/app.git", "config", "receive.certNonceSeed", "seed")
	for _, service := range []string{"upload", "receive"} {
		a := s.do(http.MethodGet, "/team/app.git/info/refs?service=git-"+service+"-pack", nil, "Git-Protocol: version=2")
		for _, word := range []string{"bundle-uri", "packfile-uris", "sideband-all", "push-cert"} {
			if a.code != http.StatusOK || strings.Contains(string(a.body), word) {
				t.Errorf("%s: %d, offers %s", service, a.code, word)
			}
		}
		if service == "receive" && !strings.Contains(string(a.body), " no-thin") {
			t.Errorf("a push may be thin: %q", a.body)
		}
	}
	before := len(s.host.Seen())
	const fetch = "Content-Type: application/x-git-upload-pack-request"
	for name, body := range map[string]string{"bundle-uri": packet("command=bundle-uri") + "0000", "packfile-uris": packet("command=fetch") + "0001" + packet("packfile-uris https") + packet("want "+s.first) + packet("done") + "0000",
		"sideband-all": packet("command=fetch") + "0001" + packet("sideband-all") + packet("want "+s.first) + packet("done") + "0000", "two commands": packet("command=ls-refs") + "0000" + packet("command=bundle-uri") + "0000",
		"an old request": packet("want "+s.first+" side-band-64k") + "0000" + packet("done")} {
		if a := s.do(http.MethodPost, "/team/app.git/git-upload-pack", []byte(body), fetch, "Git-Protocol: version=2"); !strings.Contains(string(a.body), "ERR gatebook: ") {
			t.Errorf("%s: %d %q", name, a.code, a.body)
		}
	}
	if a := s.do(http.MethodPost, "/team/app.git/git-upload-pack", []byte(packet("command=ls-refs")+"0000"), fetch); !strings.Contains(string(a.body), "ERR gatebook: ") {
		t.Errorf("a command of version 2 under version 0: %d %q", a.code, a.body)
	}
	if n := len(s.host.Seen()); n != before {
		t.Errorf("%d requests reached the host", n-before)
	}
	s.host.Before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		w.Header().Set("Location", "https://elsewhere.test"+r.URL.Path)
		w.WriteHeader(http.StatusMovedPermanently)
		_, _ = io.WriteString(w, packet("# service=git-upload-pack\n")+"0000")
		return true
	}
	a := s.do(http.MethodGet, "/team/app.git/info/refs?service=git-upload-pack", nil)
	if a.code != http.StatusBadGateway || a.header.Get("Location") != "" {
		t.Errorf("a redirect: %d %v", a.code, a.header)
	}
}

// What is known to be secret is masked in what git shows as text: refs, messages of hooks cut anywhere, reasons of refusals,
// errors; and in the record of a push, in the words of its commits and options.
func TestM41GitText(t *testing.T) {
	s := newGitScene(t, allowAllGit)
	secret := lab.UpstreamToken // the gateway knows its own
	hook := fmt.Sprintf("#!/bin/sh\nprintf '%s' >&2; sleep 0.3; echo '%s and on' >&2\n", secret[:11], secret[11:])
	if err := os.WriteFile(filepath.Join(s.host.Path("team/app.git"), "hooks", "post-receive"), []byte(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	update := "#!/bin/sh\ntest \"$1\" != refs/heads/no || { echo 'no: " + secret + "' >&2; exit 1; }\n"
	if err := os.WriteFile(filepath.Join(s.host.Path("team/app.git"), "hooks", "update"), []byte(update), 0o755); err != nil {
		t.Fatal(err)
	}
	s.host.Git(t, "team/app.git", "branch", secret, "main")
	s.c.Commit("with-"+secret+".txt", "1", "the token is "+secret)
	r := s.c.Git("push", "origin", "main")
	if r.Code != 0 || !strings.Contains(r.Out(), "and on") || strings.Contains(r.Out(), secret) {
		t.Errorf("exit %d\n%s", r.Code, r.Out())
	}
	if r := s.c.Git("push", "origin", "main:no"); r.Code == 0 || strings.Contains(r.Out(), secret) || !strings.Contains(r.Out(), "hook declined") {
		t.Errorf("exit %d\n%s", r.Code, r.Out())
	}
	for _, version := range []string{"0", "2"} {
		if r := s.c.Git("-c", "protocol.version="+version, "ls-remote", "origin"); r.Code != 0 || strings.Contains(r.Out(), secret) || !strings.Contains(r.Out(), "refs/heads/gbm-") {
			t.Errorf("version %s: exit %d\n%s", version, r.Code, r.Out())
		}
	}
	for ref, rec := range s.updates(2) {
		b, err := json.Marshal(rec)
		if err != nil || strings.Contains(string(b), secret) || ref == "refs/heads/main" && (!strings.Contains(string(b), "the token is gbm-") || !strings.Contains(string(b), "with-gbm-")) {
			t.Errorf("%s: %s %v", ref, b, err)
		}
	}
	s.host.Before = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "not with "+secret)
		return true
	}
	if a := s.do(http.MethodGet, "/team/app.git/info/refs?service=git-upload-pack", nil); a.code != http.StatusForbidden || !strings.Contains(string(a.body), "not with gbm-") {
		t.Errorf("%d %q", a.code, a.body)
	}
}

// Where LFS keeps objects elsewhere, the agent is not sent there, and gets none of the credentials for it; where the host
// keeps them itself, they go through the gateway.
func TestM45LFSActions(t *testing.T) {
	s := newGitScene(t, allowAllGit)
	here, there := fmt.Sprintf("%x", sha256.Sum256([]byte("abc"))), strings.Repeat("cd", 32)
	var put string
	s.host.Before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/objects/batch"):
			w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
			_, _ = fmt.Fprintf(w, `{"transfer":"basic","objects":[
				{"oid":%q,"size":3,"actions":{"upload":{"href":%q,"header":{"Authorization":"Basic hostsecret"}},"verify":{"href":"https://elsewhere.test/verify"}}},
				{"oid":%q,"size":3,"actions":{"upload":{"href":"https://elsewhere.test/%s?signature=hostsecret","header":{"X-Key":"hostsecret"}}}}]}`,
				here, s.host.URL("team/app.git")+"/info/lfs/objects/"+here, there, there)
			return true
		case strings.Contains(r.URL.Path, "/info/lfs/objects/"):
			b, _ := io.ReadAll(r.Body)
			put = r.Method + " " + r.URL.Path + " " + string(b)
			return true
		}
		return false
	}
	a := s.do(http.MethodPost, "/team/app.git/info/lfs/objects/batch", []byte(`{"operation":"upload","objects":[{"oid":"`+here+`","size":3},{"oid":"`+there+`","size":3}]}`), "Content-Type: application/vnd.git-lfs+json")
	if a.code != http.StatusOK || strings.Contains(string(a.body), "hostsecret") || strings.Contains(string(a.body), "elsewhere.test") {
		t.Fatalf("%d %s", a.code, a.body)
	}
	var answer struct {
		Objects []struct {
			Actions map[string]struct{ Href string }
			Error   struct{ Message string }
		}
	}
	if err := json.Unmarshal(a.body, &answer); err != nil || len(answer.Objects) != 2 || answer.Objects[1].Error.Message == "" {
		t.Fatalf("%s %v", a.body, err)
	}
	path, ok := strings.CutPrefix(answer.Objects[0].Actions["upload"].Href, s.g.URL+"/t/code")
	if !ok {
		t.Fatalf("%s", a.body)
	}
	if a := s.do(http.MethodPut, path, []byte("abc"), "Content-Type: application/octet-stream"); a.code != http.StatusOK || put != "PUT /team/app.git/info/lfs/objects/"+here+" abc" {
		t.Errorf("%d, the host got %q", a.code, put)
	}
	if a := s.do(http.MethodPut, path, []byte("abd"), "Content-Type: application/octet-stream"); a.code != http.StatusBadRequest {
		t.Errorf("an object under another's name: %d %s", a.code, a.body)
	}
	for _, body := range []string{`{"operation":"download","operation":"upload","objects":[]}`, `{"operation":"download"}{}`, `[`, `{"operation":"both"}`} {
		if a := s.do(http.MethodPost, "/team/app.git/info/lfs/objects/batch", []byte(body), "Content-Type: application/vnd.git-lfs+json"); a.code != http.StatusBadRequest {
			t.Errorf("%s: %d", body, a.code)
		}
	}
}
