package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// startNginx runs Debian's nginx as it is usually set up, with compression, in front of a few files, and gives its URL.
func startNginx(t *testing.T, files map[string]string) string {
	t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Fatal("there is no nginx; install Debian's package nginx-light")
		}
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	conf := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log %[1]s/error.log; user root;
events {}
http {
  types { application/json json; text/plain txt; }
  gzip on; gzip_types application/json text/plain; gzip_min_length 1; gzip_proxied any;
  access_log %[1]s/access.log; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; root %[1]s; location /put { dav_methods PUT; client_max_body_size 100m; } location /moved { return 302 /a.json; } }
}`, dir, address)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir, "-e", filepath.Join(dir, "error.log"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + address + "/a.json")
		if err == nil {
			resp.Body.Close()
			return "http://" + address
		}
		if time.Now().After(deadline) {
			t.Fatal("nginx does not start")
		}
	}
}

// webClient is an agent with a gateway in front of nginx.
type webClient struct {
	t     *testing.T
	g     *lab.Gateway
	token string
}

func newWebClient(t *testing.T, policy string) *webClient {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("the-token-of-the-gateway"), 0o600); err != nil {
		t.Fatal(err)
	}
	nginx := startNginx(t, map[string]string{"a.json": `{"leak":"the-token-of-the-gateway","n":1}`, "a.txt": "0123456789"})
	o := lab.Options{Targets: fmt.Sprintf("  - name: files\n    protocol: web\n    url: '%s'\n    token: {file: %s}\n    proxy: {hosts: ['%s']}\n", nginx, token, strings.TrimPrefix(nginx, "http://"))}
	if policy != "" {
		o.Policy = map[string]string{"web.yaml": policy}
	}
	c := &webClient{t: t, g: lab.StartBareGateway(t, binary, o)}
	c.token = c.g.Person("claude", "agents")
	return c
}

func (c *webClient) run(name string, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), lab.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+c.g.Data("ca.crt"), "TOKEN="+c.token, "URL="+c.g.URL+"/t/files")
	b, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Errorf("%s %q: %v\n%s", name, args, err, b)
	}
	return string(b)
}

func (c *webClient) curl(args ...string) string {
	c.t.Helper()
	return c.run("curl", append([]string{"-sS", "--cacert", c.g.Data("ca.crt"), "-H", "Authorization: Bearer " + c.token}, args...)...)
}

// curl and Node's fetch read through the gateway, over either version of HTTP, and never see the gateway's own token.
func TestWebReads(t *testing.T) {
	c := newWebClient(t, "")
	base := c.g.URL + "/t/files"
	for name, got := range map[string]string{
		"h1":         c.curl("--http1.1", base+"/a.json"),
		"h2":         c.curl("--http2", base+"/a.json"),
		"compressed": c.curl("--compressed", base+"/a.json"),
		"redirect":   c.curl("-L", base+"/moved"),
		"node":       c.run("node", "-e", `fetch(process.env.URL+"/a.json",{headers:{authorization:"Bearer "+process.env.TOKEN}}).then(r=>r.text()).then(t=>process.stdout.write(t))`),
		"proxied":    c.run("curl", "-sS", "--proxy-cacert", c.g.Data("ca.crt"), "-x", "https://agent:"+c.token+"@"+strings.TrimPrefix(c.g.URL, "https://"), c.nginx()+"/a.json"),
	} {
		if !strings.HasPrefix(got, `{"leak":"gbm-`) || !strings.HasSuffix(got, `","n":1}`) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := c.curl("-I", base+"/a.txt"); !strings.Contains(strings.ToLower(got), "content-length: 10") {
		t.Errorf("HEAD: %s", got)
	}
	if got := c.curl("-r", "2-4", base+"/a.txt"); got != "0123456789" { // all of it, as HTTP lets a server answer
		t.Errorf("a range: %s", got)
	}
	etag := ""
	for line := range strings.Lines(c.curl("-I", base+"/a.txt")) {
		if name, v, _ := strings.Cut(line, ":"); strings.EqualFold(name, "etag") {
			etag = strings.TrimSpace(v)
		}
	}
	if got := c.curl("-o", "/dev/null", "-w", "%{http_code}", "-H", "If-None-Match: "+etag, base+"/a.txt"); got != "304" {
		t.Errorf("with %s: %s", etag, got)
	}
}

// nginx is where the service is, as the configuration names it.
func (c *webClient) nginx() string {
	b, err := os.ReadFile(filepath.Join(c.g.Dir, "config.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "url: 'http://")
	address, _, _ := strings.Cut(rest, "'")
	return "http://" + address
}

// By the default policy a change waits for a person, who sees all of it; once approved it is done, once.
func TestWebChangeIsApproved(t *testing.T) {
	c := newWebClient(t, "")
	x := c.g.API(c.g.Person("ann", "approvers"))
	done := make(chan string, 1)
	go func() {
		done <- c.curl("-X", "PUT", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-H", "Expect: 100-continue", "-d", `{"a":"b"}`, c.g.URL+"/t/files/put")
	}()
	a := pending(t, x, "/put")
	if !strings.Contains(a.Operation.Command, `--data-raw '{"a":"b"}'`) || a.Card.Object != `{"a":"b"}` {
		t.Errorf("%s\n%+v", a.Operation.Command, a.Card)
	}
	if _, err := x.Answer(t.Context(), a.ID, client.Answer{Yes: true}); err != nil {
		t.Fatal(err)
	}
	if code := <-done; code != "201" && code != "204" {
		t.Errorf("answered %s", code)
	}
	r := found(t, c.g.API(c.g.Person("audrey", "auditors")), client.Query{}, 1)
	if o := r[0]; o.Outcome.RequestBytes != 9 || o.Operation.Web.Method != "PUT" || o.Operation.Target.Name != "files" {
		t.Errorf("%+v", o)
	}
}

// A person who is late finds the request again: the client is told what it waits for, the same request joins the approval, and runs once. One
// whose client has gone runs for nobody.
func TestWebLateApproval(t *testing.T) {
	var ran atomic.Int64
	u := lab.StartUpstream(t, true, func(w http.ResponseWriter, r *http.Request) {
		ran.Add(1)
		fmt.Fprint(w, "done")
	})
	g := lab.StartBareGateway(t, binary, lab.Options{
		Targets: strings.ReplaceAll(u.Target("shop", "    protocol: web\n"), "    accounts: [lab]\n", ""), Config: "approvals: {holdOthers: 4s}\n",
		Policy: map[string]string{"web.yaml": "rules:\n  - {id: ask, protocol: web, effect: approve, when: 'web.method != \"GET\"', reason: it changes}\n"}})
	c := &webClient{t: t, g: g, token: g.Person("claude", "agents")}
	ann := g.API(g.Person("ann", "approvers"))
	ask := func(path, body string) string {
		return c.curl("-w", " %{http_code} %header{retry-after}", "-X", "POST", "-H", "Content-Type: application/json", "-d", body, g.URL+"/t/shop"+path)
	}
	first := ask("/late", `{"a":1}`)
	a := pending(t, ann, "/late")
	if !strings.HasSuffix(first, " 429 10") || !strings.Contains(first, string(a.ID)) {
		t.Errorf("held: %s", first)
	}
	if _, err := ann.Answer(t.Context(), a.ID, client.Answer{Yes: true}); err != nil {
		t.Fatal(err)
	}
	if got := ask("/late", `{"a":2}`); !strings.Contains(got, " 429 ") || ran.Load() != 0 {
		t.Errorf("another body: %s, ran %d times", got, ran.Load())
	}
	if got := ask("/late", `{"a":1}`); !strings.HasPrefix(got, "done 200") || ran.Load() != 1 {
		t.Errorf("approved: %s, ran %d times", got, ran.Load())
	}
	if got := ask("/late", `{"a":1}`); !strings.Contains(got, " 429 ") || ran.Load() != 1 {
		t.Errorf("used twice: %s, ran %d times", got, ran.Load())
	}
	// The client goes while it is held.
	gone, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(gone, "curl", "-sS", "--cacert", g.Data("ca.crt"), "-H", "Authorization: Bearer "+c.token, "-X", "DELETE", g.URL+"/t/shop/gone")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a = pending(t, ann, "/gone")
	cancel()
	_ = cmd.Wait()
	audrey := g.API(g.Person("audrey", "auditors"))
	found(t, audrey, client.Query{Target: "shop", Text: "gone"}, 1) // it has been given up
	if _, err := ann.Answer(t.Context(), a.ID, client.Answer{Yes: true}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // should anything be about to run
	if ran.Load() != 1 {
		t.Error("it ran for a client that had gone")
	}
	if got := c.curl("-X", "DELETE", g.URL+"/t/shop/gone"); got != "done" || ran.Load() != 2 {
		t.Errorf("sent again: %s, ran %d times", got, ran.Load())
	}
}

// A WebSocket of Node's undici, and one of coder/websocket, offer compression, speak in fragments, and are masked message by message.
func TestWebSocketClients(t *testing.T) {
	modules := lab.NodeModules(t, "undici", "6.21.3")
	u := lab.StartUpstream(t, false, func(w http.ResponseWriter, r *http.Request) {
		s, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"chat"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer s.CloseNow()
		s.SetReadLimit(1 << 20)
		for {
			kind, b, err := s.Read(context.Background())
			if err != nil {
				return
			}
			if err := s.Write(context.Background(), kind, append(b, " "+lab.UpstreamToken...)); err != nil {
				return
			}
		}
	})
	g := lab.StartBareGateway(t, binary, lab.Options{
		Targets: strings.ReplaceAll(u.Target("shop", "    protocol: web\n"), "    accounts: [lab]\n", ""),
		Policy:  map[string]string{"web.yaml": "masking: [secrets, known]\nrules:\n  - {id: all, protocol: web, effect: allow, reason: a test}\n"}})
	c := &webClient{t: t, g: g, token: g.Person("claude", "agents")}
	t.Setenv("NODE_PATH", modules)
	got := c.run("node", "-e", `const {WebSocket} = require("undici")
const s = new WebSocket(process.env.URL.replace("https", "wss").replace("files", "shop") + "/live", {protocols: ["chat"], headers: {authorization: "Bearer " + process.env.TOKEN}})
s.onopen = () => s.send("hello")
s.onmessage = m => { console.log(s.protocol, JSON.stringify(s.extensions), m.data); s.close(1000) }
s.onerror = e => console.log("error", e.message)
s.onclose = e => console.log("closed", e.code)`)
	if !strings.HasPrefix(got, `chat "" hello gbm-`) || !strings.Contains(got, "closed 1000") {
		t.Errorf("node: %s", got)
	}
	s, _, err := websocket.Dial(t.Context(), g.URL+"/t/shop/live", &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(t, g)}},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	defer s.CloseNow()
	s.SetReadLimit(1 << 20)
	w, err := s.Writer(t.Context(), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // each longer than a frame
		if _, err := w.Write(bytes.Repeat([]byte("fragment"), 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, b, err := s.Read(t.Context()); err != nil || !strings.HasPrefix(string(b), strings.Repeat("fragment", 30_000)+" gbm-") {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
