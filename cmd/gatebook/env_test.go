package main

import (
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"gatebook/internal/api/client"
	"gatebook/internal/config"
)

// TestMain is this program where it is called as one: what env writes calls os.Executable, which must not be the tests again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(report(root().Execute()))
	}
	os.Exit(m.Run())
}

const envToken = "eyJhbGciOiJub25lIn0.e30.the-agents-own-token"

// offering is a gateway that offers targets, to who has the token. It gives its URL and the file with its CA.
func offering(t *testing.T, targets ...client.Target) (url, ca string) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+envToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if err := json.NewEncoder(w).Encode(client.WhoAmI{Targets: targets}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "gateway.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, ca
}

// agentsEnv writes an environment for an agent, into a folder whose name no shell reads as one word.
func agentsEnv(t *testing.T, url, ca string, flags ...string) (dir, out string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), `it's a "folder" $HOME`)
	token := filepath.Join(t.TempDir(), "a token")
	if err := os.WriteFile(token, []byte(envToken), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := invoke(t, append([]string{"env", "--agent", "--gateway", url, "--ca", ca, "--token-file", token, "--dir", dir}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	return dir, out
}

var allTargets = []client.Target{
	{Name: "prod", Protocol: "kubernetes", URL: "https://gw:8443/t/prod"}, {Name: "test", Protocol: "kubernetes", URL: "https://gw:8443/t/test"},
	{Name: "code", Protocol: "git", URL: "https://gw:8443/t/code", Upstream: "https://git.example.com"},
	{Name: "shop", Protocol: "postgres", URL: "postgres://gw:5432/shop"}, {Name: "books", Protocol: "postgres", URL: "postgres://gw:5432/books"},
	{Name: "tools", Protocol: "web", URL: "https://gw:8443/t/tools", MCP: "https://gw:8443/t/tools/mcp"},
	{Name: "anthropic", Protocol: "model", URL: "https://gw:8443/t/anthropic"}, {Name: "openai", Protocol: "model", URL: "https://gw:8443/t/openai"},
}

// inShell reads env.sh as a shell does, and gives the output of a script after it.
func inShell(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", `. "$ENV_SH"; `+script)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "ENV_SH=" + filepath.Join(dir, "env.sh")}, env...)
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, b)
	}
	return strings.TrimSpace(string(b))
}

// Nothing that is written holds the token, and nobody but the owner can change what a shell will run.
func TestEnvHoldsNoSecret(t *testing.T) {
	url, ca := offering(t, allTargets...)
	dir, _ := agentsEnv(t, url, ca, "--codex", "openai", "--proxy")
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "the-agents-own-token") || strings.HasPrefix(d.Name(), ".") {
			t.Errorf("%s: %s", path, b)
		}
		if i, err := d.Info(); err != nil || i.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", path, i.Mode(), err)
		}
		return err
	})
	if err != nil || n != len(envNames) {
		t.Errorf("%d files, %v; want %d", n, err, len(envNames))
	}
}

// What a target needed goes when the target has gone.
func TestEnvForgetsTargets(t *testing.T) {
	url, ca := offering(t, allTargets...)
	dir, _ := agentsEnv(t, url, ca)
	url, ca = offering(t, allTargets[0])
	token := filepath.Join(t.TempDir(), "t")
	if err := os.WriteFile(token, []byte(envToken), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := invoke(t, "env", "--agent", "--gateway", url, "--ca", ca, "--token-file", token, "--dir", dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range envNames {
		_, err := os.Stat(filepath.Join(dir, name))
		if want := strings.Contains("env.sh ca.crt bundle.crt kubeconfig", name); (err == nil) != want {
			t.Errorf("%s: there %v, want %v", name, err == nil, want)
		}
	}
}

func TestEnvForKubectl(t *testing.T) {
	url, ca := offering(t, allTargets...)
	dir, _ := agentsEnv(t, url, ca)
	k, err := clientcmd.LoadFromFile(inShell(t, dir, `echo "$KUBECONFIG"`))
	if err != nil {
		t.Fatal(err)
	}
	u := k.AuthInfos["gatebook"].Exec
	if k.CurrentContext != "prod" || len(k.Contexts) != 2 || k.Clusters["test"].Server != "https://gw:8443/t/test" || k.Clusters["test"].CertificateAuthority != filepath.Join(dir, "ca.crt") {
		t.Errorf("%+v", k)
	}
	if program, _ := os.Executable(); u.Command != program || strings.Join(u.Args[:3], " ") != "token --format exec" || u.Args[3] != "--token-file" {
		t.Errorf("%+v", u)
	}
}

// Git finds the gateway by every address that it knows a repository by, and keeps what else it is told.
func TestEnvForGit(t *testing.T) {
	url, ca := offering(t, allTargets...)
	dir, _ := agentsEnv(t, url, ca)
	for _, known := range []string{"https://git.example.com/a/b.git", "git@git.example.com:a/b.git", "ssh://git@git.example.com/a/b.git"} {
		if got := inShell(t, dir, "git ls-remote --get-url "+known); got != "https://gw:8443/t/code/a/b.git" {
			t.Errorf("%s: %s", known, got)
		}
	}
	if got := inShell(t, dir, "git ls-remote --get-url https://elsewhere.example.com/a.git"); got != "https://elsewhere.example.com/a.git" {
		t.Error(got)
	}
	if got := inShell(t, dir, "git config --get-urlmatch http.sslCAInfo https://gw:8443/t/code/x"); got != filepath.Join(dir, "ca.crt") {
		t.Error(got)
	}
	helper := inShell(t, dir, "git config --get-urlmatch credential.helper https://gw:8443/t/code/x")
	if !strings.Contains(helper, "token --format git --token-file '") {
		t.Error(helper)
	}
	cred := inShell(t, dir, `printf 'protocol=https\nhost=gw:8443\n' | git credential fill`, "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if !strings.Contains(cred, "password="+envToken+"~00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") {
		t.Error(cred)
	}
	// Read again before each command, and after what somebody else has set.
	got := inShell(t, dir, `. "$ENV_SH"; git config user.name; git ls-remote --get-url git@git.example.com:x`, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=user.name", "GIT_CONFIG_VALUE_0=Ada")
	if got != "Ada\nhttps://gw:8443/t/code/x" {
		t.Error(got)
	}
	if got := inShell(t, dir, `. "$ENV_SH"; echo $GIT_CONFIG_COUNT`); got != "1" {
		t.Errorf("included %s times", got)
	}
}

// The real git, asked for a repository by the address that it knows, comes with the token and the trace, over TLS that it trusts.
func TestEnvGitLogsIn(t *testing.T) {
	var path, password string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pw, ok := r.BasicAuth()
		if !ok {
			w.Header().Set("Www-Authenticate", `Basic realm="gatebook"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		path, password = r.URL.Path, pw
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		if _, err := w.Write([]byte("001e# service=git-upload-pack\n00000000")); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	url, _ := offering(t, client.Target{Name: "code", Protocol: "git", URL: s.URL + "/t/code", Upstream: "https://git.example.com"})
	// All of httptest's servers share one certificate.
	ca := writeTemp(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	dir, _ := agentsEnv(t, url, ca)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	inShell(t, dir, "git ls-remote git@git.example.com:shop/web.git", "TRACEPARENT="+trace)
	if path != "/t/code/shop/web.git/info/refs" || password != envToken+"~"+trace {
		t.Errorf("%s, password %q", path, password)
	}
}

// An upstream below a path keeps it in every address.
func TestEnvForGitBelowAPath(t *testing.T) {
	got := gitAddresses(client.Target{Upstream: "https://git.example.com:8000/mirror/"})
	if strings.Join(got, " ") != "https://git.example.com:8000/mirror/ ssh://git@git.example.com/mirror/ git@git.example.com:mirror/" {
		t.Error(got)
	}
}

// A shell has the databases and the CA, and no other key of a model's.
func TestEnvForShells(t *testing.T) {
	url, ca := offering(t, allTargets...)
	dir, _ := agentsEnv(t, url, ca)
	got := inShell(t, dir, `echo "$PGHOST $PGPORT $PGDATABASE $PGSSLMODE ${ANTHROPIC_API_KEY-none} $ANTHROPIC_BASE_URL ${HTTPS_PROXY-none} $GATEBOOK_URL"`, "ANTHROPIC_API_KEY=sk-ant-foreign")
	if got != "gw 5432 shop verify-full none https://gw:8443/t/anthropic none "+url {
		t.Error(got)
	}
	if got := inShell(t, dir, `echo "$PGPASSWORD ${gatebook_token-unset}"`, "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"); got != envToken+"~00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 unset" {
		t.Error(got)
	}
	own, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	if b := inShell(t, dir, `cat "$SSL_CERT_FILE"`); !strings.HasSuffix(b, strings.TrimSpace(string(own))) {
		t.Errorf("%d bytes", len(b))
	}
	if s := inShell(t, dir, `cat "$PGSERVICEFILE"`); !strings.Contains(s, "[books]\nhost=gw\nport=5432\ndbname=books\n") {
		t.Error(s)
	}
}

// Programs are sent to the gateway's proxy or, where gatebook connect --proxy runs around them, to that, with the trace.
func TestEnvForTheProxy(t *testing.T) {
	url, ca := offering(t, allTargets...)
	dir, _ := agentsEnv(t, url, ca, "--proxy")
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, x := range []struct {
		env  []string
		want string
	}{
		{nil, "https://gatebook:" + envToken + "@" + strings.TrimPrefix(url, "https://") + " none"},
		{[]string{"GATEBOOK_PROXY=key@127.0.0.1:9"}, "http://gatebook:key@127.0.0.1:9 http://gatebook:key@127.0.0.1:9"},
		{[]string{"GATEBOOK_PROXY=key@127.0.0.1:9", "TRACEPARENT=" + trace}, "http://" + trace + ":key@127.0.0.1:9 http://" + trace + ":key@127.0.0.1:9"},
	} {
		if got := inShell(t, dir, `echo "$HTTPS_PROXY ${http_proxy-none}"; [ "$https_proxy" = "$HTTPS_PROXY" ]`, x.env...); got != x.want {
			t.Errorf("%q: %s, want %s", x.env, got, x.want)
		}
	}
}

func TestEnvForModels(t *testing.T) {
	url, ca := offering(t, allTargets...)
	dir, out := agentsEnv(t, url, ca, "--codex", "openai")
	var s struct {
		APIKeyHelper, OtelHeadersHelper string
		Env                             map[string]string
	}
	b, err := os.ReadFile(filepath.Join(dir, "claude.json"))
	if err != nil || json.Unmarshal(b, &s) != nil {
		t.Fatal(err, string(b))
	}
	if s.Env["ANTHROPIC_BASE_URL"] != "https://gw:8443/t/anthropic" || s.Env["ANTHROPIC_API_KEY"] != "" || s.Env["CLAUDE_ENV_FILE"] != filepath.Join(dir, "env.sh") ||
		s.Env["OTEL_EXPORTER_OTLP_ENDPOINT"] != url+"/gatebook/v1/otlp" || !strings.Contains(s.APIKeyHelper, "--format plain") || !strings.Contains(s.OtelHeadersHelper, "--format headers") {
		t.Errorf("%s", b)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "config.toml")); err != nil || !strings.Contains(string(b), `base_url = "https://gw:8443/t/openai/v1"`) {
		t.Error(err, string(b))
	}
	var m struct {
		Servers map[string]struct{ Type, URL, HeadersHelper string } `json:"mcpServers"`
	}
	if b, err := os.ReadFile(filepath.Join(dir, "mcp.json")); err != nil || json.Unmarshal(b, &m) != nil || m.Servers["tools"].URL != "https://gw:8443/t/tools/mcp" || !strings.Contains(m.Servers["tools"].HeadersHelper, "--format headers") {
		t.Error(err, string(b))
	}
	if !strings.Contains(out, "claude --settings '") {
		t.Error(out)
	}
	if _, err := invoke(t, "env", "--agent", "--gateway", url, "--ca", ca, "--token-file", writeTemp(t, envToken), "--dir", t.TempDir(), "--claude", "prod"); report(err) != exitUsage {
		t.Errorf("a cluster as a model: %v", err)
	}
}

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A person's environment asks the login for tokens, by the gateway and its CA.
func TestEnvOfAPerson(t *testing.T) {
	e := environment{dir: "/d", program: "/bin/gatebook", gateway: "https://gw", ca: []byte("x")}
	if got := e.tokenCommand("plain"); got != "/bin/gatebook token --format plain --gateway https://gw --ca /d/ca.crt" {
		t.Error(got)
	}
}

func TestShellQuote(t *testing.T) {
	for _, s := range []string{"", "a", "it's", `$(id) "x" \ ` + "`y`", "-n", "a\tb"} {
		b, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+shellQuote(s)).Output()
		if want := strings.TrimPrefix(s, "-n"); err != nil || string(b) != s && string(b) != want {
			t.Errorf("%q: %q, %v", s, b, err)
		}
	}
}

// What clients are told of a target is where its protocol is spoken, and of an upstream only what git needs.
func TestOffered(t *testing.T) {
	g := &gateway{cfg: &config.Config{URL: "https://gw:8443", ListenPostgres: ":5433"}}
	for _, c := range []struct {
		t    config.Target
		want client.Target
	}{
		{config.Target{Name: "a", Protocol: "kubernetes", URL: "https://secret"}, client.Target{Name: "a", Protocol: "kubernetes", URL: "https://gw:8443/t/a"}},
		{config.Target{Name: "a", Protocol: "postgres", URL: "postgres://secret/x"}, client.Target{Name: "a", Protocol: "postgres", URL: "postgres://gw:5433/a"}},
		{config.Target{Name: "a", Protocol: "git", URL: "https://u:pw@h/x"}, client.Target{Name: "a", Protocol: "git", URL: "https://gw:8443/t/a", Upstream: "https://h/x"}},
		{config.Target{Name: "a", Protocol: "web", Labels: map[string]string{"mcp": "/mcp"}}, client.Target{Name: "a", Protocol: "web", URL: "https://gw:8443/t/a", MCP: "https://gw:8443/t/a/mcp"}},
	} {
		if got := g.offered(c.t); got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
}
