package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// The real Claude Code in conversations of every shape: what was asked, by which agent, which calls came of it, and which
// results came back. With -update they become the recorded conversations that package model replays.
func TestClaudeCodeFlows(t *testing.T) {
	echo := func(s string) lab.ToolUse { return lab.Bash("echo " + s).Uses[0] }
	m := lab.StartMessages(t)
	m.Script("look twice", lab.Turn{Text: "I look at both.", Uses: []lab.ToolUse{echo("one"), echo("two")}}, lab.Bash("echo wrong >&2; exit 3"), lab.Turn{Fail: 529, Text: "seen"})
	agent := func(more string) lab.Turn {
		return lab.Turn{Uses: []lab.ToolUse{{Name: "Agent", Input: `{"description":"count","prompt":"count to three, little one","subagent_type":"general-purpose"` + more + `}`}}}
	}
	told := make(chan struct{})
	m.Script("let another count", agent(`,"run_in_background":false`), lab.Turn{Text: "it counted"})
	m.Script("count to three", lab.Bash("echo 1 2 3"), lab.Turn{Text: "three"})
	m.Script("count while I wait", agent(""), lab.Turn{Text: "it counts"}, lab.Turn{Text: "it has counted"})
	m.Script("the word is blue", lab.Bash("echo blue > word"), lab.Turn{Text: "kept"}, lab.Bash("cat word"), lab.Turn{Text: "blue"})
	g := lab.StartBareGateway(t, binary, lab.Options{Targets: m.Target("anthropic", "")})
	c := g.NewClaude(t, "anthropic", g.Person("claude"))
	from := 0
	run := func(flow, prompt, want string, args ...string) (session string) {
		t.Helper()
		r := c.Print(prompt, args...)
		var said struct {
			Result  string `json:"result"`
			Session string `json:"session_id"`
		}
		if err := json.Unmarshal([]byte(r.Stdout), &said); err != nil || r.Code != 0 || said.Result != want {
			t.Errorf("%s: exit %d, %v\n%s", prompt, r.Code, err, r.Out())
		}
		if flow != "" {
			asked := m.Asked()
			record(t, flow, c.Home, asked[from:])
			from = len(asked)
		}
		return said.Session
	}
	run("claude-parallel", "look twice", "seen")
	run("claude-agent", "let another count", "it counted")
	m.Script("count to three", lab.Turn{Until: told, Uses: []lab.ToolUse{echo("1 2 3")}}, lab.Turn{Text: "three"})
	go func() { // the sub-agent goes on when its parent does
		for !slices.ContainsFunc(m.Asked()[from:], func(a lab.Asked) bool { return strings.Contains(a.Answer, "it co") }) && t.Context().Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		close(told)
	}()
	run("claude-background", "count while I wait", "it has counted")
	session := run("", "the word is blue", "kept")
	run("claude-resumed", "which word was it?", "blue", "--resume", session)

	said := map[string]access.Model{} // the last request with each prompt
	var calls, results []string
	for _, r := range modelRecords(t, g, 17) {
		op := r.Operation.Model
		if len(op.Flags)+len(op.Findings) > 0 || op.Conversation == "" {
			t.Errorf("%s: flags %v, findings %v, conversation %q", op.Prompt, op.Flags, op.Findings, op.Conversation)
		}
		said[op.Prompt] = *op
		results = append(results, op.Results...)
		if a := r.Outcome.Answer; a != nil {
			for _, c := range a.Calls {
				calls = append(calls, c.ID)
			}
		} else if r.Outcome.Code != 529 || r.Outcome.Message != "Overloaded" {
			t.Errorf("%s: %+v", op.Prompt, r.Outcome)
		}
	}
	slices.Sort(calls)
	slices.Sort(results)
	if results = slices.Compact(results); len(calls) != 9 || !slices.Equal(calls, results) { // the one that failed brings its results twice
		t.Errorf("calls %v, results %v", calls, results)
	}
	parent, sub := said["let another count"], said["count to three, little one"]
	if sub.Agent == "" || parent.Agent != "" || sub.Conversation == "" {
		t.Errorf("the sub-agent's request is %+v,\nits parent's %+v", sub, parent)
	}
	if a, b := said["the word is blue"], said["which word was it?"]; a.Conversation != session || b.Conversation != session || b.Turns <= a.Turns {
		t.Errorf("resumed: %+v\nafter %+v", b, a)
	}
}

// record writes a conversation down, or compares its form with what was written.
func record(t *testing.T, name, home string, asked []lab.Asked) {
	t.Helper()
	path := filepath.Join(lab.Root(), "internal", "protocol", "model", "testdata", "flows", name+".txt")
	if !*update {
		b, err := os.ReadFile(path)
		if n := bytes.Count(b, []byte("\n=== request ===\n")); err != nil || n != len(asked) {
			t.Errorf("%s: %d requests were recorded, now it is %d (%v); run it with -update", name, n, len(asked), err)
		}
		return
	}
	out := bytes.NewBufferString("Recorded from Claude Code and a scripted model, by go test ./test/e2e -run TestClaudeCodeFlows -update.\nThe client's own texts are left out.\n")
	for _, a := range asked {
		fmt.Fprintf(out, "\n=== request ===\n%s %s\n", a.Method, a.URI)
		for _, h := range []string{"Accept", "Anthropic-Beta", "Anthropic-Version", "Content-Type", "User-Agent", "X-App", "X-Claude-Code-Session-Id", "X-Claude-Code-Agent-Id", "X-Claude-Code-Parent-Agent-Id", "X-Stainless-Retry-Count"} {
			for _, v := range a.Header.Values(h) {
				fmt.Fprintf(out, "%s: %s\n", h, v)
			}
		}
		fmt.Fprintf(out, "\n%s\n=== answer ===\n%d %s\n\n%s", strings.ReplaceAll(elide(t, a.Body), home, "/home/agent"), a.Status, a.Type, a.Answer)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

var (
	own      = regexp.MustCompile(`^/(system/\d+/text|tools/\d+/(description|input_schema))$`)
	message  = regexp.MustCompile(`^/messages/\d+/role$`)
	reminder = regexp.MustCompile(`(?s)<system-reminder>.*?</system-reminder>`)
)

// elide leaves out of a request what Claude Code says to the model, and keeps everything else as it stands.
func elide(t *testing.T, body string) string {
	t.Helper()
	var out bytes.Buffer
	role := ""
	d, e := jsontext.NewDecoder(strings.NewReader(body)), jsontext.NewEncoder(&out)
	for d.PeekKind() != 0 {
		if k := d.PeekKind(); k == '}' || k == ']' {
			tok, err := d.ReadToken()
			if err == nil {
				err = e.WriteToken(tok)
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.StackDepth() == 0 {
				break
			}
			continue
		}
		tok, err := d.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		at := string(d.StackPointer())
		switch kind, n := d.StackIndex(d.StackDepth()); {
		case tok.Kind() != '"' || kind == '{' && n%2 == 1: // no text, or a key
		case message.MatchString(at):
			role = tok.String()
		case own.MatchString(at), role == "system" && strings.HasPrefix(at, "/messages/") && !strings.HasSuffix(at, "/type"):
			tok = jsontext.String("…")
		default:
			tok = jsontext.String(reminder.ReplaceAllString(tok.String(), "<system-reminder>…</system-reminder>"))
		}
		if err := e.WriteToken(tok); err != nil {
			t.Fatal(err)
		}
		if kind, n := d.StackIndex(d.StackDepth()); kind == '{' && n%2 == 1 && own.MatchString(string(d.StackPointer())) && d.PeekKind() == '{' {
			if err := d.SkipValue(); err != nil {
				t.Fatal(err)
			}
			if err := e.WriteValue(jsontext.Value("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out.String()
}
