package model

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
)

// chatReader reads OpenAI's chat completions.
type chatReader struct {
	a     access.ModelAnswer
	open  map[chatKey]*partialCall
	order []chatKey
	final bool
	bad   bool
	over  bool
	held  int64
}

// chatKey is where a call stands: in which choice, and as which of its calls.
type chatKey struct{ choice, index int64 }

// onlyCall is the index of a call in the API before there were several.
const onlyCall = -1

func (r *chatReader) answer() *access.ModelAnswer { return &r.a }
func (r *chatReader) counted() bool               { return r.final }
func (r *chatReader) failed() bool                { return r.bad }
func (r *chatReader) ended() bool                 { return r.over }
func (r *chatReader) size() int64                 { return r.held }

// text is a string, or what stands in place of one.
type text struct {
	string
	written bool // as a JSON string
}

func (t *text) UnmarshalJSON(b []byte) error {
	t.written = len(b) > 0 && b[0] == '"'
	switch {
	case t.written:
		return json.Unmarshal(b, &t.string)
	case string(b) != "null":
		t.string = string(b)
	}
	return nil
}

type chatCall struct {
	Index    int64  `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments text   `json:"arguments"`
	} `json:"function"`
	Custom struct {
		Name  string `json:"name"`
		Input text   `json:"input"`
	} `json:"custom"`
}

func (c chatCall) name() string  { return firstOf(c.Function.Name, c.Custom.Name) }
func (c chatCall) input() string { return c.Function.Arguments.string + c.Custom.Input.string }

type chatMessage struct {
	Calls    []chatCall `json:"tool_calls"`
	Function struct {
		Name      string `json:"name"`
		Arguments text   `json:"arguments"`
	} `json:"function_call"`
	Others map[string]jsontext.Value `json:",embed"`
}

type chatChunk struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Choices []struct {
		Index   int64       `json:"index"`
		Delta   chatMessage `json:"delta"`
		Message chatMessage `json:"message"`
		Finish  string      `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		Details    struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
	Error jsontext.Value `json:"error"`
}

func (r *chatReader) event(_ string, data []byte) (ps []piece, out []access.ToolCall, err error) {
	r.bad = false
	if string(bytes.TrimSpace(data)) == "[DONE]" {
		r.over = true
		return nil, r.end(), nil
	}
	var c chatChunk
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, nil, unreadable(err, "an event is not the JSON that it should be")
	}
	r.head(&c)
	r.bad = len(c.Error) > 0 && c.Error.Kind() != 'n'
	r.over = r.over || r.bad
	for i, choice := range c.Choices {
		// Some servers put the whole message into the last event.
		for _, m := range []struct {
			in string
			chatMessage
		}{{"delta", choice.Delta}, {"message", choice.Message}} {
			at := []string{"choices", strconv.Itoa(i), m.in}
			p, calls, err := r.message(&m.chatMessage, choice.Index, c.ID, at)
			if err != nil {
				return nil, nil, err
			}
			ps, out = append(ps, p...), append(out, calls...)
		}
		if choice.Finish != "" {
			r.a.StopReason, r.over = choice.Finish, true // not every server says [DONE]
			out = append(out, r.tell(choice.Index, true)...)
		}
	}
	return ps, out, nil
}

// message reads what an event adds to a choice. at is where it stands in the event.
func (r *chatReader) message(m *chatMessage, choice int64, id string, at []string) (ps []piece, out []access.ToolCall, err error) {
	path := func(more ...string) []string { return append(at[:len(at):len(at)], more...) }
	add := func(index int64, c chatCall, path []string, written bool) error {
		calls, err := r.part(chatKey{choice, index}, c)
		if out = append(out, calls...); written && c.input() != "" {
			ps = append(ps, piece{lane: laneKey{index: choice, part: index, field: "input"}, text: c.input(), path: path})
		}
		return err
	}
	if f := m.Function; f.Name != "" || f.Arguments.string != "" {
		old := chatCall{ID: id + "/function_call", Function: m.Function}
		if err := add(onlyCall, old, path("function_call", "arguments"), f.Arguments.written); err != nil {
			return nil, nil, err
		}
	}
	for j, c := range m.Calls {
		field, written := []string{"function", "arguments"}, c.Function.Arguments.written
		if c.Custom.Input.string != "" {
			field, written = []string{"custom", "input"}, c.Custom.Input.written
		}
		if err := add(c.Index, c, path(append([]string{"tool_calls", strconv.Itoa(j)}, field...)...), written); err != nil {
			return nil, nil, err
		}
	}
	err = texts(m.Others, func(field, text string) {
		ps = append(ps, piece{lane: laneKey{index: choice, field: field}, path: path(field), text: text})
	})
	return ps, out, err
}

// part adds to a call, and gives those that a client could act on now: the call itself where it has become whole, and
// those before it where it is the first part of another.
func (r *chatReader) part(key chatKey, c chatCall) (out []access.ToolCall, err error) {
	at := r.open[key]
	if at != nil && at.told && c.ID == at.id && c.input() == string(at.input) { // the whole message, after its parts
		return nil, nil
	}
	if at == nil || c.ID != "" && at.id != "" && c.ID != at.id {
		out = r.tell(key.choice, false)
		if at != nil && !at.told {
			out = append(out, at.tell())
		}
		at = &partialCall{}
		r.open[key] = at
		r.order = append(r.order, key)
	}
	if at.told && strings.TrimSpace(c.input()) != "" {
		return nil, unreadable(nil, "a tool call goes on after its end")
	}
	at.id, at.name = firstOf(at.id, c.ID), firstOf(at.name, c.name())
	at.input = append(at.input, c.input()...)
	r.held += int64(len(c.input()))
	if at.json.add(c.input()); at.json.whole && !at.json.bad && !at.told {
		out = append(out, at.tell())
	}
	return out, nil
}

func (c *partialCall) tell() access.ToolCall {
	c.told = true
	return c.call()
}

// tell gives the calls of a choice that were not given: all, or those alone whose input is not in the midst of an object.
func (r *chatReader) tell(choice int64, all bool) (out []access.ToolCall) {
	for _, key := range r.order {
		if c := r.open[key]; key.choice == choice && !c.told && (all && !c.cutOff() || c.json.depth == 0) {
			out = append(out, c.tell())
		}
	}
	return out
}

func (r *chatReader) end() (out []access.ToolCall) {
	for _, key := range r.order {
		if c := r.open[key]; !c.told && !c.cutOff() {
			out = append(out, c.tell())
		}
	}
	return out
}

func (r *chatReader) head(c *chatChunk) {
	r.a.ID, r.a.Model = firstOf(c.ID, r.a.ID), firstOf(c.Model, r.a.Model)
	if u := c.Usage; u != nil {
		r.a.CacheReadTokens = clamp(u.Details.Cached)
		r.a.InputTokens, r.a.OutputTokens, r.final = clamp(clamp(u.Prompt)-r.a.CacheReadTokens), clamp(u.Completion), true
	}
}

func (r *chatReader) whole(body []byte) (out []access.ToolCall, err error) {
	var c chatChunk
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, unreadable(err, "it is not the JSON that it should be")
	}
	r.head(&c)
	for _, choice := range c.Choices {
		r.a.StopReason = choice.Finish
		for _, call := range choice.Message.Calls {
			out = append(out, access.ToolCall{ID: call.ID, Name: call.name(), Input: call.input()})
		}
		if f := choice.Message.Function; f.Name != "" {
			out = append(out, access.ToolCall{ID: c.ID + "/function_call", Name: f.Name, Input: f.Arguments.string})
		}
	}
	return out, nil
}

// responsesReader reads OpenAI's responses.
type responsesReader struct {
	a     access.ModelAnswer
	items map[string]*partialCall // begun, by item
	order []string
	final bool
	bad   bool
	over  bool
	held  int64
}

func (r *responsesReader) answer() *access.ModelAnswer { return &r.a }
func (r *responsesReader) counted() bool               { return r.final }
func (r *responsesReader) failed() bool                { return r.bad }
func (r *responsesReader) ended() bool                 { return r.over }
func (r *responsesReader) size() int64                 { return r.held }

type responseItem struct {
	Type      string         `json:"type"`
	ID        string         `json:"id"`
	CallID    string         `json:"call_id"`
	Name      string         `json:"name"`
	Arguments text           `json:"arguments"`
	Input     text           `json:"input"`
	Action    jsontext.Value `json:"action"`
	Operation jsontext.Value `json:"operation"`
}

type response struct {
	ID     string         `json:"id"`
	Model  string         `json:"model"`
	Status string         `json:"status"`
	Output []responseItem `json:"output"`
	Usage  *struct {
		Input   int64 `json:"input_tokens"`
		Output  int64 `json:"output_tokens"`
		Details struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"input_tokens_details"`
	} `json:"usage"`
}

type responsesEvent struct {
	Type      string         `json:"type"`
	ItemID    string         `json:"item_id"`
	Part      int64          `json:"content_index"`
	Summary   int64          `json:"summary_index"`
	Item      responseItem   `json:"item"`
	Delta     jsontext.Value `json:"delta"`
	Arguments text           `json:"arguments"`
	Input     text           `json:"input"`
	Response  *response      `json:"response"`
}

func (r *responsesReader) event(kind string, data []byte) ([]piece, []access.ToolCall, error) {
	r.bad = false
	if string(bytes.TrimSpace(data)) == "[DONE]" {
		r.over = true
		return nil, r.end(), nil
	}
	var e responsesEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, nil, unreadable(err, "an event is not the JSON that it should be")
	}
	if kind != "message" && kind != e.Type {
		return nil, nil, unreadable(nil, "an event has two types")
	}
	r.bad = e.Type == "error" || e.Type == "response.failed"
	r.over = r.over || r.bad || e.Type == "response.completed" || e.Type == "response.incomplete"
	switch {
	case e.Type == "response.output_item.added":
		r.begin(e.Item)
	case e.Type == "response.function_call_arguments.done", e.Type == "response.custom_tool_call_input.done":
		return []piece{{lane: laneKey{item: e.ItemID}, last: true}}, r.done(e.ItemID, e.Arguments.string+e.Input.string), nil
	case e.Type == "response.output_item.done":
		return []piece{{lane: laneKey{item: e.Item.ID}, last: true}}, r.take(e.Item), nil
	case e.Response != nil:
		out := r.head(e.Response)
		if e.Type == "response.completed" || e.Type == "response.incomplete" || e.Type == "response.failed" {
			out = append(out, r.end()...)
		}
		return nil, out, nil
	case strings.HasSuffix(e.Type, ".delta") && e.Delta.Kind() == '"':
		return r.delta(&e)
	}
	return nil, nil, nil
}

func (r *responsesReader) delta(e *responsesEvent) ([]piece, []access.ToolCall, error) {
	var text string
	if err := json.Unmarshal(e.Delta, &text); err != nil {
		return nil, nil, unreadable(err, "an event is not the JSON that it should be")
	}
	if c := r.items[e.ItemID]; c != nil && !c.told {
		c.input = append(c.input, text...)
		r.held += int64(len(text))
	}
	return []piece{{lane: laneKey{item: e.ItemID, part: e.Part<<16 | e.Summary, field: e.Type}, path: []string{"delta"}, text: text}}, nil, nil
}

// begin notes a call of which the input is still to come.
func (r *responsesReader) begin(it responseItem) {
	if it.tool() == "" || r.items[it.key()] != nil {
		return
	}
	r.items[it.key()] = it.call()
	r.order = append(r.order, it.key())
}

// key names the item; those without an identifier of their own have their call's.
func (it responseItem) key() string { return firstOf(it.ID, it.CallID) }

func (it responseItem) call() *partialCall {
	return &partialCall{id: firstOf(it.CallID, it.ID), name: it.tool(), first: it.input(), server: it.server()}
}

// tool names the tool of an item that is a call; empty where it is none.
func (it responseItem) tool() string {
	if kind, ok := strings.CutSuffix(it.Type, "_call"); ok {
		return firstOf(it.Name, kind)
	}
	return ""
}

// server reports whether the provider runs the call itself: then nothing has to answer it by a call_id.
func (it responseItem) server() bool { return it.CallID == "" }

func (it responseItem) input() string {
	return firstOf(it.Arguments.string, it.Input.string, string(it.Action), string(it.Operation))
}

// done gives a call whose input is whole.
func (r *responsesReader) done(item, input string) []access.ToolCall {
	c := r.items[item]
	if c == nil || c.told {
		return nil
	}
	c.first, c.input = input, nil
	return r.tell(c)
}

// take gives the call that an item is, unless it was given before.
func (r *responsesReader) take(it responseItem) []access.ToolCall {
	if it.tool() == "" {
		return nil
	}
	r.begin(it)
	c := r.items[it.key()]
	if c.told {
		return nil
	}
	*c = *it.call()
	return r.tell(c)
}

func (r *responsesReader) tell(c *partialCall) []access.ToolCall {
	c.told = true
	if c.server {
		r.a.ServerCalls = append(r.a.ServerCalls, c.call())
		return nil
	}
	return []access.ToolCall{c.call()}
}

func (r *responsesReader) end() (out []access.ToolCall) {
	for _, item := range r.order {
		if c := r.items[item]; !c.told && !c.cutOff() {
			out = append(out, r.tell(c)...)
		}
	}
	return out
}

func (r *responsesReader) head(p *response) (out []access.ToolCall) {
	r.a.ID, r.a.Model, r.a.StopReason = firstOf(p.ID, r.a.ID), firstOf(p.Model, r.a.Model), firstOf(p.Status, r.a.StopReason)
	if u := p.Usage; u != nil {
		r.a.CacheReadTokens = clamp(u.Details.Cached)
		r.a.InputTokens, r.a.OutputTokens, r.final = clamp(clamp(u.Input)-r.a.CacheReadTokens), clamp(u.Output), true
	}
	for _, it := range p.Output {
		out = append(out, r.take(it)...)
	}
	return out
}

func (r *responsesReader) whole(body []byte) ([]access.ToolCall, error) {
	var p response
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, unreadable(err, "it is not the JSON that it should be")
	}
	return r.head(&p), nil
}
