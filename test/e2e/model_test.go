package e2e

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// modelRecords waits until n calls of the model's target have ended, and gives them, the earliest first.
func modelRecords(t *testing.T, g *lab.Gateway, n int) []access.Record {
	t.Helper()
	auditor := g.API(g.Person("grace", "auditors"))
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(50 * time.Millisecond) {
		page, err := auditor.Operations(t.Context(), client.Query{Target: "anthropic", Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		all := slices.DeleteFunc(page.Items, func(r access.Record) bool {
			return r.Operation.Model == nil || r.Operation.Model.API != "messages" || r.Outcome == nil
		})
		if len(all) >= n {
			slices.Reverse(all)
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls of the model in the index, want %d", len(all), n)
		}
	}
}

// The real Claude Code asks a model through the gateway, and really runs the tool calls that come back.
func TestClaudeCode(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	m := lab.StartMessages(t, lab.Bash("echo $CLAUDE_CODE_SESSION_ID > "+out), lab.Bash("cat "+out), lab.Turn{Text: "all is done"})
	g := lab.StartBareGateway(t, binary, lab.Options{Targets: m.Target("anthropic", "    prices: [{model: '*', input: 3, output: 15}]\n")})
	token := g.Person("claude", "agents")
	r := g.NewClaude(t, "anthropic", token).Print("write the session's name down")
	var said struct {
		Result  string `json:"result"`
		Session string `json:"session_id"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &said); err != nil || r.Code != 0 || said.Result != "all is done" {
		t.Fatalf("exit %d, %v\n%s", r.Code, err, r.Out())
	}
	if b, err := os.ReadFile(out); err != nil || strings.TrimSpace(string(b)) != said.Session {
		t.Errorf("the tool call was not run: %q, %v", b, err)
	}
	for _, a := range m.Asked() {
		if a.Status != 200 || strings.Contains(a.Body, token) || strings.Contains(strings.Join(a.Header.Values("Authorization"), ""), token) {
			t.Errorf("%s %s: %d, %v", a.Method, a.URI, a.Status, a.Header)
		}
	}
	all := modelRecords(t, g, 3)
	var calls, results []string
	for i, r := range all {
		op, a := r.Operation.Model, r.Outcome.Answer
		if op.Conversation != said.Session || op.Prompt != "write the session's name down" || !op.Stream || !slices.Contains(op.Tools, "Bash") || len(op.Flags)+len(op.Findings) > 0 || r.Operation.Principal.Name != "claude" {
			t.Errorf("call %d: %+v", i, op)
		}
		if a == nil || a.InputTokens != 100 || a.OutputTokens != 20 || a.Cost != 100*3+20*15 || op.SessionTokens != int64(i)*135 || op.DayCost != int64(i)*600 {
			t.Errorf("call %d: answer %+v, before it %d tokens, %d µ$", i, a, op.SessionTokens, op.DayCost)
		}
		for _, c := range a.Calls {
			calls = append(calls, c.ID)
			if !strings.Contains(c.Input, out) || c.Name != "Bash" || c.Emitted.IsZero() {
				t.Errorf("call %d: %+v", i, c)
			}
		}
		results = append(results, op.Results...)
	}
	if len(calls) != 2 || !slices.Equal(calls, results) {
		t.Errorf("calls %v, results %v", calls, results)
	}
}

// Budgets go on where they were when the gateway starts again, and so does the session.
func TestModelBudgetSurvivesRestart(t *testing.T) {
	m := lab.StartMessages(t, lab.Turn{Text: "yes"})
	policy := "rules:\n  - {id: all, protocol: model, effect: allow, reason: a test}\n  - {id: budget, protocol: model, effect: deny, when: 'model.dayTokens >= 270 && model.sessionTokens >= 270', reason: the budget is used up, advice: Wait.}\n"
	g := lab.StartBareGateway(t, binary, lab.Options{Targets: m.Target("anthropic", ""), Policy: map[string]string{"p.yaml": policy}})
	post := func() (int, string) {
		return g.AskModel("anthropic", g.Person("claude"), `{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`)
	}
	for range 2 {
		if code, body := post(); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
	}
	modelRecords(t, g, 2)
	g.Stop()
	g.Start()
	if code, body := post(); code != 403 || !strings.Contains(body, "the budget is used up") {
		t.Errorf("after a restart, in the same session: %d %s", code, body)
	}
}

// What was under way when the gateway died is in the budgets by its length, and so is all that the index had not yet.
func TestModelBudgetSurvivesCrash(t *testing.T) {
	m := lab.StartMessages(t, lab.Turn{Text: strings.Repeat("a word ", 40), Until: t.Context().Done()})
	m.Script("twice", lab.Turn{Text: "yes"})
	policy := "rules:\n  - {id: all, protocol: model, effect: allow, reason: a test}\n"
	g := lab.StartBareGateway(t, binary, lab.Options{Targets: m.Target("anthropic", ""), Policy: map[string]string{"p.yaml": policy}})
	ask := func() {
		g.AskModel("anthropic", g.Person("claude"), `{"model":"claude-x","max_tokens":9,"tools":[{"name":"x"}],"messages":[{"role":"user","content":"twice"}]}`)
	}
	ask()
	const request, seen = 400, 200 // bytes, at least
	answer, leave := g.OpenModel(t.Context(), "POST", "anthropic", "/v1/messages", `{"model":"claude-x","max_tokens":9,"tools":[{"name":"x"}],"stream":true,"messages":[{"role":"user","content":"`+strings.Repeat("x", request)+`"}]}`,
		"Content-Type: application/json", "X-Api-Key: "+g.Person("claude"))
	defer leave()
	if _, err := io.ReadFull(answer.Body, make([]byte, seen)); err != nil {
		t.Fatal(err)
	}
	g.Kill()
	g.Start()
	ask()
	all := modelRecords(t, g, 3)
	if used := all[2].Operation.Model.DayTokens; used < 135+request/4+seen/4 {
		t.Errorf("%d tokens before the last call, on record are %+v", used, all[1].Outcome)
	}
}

// A refusal is printed by Claude Code at once, word for word; it does not try again.
func TestClaudeCodeIsRefused(t *testing.T) {
	m := lab.StartMessages(t, lab.Turn{Text: "never seen"})
	policy := "rules:\n  - {id: r1, protocol: model, effect: deny, reason: not now, advice: Ask later.}\n"
	g := lab.StartBareGateway(t, binary, lab.Options{Targets: m.Target("anthropic", ""), Policy: map[string]string{"p.yaml": policy}})
	r := g.NewClaude(t, "anthropic", g.Person("claude")).Print("do something")
	if r.Code == 0 || !strings.Contains(r.Out(), "gatebook: not now (rule r1). Ask later.") {
		t.Errorf("exit %d\n%s", r.Code, r.Out())
	}
	if n := len(m.Asked()); n != 0 {
		t.Errorf("%d requests reached the model", n)
	}
	if all := modelRecords(t, g, 1); len(all) != 1 || all[0].Refused == nil {
		t.Errorf("asked %d times", len(all))
	}
}
