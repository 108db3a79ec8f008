package model

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
)

// chatReader reads OpenAI's chat completions.
type chatReader struct {
	a     access.ModelAnswer
	open  map[string]*partialCall // by choice and index
	order []string
	final bool
}

func (r *chatReader) answer() *access.ModelAnswer { return &r.a }
func (r *chatReader) counted() bool               { return r.final }

type chatCall struct {
	Index    int64  `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
	Custom struct {
		Name  string `json:"name"`
		Input string `json:"input"`
	} `json:"custom"`
}

func (c chatCall) name() string  { return firstOf(c.Function.Name, c.Custom.Name) }
func (c chatCall) input() string { return c.Function.Arguments + c.Custom.Input }

type chatMessage struct {
	Content  jsontext.Value `json:"content"`
	Calls    []chatCall     `json:"tool_calls"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function_call"`
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
}

func (r *chatReader) event(_ string, data []byte) ([]piece, []access.ToolCall, error) {
	if string(bytes.TrimSpace(data)) == "[DONE]" {
		return nil, r.end(), nil
	}
	var c chatChunk
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, nil, unreadable(err, "an event is not the JSON that it should be")
	}
	r.head(&c)
	var out []access.ToolCall
	var ps []piece
	for i, choice := range c.Choices {
		d := choice.Delta
		if d.Function.Name != "" || d.Function.Arguments != "" { // the API before there were several
			old := chatCall{ID: c.ID + "/function_call"}
			old.Function.Name, old.Function.Arguments = d.Function.Name, d.Function.Arguments
			d.Calls = append(d.Calls, old)
			ps = append(ps, piece{lane: fmt.Sprint(choice.Index, "/function_call"), path: []string{"choices", fmt.Sprint(i), "delta", "function_call", "arguments"}, text: d.Function.Arguments})
		}
		for j, call := range d.Calls {
			out = append(out, r.part(choice.Index, call)...)
			field := []string{"function", "arguments"}
			if call.Custom.Input != "" {
				field = []string{"custom", "input"}
			}
			if text := call.input(); text != "" && j < len(choice.Delta.Calls) {
				ps = append(ps, piece{lane: fmt.Sprintf("%d/%d", choice.Index, call.Index), text: text,
					path: append([]string{"choices", fmt.Sprint(i), "delta", "tool_calls", fmt.Sprint(j)}, field...)})
			}
		}
		var text string
		if d.Content.Kind() == '"' && json.Unmarshal(d.Content, &text) == nil && text != "" {
			ps = append(ps, piece{lane: fmt.Sprint(choice.Index), path: []string{"choices", fmt.Sprint(i), "delta", "content"}, text: text})
		}
		if choice.Finish != "" {
			r.a.StopReason = choice.Finish
			out = append(out, r.end()...)
		}
	}
	return ps, out, nil
}

// part adds to a call. One that begins ends those before it: clients act on them then.
func (r *chatReader) part(choice int64, c chatCall) (out []access.ToolCall) {
	key := fmt.Sprintf("%d/%d", choice, c.Index)
	if r.open[key] == nil {
		out = r.end()
		r.open[key] = &partialCall{}
		r.order = append(r.order, key)
	}
	at := r.open[key]
	at.id, at.name = firstOf(at.id, c.ID), firstOf(at.name, c.name())
	at.input = append(at.input, c.input()...)
	return out
}

func (r *chatReader) end() (out []access.ToolCall) {
	for _, key := range r.order {
		out = append(out, r.open[key].call())
		delete(r.open, key)
	}
	r.order = nil
	return out
}

func (r *chatReader) head(c *chatChunk) {
	r.a.ID, r.a.Model = firstOf(c.ID, r.a.ID), firstOf(c.Model, r.a.Model)
	if u := c.Usage; u != nil {
		r.a.CacheReadTokens = max(0, u.Details.Cached)
		r.a.InputTokens, r.a.OutputTokens, r.final = max(0, u.Prompt-r.a.CacheReadTokens), max(0, u.Completion), true
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
			out = append(out, access.ToolCall{ID: c.ID + "/function_call", Name: f.Name, Input: f.Arguments})
		}
	}
	return out, nil
}

// responsesReader reads OpenAI's responses.
type responsesReader struct {
	a     access.ModelAnswer
	items map[string]*partialCall // begun, by item
	told  map[string]bool         // calls, by item, that were given
	final bool
}

func (r *responsesReader) answer() *access.ModelAnswer { return &r.a }
func (r *responsesReader) counted() bool               { return r.final }

type responseItem struct {
	Type      string         `json:"type"`
	ID        string         `json:"id"`
	CallID    string         `json:"call_id"`
	Name      string         `json:"name"`
	Arguments string         `json:"arguments"`
	Input     jsontext.Value `json:"input"`
	Action    jsontext.Value `json:"action"`
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
	Item      responseItem   `json:"item"`
	Delta     jsontext.Value `json:"delta"`
	Arguments string         `json:"arguments"`
	Input     string         `json:"input"`
	Response  *response      `json:"response"`
}

func (r *responsesReader) event(kind string, data []byte) ([]piece, []access.ToolCall, error) {
	if string(bytes.TrimSpace(data)) == "[DONE]" {
		return nil, r.end(), nil
	}
	var e responsesEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, nil, unreadable(err, "an event is not the JSON that it should be")
	}
	if kind != "message" && kind != e.Type {
		return nil, nil, unreadable(nil, "an event has two types")
	}
	switch {
	case e.Type == "response.output_item.added":
		if name := e.Item.tool(); name != "" {
			r.items[e.Item.ID] = &partialCall{id: firstOf(e.Item.CallID, e.Item.ID), name: name, first: e.Item.input(), server: e.Item.server()}
		}
	case e.Type == "response.function_call_arguments.done", e.Type == "response.custom_tool_call_input.done":
		return []piece{{lane: e.ItemID, last: true}}, r.done(e.ItemID, e.Arguments+e.Input), nil
	case e.Type == "response.output_item.done":
		return []piece{{lane: e.Item.ID, last: true}}, r.take(e.Item), nil
	case e.Response != nil:
		out := r.head(e.Response)
		if e.Type == "response.completed" || e.Type == "response.incomplete" || e.Type == "response.failed" {
			out = append(out, r.end()...)
		}
		return nil, out, nil
	case strings.HasSuffix(e.Type, ".delta") && e.Delta.Kind() == '"':
		var text string
		if err := json.Unmarshal(e.Delta, &text); err != nil {
			return nil, nil, unreadable(err, "an event is not the JSON that it should be")
		}
		if c := r.items[e.ItemID]; c != nil {
			c.input = append(c.input, text...)
		}
		return []piece{{lane: e.ItemID, path: []string{"delta"}, text: text}}, nil, nil
	}
	return nil, nil, nil
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
	var s string
	switch {
	case it.Arguments != "":
		return it.Arguments
	case it.Input.Kind() == '"' && json.Unmarshal(it.Input, &s) == nil:
		return s
	case len(it.Action) > 0:
		return string(it.Action)
	}
	return ""
}

// done gives a call whose input is whole.
func (r *responsesReader) done(item, input string) []access.ToolCall {
	c := r.items[item]
	if c == nil || r.told[item] {
		return nil
	}
	c.first, c.input = input, nil
	return r.tell(item, c)
}

// take gives the call that an item is, unless it was given before.
func (r *responsesReader) take(it responseItem) []access.ToolCall {
	name, item := it.tool(), firstOf(it.ID, it.CallID)
	if name == "" || r.told[item] {
		return nil
	}
	return r.tell(item, &partialCall{id: firstOf(it.CallID, it.ID), name: name, first: it.input(), server: it.server()})
}

func (r *responsesReader) tell(item string, c *partialCall) []access.ToolCall {
	r.told[item] = true
	if c.server {
		r.a.ServerCalls = append(r.a.ServerCalls, c.call())
		return nil
	}
	return []access.ToolCall{c.call()}
}

func (r *responsesReader) end() (out []access.ToolCall) {
	for _, item := range slices.Sorted(maps.Keys(r.items)) {
		if !r.told[item] {
			out = append(out, r.tell(item, r.items[item])...)
		}
	}
	return out
}

func (r *responsesReader) head(p *response) (out []access.ToolCall) {
	r.a.ID, r.a.Model, r.a.StopReason = firstOf(p.ID, r.a.ID), firstOf(p.Model, r.a.Model), firstOf(p.Status, r.a.StopReason)
	if u := p.Usage; u != nil {
		r.a.CacheReadTokens = max(0, u.Details.Cached)
		r.a.InputTokens, r.a.OutputTokens, r.final = max(0, u.Input-r.a.CacheReadTokens), max(0, u.Output), true
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
