package model

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatebook/internal/access"
)

func events(data ...string) string { return "data: " + strings.Join(data, "\n\ndata: ") + "\n\n" }

func chatDelta(choice int, delta string) string {
	return fmt.Sprintf(`{"id":"c","choices":[{"index":%d,"delta":%s}]}`, choice, delta)
}

// Every call that some client could take from a stream is read from it, whole and once, however the stream is written.
func TestCallsInOddStreams(t *testing.T) {
	const use = `{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ls"}}`
	call := func(id, name, input string) access.ToolCall {
		return access.ToolCall{ID: id, Name: name, Input: input}
	}
	ls := []access.ToolCall{call("t1", "Bash", `{"command":"ls"}`)}
	part := func(index int, id, args string) string {
		if id != "" {
			id = `"id":"` + id + `",`
		}
		b, _ := json.Marshal(args)
		return fmt.Sprintf(`{"tool_calls":[{"index":%d,%s"function":{"name":"f","arguments":%s}}]}`, index, id, b)
	}
	for name, c := range map[string]struct {
		api, text string
		want      []access.ToolCall
	}{
		"in the message's start": {apiMessages, events(`{"type":"message_start","message":{"id":"m","content":[` + use + `]}}`), ls},
		"no blank line at the end": {apiMessages, events(`{"type":"content_block_start","index":0,"content_block":`+use+`}`) +
			"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}", ls},
		"data of several lines": {apiMessages, "data: {\"type\":\"content_block_start\",\"index\":0,\ndata: \"content_block\":" + use + "}\n\n" + events(`{"type":"content_block_stop","index":0}`), ls},
		"CR alone":              {apiMessages, strings.ReplaceAll(events(`{"type":"content_block_start","index":0,"content_block":`+use+`}`, `{"type":"content_block_stop","index":0}`), "\n", "\r"), ls},
		"CRLF, comments, a BOM": {apiMessages, "\ufeff: c\r\n\r\n" + strings.ReplaceAll(events(`{"type":"content_block_start","index":0,"content_block":`+use+`}`, `{"type":"content_block_stop","index":0}`), "\n", "\r\n:x\r\n"), nil},
		"interleaved blocks": {apiMessages, events(`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t1","name":"a"}}`, `{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t2","name":"b"}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}}`, `{"type":"content_block_stop","index":1}`, `{"type":"content_block_stop","index":0}`),
			[]access.ToolCall{call("t2", "b", `{"x":1}`), call("t1", "a", "{}")}},
		"interleaved calls": {apiChat, events(chatDelta(0, part(0, "c1", `{"a":`)), chatDelta(0, part(1, "c2", `{"b":`)), chatDelta(0, part(0, "", `1}`)), chatDelta(0, part(1, "", `2}`))),
			[]access.ToolCall{call("c1", "f", `{"a":1}`), call("c2", "f", `{"b":2}`)}},
		"several choices": {apiChat, events(chatDelta(0, part(0, "c1", `{"a":`)), chatDelta(1, part(0, "c2", `{"b":`)), `{"choices":[{"index":0,"delta":`+part(0, "", `1}`)+`,"finish_reason":"tool_calls"}]}`, chatDelta(1, part(0, "", `2}`))),
			[]access.ToolCall{call("c1", "f", `{"a":1}`), call("c2", "f", `{"b":2}`)}},
		"all of them at index 0": {apiChat, events(chatDelta(0, part(0, "c1", `{"a":1}`)), chatDelta(0, part(0, "c2", `{"b":2}`))), []access.ToolCall{call("c1", "f", `{"a":1}`), call("c2", "f", `{"b":2}`)}},
		"arguments as an object": {apiChat, events(chatDelta(0, `{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":{"a":1}}}]}`)), []access.ToolCall{call("c1", "f", `{"a":1}`)}},
		"a whole message":        {apiChat, events(`{"choices":[{"index":0,"message":{"content":null,"tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}}]}}]}`), []access.ToolCall{call("c1", "f", `{}`)}},
		"a whole message after its parts": {apiChat, events(chatDelta(0, part(0, "c1", `{"a":1}`)), `{"choices":[{"index":0,"message":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"}]}`),
			[]access.ToolCall{call("c1", "f", `{"a":1}`)}},
		"items without identifiers": {apiResponses, events(`{"type":"response.output_item.added","item":{"type":"function_call","call_id":"c1","name":"f"}}`, `{"type":"response.output_item.added","item":{"type":"function_call","call_id":"c2","name":"g"}}`,
			`{"type":"response.output_item.done","item":{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"}}`, `{"type":"response.output_item.done","item":{"type":"function_call","call_id":"c2","name":"g","arguments":"{}"}}`),
			[]access.ToolCall{call("c1", "f", `{}`), call("c2", "g", `{}`)}},
		"a search among tools":       {apiResponses, events(`{"type":"response.output_item.done","item":{"type":"tool_search_call","id":"i","call_id":"c1","execution":"client","arguments":{"query":"x"}}}`), []access.ToolCall{call("c1", "tool_search", `{"query":"x"}`)}},
		"a patch":                    {apiResponses, events(`{"type":"response.output_item.done","item":{"type":"apply_patch_call","id":"i","call_id":"c1","operation":{"type":"delete_file","path":"x"}}}`), []access.ToolCall{call("c1", "apply_patch", `{"type":"delete_file","path":"x"}`)}},
		"only in the response's end": {apiResponses, events(`{"type":"response.completed","response":{"id":"r","output":[{"type":"function_call","id":"i","call_id":"c1","name":"f","arguments":"{}"}]}}`), []access.ToolCall{call("c1", "f", `{}`)}},
	} {
		w := newWorld(t, chunks(c.text))
		path := map[string]string{apiMessages: "/v1/messages", apiChat: "/v1/chat/completions", apiResponses: "/v1/responses"}[c.api]
		got := w.do("POST", path, `{"model":"c"}`)
		if got.body != c.text || got.broken != nil {
			t.Errorf("%s: %v\n%s", name, got.broken, cmp.Diff(c.text, got.body))
		}
		w.rows()
		if name == "CRLF, comments, a BOM" { // the comments take the blank lines' place: nothing is an event
			continue
		}
		if d := cmp.Diff(c.want, w.emitted, cmpopts.IgnoreFields(access.ToolCall{}, "Emitted")); d != "" {
			t.Errorf("%s: told\n%s", name, d)
		}
	}
}

// A chat's call is told with the event that makes its arguments whole: some clients act then.
func TestChatCallsAreToldWhenWhole(t *testing.T) {
	r := readerOf(apiChat)
	for i, c := range []struct {
		delta string
		told  int
	}{
		{`{"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":""}}]}`, 0},
		{`{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":\"}\\"}}]}`, 0},
		{`{"tool_calls":[{"index":0,"function":{"arguments":"\"{\"}"}}]}`, 1},
		{`{"tool_calls":[{"index":0,"function":{"arguments":"\n"}}]}`, 0},
		{`{"tool_calls":[{"index":1,"id":"c2","custom":{"name":"k","input":"free"}}]}`, 0},
		{`{"tool_calls":[{"index":2,"id":"c3","function":{"name":"f","arguments":"{"}}]}`, 1},
	} {
		if _, calls, err := r.event("message", []byte(chatDelta(0, c.delta))); err != nil || len(calls) != c.told {
			t.Errorf("event %d: %v, %v", i, calls, err)
		}
	}
	if _, _, err := r.event("message", []byte(chatDelta(0, `{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}`))); err == nil {
		t.Error("a call goes on after it was told")
	}
}

// An error of the provider's is one in every API's words, and never holds the gateway's own key.
func TestErrorEventsOfEveryAPI(t *testing.T) {
	for path, event := range map[string]string{
		"/v1/messages":         `{"type":"error","error":{"type":"api_error","message":"the-real-key"}}`,
		"/v1/chat/completions": `{"error":{"message":"the-real-key"}}`,
		"/v1/responses":        `{"type":"response.failed","response":{"id":"r","error":{"message":"the-real-key"}}}`,
	} {
		w := newWorld(t, chunks(events(event)))
		w.masks.Learn([]byte("the-real-key"))
		if got := w.do("POST", path, `{"model":"c"}`); strings.Contains(got.body, "the-real-key") || !strings.Contains(got.body, "gbm-") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
}

// A secret that is cut into the pieces of any text is on no record.
func TestSecretsInPiecesOfAnyText(t *testing.T) {
	const secret = "kn0wn-S3cret/value+42"
	for path, delta := range map[string]string{
		"/v1/messages":         `{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"%s"}}`,
		"/v1/chat/completions": `{"choices":[{"index":0,"delta":{"reasoning_content":"%s"}}]}`,
		"/v1/responses":        `{"type":"response.reasoning_summary_text.delta","item_id":"i","delta":"%s"}`,
	} {
		for at := 1; at < len(secret); at += 3 {
			text := events(fmt.Sprintf(delta, "a "+secret[:at])) + ": c\n\n" + "data: " + strings.Replace(fmt.Sprintf(delta, secret[at:]+" b"), ",", ",\ndata: ", 1) + "\n\n"
			if at != 4 { // at 4 it is data of two lines, which cannot be written anew
				text = events(fmt.Sprintf(delta, "a "+secret[:at]), fmt.Sprintf(delta, secret[at:]+" b"))
			}
			w := newWorld(t, chunks(text))
			w.masks.Learn([]byte(secret))
			got := w.do("POST", path, `{"model":"c"}`)
			if whole := got.body == text; whole != (at != 4) {
				t.Errorf("%s at %d: %q", path, at, got.body)
			}
			if book := w.recorded(); leaks(book, secret) || strings.Contains(string(book), secret[at:]+" b") && at < 12 {
				t.Errorf("%s at %d: %s", path, at, around(book, secret[at:]))
			}
			w.rows()
		}
	}
}

// A stream may be as long as it likes: nothing of it is kept.
func TestLongStream(t *testing.T) {
	w := newWorld(t, nil, func(o *Options) { o.Limits.AnswerBytes, o.Limits.EventBytes = 64<<10, 64<<10 })
	event := delta("text_delta", "text", strings.Repeat("x", 1000))
	w.upstream = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", stream)
		for range 500 {
			rw.Write([]byte(event))
		}
	}
	if got := w.ask(question1); got.broken != nil || len(got.body) != 500*len(event) {
		t.Errorf("%v after %d bytes", got.broken, len(got.body))
	}
	// But for the input of its calls.
	input := delta("input_json_delta", "partial_json", strings.Repeat("x", 1000))
	w.upstream = chunks("data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"n\"}}\n\n" + strings.Repeat(input, 100))
	if got := w.ask(question1); got.broken == nil {
		t.Error("a call of any length is kept")
	}
	// And for what waits, since a secret could begin in it.
	w.masks.Learn([]byte("kn0wn-S3cret/value+42"))
	w.upstream = chunks(delta("text_delta", "text", "kn0wn-S3cret/va") + strings.Repeat(strings.Replace(event, `"index":0`, `"index":1`, 1), 100))
	if got := w.ask(question1); got.broken == nil {
		t.Error("what waits for the record grows without a bound")
	}
	rows := w.rows()
	if a := rows[0].Outcome.Answer; a.OutputTokens != 500*1000/4 {
		t.Errorf("%+v", a)
	}
}

// Calls that run at the same time see what each other may use; what they did use replaces it as soon as it is known.
func TestReservations(t *testing.T) {
	const budget = 1000
	begun, goOn := make(chan bool, 20), make(chan bool)
	release := sync.OnceFunc(func() { close(goOn) })
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if begun <- true; len(begun) > 2 {
			release() // it has failed
		}
		<-goOn
		reply(200, "application/json", `{"id":"m","usage":{"input_tokens":10,"output_tokens":20}}`)(rw, r)
	}, func(o *Options) { o.Prices = []Price{{Model: "c", Input: 1, Output: 2}} })
	w.decide = func(op *access.Operation) access.Decision {
		if m := op.Model; m.SessionTokens+m.ReservedTokens > budget {
			return access.Decision{Effect: access.Deny, Reason: fmt.Sprint("used up: ", m.SessionTokens)}
		}
		return access.Decision{Effect: access.Allow}
	}
	const body = `{"model":"c","max_tokens":380,"messages":[]}` // 44 bytes: 391 tokens at most
	done := make(chan answer, 10)
	for range 10 {
		go func() { done <- w.ask(body) }()
	}
	codes := map[int]int{}
	for range 8 {
		codes[(<-done).code]++
	}
	for codes[403] == 8 && len(begun) < 2 {
		time.Sleep(time.Millisecond)
	}
	if len(begun) != 2 || codes[403] != 8 {
		t.Errorf("more than 2 of 10 calls ran at once, which may use 782 tokens of %d; %v", budget, codes)
	}
	release()
	for range 2 {
		codes[(<-done).code]++
	}
	if codes[200] != 2 {
		t.Errorf("%v", codes)
	}
	if got := w.ask(body); got.code != 200 { // 60 were used
		t.Errorf("after them: %d %s", got.code, got.body)
	}
	rows := w.rows()
	last := rows[len(rows)-1].Operation.Model
	if last.SessionTokens != 60 || last.SessionCost != 100 || last.ReservedTokens != 391 || last.ReservedCost != 11+2*380 || len(w.h.used.underWay) != 0 {
		t.Errorf("%+v, under way %d", last, len(w.h.used.underWay))
	}
}

// What was used while a person was asked counts when the call goes on.
func TestBudgetAfterApproval(t *testing.T) {
	asked := make(chan bool, 1)
	w := newWorld(t, reply(200, "application/json", `{"id":"m","usage":{"input_tokens":500,"output_tokens":500}}`), func(o *Options) { o.Hold = time.Minute })
	w.granted, w.card = make(chan struct{}), func(access.Card) { asked <- true }
	w.decide = func(op *access.Operation) access.Decision {
		switch m := op.Model; {
		case m.SessionTokens > 999:
			return access.Decision{Effect: access.Deny, Reason: "used up"}
		case m.MaxTokens == 7:
			return access.Decision{Effect: access.Approve, Reason: "ask", Approval: &access.ApprovalTerms{Count: 1}}
		}
		return access.Decision{Effect: access.Allow}
	}
	held := make(chan answer, 1)
	go func() { held <- w.ask(`{"model":"c","max_tokens":7}`) }()
	<-asked
	if got := w.ask(`{"model":"c","max_tokens":8}`); got.code != 200 {
		t.Errorf("a neighbour: %d %s", got.code, got.body)
	}
	close(w.granted)
	if got := <-held; got.code != 403 || !strings.Contains(got.body, "used up") || len(w.requests()) != 1 {
		t.Errorf("%d %s, %d were sent", got.code, got.body, len(w.requests()))
	}
	w.rows()
}

// Whoever asks and leaves before the answer has asked all the same.
func TestLeavingCounts(t *testing.T) {
	begun := make(chan bool)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done() // the gateway lets go of it, too
	})
	r, err := http.NewRequest("POST", w.front.URL+"/v1/messages", strings.NewReader(question1))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	ctx, leave := contextOf(t)
	go func() { <-begun; leave() }()
	if resp, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx)); err == nil {
		resp.Body.Close()
		t.Fatal("it answered")
	}
	rows := w.rows()
	if a := rows[0].Outcome.Answer; a == nil || !a.Estimated || a.InputTokens != int64(len(question1))/4 {
		t.Errorf("%+v", rows[0].Outcome)
	}
	if !slices.Contains([]int{0, 502}, rows[0].Outcome.Code) {
		t.Errorf("%+v", rows[0].Outcome)
	}
}

// A reservation survives neither a refusal nor an error.
func TestReservationsEnd(t *testing.T) {
	w := newWorld(t, reply(529, "application/json", `{"error":{"message":"Overloaded"}}`))
	w.ask(question1)
	w.decide = func(*access.Operation) access.Decision { return access.Decision{Effect: access.Deny} }
	w.ask(question1)
	w.ask(`{`)
	rows := w.rows()
	if n := len(w.h.used.underWay); n != 0 || rows[1].Operation.Model.DayTokens != 0 {
		t.Errorf("%d under way, %+v", n, rows[1].Operation.Model)
	}
}

// A credential that nobody has seen before, in an answer, is on no record: not in the answer's text, in however many pieces it
// comes, nor in the input of a call; the client gets it as it is.
func TestUnseenCredentialsInAnswers(t *testing.T) {
	secret := "gh" + "p_" + strings.Repeat("Aa9xQz", 6)
	const block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"Bash\",\"input\":{}}}\n\n"
	const end = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
	for _, kind := range [][2]string{{"text_delta", "text"}, {"input_json_delta", "partial_json"}} {
		text := "{\"command\":\"echo " + secret + " x\"}"
		for _, n := range []int{1, 3, 7, len(text)} {
			answer := block
			for part := range slices.Chunk([]byte(text), n) {
				answer += delta(kind[0], kind[1], string(part))
			}
			answer += end
			w := newWorld(t, chunks(answer))
			if got := w.ask(question1); got.body != answer {
				t.Fatalf("%s by %d: changed on its way: %q", kind[0], n, got.body)
			}
			book := w.recorded()
			rows := w.rows()
			b, err := json.Marshal(rows)
			must(t, err)
			if leaks(b, secret) || leaks(book, secret) || strings.Contains(string(book), `"9x"`) || strings.Contains(string(book), secret[8:15]) || !strings.Contains(string(book), access.PlaceholderPrefix) {
				t.Errorf("%s by %d: the record is %s", kind[0], n, book)
			}
			if calls := rows[0].Outcome.Answer.Calls; len(calls) != 1 || kind[1] == "partial_json" && !strings.Contains(calls[0].Input, access.PlaceholderPrefix) {
				t.Errorf("%s by %d: %+v", kind[0], n, calls)
			}
		}
	}
}
