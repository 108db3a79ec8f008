package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// bash is a tool call that runs a command and says with which trace.
func bash(id, command string) lab.ToolUse {
	in, err := json.Marshal(map[string]string{"command": "echo trace=$TRACEPARENT; " + command, "description": "as the script says"})
	if err != nil {
		panic(err) // strings always can
	}
	return lab.ToolUse{ID: id, Name: "Bash", Input: string(in)}
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

// scene is the real Claude Code that has run a script through the gateway.
type scene struct {
	g      *lab.Gateway
	x      *client.Client
	model  *lab.Messages
	ns     string
	traces map[string]string // by tool call, as the call itself saw it
}

const prompt = "Look after the shop, please"

// play runs Claude Code, in an environment of `gatebook env --agent` alone, through these calls: one; the same command twice at
// once; a script; two at once; a background job, and a call during which it wakes up.
func play(t *testing.T, traced bool) *scene {
	ns := namespace(t)
	k := "kubectl -n " + ns + " get "
	model := lab.StartMessages(t,
		lab.Turn{Text: "I look.", Uses: []lab.ToolUse{bash("toolu_one", k+"configmaps")}},
		lab.Turn{Uses: []lab.ToolUse{bash("toolu_twin_a", k+"services"), bash("toolu_twin_b", k+"services")}},
		lab.Turn{Uses: []lab.ToolUse{bash("toolu_script", "sh work.sh")}},
		lab.Turn{Uses: []lab.ToolUse{bash("toolu_left", k+"pods"), bash("toolu_right", k+"endpoints")}},
		lab.Turn{Uses: []lab.ToolUse{bash("toolu_background", "(sleep 8; "+k+"serviceaccounts) > background.log 2>&1 & echo begun")}},
		lab.Turn{Uses: []lab.ToolUse{bash("toolu_sleep", "sleep 12; cat background.log")}},
		lab.Turn{Text: "All is well."})
	g := cluster.StartGateway(t, binary, lab.Options{Targets: model.Target("anthropic", "")})
	w := g.Workplace(t, g.Agent(ns, "claude", ""))
	if !traced {
		w.Untraced()
	}
	if err := os.WriteFile(filepath.Join(w.Home, "work.sh"), []byte(k+"replicationcontrollers\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.Claude(prompt); !strings.Contains(r.Stdout, "All is well.") {
		t.Fatalf("%s\nthe model was asked %d times", r.Out(), len(model.Asked()))
	}
	s := &scene{g: g, x: g.API(g.Person("ada", "auditors")), model: model, ns: ns, traces: map[string]string{}}
	s.results(t)
	return s
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
					} else {
						t.Errorf("%s printed %q", b.ID, text)
					}
				}
			}
		}
	}
	if len(s.traces) != 8 {
		t.Fatalf("%d results: %v", len(s.traces), s.traces)
	}
}

// of gives the chains behind the reads of a resource, when each has reached the rung, or after a while.
func (s *scene) of(t *testing.T, resource string, n int, want access.Rung) []access.Chain {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		var out []access.Chain
		for _, r := range found(t, s.x, client.Query{Namespace: s.ns, Resource: resource}, n) {
			out = append(out, rungOf(t, s.x, r.Operation.ID))
		}
		if !slices.ContainsFunc(out, func(c access.Chain) bool { return c.Cause == nil || c.Cause.Rung != want }) || time.Now().After(deadline) {
			return out
		}
	}
}

// expect checks that what read a resource is the one call, by the rung.
func (s *scene) expect(t *testing.T, resource, call string, want access.Rung) {
	t.Helper()
	c := s.of(t, resource, 1, want)[0]
	if c.Cause == nil || c.Cause.Rung != want || len(c.Links) != 1 || c.Links[0].Call.ID != call {
		t.Errorf("%s: %+v, %d links; want %s by %s", resource, c.Cause, len(c.Links), want, call)
		return
	}
	if turn := c.Links[0].Turn; turn == nil || turn.Operation.Model.Prompt != prompt {
		t.Errorf("%s: the prompt is not behind it: %+v", resource, turn)
	}
}

// background checks that nothing is said to have caused the background job.
func (s *scene) background(t *testing.T) access.Chain {
	t.Helper()
	c := s.of(t, "serviceaccounts", 1, access.Unattributed)[0]
	if c.Cause == nil || c.Cause.Rung != access.Unattributed || len(c.Links) > 0 {
		t.Errorf("a job that outlived its call: %+v", c.Cause)
	}
	return c
}

// TestClaudeCodeTraced is the whole way from a prompt to its effects, with the real client, its trace and its telemetry.
func TestClaudeCodeTraced(t *testing.T) {
	s := play(t, true)
	for resource, call := range map[string]string{"configmaps": "toolu_one", "replicationcontrollers": "toolu_script", "pods": "toolu_left", "endpoints": "toolu_right"} {
		s.expect(t, resource, call, access.Bound)
	}
	// Of two calls with one command, each is told by its own span; the trace that the call itself saw says which is right.
	for _, c := range s.of(t, "services", 2, access.Bound) {
		if c.Cause.Rung != access.Bound || len(c.Links) != 1 || s.traces[c.Links[0].Call.ID] != c.Record.Operation.Client.Trace {
			t.Errorf("%+v, trace %q, of %v", c.Cause, c.Record.Operation.Client.Trace, s.traces)
		}
		if len(c.Earlier) != 1 || c.Earlier[0].Rung != access.Ambiguous || len(c.Earlier[0].Calls) != 2 {
			t.Errorf("before telemetry came: %+v", c.Earlier)
		}
	}
	if c := s.background(t); c.Cause != nil && len(c.Cause.Flags) == 0 {
		t.Errorf("the trace of a call that has ended is not flagged: %+v", c.Cause)
	}
	s.copied(t)
	s.told(t)
}

// copied is somebody else with the trace of one of the agent's calls.
func (s *scene) copied(t *testing.T) {
	t.Helper()
	thief := s.g.Workplace(t, s.g.Agent(s.ns, "thief", ""))
	must(t, thief.Shell("kubectl -n "+s.ns+" get events", "TRACEPARENT="+s.traces["toolu_one"]))
	c := rungOf(t, s.x, found(t, s.x, client.Query{Namespace: s.ns, Resource: "events"}, 1)[0].Operation.ID)
	if c.Record.Operation.Client.Trace != s.traces["toolu_one"] || c.Cause == nil || c.Cause.Rung != access.Unattributed || !slices.Contains(c.Cause.Flags, "its trace belongs to another session") {
		t.Errorf("a copied trace %q: %+v", c.Record.Operation.Client.Trace, c.Cause)
	}
}

// told checks what people read.
func (s *scene) told(t *testing.T) {
	t.Helper()
	ada := s.g.Person("ada", "auditors")
	why := must(t, s.g.CLI(ada, "why", "configmaps "+s.ns)).Stdout
	for _, want := range []string{"prompt ", prompt, "tool call ", "toolu_one", "get configmaps", "caused by   bound: ", "seen by the gateway: ", "the client's word: ", "decision    allow", "effect      200 after"} {
		if !strings.Contains(why, want) {
			t.Errorf("why does not say %q:\n%s", want, why)
		}
	}
	session := found(t, s.x, client.Query{Namespace: s.ns, Resource: "configmaps"}, 1)[0].Operation.Session
	line := must(t, s.g.CLI(ada, "timeline", string(session))).Stdout
	at := 0
	for _, want := range []string{"prompt: " + prompt, "configmaps", "services", "sh work.sh", "replicationcontrollers", "begun", "unattributed"} {
		i := strings.Index(line[at:], want)
		if i < 0 {
			t.Errorf("the timeline does not say %q after %d bytes:\n%s", want, at, line)
			return
		}
		at += i
	}
	if strings.Count(line, "prompt: ") != 1 {
		t.Errorf("one prompt was given:\n%s", line)
	}
}

// TestClaudeCodeUntraced is the same without trace and telemetry: what the gateway saw itself is all there is.
func TestClaudeCodeUntraced(t *testing.T) {
	s := play(t, false)
	for call, trace := range s.traces {
		if trace != "" {
			t.Errorf("%s has trace %q", call, trace)
		}
	}
	for resource, call := range map[string]string{"configmaps": "toolu_one", "pods": "toolu_left", "endpoints": "toolu_right"} {
		s.expect(t, resource, call, access.Matched)
	}
	s.expect(t, "replicationcontrollers", "toolu_script", access.Windowed)
	for _, c := range s.of(t, "services", 2, access.Ambiguous) {
		if c.Cause.Rung != access.Ambiguous || len(c.Links) != 2 {
			t.Errorf("two calls with one command: %+v", c.Cause)
		}
	}
	s.background(t)
}
