package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// bash is a tool call that runs a command and says with which trace.
func bash(id, command string) lab.ToolUse {
	return lab.Tool(id, "Bash", map[string]any{"command": "echo trace=$TRACEPARENT; " + command, "description": "as the script says"})
}

// rungOf gives the best answer to what caused an operation.
func rungOf(t *testing.T, x *client.Client, id access.OperationID) access.Chain {
	t.Helper()
	w, err := x.Why(t.Context(), string(id))
	if err != nil || len(w.Chains) != 1 {
		t.Fatalf("%d chains, %v", len(w.Chains), err)
	}
	return w.Chains[0]
}

const (
	prompt    = "Green tea costs 41.90 in our shop. Find the mistake and put it right."
	subPrompt = "Find out who has ordered green tea"
)

// scene is the real Claude Code that has run a script through the gateway, in a pod where there are containers.
type scene struct {
	g       *lab.Gateway
	x       *client.Client
	ns      string
	host    *lab.GitHost
	model   *lab.Messages
	traces  map[string]string // by tool call, as the call itself saw it
	printed map[string]string
	asked   []string // the commands that a person was asked about
}

// script is one session over every protocol: what the model says, of the person's prompt and of the sub-agent's.
func (s *scene) script(web string) (own, sub []lab.Turn) {
	k := "kubectl -n " + s.ns + " "
	curl := `curl -sS -H "Authorization: Bearer $(gatebook token --format plain)" `
	own = []lab.Turn{
		{Text: "I look.", Uses: []lab.ToolUse{bash("toolu_pods", k+"get pods"), bash("toolu_secret", k+`get secret db -o jsonpath='{.data.password}'`)}},
		{Uses: []lab.ToolUse{bash("toolu_price", `psql -At -c "select price from products where name = 'green tea'"`), bash("toolu_feed", curl+web+"/a.json")}},
		{Uses: []lab.ToolUse{lab.Tool("toolu_agent", "Agent", map[string]any{"description": "orders", "prompt": subPrompt, "subagent_type": "general-purpose", "run_in_background": false}), bash("toolu_feed_again", curl+`"$GATEBOOK_URL/t/files/a.txt"`)}},
		{Uses: []lab.ToolUse{bash("toolu_clone", "git clone -q "+s.host.URL("shop.git")+" ~/shop && cat ~/shop/prices")}},
		{Uses: []lab.ToolUse{bash("toolu_commit", "cd ~/shop && sed -i s/41.90/4.19/ prices && git commit -qam 'green tea costs 4.19' && git rev-parse HEAD")}},
		{Uses: []lab.ToolUse{bash("toolu_push", "cd ~/shop && git push -q origin main 2>&1")}},
		{Uses: []lab.ToolUse{bash("toolu_update", `psql -At -c "update products set price = 4.19 where name = 'green tea' returning price"`)}},
		{Uses: []lab.ToolUse{bash("toolu_apply", "echo '"+fmt.Sprintf(configMapJSON, s.ns)+"' | kubectl apply -f -")}},
		{Uses: []lab.ToolUse{bash("toolu_exec", k+"exec shop -- cat /etc/passwd")}},
		{Uses: []lab.ToolUse{lab.Tool("toolu_add", "mcp__tools__add", map[string]any{"a": 4, "b": 0.19})}},
		{Uses: []lab.ToolUse{bash("toolu_twin_a", k+"get services"), bash("toolu_twin_b", k+"get services")}},
		{Uses: []lab.ToolUse{bash("toolu_script", "sh ~/work.sh")}},
		{Uses: []lab.ToolUse{bash("toolu_background", "(until [ -e woken ]; do sleep 0.2; done; "+k+"get serviceaccounts; touch slept) > background.log 2>&1 & echo begun")}},
		{Uses: []lab.ToolUse{bash("toolu_sleep", "touch woken; until [ -e slept ]; do sleep 0.2; done; cat background.log")}},
		{Text: "All is well."}}
	sub = []lab.Turn{
		{Uses: []lab.ToolUse{bash("toolu_orders", `psql -At -c "select customer from orders where product = 'green tea'"`)}},
		{Uses: []lab.ToolUse{bash("toolu_endpoints", k+"get endpoints")}},
		{Text: "Rosa has."}}
	return own, sub
}

const configMapJSON = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"prices","namespace":"%s"},"data":{"green-tea":"4.19"}}`

// caused is what comes of a call, or of one of several where that cannot be told; of none where calls is empty. Each effect is in
// the words of a command; also are those that kubectl keeps for later, of whichever call is first.
type caused struct {
	calls         string
	rung          access.Rung
	effects, also []string
}

// expected are all effects of the script.
func expected(traced bool) []caused {
	first := []string{"'/api"}
	if traced {
		b := access.Bound
		return append(append(always(b), connects(b)...), caused{"toolu_pods", b, []string{"get pods"}, first}, caused{"toolu_secret", b, []string{"get secret"}, first},
			caused{"toolu_twin_a", b, []string{"get services"}, nil}, caused{"toolu_twin_b", b, []string{"get services"}, nil},
			caused{"toolu_apply", b, []string{"get namespaces"}, nil}, caused{"toolu_script", b, []string{"get replicationcontrollers"}, nil})
	}
	m, w, a := access.Matched, access.Windowed, access.Ambiguous
	return append(append(always(m), connects(m)...), caused{"toolu_pods", m, []string{"get pods"}, nil}, caused{"toolu_secret", m, []string{"get secret"}, nil}, caused{"toolu_pods toolu_secret", a, nil, first},
		caused{"toolu_twin_a toolu_twin_b", a, []string{"get services"}, nil},
		caused{"toolu_apply", w, []string{"get namespaces"}, nil}, caused{"toolu_script", w, []string{"get replicationcontrollers"}, nil})
}

// connects are the connections to the database, of which a command says nothing but that there is one.
func connects(r access.Rung) []caused {
	psql := []string{"psql \"dbname="}
	return []caused{{"toolu_price", r, psql, nil}, {"toolu_orders", r, psql, nil}, {"toolu_update", r, psql, nil}}
}

// always are the effects that are as sure as can be, r, in either case, and those that never are: of a job that outlives its call,
// and of what was asked before there was a prompt.
func always(r access.Rung) []caused {
	return []caused{
		{"toolu_price", r, []string{"select price"}, nil}, {"toolu_feed", r, []string{"/a.json"}, nil}, {"toolu_feed_again", r, []string{"/a.txt"}, nil},
		{"toolu_orders", r, []string{"select customer"}, nil}, {"toolu_endpoints", r, []string{"get endpoints"}, nil},
		{"toolu_clone", r, []string{"git ls-remote", "git fetch"}, nil}, {"toolu_push", r, []string{"git push --dry-run", "git push --force-with-lease"}, nil},
		{"toolu_update", r, []string{"update products"}, nil}, {"toolu_apply", r, []string{"/openapi/v3", "get configmaps", "kubectl create"}, nil},
		{"toolu_exec", r, []string{"get pods", "kubectl exec"}, nil}, {"toolu_add", access.Bound, []string{"tools/call"}, nil},
		{"", access.Unattributed, []string{"get serviceaccounts", "initialize", "initialized", "tools/list", "/mcp -H 'Accept: text/event-stream'"}, []string{"--raw /version", "server/discover"}},
	}
}

// play runs Claude Code, in an environment of `gatebook env --agent` alone, through the script, while a person says yes to
// whatever is asked.
func play(t *testing.T, traced bool) *scene {
	s := &scene{ns: namespace(t), host: lab.StartGitHost(t), traces: map[string]string{}, printed: map[string]string{}}
	s.model = lab.StartMessages(t)
	web := startNginx(t, map[string]string{"a.json": `{"green tea":4.19}`, "a.txt": "as before"})
	tools := lab.StartUpstream(t, false, adder)
	p := lab.StartPostgres(t)
	db := p.Database(t, "create table products (name text, price numeric)", "insert into products values ('green tea', 41.90)",
		"create table orders (customer text, product text)", "insert into orders values ('Rosa Luz, Lisbon', 'green tea')")
	if err := s.host.Seed("shop.git", map[string]string{"prices": "green tea 41.90\n"}); err != nil {
		t.Fatal(err)
	}
	must(t, admin(t, "", "-n", s.ns, "create", "secret", "generic", "db", "--from-literal=password="+secretValue))
	must(t, admin(t, fmt.Sprintf(shopPod, s.ns), "apply", "-f", "-"))
	s.g = cluster.StartGateway(t, binary, lab.Options{Pods: cluster.Containers, SQL: true, Targets: s.model.Target("anthropic", "") + p.Target("shop", db, "") +
		s.host.Target("code", "") + "  - {name: files, protocol: web, url: '" + web + "'}\n" + tools.Service("tools", "    labels: {mcp: /mcp}\n")})
	own, sub := s.script(s.g.URL + "/t/files")
	s.model.Script(prompt, own...).Script(subPrompt, sub...)
	w := s.workplace(t, "claude")
	if !traced {
		w.Untraced()
	}
	s.confined(t, w)
	w.Write("work.sh", "kubectl -n "+s.ns+" get replicationcontrollers\n")
	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() { s.sayYes(ctx, t) })
	r := w.Claude(prompt, "--mcp-config", w.Env+"/mcp.json", "--allowedTools", "Bash,Agent,mcp__tools__add")
	stop()
	asking.Wait()
	if !strings.Contains(r.Stdout, "All is well.") {
		t.Fatalf("%s\nthe model was asked %d times", r.Out(), len(s.model.Asked()))
	}
	s.x = s.g.API(s.g.Person("grace", "auditors"))
	s.results(t)
	return s
}

// workplace is a pod where there are containers, else a folder of this machine.
func (s *scene) workplace(t *testing.T, name string) *lab.Workplace {
	if cluster.Containers {
		return s.g.Pod(t, s.ns, name)
	}
	return s.g.Workplace(t, s.g.Agent(s.ns, name, ""))
}

const shopPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"shop","namespace":"%s"},"spec":{"terminationGracePeriodSeconds":0,
"containers":[{"name":"shop","image":"lab.local/busybox:1","imagePullPolicy":"Never","command":["sleep","1000000"]}]}}`

// adder is a server of the Model Context Protocol with one tool.
func adder(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			ProtocolVersion string
			Arguments       struct{ A, B float64 }
		}
	}
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&m) != nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	var result any
	switch m.Method {
	case "initialize":
		result = map[string]any{"protocolVersion": m.Params.ProtocolVersion, "capabilities": map[string]any{"tools": map[string]any{}}, "serverInfo": map[string]any{"name": "adder", "version": "1"}}
	case "tools/list":
		number := map[string]string{"type": "number"}
		result = map[string]any{"tools": []any{map[string]any{"name": "add", "description": "adds", "inputSchema": map[string]any{"type": "object", "properties": map[string]any{"a": number, "b": number}}}}}
	case "tools/call":
		result = map[string]any{"content": []any{map[string]string{"type": "text", "text": fmt.Sprint(m.Params.Arguments.A + m.Params.Arguments.B)}}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result}) // a client that has gone is its own matter
}

// sayYes approves what is asked until ctx ends.
func (s *scene) sayYes(ctx context.Context, t *testing.T) {
	x := s.g.API(s.g.Person("ada", "approvers"))
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		page, err := x.Approvals(ctx, access.ApprovalPending)
		if err != nil {
			continue // ctx has ended, or the gateway: then the test fails elsewhere
		}
		for _, a := range page.Items {
			// Whoever is asked sees the tool call and the prompt behind it.
			if asked, err := x.Approval(ctx, a.ID); err != nil || len(asked.Links) != 1 || asked.Links[0].Turn == nil || asked.Links[0].Turn.Operation.Model.Prompt != prompt {
				t.Errorf("%s is asked about with %+v, %v", a.Operation.Command, asked.Links, err)
			}
			s.asked = append(s.asked, a.Operation.Command)
			if _, err := x.Answer(ctx, a.ID, client.Answer{Yes: true, Reason: "it is the task"}); err != nil {
				t.Errorf("answering %s: %v", a.Operation.Command, err)
			}
		}
	}
}

var echoed = regexp.MustCompile(`^trace=(\S*)`)

// results reads what each call printed, from what the model was told.
func (s *scene) results(t *testing.T) {
	t.Helper()
	for _, a := range s.model.Asked() {
		var body struct {
			Messages []struct{ Content json.RawMessage }
		}
		if json.Unmarshal([]byte(a.Body), &body) != nil {
			continue
		}
		for _, m := range body.Messages {
			var blocks []struct {
				Type    string
				ID      string `json:"tool_use_id"`
				Content json.RawMessage
			}
			if json.Unmarshal(m.Content, &blocks) != nil {
				continue // a text
			}
			for _, b := range blocks {
				if text := ""; b.Type == "tool_result" && json.Unmarshal(b.Content, &text) == nil {
					if m := echoed.FindStringSubmatch(text); m != nil {
						s.traces[b.ID] = m[1]
					}
					s.printed[b.ID] = text
				}
			}
		}
	}
}

// operations are those of a session but for the model's and the gateway's own, the earliest first, each with what caused it.
func (s *scene) operations(t *testing.T, session access.SessionID) []access.Chain {
	t.Helper()
	var out []access.Chain
	q := client.Query{Session: session, Limit: 100}
	for {
		page, err := s.x.Operations(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Items {
			if r.Operation.Model == nil && r.Operation.Parent == "" {
				out = append(out, rungOf(t, s.x, r.Operation.ID))
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			slices.Reverse(out)
			return out
		}
	}
}

// session is the one of an agent; there must be one.
func (s *scene) session(t *testing.T, name string) access.SessionID {
	t.Helper()
	page, err := s.x.Sessions(t.Context(), client.Query{Principal: "system:serviceaccount:" + s.ns + ":" + name})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d sessions of %s, %v", len(page.Items), name, err)
	}
	return page.Items[0].ID
}

// calls names what a chain says has caused the operation.
func calls(c access.Chain) string {
	var out []string
	for _, l := range c.Links {
		out = append(out, l.Call.ID)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// settled gives the operations when what comes later, by telemetry, has come, or after a while.
func (s *scene) settled(t *testing.T, session access.SessionID, want []caused) []access.Chain {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(500 * time.Millisecond) {
		all := s.operations(t, session)
		if time.Now().After(deadline) || !slices.ContainsFunc(all, func(c access.Chain) bool {
			return c.Record.Outcome == nil && c.Record.Refused == nil || wrong(c, want) != ""
		}) {
			return all
		}
	}
}

// wrong says what is wrong with what is known of one operation; nothing: all is as it should be.
func wrong(c access.Chain, want []caused) string {
	i := slices.IndexFunc(want, func(w caused) bool {
		return w.calls == calls(c) && slices.ContainsFunc(slices.Concat(w.effects, w.also), func(e string) bool { return strings.Contains(c.Record.Operation.Command, e) })
	})
	switch {
	case c.Cause == nil:
		return "nothing was asked"
	case greets(c) && (c.Cause.Rung == access.Windowed || c.Cause.Rung == access.Ambiguous):
		return prompts(c)
	case i < 0:
		return fmt.Sprintf("it is said to come of %q", calls(c))
	case c.Cause.Rung != want[i].rung:
		return fmt.Sprintf("it comes of %q: %s, want %s", calls(c), c.Cause.Rung, want[i].rung)
	}
	return prompts(c)
}

// greets reports whether an operation is part of how Claude Code itself connects to the server of MCP. It does so when it comes to it, on a
// busy machine in the midst of its calls; then nobody can see that none of those that are open is behind it.
func greets(c access.Chain) bool {
	command := c.Record.Operation.Command
	return strings.Contains(command, "/mcp ") && !strings.Contains(command, "tools/call")
}

// prompts checks the way from each call to the person's prompt.
func prompts(c access.Chain) string {
	for _, l := range c.Links {
		if sub := l.Call.ID == "toolu_orders" || l.Call.ID == "toolu_endpoints"; sub {
			if l.Turn == nil || l.Turn.Operation.Model.Prompt != subPrompt || l.Turn.Operation.Model.Agent == "" || l.Parent == nil || l.Parent.Call.ID != "toolu_agent" {
				return "the sub-agent is not behind it"
			}
			l = *l.Parent
		}
		if l.Turn == nil || l.Turn.Operation.Model.Prompt != prompt || l.Parent != nil {
			return "the person's prompt is not behind it"
		}
	}
	return ""
}

// TestClaudeCodeInPod is the whole way from a prompt to its effects: the real client, in a pod that reaches nothing but the
// gateway, one session over every protocol, with a sub-agent and calls at once; with its trace and telemetry, and without.
func TestClaudeCodeInPod(t *testing.T) {
	t.Run("traced", func(t *testing.T) {
		s := play(t, true)
		s.attributed(t, true)
		s.told(t)
		s.copied(t)
	})
	t.Run("untraced", func(t *testing.T) {
		s := play(t, false)
		for call, trace := range s.traces {
			if trace != "" {
				t.Errorf("%s has trace %q", call, trace)
			}
		}
		s.attributed(t, false)
	})
}

// attributed checks that each effect is said to come of the call that it came of, and that none is missing.
func (s *scene) attributed(t *testing.T, traced bool) {
	t.Helper()
	want := expected(traced)
	all := s.settled(t, s.session(t, "claude"), want)
	seen := map[string]bool{}
	for _, c := range all {
		op := c.Record.Operation
		if f := wrong(c, want); f != "" {
			t.Errorf("%s: %s\n%+v", op.Command, f, c.Cause)
		}
		for _, w := range want {
			for _, e := range w.effects {
				seen[w.calls+": "+e] = seen[w.calls+": "+e] || (w.calls == calls(c) || greets(c)) && strings.Contains(op.Command, e)
			}
		}
		// Of two calls with one command, the trace that the call itself saw says which is right.
		if traced && strings.Contains(op.Command, "get services") && (s.traces[calls(c)] != op.Client.Trace || len(c.Earlier) != 1 || c.Earlier[0].Rung != access.Ambiguous) {
			t.Errorf("%s has trace %q, of %v; before telemetry came: %+v", calls(c), op.Client.Trace, s.traces, c.Earlier)
		}
		if traced && strings.Contains(op.Command, "get serviceaccounts") && len(c.Cause.Flags) == 0 {
			t.Errorf("the trace of a call that has ended is not flagged: %+v", c.Cause)
		}
	}
	for e, there := range seen {
		if !there {
			t.Errorf("there is no operation of %s", e)
		}
	}
	if t.Failed() {
		for _, c := range all {
			t.Logf("%s of %q: %s", c.Cause.Rung, calls(c), c.Record.Operation.Command)
		}
		t.Logf("printed: %q", s.printed)
	}
}

// copied is another pod with the trace of one of the agent's calls.
func (s *scene) copied(t *testing.T) {
	t.Helper()
	thief := s.workplace(t, "thief")
	must(t, thief.Shell("kubectl -n "+s.ns+" get events", "TRACEPARENT="+s.traces["toolu_pods"]))
	for _, c := range s.operations(t, s.session(t, "thief")) {
		if c.Record.Operation.Client.Trace != s.traces["toolu_pods"] || c.Cause == nil || c.Cause.Rung != access.Unattributed || !slices.Contains(c.Cause.Flags, "its trace belongs to another session") {
			t.Errorf("a copied trace %q: %+v", c.Record.Operation.Client.Trace, c.Cause)
		}
	}
}

// told checks what people read.
func (s *scene) told(t *testing.T) {
	t.Helper()
	grace := s.g.Person("grace", "auditors")
	ask := func(args ...string) string { return must(t, s.g.CLI(grace, args...)).Stdout }
	commit := s.host.Ref(t, "shop.git", "refs/heads/main")
	if !strings.HasPrefix(s.printed["toolu_commit"], "trace=") || !strings.Contains(s.printed["toolu_commit"], commit) {
		t.Errorf("the agent's commit is %q, the host has %s; %q", s.printed["toolu_commit"], commit, s.printed["toolu_push"])
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"why", commit[:10]}, []string{"prompt ", prompt, "tool call ", "toolu_push", "git push -q origin main", "operation ", "caused by bound: ", "seen by the gateway: ", "the client's word: ",
			"decision approve", "a push changes", "approval ", "yes by ada: it is the task", "effect 200 after"}},
		{[]string{"why", "configmaps", s.ns, "prices"}, []string{prompt, "toolu_apply", "kubectl apply -f -", "caused by bound: ", "approval ", "effect 20"}},
		{[]string{"why", "--key", s.g.Data("auditor.key"), "Rosa Luz, Lisbon"}, []string{prompt, "toolu_agent", subPrompt, "toolu_orders", "select customer", "effect done after", "1 rows", "to agent "}},
		{[]string{"timeline", string(s.session(t, "claude"))}, []string{"prompt: " + prompt, "[toolu_pods, ", "[toolu_agent, ", "agent ", subPrompt, "[toolu_orders, ", "select customer", "[toolu_push, ", "git push --force", "unattributed"}},
	} {
		out, at := strings.Join(strings.Fields(ask(c.args...)), " "), 0
		for _, w := range c.want {
			i := strings.Index(out[at:], w)
			if i < 0 {
				t.Errorf("%q does not say %q after %d bytes:\n%s", c.args, w, at, out)
				break
			}
			at += i
		}
	}
	line := ask("timeline", string(s.session(t, "claude")))
	if strings.Count(line, "prompt: ") != 1 {
		t.Errorf("one prompt was given:\n%s", line)
	}
}

// confined checks that the agent's token is good at the gateway alone, and that what is behind the gateway is out of its reach.
func (s *scene) confined(t *testing.T, w *lab.Workplace) {
	t.Helper()
	if !cluster.Containers {
		return // a process of this machine reaches what this machine does
	}
	server := must(t, admin(t, "", "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")).Stdout
	_, port, _ := strings.Cut(strings.TrimPrefix(server, "https://"), ":")
	for url, want := range map[string]string{
		fmt.Sprintf("https://%s:%s/api", cluster.NodeIP, port): "401", // the API server itself: no such audience
		s.g.URL + "/t/lab/version":                             "200",
		s.host.URL("shop.git/HEAD"):                            "000", // nothing listens there for pods
		s.model.URL + "/v1/models":                             "000",
	} {
		retry := ""
		if want != "000" {
			retry = "--retry 5 --retry-all-errors --retry-max-time 120 "
		}
		r := w.Shell("curl -sk --max-time 60 " + retry + "-o /dev/null -w '%{http_code}' -H \"Authorization: Bearer $(gatebook token --format plain)\" " + url)
		if r.Stdout != want {
			t.Errorf("the agent's own way to %s: %s %s, want %s", url, r.Stdout, r.Stderr, want)
		}
	}
	if secrets := must(t, w.Shell("ls /var/run/secrets; env")).Stdout; strings.Contains(secrets, "kubernetes.io") || strings.Contains(secrets, lab.UpstreamToken) || strings.Contains(secrets, "PASSWORD=the-") {
		t.Errorf("the agent has more than its token: %s", secrets)
	}
}
