package model

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

func TestReadQuestions(t *testing.T) {
	for name, c := range map[string]struct {
		api, body string
		want      access.Model
	}{
		"Claude Code's first request": {apiMessages, `{"model":"claude-x","max_tokens":64000,"stream":true,"thinking":{"type":"adaptive"},
			"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s-1\"}"},
			"system":[{"type":"text","text":"You are"}],"tools":[{"name":"Bash","input_schema":{}},{"type":"custom","name":"Read"},{"type":"bash_20250124","name":"bash"}],
			"messages":[{"role":"user","content":[{"type":"text","text":"<system-reminder>\nclaudeMd\n</system-reminder>\n\n"},{"type":"text","text":"delete the namespace","cache_control":{"type":"ephemeral"}}]},{"role":"system","content":"Available agent types"}]}`,
			access.Model{Model: "claude-x", MaxTokens: 64000, Stream: true, Conversation: "s-1", Prompt: "delete the namespace", Tools: []string{"Bash", "Read", "bash"}, Turns: 2}},
		"results keep the prompt before them": {apiMessages, `{"model":"c","messages":[{"role":"user","content":"first"},{"role":"assistant","content":"a"},
			{"role":"user","content":"<system-reminder>x</system-reminder>second<system-reminder>y</system-reminder>"},
			{"role":"assistant","content":[{"type":"tool_use","id":"t0","name":"Bash","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"t0","content":"old"}]},
			{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"Bash","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"approved by Ada"}]},{"type":"tool_result","tool_use_id":"t2"},{"type":"text","text":"<system-reminder>todo</system-reminder>"}]}]}`,
			access.Model{Model: "c", Prompt: "second", Results: []string{"t1", "t2"}, Turns: 7}},
		"what the provider runs and fetches": {apiMessages, `{"model":"c","mcp_servers":[{"type":"url","url":"https://mcp.example"}],
			"tools":[{"type":"web_search_20250305","name":"web_search"},{"type":"code_execution_20250825","name":"c"},{"type":"never_heard_of","name":"n"}],
			"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x.example/?q"}},{"type":"document","source":{"type":"file","file_id":"f1"}},{"type":"container_upload","file_id":"f2"},
			{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"url","url":"https://y.example"}}]}]}]}`,
			access.Model{Model: "c", Turns: 1, Results: []string{"t"}, ServerTools: []string{"mcp:https://mcp.example", "web_search_20250305", "code_execution_20250825", "never_heard_of", "url:https://x.example/?q", "file:f1", "file:f2", "url:https://y.example"}}},
		"a reminder that does not end was written": {apiMessages, `{"messages":[{"role":"user","content":"why <system-reminder> here?"}]}`,
			access.Model{Prompt: "why <system-reminder> here?", Turns: 1}},
		"chat completions": {apiChat, `{"model":"g","max_completion_tokens":5,"user":"bob","web_search_options":{},"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"k"}}],
			"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"push it"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"a"},{"id":"b"}]},{"role":"tool","tool_call_id":"a","content":"x"},{"role":"tool","tool_call_id":"b","content":"y"}]}`,
			access.Model{Model: "g", MaxTokens: 5, Prompt: "push it", Tools: []string{"f", "k"}, ServerTools: []string{"web_search"}, Results: []string{"a", "b"}, Turns: 5}},
		"responses": {apiResponses, `{"model":"g","stream":true,"max_output_tokens":9,"tools":[{"type":"function","name":"shell"},{"type":"local_shell"},{"type":"web_search"},{"type":"mcp","server_url":"https://m.example"},{"type":"shell","environment":{"type":"local"}},{"type":"shell"}],
			"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context>cwd</environment_context>"}]},{"role":"user","content":"fix it"},{"type":"function_call","call_id":"c1","name":"shell","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"ok"}]}`,
			access.Model{Model: "g", Stream: true, MaxTokens: 9, Prompt: "fix it", Tools: []string{"shell", "local_shell", "shell"}, ServerTools: []string{"web_search", "mcp:https://m.example", "shell"}, Results: []string{"c1"}, Turns: 4}},
		"a response to a text": {apiResponses, `{"model":"g","input":"hello"}`, access.Model{Model: "g", Prompt: "hello", Turns: 1}},
	} {
		var m access.Model
		if _, err := readQuestion(c.api, []byte(c.body), &m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, m); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

// What two readers could read differently is refused, before anything is sent.
func TestAmbiguousRequests(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", "{}"))
	const good = `{"model":"c","messages":[]}`
	for name, c := range map[string]struct {
		method, uri, body string
		header            []string
		code              int
	}{
		"a key twice":            {"POST", "/v1/messages", `{"model":"a","model":"b","messages":[]}`, nil, 400},
		"a key twice, deep":      {"POST", "/v1/messages", `{"model":"a","messages":[{"role":"user","role":"assistant","content":"x"}]}`, nil, 400},
		"a key twice, unread":    {"POST", "/v1/messages", `{"model":"a","other":{"x":1,"x":2}}`, nil, 400},
		"a key twice, escaped":   {"POST", "/v1/messages", `{"model":"a","mod\u0065l":"b"}`, nil, 400},
		"something behind it":    {"POST", "/v1/messages", good + good, nil, 400},
		"half a pair":            {"POST", "/v1/messages", `{"model":"\ud83d"}`, nil, 400},
		"another type":           {"POST", "/v1/messages", `{"model":["a"]}`, nil, 400},
		"no object":              {"POST", "/v1/messages", `null`, nil, 400},
		"no body":                {"POST", "/v1/messages", "", []string{"Content-Type", "application/json"}, 400},
		"a form":                 {"POST", "/v1/messages", good, []string{"Content-Type", "text/plain"}, 400},
		"two types":              {"POST", "/v1/messages", good, []string{"Content-Type", "application/json"}, 400},
		"compressed":             {"POST", "/v1/messages", good, []string{"Content-Encoding", "gzip"}, 400},
		"an upgrade":             {"GET", "/v1/responses", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 400},
		"two slashes":            {"POST", "/v1//messages", good, nil, 400},
		"a step up":              {"POST", "/v1/models/../files", good, nil, 400},
		"an escaped slash":       {"POST", "/v1%2fmessages", good, nil, 400},
		"a parameter":            {"POST", "/v1/messages;x=1", good, nil, 400},
		"too large":              {"POST", "/v1/messages", `{"model":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413},
		"a GET with a body":      {"GET", "/v1/models", good, nil, 400},
		"escaped into one other": {"POST", "/v1/mess%61ges", good, nil, 400},
	} {
		r, err := http.NewRequest(c.method, w.front.URL+c.uri, strings.NewReader(c.body))
		must(t, err)
		r.URL.Opaque = strings.TrimPrefix(w.front.URL, "http:") + c.uri // as it stands here
		if c.body != "" && !(len(c.header) > 0 && c.header[0] == "Content-Type" && c.header[1] != "application/json") {
			r.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Add(c.header[i], c.header[i+1])
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != c.code || resp.Header.Get("X-Should-Retry") != "false" {
			t.Errorf("%s: %d, want %d; %v", name, resp.StatusCode, c.code, resp.Header)
		}
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d were sent on", n)
	}
	for _, r := range w.rows() {
		if r.Refused == nil {
			t.Errorf("%s is not recorded as refused", r.Operation.Command)
		}
	}
}

func TestToken(t *testing.T) {
	h := newWorld(t, nil).h
	for _, c := range []struct {
		header    []string
		want, why string
	}{
		{nil, "", ""},
		{[]string{"X-Api-Key", "a.b.c"}, "a.b.c", ""},
		{[]string{"Authorization", "Bearer a.b.c~00-x"}, "a.b.c~00-x", ""},
		{[]string{"Authorization", "bearer a.b.c", "X-Api-Key", "a.b.c"}, "a.b.c", ""},
		{[]string{"Authorization", "Bearer a.b.c", "X-Api-Key", "d.e.f"}, "", "two credentials"},
		{[]string{"Authorization", "Bearer a.b.c", "Api-Key", "sk-ant-api03-x"}, "", "two credentials"},
		{[]string{"X-Api-Key", "a.b.c", "X-Api-Key", "d.e.f"}, "", "two credentials"},
		{[]string{"X-Api-Key", "sk-ant-api03-x"}, "", "provider's own key"},
		{[]string{"X-Goog-Api-Key", "AIzaSyx"}, "", "provider's own key"},
		{[]string{"Authorization", "Basic YTpi"}, "", "no token"},
	} {
		r := httptest.NewRequest("POST", "/v1/messages", nil)
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Add(c.header[i], c.header[i+1])
		}
		if got := h.Token(r); got != c.want || !strings.Contains(shown(r), c.why) || c.why == "" && shown(r) != "" || len(r.Header) > 0 {
			t.Errorf("%v: %q, %q, left %v", c.header, got, shown(r), r.Header)
		}
	}
}

// Each detector finds what it is for, whole, and leaves alone what is like it.
func TestDetectors(t *testing.T) {
	detectors, err := newDetectors()
	if err != nil {
		t.Fatal(err)
	}
	detect := (&Handler{detectors: detectors}).find
	// Put together here, so that this file holds none.
	a := func(n int) string { return strings.Repeat("aB3dE5gH7j", n/10+1)[:n] }
	key := "-----BEGIN RSA PRIVATE KEY-----\\n" + strings.Repeat(a(64)+"\\n", 3) + "-----END RSA PRIVATE KEY-----"
	for name, secrets := range map[string][]string{
		"aws-access-key": {"AK" + "IAIOSFODNN7EXAMPLE", "AS" + "IAIOSFODNN7EXAMPLE"},
		"aws-secret-key": {a(40)},
		"github-token":   {"gh" + "p_" + a(36), "github" + "_pat_" + a(82)},
		"gitlab-token":   {"gl" + "pat-" + a(20)},
		"private-key":    {key, strings.ReplaceAll(key, `\n`, `\\n`), strings.ReplaceAll(key, "RSA ", "")},
		"jwt":            {"ey" + "J" + a(30) + ".ey" + "J" + a(60) + "." + a(43)},
		"anthropic-key":  {"sk-" + "ant-api03-" + a(90)},
		"openai-key":     {"sk-" + "proj-" + a(40) + "T3Blbk" + "FJ" + a(40), "sk-" + a(20) + "T3Blbk" + "FJ" + a(20)},
		"slack-token":    {"xo" + "xb-123456789012-" + a(24)},
		"slack-webhook":  {"T" + "01234567/B01234567/" + a(24)},
		"basic-auth-url": {"S3cr3t-pass!"},
	} {
		for _, s := range secrets {
			text := map[string]string{"aws-secret-key": "aws_secret_access_key = " + s, "slack-webhook": "https://hooks.slack.com/services/" + s,
				"basic-auth-url": "postgres://app:" + s + "@db.example:5432/app"}[name]
			if text == "" {
				text = "x " + s + " y"
			}
			names, values := detect([]byte(`{"content":"` + text + `"}`))
			if !slices.Equal(names, []string{name}) || len(values) != 1 || string(values[0]) != s {
				t.Errorf("%s in %q: %v, %q", name, text, names, values)
			}
		}
	}
	for _, innocent := range []string{"AKIA", "sk-ant-", "skill-antarctica-of-the-penguins-and-more", "ghp_short", "https://example.com:8080/a@b", "user://${USER}:${PASSWORD}@host",
		"https://u:gbm-abcdefghijklmnopqrstuvwxyz@h", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PRIVATE KEY----- (paste here)", "eyJhbGciOiJ", a(200), "postgres://app:<password>@db", "git@github.com:a/b"} {
		if names, values := detect([]byte(innocent)); len(values) > 0 {
			t.Errorf("%q: %v %q", innocent, names, values)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(apiMessages, `{"model":"c","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"},{"type":"text","text":"<system-reminder>a</system-reminder>b"}]}],"tools":[{"type":"x"}],"metadata":{"user_id":"{\"session_id\":\"s\"}"}}`)
	f.Add(apiChat, `{"messages":[{"role":"tool","tool_call_id":"a","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}}]}`)
	f.Add(apiResponses, `{"input":[{"type":"function_call_output","call_id":"c"}],"tools":[{"type":"mcp"}]}`)
	f.Fuzz(func(t *testing.T, api, body string) {
		var m, again access.Model
		_, err := readQuestion(api, []byte(body), &m)
		// White space says nothing: who puts some in must not be read otherwise.
		_, err2 := readQuestion(api, []byte(" "+body+"\n"), &again)
		if (err == nil) != (err2 == nil) || !cmp.Equal(m, again) {
			t.Errorf("%q: %v, with white space %v\n%s", body, err, err2, cmp.Diff(m, again))
		}
		if strings.Contains(m.Prompt, "<system-reminder></system-reminder>") {
			t.Errorf("a reminder is left in %q", m.Prompt)
		}
	})
}

func TestConversation(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"X-Claude-Code-Session-Id", "a", "a"}, {"Session-Id", "b", "b"}, {"Session_id", "c", "c"}, {"X-Other", "d", ""}, {"Session-Id", strings.Repeat("x", 300), ""},
	} {
		r := httptest.NewRequest("POST", "/v1/messages", nil)
		r.Header.Set(c.name, c.value)
		if got := (&Handler{}).Conversation(r); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
