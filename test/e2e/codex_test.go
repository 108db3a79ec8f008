package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// responses stands for OpenAI's responses API: a fake, made from its documentation. It asks for one command to be run,
// and is content with the result.
func responses(t *testing.T, command string) *lab.Upstream {
	var asked atomic.Int64
	return lab.StartUpstream(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+lab.UpstreamToken || r.URL.Path != "/v1/responses" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading a request: %v", err)
		}
		n := asked.Add(1)
		item := map[string]any{"type": "message", "id": fmt.Sprint("msg_", n), "role": "assistant", "status": "completed", "content": []any{map[string]any{"type": "output_text", "text": "all is done", "annotations": []any{}}}}
		if !strings.Contains(string(body), `"function_call_output"`) {
			b, _ := json.Marshal(map[string]string{"cmd": command})
			item = map[string]any{"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "exec_command", "arguments": string(b), "status": "completed"}
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		response := func(status string, more map[string]any) map[string]any {
			out := map[string]any{"id": fmt.Sprint("resp_", n), "object": "response", "status": status, "model": "gpt-scripted", "output": []any{}}
			for k, v := range more {
				out[k] = v
			}
			return out
		}
		for _, e := range []map[string]any{
			{"type": "response.created", "response": response("in_progress", nil)},
			{"type": "response.output_item.added", "output_index": 0, "item": item},
			{"type": "response.output_item.done", "output_index": 0, "item": item},
			{"type": "response.completed", "response": response("completed", map[string]any{"output": []any{item}, "usage": map[string]any{"input_tokens": 100, "input_tokens_details": map[string]int{"cached_tokens": 10}, "output_tokens": 20, "output_tokens_details": map[string]int{"reasoning_tokens": 0}, "total_tokens": 120}})},
		} {
			b, _ := json.Marshal(e)
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e["type"], b)
			w.(http.Flusher).Flush()
		}
	})
}

// The real Codex, with nothing but what gatebook env wrote for it, under the policy that is built in.
func TestCodex(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	u := responses(t, "echo $CODEX_THREAD_ID > "+out)
	g := lab.StartBareGateway(t, binary, lab.Options{Targets: u.ModelTarget("openai")})
	w := g.Workplace(t, g.Person("codex", "agents"), "--codex", "openai")
	r := w.Shell(`CODEX_HOME="$HOME/.codex" && mkdir -p "$CODEX_HOME" && cp ` + w.Env + `/config.toml "$CODEX_HOME" && export CODEX_HOME &&
		exec ` + lab.Codex(t) + ` exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -m gpt-scripted "write the thread's name down" </dev/null`)
	if r.Code != 0 || !strings.Contains(r.Stdout, "all is done") {
		t.Fatalf("exit %d\n%s", r.Code, r.Out())
	}
	thread, err := os.ReadFile(out)
	if err != nil {
		t.Fatalf("the tool call was not run: %v\n%s", err, r.Out())
	}
	auditor := g.API(g.Person("grace", "auditors"))
	var all []access.Record
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		page, err := auditor.Operations(t.Context(), client.Query{Target: "openai", Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		all = slices.DeleteFunc(page.Items, func(r access.Record) bool { return r.Outcome == nil || r.Operation.Model.API != "responses" })
		if slices.Reverse(all); len(all) == 2 {
			break
		}
	}
	if len(all) != 2 {
		t.Fatalf("%d calls on record", len(all))
	}
	for i, r := range all {
		m, a := r.Operation.Model, r.Outcome.Answer
		if m.Conversation != strings.TrimSpace(string(thread)) || m.Prompt != "write the thread's name down" || m.Agent != "" || len(m.ServerTools)+len(m.Flags) > 0 || !slices.Contains(m.Tools, "exec_command") ||
			r.Operation.Principal.Name != "codex" || a == nil || a.Tokens() != 120 {
			t.Errorf("call %d: %+v\nanswer %+v", i, m, a)
		}
	}
	if c, res := all[0].Outcome.Answer.Calls, all[1].Operation.Model.Results; len(c) != 1 || c[0].ID != "call_1" || !strings.Contains(c[0].Input, out) || !slices.Equal(res, []string{"call_1"}) {
		t.Errorf("calls %+v, results %v", c, res)
	}
}
