package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// TestProxyOfThisMachine has the programs that cannot reach a proxy over TLS use gatebook connect --proxy: each request is an operation, with the
// trace that the program says, and nobody without the key gets anywhere.
func TestProxyOfThisMachine(t *testing.T) {
	modules := lab.NodeModules(t, "undici", "6.21.3")
	u := lab.StartUpstream(t, false, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s for %s", r.Method, r.URL.Path, b, r.Header.Get("Authorization"))
	})
	h := lab.StartGitHost(t)
	h.Repository(t, "web.git")
	nginx := startNginx(t, map[string]string{"a.json": `{"n":1}`})
	tls := func(target, url string) string {
		return strings.NewReplacer("protocol: git", "protocol: web", "    accounts: [lab]\n", "").Replace(target) +
			"    proxy: {intercept: true, hosts: ['" + strings.TrimPrefix(url, "https://") + "']}\n"
	}
	clear := strings.TrimPrefix(nginx, "http://")
	g := lab.StartBareGateway(t, binary, lab.Options{
		Targets: tls(u.Target("shop", "    protocol: web\n"), u.URL) + tls(h.Target("code", ""), strings.TrimSuffix(h.URL(""), "/")) +
			"  - {name: files, protocol: web, proxy: {hosts: ['" + clear + "']}}\n",
		Policy: map[string]string{"web.yaml": "masking: [secrets, known]\nrules:\n  - {id: some, protocol: web, effect: allow, when: 'web.path != \"/no\"', reason: a test}\n"},
	})
	token := g.Person("claude", "agents")
	run := func(script string) string {
		t.Helper()
		r := g.CLI(token, "connect", "--proxy", "--", "sh", "-ec", `export NO_PROXY= no_proxy= SHOP=`+u.URL+` CODE=`+strings.TrimSuffix(h.URL(""), "/")+` FILES=`+nginx+` NODE_PATH=`+modules+` GIT_TERMINAL_PROMPT=0
`+script)
		return r.Out()
	}
	x := g.API(g.Person("audrey", "auditors"))
	traced := `export HTTPS_PROXY="http://` + trace + `:$GATEBOOK_PROXY" https_proxy="http://` + trace + `:$GATEBOOK_PROXY" http_proxy="http://` + trace + `:$GATEBOOK_PROXY"
`
	for name, c := range map[string]struct{ script, says, path string }{
		"curl":          {`curl -sS "$SHOP/alfawas" -d hello`, "POST /alfawas hello for Bearer gbm-", "alfawas"},
		"curl, h2":      {`curl -sS --http2 "$SHOP/bravowas"`, "GET /bravowas  for", "bravowas"},
		"curl, clear":   {`curl -sS "$FILES/a.json?charliewas"`, `{"n":1}`, "charliewas"},
		"curl, refused": {`curl -sS "$SHOP/no"`, "gatebook: ", strings.TrimPrefix(u.URL, "https://") + "/no"},
		"python":        {`python3 -c 'import os, urllib.request as r; print(r.urlopen(os.environ["SHOP"] + "/deltawas").read().decode())'`, "GET /deltawas  for", "deltawas"},
		"python, clear": {`python3 -c 'import os, urllib.request as r; print(r.urlopen(os.environ["FILES"] + "/a.json?echowas").read().decode())'`, `{"n":1}`, "echowas"},
		"node": {`node -e 'const {ProxyAgent, fetch} = require("undici"), p = new URL(process.env.HTTPS_PROXY)
fetch(process.env.SHOP + "/foxtrotwas", {method: "POST", body: "hello", dispatcher: new ProxyAgent({uri: p.href, token: "Basic " + btoa(p.username + ":" + p.password)})}).then(r => r.text()).then(t => console.log(t))'`, "POST /foxtrotwas hello for", "foxtrotwas"},
		"git": {`git ls-remote "$CODE/web.git" && echo listed`, "listed", "info/refs"},
	} {
		if got := run(traced + c.script); !strings.Contains(got, c.says) || strings.Contains(got, lab.UpstreamToken) {
			t.Errorf("%s: %s", name, got)
		}
		if r := found(t, x, client.Query{Text: c.path}, 1); r[0].Operation.Client.Trace != trace {
			t.Errorf("%s: trace %q", name, r[0].Operation.Client.Trace)
		}
	}
	before := len(u.Seen())
	for name, c := range map[string]struct{ script, says string }{
		"no key":        {`curl -sS -o /dev/null -w '%{http_connect}' -x "http://${GATEBOOK_PROXY#*@}" "$SHOP/other" || true`, "407"},
		"another key":   {`curl -sS -o /dev/null -w '%{http_connect}' -x "http://gatebook:0${GATEBOOK_PROXY#?}" "$SHOP/other" || true`, "407"},
		"no key, clear": {`curl -sS -o /dev/null -w '%{http_code}' -x "http://${GATEBOOK_PROXY#*@}" "$FILES/a.json"`, "407"},
		"no proxy":      {`curl -sS -w '%{http_code}' -x '' -H "Proxy-Authorization: Basic $(printf %s "x:${GATEBOOK_PROXY%@*}" | base64 -w0)" "http://${GATEBOOK_PROXY#*@}/x"`, "400"},
		"no target":     {`curl -sS -o /dev/null -w '%{http_connect}' https://elsewhere.example/ || true`, "403"},
	} {
		if got := run(c.script); !strings.Contains(got, c.says) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if len(u.Seen()) != before {
		t.Errorf("without the key the service got %+v", u.Seen()[before:])
	}
	if r := g.CLI(token, "connect", "--proxy", "--listen", "0.0.0.0:0", "--", "true"); r.Code == 0 || !strings.Contains(r.Out(), "for this machine alone") {
		t.Errorf("for everybody: %s", r.Out())
	}
}
