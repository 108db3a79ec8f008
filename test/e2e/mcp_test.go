package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// mcpClient is the client of the protocol's own SDK, behind a gateway.
func mcpClient(t *testing.T, g *lab.Gateway, token string, notes *atomic.Int64) *mcp.ClientSession {
	t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { notes.Add(1) },
	})
	s, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: g.URL + "/t/tools/mcp", HTTPClient: bearerClient(t, g, token)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// bearerClient trusts the gateway, and shows it a token.
func bearerClient(t *testing.T, g *lab.Gateway, token string) *http.Client {
	tr := &http.Transport{TLSClientConfig: trusting(t, g), ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: withToken{tr, token}}
}

type withToken struct {
	http.RoundTripper
	token string
}

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+w.token)
	return w.RoundTripper.RoundTrip(r)
}

// A server and a client of the SDK of the Model Context Protocol, with the gateway between them: each call of a tool is an operation by name and
// arguments, refused and held in words that the client shows; what comes back, in JSON or in events, is masked.
func TestMCP(t *testing.T) {
	for name, o := range map[string]*mcp.StreamableHTTPOptions{
		"events": {EventStore: mcp.NewMemoryEventStore(nil)}, "JSON": {JSONResponse: true}, "stateless": {Stateless: true},
	} {
		t.Run(name, func(t *testing.T) { testMCP(t, name, o) })
	}
}

func testMCP(t *testing.T, name string, o *mcp.StreamableHTTPOptions) {
	var wiped atomic.Int64
	tools := mcp.NewServer(&mcp.Implementation{Name: "tools", Version: "1"}, nil)
	type sum struct {
		A int `json:"a"`
		B int `json:"b"`
	}
	mcp.AddTool(tools, &mcp.Tool{Name: "add", Description: "adds"}, func(ctx context.Context, r *mcp.CallToolRequest, in sum) (*mcp.CallToolResult, any, error) {
		if p := r.Params.GetProgressToken(); p != nil {
			_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: p, Progress: 1}) // there is no way for it where answers are JSON
		}
		return nil, map[string]any{"sum": in.A + in.B, "token": lab.UpstreamToken}, nil
	})
	mcp.AddTool(tools, &mcp.Tool{Name: "wipe", Description: "wipes"}, func(context.Context, *mcp.CallToolRequest, any) (*mcp.CallToolResult, any, error) {
		wiped.Add(1)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "wiped"}}}, nil, nil
	})
	mcp.AddTool(tools, &mcp.Tool{Name: "leak", Description: "never"}, func(context.Context, *mcp.CallToolRequest, any) (*mcp.CallToolResult, any, error) {
		t.Error("a forbidden tool was called")
		return nil, nil, nil
	})
	h := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return tools }, o)
	u := lab.StartUpstream(t, true, h.ServeHTTP)
	g := lab.StartBareGateway(t, binary, lab.Options{
		Targets: strings.ReplaceAll(u.Target("tools", "    protocol: web\n"), "    accounts: [lab]\n", ""),
		Config:  "approvals: {holdOthers: 2s}\n",
		Policy: map[string]string{"web.yaml": `masking: [secrets, known]
rules:
  - {id: talk, protocol: web, effect: allow, when: 'web.path == "/mcp" && (!has(web.mcp) || web.mcp.method != "tools/call")', reason: it only talks}
  - {id: add, protocol: web, effect: allow, when: 'web.path == "/mcp" && web.mcp.tool == "add" && int(web.mcp.arguments.a) < 10', reason: a test}
  - {id: wipe, protocol: web, effect: approve, when: 'web.path == "/mcp" && has(web.mcp) && web.mcp.tool == "wipe"', reason: it wipes}
`}})
	ann, audrey := g.API(g.Person("ann", "approvers")), g.API(g.Person("audrey", "auditors"))
	var notes atomic.Int64
	s := mcpClient(t, g, g.Person("claude", "agents"), &notes)
	list, err := s.ListTools(t.Context(), nil)
	if err != nil || len(list.Tools) != 3 {
		t.Fatalf("%+v %v", list, err)
	}
	call := func(tool string, args any) (string, error) {
		p := &mcp.CallToolParams{Name: tool, Arguments: args}
		p.SetProgressToken("p")
		r, err := s.CallTool(t.Context(), p)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(r.StructuredContent, r.Content[0].(*mcp.TextContent).Text, r.IsError), nil
	}
	if got, err := call("add", sum{2, 3}); err != nil || !strings.Contains(got, "5") || !strings.Contains(got, "gbm-") || strings.Contains(got, lab.UpstreamToken) {
		t.Errorf("%s %v", got, err)
	}
	for _, x := range []struct {
		tool string
		args any
	}{{"add", sum{20, 3}}, {"leak", map[string]any{}}} {
		if got, err := call(x.tool, x.args); err == nil || !strings.Contains(err.Error(), "gatebook: ") {
			t.Errorf("%+v: %s %v", x, got, err)
		}
	}
	// Nobody answers in time; then somebody does, and the same call is made, once.
	_, err = call("wipe", map[string]any{"all": true})
	if err == nil || !strings.Contains(err.Error(), "pproval ") {
		t.Errorf("held: %v", err)
	}
	a := pending(t, ann, "wipe")
	if m := a.Operation.Web.MCP; m == nil || m.Tool != "wipe" || m.Arguments["all"] != true || !strings.Contains(fmt.Sprint(err), string(a.ID)) {
		t.Errorf("%+v, and the client was told %v", m, err)
	}
	if _, err := ann.Answer(t.Context(), a.ID, client.Answer{Yes: true}); err != nil {
		t.Fatal(err)
	}
	if wiped.Load() != 0 {
		t.Error("it ran before anybody came for it")
	}
	if got, err := call("wipe", map[string]any{"all": true}); err != nil || !strings.Contains(got, "wiped") || wiped.Load() != 1 {
		t.Errorf("approved: %s %v, ran %d times", got, err, wiped.Load())
	}
	if _, err := call("wipe", map[string]any{"all": true}); err == nil || wiped.Load() != 1 {
		t.Errorf("an approval was used twice: %v, ran %d times", err, wiped.Load())
	}
	if name == "events" && notes.Load() == 0 {
		t.Error("no event came before the answer")
	}
	var seen []string
	for _, r := range found(t, audrey, client.Query{Target: "tools", Text: "tools/call"}, 6) {
		if m := r.Operation.Web.MCP; m != nil {
			seen = append(seen, fmt.Sprint(m.Tool, " ", r.Decision.Effect, " ", r.Outcome.Code))
		}
	}
	slices.Sort(seen)
	if d := cmp.Diff([]string{"add allow 200", "add deny 0", "leak deny 0", "wipe approve 0", "wipe approve 0", "wipe approve 200"}, seen); d != "" {
		t.Error(d)
	}
}

func trusting(t *testing.T, g *lab.Gateway) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(g.Data("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		t.Fatal("the gateway's CA is none")
	}
	return &tls.Config{RootCAs: roots}
}
