package git

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const lfsHeader = "Content-Type"

// Of what a host says of an object, nothing is passed on that leads elsewhere or that is a credential of its own.
func TestLFSAnswer(t *testing.T) {
	w := newWorld(t)
	oid := fmt.Sprintf("%x", sha256.Sum256([]byte("abc")))
	var answer string
	w.before = func(rw http.ResponseWriter, r *http.Request) bool {
		rw.Header().Set("Content-Type", lfsType)
		_, _ = io.WriteString(rw, strings.ReplaceAll(answer, "HERE", w.h.o.Base))
		return true
	}
	ask := `{"operation":"download","objects":[{"oid":"` + oid + `","size":3}]}`
	for name, c := range map[string]struct {
		answer string
		code   int
	}{
		"links":                    {`{"objects":[{"oid":"OID","size":3,"_links":{"download":{"href":"https://elsewhere.test/x","header":{"Authorization":"Basic hostsecret"}}}}]}`, 200},
		"links beside actions":     {`{"objects":[{"oid":"OID","size":3,"actions":{"download":{"href":"HERE/team/app.git/info/lfs/objects/OID"}},"_links":{"download":{"href":"https://elsewhere.test/x"}}}]}`, 200},
		"header":                   {`{"objects":[{"oid":"OID","size":3,"actions":{"download":{"href":"HERE/team/app.git/info/lfs/objects/OID","header":{"A":"hostsecret"}}}}]}`, 200},
		"elsewhere, in our name":   {`{"objects":[{"oid":"OID","size":3,"actions":{"download":{"href":"https://elsewhere.test/?HERE/team/app.git/info/lfs/objects/OID"}}}]}`, 200},
		"a host that begins alike": {`{"objects":[{"oid":"OID","size":3,"actions":{"download":{"href":"HERE.elsewhere.test/team/app.git/info/lfs/objects/OID"}}}]}`, 200},
		"a step up":                {`{"objects":[{"oid":"OID","size":3,"actions":{"download":{"href":"HERE/team/app.git/info/lfs/objects/OID/../../elsewhere.test"}}}]}`, 200},
		"another transfer":         {`{"transfer":"tus","objects":[{"oid":"OID","size":3,"actions":{"download":{"href":"https://elsewhere.test/"}}}]}`, 502},
	} {
		answer = strings.ReplaceAll(c.answer, "OID", oid)
		a := w.do(http.MethodPost, "/team/app.git/info/lfs/objects/batch", ask, lfsHeader, lfsType)
		if a.code != c.code || strings.Contains(a.body, "hostsecret") || strings.Contains(a.body, "elsewhere.test") {
			t.Errorf("%s: %d %s", name, a.code, a.body)
		}
		var doc struct{ Objects []map[string]json.RawMessage }
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil && c.code == 200 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A batch is what every reader of JSON takes it for.
func TestLFSBatch(t *testing.T) {
	w := newWorld(t)
	oid, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	for name, body := range map[string]string{
		"objects in two spellings": `{"operation":"download","objects":[{"oid":"` + oid + `"}],"objectſ":[{"oid":"` + other + `"}]}`,
		"another case":             `{"Operation":"download","objects":[]}`,
		"an object's name in two":  `{"operation":"download","objects":[{"oid":"` + oid + `","OID":"` + other + `"}]}`,
		"no name":                  `{"operation":"download","objects":[{"oid":"../x"}]}`,
		"a line in a name":         `{"operation":"download","objects":[{"oid":"` + oid + `\n; rm"}]}`,
		"no objects":               `{"operation":"download"}`,
	} {
		if a := w.do(http.MethodPost, "/team/app.git/info/lfs/objects/batch", body, lfsHeader, lfsType); a.code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.code, a.body)
		}
	}
	if a := w.do(http.MethodPut, "/team/app.git/info/lfs/objects/"+oid, "abc", lfsHeader, "application/octet-stream"); a.code != http.StatusBadRequest {
		t.Errorf("an object under another's name: %d %s", a.code, a.body)
	}
	if n := len(w.asked()); n != 0 {
		t.Errorf("%d requests reached the host", n)
	}
}

// An object in which something is known to be secret does not leave with it.
func TestLFSObjectWithASecret(t *testing.T) {
	w := newWorld(t)
	const secret = "hunter2-correct-horse-battery"
	w.Masks.Learn([]byte(secret))
	w.before = func(rw http.ResponseWriter, r *http.Request) bool {
		_, _ = io.WriteString(rw, "the password is "+secret+"\n")
		return true
	}
	a := w.do(http.MethodGet, "/team/app.git/info/lfs/objects/"+strings.Repeat("ab", 32), "")
	if a.code != http.StatusOK || strings.Contains(a.body, secret) || strings.Contains(string(w.Recorded()), secret) {
		t.Errorf("%d %q", a.code, a.body)
	}
}

// A repository has one name in policy, or none.
func TestRepositoryNames(t *testing.T) {
	for path, want := range map[string]string{"/team/app.git": "team/app", "/team/app": "team/app", "/team/app.git.git": "", "/team/app.GIT": "", "/team/app.git/.git": "", "/team/.git": "", "/.git": "", "/team//app.git": "", "/team/./app": "",
		"/team/x/../app": "", "/team%2fapp": "", "/team/%61pp": "", "/team/app;x": "", "/team/app%00": "", "/team\\app": "", "/team/app%3f": "", "/%2e%2e/app": "", "/team/app/": ""} {
		for _, end := range []string{"/info/refs?service=git-upload-pack", "/git-receive-pack", "/HEAD", "/info/lfs/objects/batch"} {
			method := map[bool]string{true: http.MethodPost, false: http.MethodGet}[strings.HasSuffix(end, "pack") && !strings.Contains(end, "?") || strings.HasSuffix(end, "batch")]
			r, err := http.NewRequest(method, "http://x"+path+end, nil)
			if err != nil {
				continue
			}
			rt, why := readRoute(r)
			if got := rt.repository; (why != nil) != (want == "") || why == nil && got != want {
				t.Errorf("%s%s: %q, %v", path, end, got, why)
			}
		}
	}
	for _, c := range [][2]string{{"GET", "/a/info/refs?service=git-upload-pack&x=1"}, {"GET", "/a/info/refs?x=1&service=git-upload-pack"}, {"GET", "/a/info/refs?service=git-upload-archive"}, {"GET", "/a/info/refs?service=upload-pack"}, {"POST", "/a/info/refs?service=git-upload-pack"},
		{"HEAD", "/a/HEAD"}, {"POST", "/a/git-upload-archive"}, {"POST", "/a/git-upload-pack?service=git-receive-pack"}, {"PUT", "/a/objects/aa/" + strings.Repeat("b", 38)}, {"GET", "/a/objects/info/alternates"}, {"GET", "/a/objects/info/http-alternates"},
		{"GET", "/a/config"}, {"GET", "/a/hooks/post-update"}, {"PROPFIND", "/a/HEAD"}, {"GET", "/a/info/lfs/locks"}, {"GET", "/a/HEAD?x"}} {
		r, err := http.NewRequest(c[0], "http://x"+c[1], nil)
		must(t, err)
		if _, why := readRoute(r); why == nil {
			t.Errorf("%s %s is passed on", c[0], c[1])
		}
	}
}
