package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
)

// What the provider would fetch, or take from what is kept with it, is seen wherever it stands.
func TestProviderFetches(t *testing.T) {
	user := func(content string) string {
		return `{"model":"m","messages":[{"role":"user","content":` + content + `}]}`
	}
	for name, c := range map[string]struct {
		api, body string
		want      []string
	}{
		"behind an odd block":          {apiMessages, user(`[{"type":"tool_result","tool_use_id":"t","content":[{"type":"search_result","source":"https://a.example","content":[]},{"type":"image","source":{"type":"url","url":"https://evil.example"}}]}]`), []string{"url:https://evil.example"}},
		"a document's own content":     {apiMessages, user(`[{"type":"document","source":{"type":"content","content":[{"type":"image","source":{"type":"url","url":"https://evil.example"}}]}}]`), []string{"url:https://evil.example"}},
		"a block of no known type":     {apiMessages, user(`[{"type":"hologram","from":{"file_uri":"s3://bucket/x"}}]`), []string{"url:s3://bucket/x"}},
		"in the system's blocks":       {apiMessages, `{"model":"m","system":[{"type":"image","source":{"url":"https://evil.example"}}],"messages":[]}`, []string{"url:https://evil.example"}},
		"escaped":                      {apiMessages, user(`[{"type":"image","sourc\u0065":{"type":"url","\u0075rl":"https:\/\/evil.example"}}]`), []string{"url:https://evil.example"}},
		"a container":                  {apiMessages, `{"model":"m","messages":[],"container":"c-1"}`, []string{"container:c-1"}},
		"a container with skills":      {apiMessages, `{"model":"m","messages":[],"container":{"id":"c-1","skills":[{"type":"custom","skill_id":"s-1"}]}}`, []string{"container:c-1", "skill:s-1"}},
		"a tool like a client's":       {apiMessages, `{"model":"m","messages":[],"tools":[{"type":"bash_code_execution_20250825","name":"x"}]}`, []string{"bash_code_execution_20250825"}},
		"another model":                {apiMessages, `{"model":"m","messages":[],"fallbacks":[{"model":"dear"}]}`, []string{"model:dear"}},
		"other models":                 {apiChat, `{"model":"m","messages":[],"models":["dear","dearer"]}`, []string{"model:dear", "model:dearer"}},
		"plugins":                      {apiChat, `{"model":"m","messages":[],"plugins":[{"id":"web"}]}`, []string{"plugins"}},
		"a search":                     {apiChat, `{"model":"m","messages":[],"search_parameters":{"mode":"on"}}`, []string{"search_parameters"}},
		"chat: an image":               {apiChat, user(`[{"type":"image_url","image_url":{"url":"https://evil.example/?x"}}]`), []string{"url:https://evil.example/?x"}},
		"chat: a tool's image":         {apiChat, `{"model":"m","messages":[{"role":"tool","tool_call_id":"t","content":[{"type":"image_url","image_url":{"url":"https://evil.example"}}]}]}`, []string{"url:https://evil.example"}},
		"chat: data":                   {apiChat, user(`[{"type":"image_url","image_url":{"url":"DATA:image/png;base64,AAAA"}},{"type":"file","file":{"file_data":"AAAA"}}]`), nil},
		"chat: a file":                 {apiChat, user(`[{"type":"file","file":{"file_id":"f-1"}}]`), []string{"file:f-1"}},
		"responses: images and files":  {apiResponses, `{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"https://a.example"},{"type":"input_file","file_url":"https://b.example"},{"type":"input_file","file_id":"f-1"}]}]}`, []string{"url:https://a.example", "url:https://b.example", "file:f-1"}},
		"responses: a tool's image":    {apiResponses, `{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"https://a.example"}]}]}`, []string{"url:https://a.example"}},
		"responses: what it has kept":  {apiResponses, `{"model":"m","previous_response_id":"r-1","conversation":{"id":"k-1"},"prompt":{"id":"p-1"},"background":true,"input":[{"type":"item_reference","id":"i-1"}]}`, []string{"stored:r-1", "stored:k-1", "stored:p-1", "background", "stored:i-1"}},
		"responses: a connector":       {apiResponses, `{"model":"m","input":"x","tools":[{"type":"mcp","server_label":"d","connector_id":"connector_x"}]}`, []string{"mcp:connector_x"}},
		"responses: a namespace":       {apiResponses, `{"model":"m","input":"x","tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}]}`, []string{"web_search"}},
		"what a tool was asked for":    {apiMessages, `{"model":"m","messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"WebFetch","input":{"url":"https://a.example","file_id":"f"}}]}]}`, nil},
		"what the provider had found":  {apiMessages, `{"model":"m","messages":[{"role":"assistant","content":[{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","url":"https://a.example","title":"t"}]},{"type":"text","text":"x","citations":[{"type":"web_search_result_location","url":"https://a.example"}]}]}]}`, nil},
		"a search result of one's own": {apiMessages, user(`[{"type":"search_result","source":"https://a.example","title":"t","content":[{"type":"text","text":"x"}]}]`), nil},
	} {
		var m access.Model
		_, err := readQuestion(c.api, []byte(c.body), &m)
		if d := cmp.Diff(c.want, m.ServerTools); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
}

// A key that differs from a known one in case alone is read by some servers as that one: it is ambiguous.
func TestKeysByCase(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", "{}"))
	for _, body := range []string{
		`{"model":"cheap","Model":"dear","messages":[]}`, `{"MODEL":"dear","messages":[]}`, `{"model":"c","messages":[],"tool\u017f":[{"type":"web_search_1"}]}`,
		`{"model":"c","messages":[{"role":"user","content":[{"type":"image","source":{"URL":"https://evil.example"}}]}]}`, `{"model":"c","messages":[],"max_to\u212aens":1}`,
	} {
		if got := w.ask(body); got.code != 400 || !strings.Contains(got.body, "case") {
			t.Errorf("%s: %d %s", body, got.code, got.body)
		}
	}
	if got := w.ask(`{"model":"c","messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{"Model":1,"URL":"x"}}]}],"tools":[{"name":"n","input_schema":{"properties":{"Type":{}}}}]}`); got.code != 200 {
		t.Errorf("what is a tool's own is read: %d %s", got.code, got.body)
	}
}

// Bytes that say another thing in another character set.
func TestCharacterSets(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", "{}"))
	for contentType, code := range map[string]int{"application/json; charset=utf-7": 400, "application/json; charset=utf-16": 400, "application/json; charset=UTF-8": 200, "application/json": 200} {
		r, err := http.NewRequest("POST", w.front.URL+"/v1/messages", strings.NewReader(question1))
		must(t, err)
		r.Header.Set("Content-Type", contentType)
		resp, err := http.DefaultTransport.RoundTrip(r)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != code {
			t.Errorf("%s: %d", contentType, resp.StatusCode)
		}
	}
}

// A key of somebody else's is refused wherever some provider would take it from, and is on no record.
func TestForeignKeysElsewhere(t *testing.T) {
	const key = "AIzaSyA-0123456789abcdefghijklmnopqrstu"
	w := newWorld(t, reply(200, "application/json", "{}"))
	for _, q := range []string{"key=" + key, "api_key=x", "API-KEY=x", "access_token=x", "beta=true&x-goog-api-key=x", "other=" + key, "%6bey=x", "x=1;key=" + key} {
		if got := w.do("POST", "/v1/messages?"+q, question1); got.code != 401 && got.code != 400 {
			t.Errorf("?%s: %d", q, got.code)
		}
	}
	for _, h := range [][2]string{{"X-Auth-Token", "x"}, {"Ocp-Apim-Subscription-Key", "x"}, {"X_Api_Key", "x"}, {"Helicone-Auth", "Bearer x"}, {"X-Amz-Security-Token", "x"}, {"X-Litellm-Api-Key", "x"}, {"Apikey", "x"}, {"X-Custom", key}, {"X-Custom", "token=" + key}} {
		if got := w.ask(question1, h[0], h[1]); got.code != 401 || !strings.Contains(got.body, "token of the gateway") {
			t.Errorf("%s: %d %s", h, got.code, got.body)
		}
	}
	if got := w.ask(question1, "Idempotency-Key", "x", "Anthropic-Beta", "token-efficient-tools-2025-02-19", "X-Custom", "skip-ask-x"); got.code != 200 {
		t.Errorf("what is no key: %d %s", got.code, got.body)
	}
	if n := len(w.requests()); n != 1 {
		t.Errorf("%d were sent", n)
	}
	if leaks(w.recorded(), key) {
		t.Error("the record holds the key")
	}
	w.rows()
}

// Which account a call belongs to is the gateway's to say.
func TestAccounts(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", "{}"))
	for _, name := range []string{"OpenAI-Organization", "OpenAI-Project", "X-Goog-User-Project", "ChatGPT-Account-ID", "openai_organization"} {
		w.ask(question1, name, "theirs")
	}
	for _, s := range w.requests() {
		if b, _ := json.Marshal(s.Header); bytes.Contains(b, []byte("theirs")) {
			t.Errorf("sent with %s", b)
		}
	}
	for _, r := range w.rows() {
		if len(r.Operation.Model.Flags) != 1 || !strings.Contains(r.Operation.Model.Flags[0], "names an account") {
			t.Errorf("%v", r.Operation.Model.Flags)
		}
	}
}

// What was refused before all of it was read has no secret on record either, nor in the log.
func TestSecretsInWhatIsRefused(t *testing.T) {
	known := "kn0wn-S3cret/value+42"
	var log bytes.Buffer
	w := newWorld(t, reply(200, "application/json", "{}"), func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	w.gateLog = &log
	w.masks.Learn([]byte(known))
	for _, c := range []struct {
		uri, body string
		header    []string
	}{
		{"/v1/messages", `{"model":"c","messages":[{"role":"user","content":7},{"role":"user","content":"` + known + `"}]}`, nil},
		{"/v1/messages", `{"model":"` + known + `","messages":[],"metadata":7}`, nil},
		{"/v1/messages", `{"model":"c","max_tokens":"` + known + `"}`, nil},
		{"/v1/messages", `{"` + known + `":1,"` + known + `":2}`, nil},
		{"/v1/messages", `{}`, []string{"Content-Encoding", known}},
		{"/v1/messages", `{}`, []string{"Upgrade", known}},
		{"/v1/" + strings.ReplaceAll(known, "/", ".") + "//x", `{}`, []string{"User-Agent", known}},
		{"/v1/messages/" + known + "/../x", `{}`, nil},
		{"/v1/messages/" + known, `{}`, []string{"Content-Encoding", "br"}},
	} {
		if got := w.do("POST", c.uri, c.body, c.header...); got.code != 400 {
			t.Errorf("%s %s: %d %s", c.uri, c.body, got.code, got.body)
		}
	}
	if book := w.recorded(); leaks(book, known) {
		t.Errorf("the record holds the secret: %q", around(book, known))
	}
	b, err := json.Marshal(w.rows())
	must(t, err)
	if leaks(b, known) {
		t.Errorf("the index holds the secret: %q", around(b, known))
	}
	if leaks(log.Bytes(), known) {
		t.Errorf("the log holds the secret: %q", around(log.Bytes(), known))
	}
}

func around(b []byte, s string) []byte {
	i := max(0, bytes.Index(b, []byte(s)))
	return b[max(0, i-80):min(len(b), i+80)]
}

// What a client gives a server to log in with is a secret, whatever it looks like.
func TestAuthorizationInBodies(t *testing.T) {
	for uri, body := range map[string]string{
		"/v1/messages":  `{"model":"c","messages":[],"mcp_servers":[{"type":"url","url":"https://m.example","authorization_token":"plain-Words-0f-thei%rs"}]}`,
		"/v1/responses": `{"model":"c","input":"x","tools":[{"type":"mcp","server_url":"https://m.example","authorization":"plain-Words-0f-thei%rs"},{"type":"mcp","server_url":"https://n.example","headers":{"Authorization":"plain-Words-0f-thei%rs"}}]}`,
	} {
		w := newWorld(t, reply(200, "application/json", "{}"))
		if got := w.do("POST", uri, body); got.code != 200 || w.requests()[0].body != body {
			t.Errorf("%s: %d", uri, got.code)
		}
		if book := w.recorded(); leaks(book, "plain-Words-0f-thei%rs") {
			t.Errorf("%s: the record holds it: %q", uri, around(book, "plain-Words-0f-thei%rs"))
		}
		if f := w.rows()[0].Operation.Model.Findings; !slices.Contains(f, "authorization") {
			t.Errorf("%s: found %v", uri, f)
		}
	}
}

// All that is sent is on record, and before whoever approves.
func TestEveryHeaderIsSeen(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", "{}"))
	var card string
	w.card = func(c access.Card) { card = c.Object }
	w.ask(question1, "X-Stainless-Anything", "Smuggled-1", "User-Agent", "Smuggled-2", "X-Custom", "Smuggled-3", "Traceparent", "Smuggled-4")
	w.decide = func(*access.Operation) access.Decision {
		return access.Decision{Effect: access.Approve, Reason: "ask", Approval: &access.ApprovalTerms{Count: 1}}
	}
	w.ask(question1, "X-Stainless-Anything", "Smuggled-1", "User-Agent", "Smuggled-2", "X-Custom", "Smuggled-3", "Traceparent", "Smuggled-4")
	book := string(w.recorded())
	w.rows()
	for i := 1; i <= 4; i++ {
		s := fmt.Sprint("Smuggled-", i)
		if !strings.Contains(book, s) || !strings.Contains(card, s) {
			t.Errorf("%s: on record %v, on the card %v", s, strings.Contains(book, s), strings.Contains(card, s))
		}
	}
}

// What counts attempts is left out of the digest only where it looks like that.
func TestAttemptsInDigest(t *testing.T) {
	w := newWorld(t, nil)
	digest := func(name, value string) access.Digest {
		r := httptest.NewRequest("POST", "/v1/messages", nil)
		r.Header.Set(name, value)
		return w.h.digest(r, forwardedHeader(r.Header), nil)
	}
	for name, values := range map[string][3]string{
		"X-Stainless-Retry-Count": {"0", "1", "leak"},
		"X-Client-Request-Id":     {"0f0e1d2c-1111-2222-3333-444455556666", "0f0e1d2c-1111-2222-3333-444455556667", "the text of a secret file"},
		"Traceparent":             {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-01", "00-1"},
	} {
		if digest(name, values[0]) != digest(name, values[1]) {
			t.Errorf("%s: the next attempt is another request", name)
		}
		if digest(name, values[0]) == digest(name, values[2]) {
			t.Errorf("%s: anything at all is the same request", name)
		}
	}
}

// The time that a request takes grows with its length and no faster: each of these took minutes where it grew with its square.
func TestLinear(t *testing.T) {
	deep := strings.Repeat(`{"type":"tool_result","content":[`, 3000)
	for name, body := range map[string]string{
		"deep":      `{"messages":[{"role":"user","content":[` + deep + `{"type":"text","text":"` + strings.Repeat("x", 8<<20) + `"}` + strings.Repeat("]}", 3000) + `]}]}`,
		"reminders": `{"messages":[{"role":"user","content":"` + strings.Repeat("<system-reminder></system-reminder>", 250_000) + `x"}]}`,
		"no end":    `{"messages":[{"role":"user","content":"` + strings.Repeat("<system-reminder>", 500_000) + `x"}]}`,
		"urls":      `{"messages":[{"role":"user","content":[` + strings.TrimSuffix(strings.Repeat(`{"url":"a:%d"},`, 300_000), ",") + `]}]}`,
	} {
		if name == "urls" {
			n := 0
			body = string(percent(body, &n))
		}
		var m access.Model
		if _, err := readQuestion(apiMessages, []byte(body), &m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(m.ServerTools) > maxNames+1 {
			t.Errorf("%s: %d names", name, len(m.ServerTools))
		}
	}
}

// percent replaces each %d by the next number.
func percent(s string, n *int) []byte {
	var out []byte
	for part := range strings.SplitSeq(s, "%d") {
		if *n > 0 {
			out = fmt.Append(out, *n)
		}
		*n++
		out = append(out, part...)
	}
	return out
}

// A list that is too long to be kept is unknown to policy, not short.
func TestTooManyNames(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", "{}"))
	n := 0
	w.ask(string(percent(`{"model":"c","messages":[],"tools":[`+strings.TrimSuffix(strings.Repeat(`{"name":"t","type":"s_%d"},`, maxNames+5), ",")+`]}`, &n)))
	if u := w.rows()[0].Operation.Uninspectable; len(u) != 1 || u[0].Field != "model.serverTools" {
		t.Errorf("%+v", u)
	}
}

// What is found in what one session sends hides nothing in the records of another: not its prompt, and not its calls.
func TestFoundInOneSessionAlone(t *testing.T) {
	const words = "kubectl delete namespace"
	w := newWorld(t, reply(200, "application/json", `{"type":"message","content":[{"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"`+words+` shop"}}],"usage":{"output_tokens":1}}`))
	poison := `{"model":"m","messages":[{"role":"user","content":"` + words + `"}],"mcp_servers":[{"url":"https://a.example","authorization_token":"` + words + `"}]}`
	if got := w.ask(poison); got.code != 200 {
		t.Fatal(got)
	}
	w.by = protocol.Caller{Principal: access.Principal{Issuer: "i", Subject: "other", Name: "other"}, Session: "another0123456789abcdefgh", Address: "192.0.2.2:1"}
	if got := w.ask(`{"model":"m","messages":[{"role":"user","content":"` + words + `"}]}`); got.code != 200 {
		t.Fatal(got)
	}
	rows := w.rows()
	if p := rows[0].Operation.Model.Prompt; strings.Contains(p, words) {
		t.Errorf("in its own session it is shown: %q", p)
	}
	if p := rows[1].Operation.Model.Prompt; p != words {
		t.Errorf("the other's prompt is %q", p)
	}
	if in := rows[1].Outcome.Answer.Calls[0].Input; !strings.Contains(in, words) {
		t.Errorf("the other's call is %q", in)
	}
}

// Nobody has a name hidden from rules and approvers by calling it a secret as well.
func TestNamesAreNoSecrets(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", "{}"))
	for api, body := range map[string]string{
		"/v1/messages":           `{"model":"m","messages":[],"mcp_servers":[{"url":"https://evil.example/mcp","authorization_token":"https://evil.example"}]}`,
		"/v1/responses":          `{"model":"dearest-model","input":"x","tools":[{"type":"mcp","server_url":"https://a.example","authorization":"dearest-model"}]}`,
		"/v1/messages?beta=true": `{"model":"dearest-m0del-Xq7","messages":[{"role":"user","content":"see https://user:dearest-m0del-Xq7@a.example/x"}]}`,
		"/v1/messages?":          `{"model":"m","messages":[],"tools":[{"name":"run_anything"}],"mcp_servers":[{"url":"https://a.example","authorization_token":"run_anything"}]}`,
	} {
		if got := w.do("POST", api, body); got.code != 400 || !strings.Contains(got.body, "is also the name") {
			t.Errorf("%s: %d %s", api, got.code, got.body)
		}
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d were sent", n)
	}
}

// Policy decides on what the provider will read, budgets among it, also where the gateway knows a name to be secret.
func TestPolicySeesWhatIsHidden(t *testing.T) {
	w := newWorld(t, reply(200, "application/json", `{"type":"message","model":"dearest-model","usage":{"input_tokens":1000000,"output_tokens":1}}`), func(o *Options) {
		o.Prices = []Price{{Model: "dearest-model", Input: 5}}
	})
	w.masks.Learn([]byte("dearest-model"))
	var seen []access.Model
	w.decide = func(op *access.Operation) access.Decision {
		seen = append(seen, *op.ExactModel)
		return access.Decision{Effect: access.Allow}
	}
	for range 2 {
		if got := w.ask(`{"model":"dearest-model","max_tokens":5,"messages":[{"role":"user","content":"use the dearest-model"}],"tools":[{"name":"dearest-model"}]}`); got.code != 200 {
			t.Fatal(got)
		}
	}
	for i, m := range seen {
		if m.Model != "dearest-model" || m.Prompt != "use the dearest-model" || m.Tools[0] != "dearest-model" || m.SessionTokens != int64(i)*1_000_001 || m.SessionCost != int64(i)*5_000_000 {
			t.Errorf("%d: policy sees %+v", i, m)
		}
	}
	for _, r := range w.rows() {
		if m := r.Operation.Model; strings.Contains(fmt.Sprint(*m), "dearest-model") {
			t.Errorf("on record is %+v", m)
		}
	}
}
