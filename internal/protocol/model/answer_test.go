package model

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
	"gatebook/internal/wire/sse"
)

// flows are recorded answers, with what is to be read of each.
var flows = map[string]struct {
	api    string
	answer access.ModelAnswer
}{
	"messages.sse": {apiMessages, access.ModelAnswer{ID: "msg_014p7gG3wDgGV9EUtLvnow3U", Model: "claude-opus-4-8", StopReason: "tool_use",
		InputTokens: 472, OutputTokens: 89, CacheReadTokens: 18022, CacheWriteTokens: 2051,
		Calls: []access.ToolCall{
			{ID: "toolu_01T1x1fJ34qAmk2tNTrN7Up6", Name: "Bash", Input: `{"command": "kubectl get pods -n \"team-a\"", "description":"pods"}`},
			{ID: "toolu_01Parallel", Name: "Read", Input: `{"file_path":"/etc/hosts"}`}, {ID: "toolu_01Empty", Name: "TaskList", Input: "{}"}},
		ServerCalls: []access.ToolCall{{ID: "srvtoolu_014hJH82Qum7Td6UV8gDXThB", Name: "web_search", Input: `{"query":"weather"}`}}}},
	"chat.sse": {apiChat, access.ModelAnswer{ID: "chatcmpl-123", Model: "gpt-x", StopReason: "tool_calls", InputTokens: 60, OutputTokens: 30, CacheReadTokens: 40,
		Calls: []access.ToolCall{{ID: "call_a", Name: "shell", Input: `{"cmd":"git push"}`}, {ID: "call_b", Name: "read", Input: "{}"}}}},
	"responses.sse": {apiResponses, access.ModelAnswer{ID: "resp_1", Model: "gpt-x", StopReason: "completed", InputTokens: 30, OutputTokens: 7, CacheReadTokens: 20,
		Calls:       []access.ToolCall{{ID: "call_1", Name: "shell", Input: `{"command":["bash","-lc","psql"]}`}, {ID: "call_2", Name: "apply_patch", Input: "*** Begin"}},
		ServerCalls: []access.ToolCall{{ID: "ws_1", Name: "web_search", Input: `{"type":"search","query":"x"}`}}}},
}

// readStream reads a stream to its end.
func readStream(api string, r io.Reader) (access.ModelAnswer, error) {
	a := readerOf(api)
	for s := sse.NewScanner(r, 0); ; {
		e, err := s.Next()
		if err == io.EOF {
			a.answer().Calls = append(a.answer().Calls, a.end()...)
			return *a.answer(), nil
		}
		if err != nil {
			return *a.answer(), err
		}
		if !e.Dispatched {
			continue
		}
		_, calls, err := a.event(string(e.Type), e.Data)
		if err != nil {
			return *a.answer(), err
		}
		a.answer().Calls = append(a.answer().Calls, calls...)
	}
}

// What is read does not depend on how the bytes come.
func TestFlowsAtEverySplit(t *testing.T) {
	for name, f := range flows {
		text := flow(t, name)
		readers := []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))}
		for at := range len(text) {
			readers = append(readers, io.MultiReader(strings.NewReader(text[:at]), strings.NewReader(text[at:])))
		}
		for i, r := range readers {
			got, err := readStream(f.api, r)
			if d := cmp.Diff(f.answer, got); d != "" || err != nil {
				t.Fatalf("%s, reader %d: %v\n%s", name, i, err, d)
			}
		}
	}
}

// A call is told with the event that ends it, and no later: a client could act on it then.
func TestCallsAreToldInTime(t *testing.T) {
	for name, f := range flows {
		a := readerOf(f.api)
		var at []string
		s := sse.NewScanner(strings.NewReader(flow(t, name)), 0)
		for {
			e, err := s.Next()
			if err == io.EOF {
				break
			}
			must(t, err)
			_, calls, err := a.event(string(e.Type), e.Data)
			must(t, err)
			for _, c := range calls {
				at = append(at, fmt.Sprintf("%s at %s %.60s", c.ID, e.Type, e.Data))
			}
		}
		want := map[string][]string{
			"messages.sse": {`toolu_01T1x1fJ34qAmk2tNTrN7Up6 at content_block_stop {"type":"content_block_stop","index":2}`,
				`toolu_01Parallel at content_block_stop {"type":"content_block_stop","index":3}`, `toolu_01Empty at content_block_stop {"type":"content_block_stop","index":4}`},
			"chat.sse": {`call_a at message {"id":"chatcmpl-123","object":"chat.completion.chunk","creat`, `call_b at message {"id":"chatcmpl-123","object":"chat.completion.chunk","creat`},
			"responses.sse": {`call_1 at response.function_call_arguments.done {"type":"response.function_call_arguments.done","item_id":"f`,
				`call_2 at response.output_item.done {"type":"response.output_item.done","output_index":2,"item":`},
		}[name]
		if d := cmp.Diff(want, at); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

// A call whose block is never ended is told with the message's end.
func TestCallThatDoesNotEnd(t *testing.T) {
	text := strings.ReplaceAll(flow(t, "messages.sse"), "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n", "")
	got, err := readStream(apiMessages, strings.NewReader(text))
	if err != nil || len(got.Calls) != 3 {
		t.Errorf("%+v, %v", got.Calls, err)
	}
}

func TestUnreadableStreams(t *testing.T) {
	for name, c := range map[string]struct{ api, text string }{
		"no JSON":          {apiMessages, "event: ping\ndata: x\n\n"},
		"a key twice":      {apiMessages, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"type\":\"ping\"}\n\n"},
		"two types":        {apiMessages, "event: ping\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"},
		"begins twice":     {apiMessages, strings.Repeat("data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"a\"}}\n\n", 2)},
		"a part of none":   {apiMessages, "data: {\"type\":\"content_block_delta\",\"index\":9,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n"},
		"chat no JSON":     {apiChat, "data: [DONE\n\n"},
		"responses twice":  {apiResponses, "data: {\"type\":\"x\",\"item\":{\"id\":\"a\",\"id\":\"b\"}}\n\n"},
		"behind the end":   {apiChat, "data: {} {}\n\n"},
		"an invalid UTF-8": {apiChat, "data: {\"id\":\"\xff\"}\n\n"},
	} {
		if _, err := readStream(c.api, strings.NewReader(c.text)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestWholeAnswers(t *testing.T) {
	for _, c := range []struct {
		api, body string
		calls     []access.ToolCall
		tokens    int64
	}{
		{apiMessages, `{"id":"m","model":"c","content":[{"type":"text","text":"x"},{"type":"tool_use","id":"t1","name":"Bash","input":{"command": "ls"}},{"type":"server_tool_use","id":"s","name":"web_search","input":{}}],"usage":{"input_tokens":3,"output_tokens":4}}`,
			[]access.ToolCall{{ID: "t1", Name: "Bash", Input: `{"command": "ls"}`}}, 7},
		{apiChat, `{"id":"m","model":"c","choices":[{"message":{"content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`,
			[]access.ToolCall{{ID: "t1", Name: "f", Input: `{}`}}, 7},
		{apiChat, `{"id":"m","choices":[{"message":{"content":null,"function_call":{"name":"f","arguments":"{}"}}}]}`, []access.ToolCall{{ID: "m/function_call", Name: "f", Input: `{}`}}, 0},
		{apiResponses, `{"id":"r","output":[{"type":"function_call","id":"i","call_id":"t1","name":"f","arguments":"{}"}],"usage":{"input_tokens":3,"output_tokens":4}}`,
			[]access.ToolCall{{ID: "t1", Name: "f", Input: `{}`}}, 7},
	} {
		a := readerOf(c.api)
		calls, err := a.whole([]byte(c.body))
		if d := cmp.Diff(c.calls, calls); d != "" || err != nil || a.answer().Tokens() != c.tokens {
			t.Errorf("%s: %v, %d tokens\n%s", c.body, err, a.answer().Tokens(), d)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for name, c := range flows {
		f.Add(c.api, flow(f, name), 100)
	}
	f.Fuzz(func(t *testing.T, api, text string, at int) {
		if readerOf(api) == nil {
			return
		}
		at = max(0, min(at, len(text)))
		whole, err1 := readStream(api, strings.NewReader(text))
		cut, err2 := readStream(api, io.MultiReader(strings.NewReader(text[:at]), strings.NewReader(text[at:])))
		if d := cmp.Diff(whole, cut); d != "" || (err1 == nil) != (err2 == nil) {
			t.Errorf("cut at %d: %v, %v\n%s", at, err1, err2, d)
		}
		_, _ = readerOf(api).whole([]byte(text)) // must not fall over
	})
}
