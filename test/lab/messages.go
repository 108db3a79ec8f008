package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Messages stands for Anthropic's Messages API, which no test can reach: a fake. It answers by a script, streamed or
// not, in the events that the real one sends; it takes the gateway's own key alone, and keeps every request.
type Messages struct {
	*Upstream

	mu      sync.Mutex
	scripts []script
	asked   []Asked
	// calls and answers count those with an identifier made up.
	calls, answers int
}

type script struct {
	prompt string
	turns  []Turn
}

// Turn is one answer: text, and tool calls after it. The model stops for their results, else for good.
type Turn struct {
	Text string
	Uses []ToolUse
	// Until, where it is not nil, keeps the answer's last events back until it is closed, or the client leaves.
	Until <-chan struct{}
	// Fail, where it is not 0, is the status of an error with which it is answered the first time.
	Fail int
	// id of the answer, made up; the same for two would make one of them to Claude Code.
	id string
}

// ToolUse is one tool call, with its input as JSON. ID is made up where it is empty.
type ToolUse struct {
	ID, Name, Input string
}

// Bash is a turn that runs a command by Claude Code's tool.
func Bash(command string) Turn {
	return Turn{Uses: []ToolUse{Tool("", "Bash", map[string]any{"command": command, "description": "as the script says"})}}
}

// Tool is a call of a tool with its input.
func Tool(id, name string, input map[string]any) ToolUse {
	return ToolUse{ID: id, Name: name, Input: toJSON(input)}
}

// Asked is one request to the model as it arrived.
type Asked struct {
	Method, URI string
	Header      http.Header
	Body        string
	// Status is what it was answered with, and Type and Answer are that answer.
	Status       int
	Type, Answer string
}

// StartMessages starts the fake with a script: the turns of any conversation in which no other script's prompt is.
func StartMessages(t testing.TB, turns ...Turn) *Messages {
	t.Helper()
	m, err := NewMessages(t.TempDir(), turns...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// NewMessages is the same with its files in dir, until Close.
func NewMessages(dir string, turns ...Turn) (*Messages, error) {
	m := &Messages{}
	u, err := NewUpstream(dir, true, m.serve)
	m.Upstream = u
	return m.Script("", turns...), err
}

// Script adds turns for conversations whose first message of a person, or of a parent agent, contains prompt. Of several
// that fit the latest added counts.
func (m *Messages) Script(prompt string, turns ...Turn) *Messages {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scripts = append(m.scripts, script{prompt, turns})
	return m
}

// Asked gives the requests so far, in order.
func (m *Messages) Asked() []Asked {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Asked(nil), m.asked...)
}

// Target is the configuration of a gateway's target of protocol model that is this server, for Options.Targets; more is
// further YAML, indented by four spaces.
func (m *Messages) Target(name, more string) string {
	return fmt.Sprintf("  - name: %s\n    protocol: model\n    url: '%s'\n    caFile: %s\n    header: X-Api-Key\n    token: {file: %s}\n%s",
		name, m.URL, filepath.Join(m.dir, "ca.crt"), filepath.Join(m.dir, "token"), more)
}

func (m *Messages) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	kept := &keeper{ResponseWriter: w}
	status := http.StatusBadRequest
	if err != nil {
		messagesError(kept, status, "invalid_request_error", err.Error())
	} else {
		status = m.answer(kept, r, body)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, Asked{r.Method, r.RequestURI, r.Header.Clone(), string(body), status, w.Header().Get("Content-Type"), kept.all.String()})
}

// keeper keeps what is answered.
type keeper struct {
	http.ResponseWriter
	all bytes.Buffer
}

func (k *keeper) Write(b []byte) (int, error) {
	k.all.Write(b)
	return k.ResponseWriter.Write(b)
}

func (k *keeper) Flush() { k.ResponseWriter.(http.Flusher).Flush() }

func (m *Messages) answer(w http.ResponseWriter, r *http.Request, body []byte) int {
	switch {
	case r.Header.Get("X-Api-Key") != UpstreamToken || r.Header.Get("Authorization") != "":
		return messagesError(w, http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
	case r.URL.Path == "/api/hello":
		return 200
	case r.URL.Path == "/v1/models" && r.Method == http.MethodGet:
		return writeJSON(w, `{"data":[{"type":"model","id":"claude-scripted-1","display_name":"Scripted","created_at":"2026-01-01T00:00:00Z"}],"has_more":false}`)
	case r.URL.Path == "/v1/messages/count_tokens":
		return writeJSON(w, fmt.Sprintf(`{"input_tokens":%d}`, len(body)/4))
	case r.URL.Path != "/v1/messages":
		return messagesError(w, http.StatusNotFound, "not_found_error", "Not Found")
	}
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return messagesError(w, http.StatusBadRequest, "invalid_request_error", err.Error())
	}
	w.Header().Set("Request-Id", "req_scripted")
	t := m.turn(q)
	if t.Fail != 0 {
		return messagesError(w, t.Fail, "overloaded_error", "Overloaded")
	}
	if !q.Stream {
		return writeJSON(w, t.whole(q.Model))
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	all := t.events(q.Model)
	for i, e := range all {
		if i == len(all)-2 && t.Until != nil {
			select {
			case <-t.Until:
			case <-r.Context().Done():
				return 200
			}
		}
		if _, err := io.WriteString(w, e); err != nil {
			return 200 // the client has gone
		}
		w.(http.Flusher).Flush()
	}
	return 200
}

// question is what of a request the script goes by.
type question struct {
	Model    string
	Stream   bool
	Tools    []any
	Messages []struct {
		Role    string
		Content any
	}
}

// turn gives the answer that the script has for a conversation as it stands. A request without tools is one that Claude
// Code makes for itself, such as for a title.
func (m *Messages) turn(q question) Turn {
	first, turn := "", 0
	for _, x := range q.Messages {
		if x.Role == "assistant" {
			turn++
		} else if turn == 0 {
			first += fmt.Sprint(x.Content)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Turn{Text: "ok"}
	for _, s := range m.scripts {
		if strings.Contains(first, s.prompt) && len(q.Tools) > 0 {
			if t = (Turn{Text: "done"}); turn < len(s.turns) {
				t = s.turns[turn]
				s.turns[turn].Fail = 0
			}
		}
	}
	m.answers++
	t.id = fmt.Sprintf("msg_scripted%012d", m.answers)
	t.Uses = append([]ToolUse(nil), t.Uses...)
	for i := range t.Uses {
		if t.Uses[i].ID == "" {
			m.calls++
			t.Uses[i].ID = fmt.Sprintf("toolu_scripted%012d", m.calls)
		}
	}
	return t
}

func (t Turn) stop() string {
	if len(t.Uses) > 0 {
		return "tool_use"
	}
	return "end_turn"
}

func (t Turn) whole(model string) string {
	content := []any{}
	if t.Text != "" {
		content = append(content, map[string]any{"type": "text", "text": t.Text})
	}
	for _, u := range t.Uses {
		content = append(content, map[string]any{"type": "tool_use", "id": u.ID, "name": u.Name, "input": json.RawMessage(u.Input)})
	}
	return toJSON(map[string]any{"id": t.id, "type": "message", "role": "assistant", "model": model, "content": content,
		"stop_reason": t.stop(), "stop_sequence": nil, "usage": map[string]int{"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5}})
}

// events are the answer as server-sent events, a tool's input in pieces.
func (t Turn) events(model string) []string {
	event := func(kind string, v map[string]any) string {
		v["type"] = kind
		return "event: " + kind + "\ndata: " + toJSON(v) + "\n\n"
	}
	out := []string{event("message_start", map[string]any{"message": map[string]any{"id": t.id, "type": "message", "role": "assistant", "model": model, "content": []any{},
		"stop_reason": nil, "stop_sequence": nil, "usage": map[string]int{"input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5}}}),
		event("ping", map[string]any{})}
	index := 0
	block := func(start map[string]any, field, kind string, pieces []string) {
		out = append(out, event("content_block_start", map[string]any{"index": index, "content_block": start}))
		for _, p := range pieces {
			out = append(out, event("content_block_delta", map[string]any{"index": index, "delta": map[string]any{"type": kind, field: p}}))
		}
		out = append(out, event("content_block_stop", map[string]any{"index": index}))
		index++
	}
	if t.Text != "" {
		block(map[string]any{"type": "text", "text": ""}, "text", "text_delta", pieces(t.Text))
	}
	for _, u := range t.Uses {
		block(map[string]any{"type": "tool_use", "id": u.ID, "name": u.Name, "input": map[string]any{}}, "partial_json", "input_json_delta", append([]string{""}, pieces(u.Input)...))
	}
	return append(out, event("message_delta", map[string]any{"delta": map[string]any{"stop_reason": t.stop(), "stop_sequence": nil}, "usage": map[string]int{"output_tokens": 20}}),
		event("message_stop", map[string]any{}))
}

// pieces cuts a text as a model's tokens do.
func pieces(s string) []string {
	var out []string
	for r := []rune(s); len(r) > 0; {
		n := min(5, len(r))
		out, r = append(out, string(r[:n])), r[n:]
	}
	return out
}

func messagesError(w http.ResponseWriter, status int, kind, message string) int {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, toJSON(map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}}))
	return status
}

func writeJSON(w http.ResponseWriter, body string) int {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body) // a client that has gone is the test's own
	return http.StatusOK
}

func toJSON(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as models write it
	if err := e.Encode(v); err != nil {
		panic(err) // maps and strings always can
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// AskModel posts a question to the Messages API of a target of the gateway, as the holder of token, with more headers as
// "Name: value". It gives the status and the body.
func (g *Gateway) AskModel(target, token, body string, header ...string) (int, string) {
	g.t.Helper()
	return g.Model(http.MethodPost, target, "/v1/messages", body, append(header, "Content-Type: application/json", "X-Api-Key: "+token)...)
}

// Model sends a request to a target of the gateway, with just these headers.
func (g *Gateway) Model(method, target, path, body string, header ...string) (int, string) {
	g.t.Helper()
	resp, leave := g.OpenModel(g.t.Context(), method, target, path, body, header...)
	defer leave()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Errorf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}

// OpenModel does the same, and gives the answer as it begins. leave closes the connection.
func (g *Gateway) OpenModel(ctx context.Context, method, target, path, body string, header ...string) (answer *http.Response, leave func()) {
	g.t.Helper()
	ca, err := os.ReadFile(g.Data("ca.crt"))
	if err != nil {
		g.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	r, err := http.NewRequestWithContext(ctx, method, g.URL+"/t/"+target+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Add(k, v)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp, func() { resp.Body.Close(); tr.CloseIdleConnections() }
}
