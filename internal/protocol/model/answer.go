package model

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
)

// reader reads an answer as it comes. It gives each tool call when the client could have the whole of it, and not later.
type reader interface {
	// event reads one server-sent event. What it cannot read is an error: a tool call could be in it.
	event(kind string, data []byte) ([]piece, []access.ToolCall, error)
	// whole reads an answer that is not streamed.
	whole(body []byte) ([]access.ToolCall, error)
	// end gives the calls that were begun and never ended: a client may act on them all the same.
	end() []access.ToolCall
	// answer is what is known so far.
	answer() *access.ModelAnswer
	// counted says that the provider has said how many tokens it was.
	counted() bool
}

// piece is a part of a longer text, that comes in many events.
type piece struct {
	lane string   // which text
	path []string // where it stands in the event's data
	text string
	last bool // no more of it comes
}

func readerOf(api string) reader {
	switch api {
	case apiMessages:
		return &messagesReader{blocks: map[int64]*partialCall{}}
	case apiChat:
		return &chatReader{open: map[string]*partialCall{}}
	case apiResponses:
		return &responsesReader{items: map[string]*partialCall{}, told: map[string]bool{}}
	}
	return nil
}

// partialCall is a tool call of which the input is still coming.
type partialCall struct {
	id, name string
	first    string // the input that it began with
	input    []byte
	server   bool
}

func (c *partialCall) call() access.ToolCall {
	in := string(c.input)
	if in == "" {
		in = c.first
	}
	return access.ToolCall{ID: c.id, Name: c.name, Input: in}
}

// unreadable is an answer, or a part of one, that does not say one thing alone.
func unreadable(err error, what string) error {
	return access.Refuse(access.CodeUpstream, err, "the provider's answer cannot be read with certainty: %s", what)
}

// messagesReader reads Anthropic's Messages.
type messagesReader struct {
	a      access.ModelAnswer
	blocks map[int64]*partialCall // that are open; nil: no call
	order  []int64
	final  bool
}

func (r *messagesReader) answer() *access.ModelAnswer { return &r.a }
func (r *messagesReader) counted() bool               { return r.final }

type messagesUsage struct {
	Input      *int64 `json:"input_tokens"`
	Output     *int64 `json:"output_tokens"`
	CacheRead  *int64 `json:"cache_read_input_tokens"`
	CacheWrite *int64 `json:"cache_creation_input_tokens"`
}

// contentBlock is one part of the answer.
type contentBlock struct {
	Type  string         `json:"type"`
	ID    string         `json:"id"`
	Name  string         `json:"name"`
	Input jsontext.Value `json:"input"`
}

type messagesMessage struct {
	ID         string         `json:"id"`
	Model      string         `json:"model"`
	StopReason string         `json:"stop_reason"`
	Usage      messagesUsage  `json:"usage"`
	Content    []contentBlock `json:"content"`
}

type messagesEvent struct {
	Type    string          `json:"type"`
	Index   int64           `json:"index"`
	Message messagesMessage `json:"message"`
	Block   contentBlock    `json:"content_block"`
	Delta   struct {
		Type       string  `json:"type"`
		Text       *string `json:"text"`
		Thinking   *string `json:"thinking"`
		JSON       *string `json:"partial_json"`
		StopReason string  `json:"stop_reason"`
	} `json:"delta"`
	Usage messagesUsage `json:"usage"`
}

func (r *messagesReader) event(kind string, data []byte) ([]piece, []access.ToolCall, error) {
	var e messagesEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, nil, unreadable(err, "an event is not the JSON that it should be")
	}
	if kind != "message" && kind != e.Type { // clients go by the one or by the other
		return nil, nil, unreadable(nil, "an event has two types")
	}
	lane := fmt.Sprint(e.Index)
	switch e.Type {
	case "message_start":
		r.a.ID, r.a.Model = e.Message.ID, e.Message.Model
		r.count(e.Message.Usage)
	case "content_block_start":
		if _, open := r.blocks[e.Index]; open {
			return nil, nil, unreadable(nil, "a block begins twice")
		}
		r.blocks[e.Index] = partial(e.Block)
		r.order = append(r.order, e.Index)
	case "content_block_delta":
		return r.delta(&e, lane)
	case "content_block_stop":
		return []piece{{lane: lane, last: true}}, r.stop(e.Index), nil
	case "message_delta":
		r.a.StopReason = e.Delta.StopReason
		r.count(e.Usage)
		r.final = r.final || e.Usage.Output != nil
		return nil, r.end(), nil
	case "message_stop":
		return nil, r.end(), nil
	}
	return nil, nil, nil
}

func (r *messagesReader) delta(e *messagesEvent, lane string) ([]piece, []access.ToolCall, error) {
	d := &e.Delta
	switch {
	case d.JSON != nil:
		c, open := r.blocks[e.Index]
		if !open {
			return nil, nil, unreadable(nil, "a part of a block that did not begin")
		}
		if c != nil {
			c.input = append(c.input, *d.JSON...)
		}
		return []piece{{lane: lane, path: []string{"delta", "partial_json"}, text: *d.JSON}}, nil, nil
	case d.Text != nil:
		return []piece{{lane: lane, path: []string{"delta", "text"}, text: *d.Text}}, nil, nil
	case d.Thinking != nil:
		return []piece{{lane: lane, path: []string{"delta", "thinking"}, text: *d.Thinking}}, nil, nil
	}
	return nil, nil, nil
}

// partial is a block that is a call, of the client's tools or of the provider's; nil where it is none.
func partial(b contentBlock) *partialCall {
	switch b.Type {
	case "tool_use":
		return &partialCall{id: b.ID, name: b.Name, first: string(b.Input)}
	case "server_tool_use", "mcp_tool_use":
		return &partialCall{id: b.ID, name: b.Name, first: string(b.Input), server: true}
	}
	return nil
}

// stop ends a block.
func (r *messagesReader) stop(index int64) []access.ToolCall {
	c := r.blocks[index]
	delete(r.blocks, index)
	if c == nil {
		return nil
	}
	return r.take(c)
}

func (r *messagesReader) take(c *partialCall) []access.ToolCall {
	if c.server {
		r.a.ServerCalls = append(r.a.ServerCalls, c.call())
		return nil
	}
	return []access.ToolCall{c.call()}
}

func (r *messagesReader) end() (out []access.ToolCall) {
	for _, i := range r.order {
		out = append(out, r.stop(i)...)
	}
	r.order = nil
	return out
}

// count takes the tokens that are said; the last word counts.
func (r *messagesReader) count(u messagesUsage) {
	set := func(to, from *int64) {
		if from != nil {
			*to = max(0, *from)
		}
	}
	set(&r.a.InputTokens, u.Input)
	set(&r.a.OutputTokens, u.Output)
	set(&r.a.CacheReadTokens, u.CacheRead)
	set(&r.a.CacheWriteTokens, u.CacheWrite)
}

func (r *messagesReader) whole(body []byte) ([]access.ToolCall, error) {
	var m messagesMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, unreadable(err, "it is not the JSON that it should be")
	}
	r.a.ID, r.a.Model, r.a.StopReason = m.ID, m.Model, m.StopReason
	r.count(m.Usage)
	r.final = m.Usage.Output != nil
	var out []access.ToolCall
	for _, b := range m.Content {
		if c := partial(b); c != nil {
			out = append(out, r.take(c)...)
		}
	}
	return out, nil
}

func firstOf(a ...string) string {
	for _, s := range a {
		if s != "" {
			return s
		}
	}
	return ""
}
