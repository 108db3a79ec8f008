package model

import (
	"maps"
	"slices"
	"strings"

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
	// end gives the calls that were begun and never ended: a client may act on them all the same, where their input is not in
	// the midst of an object.
	end() []access.ToolCall
	// answer is what is known so far.
	answer() *access.ModelAnswer
	// counted says that the provider has said how many tokens it was.
	counted() bool
	// failed says that the event read last is an error.
	failed() bool
	// ended says that the provider has said that this is all, or that it has failed.
	ended() bool
	// size is how many bytes of tool calls are held.
	size() int64
}

// piece is a part of a longer text, that comes in many events.
type piece struct {
	lane laneKey  // which text
	path []string // where it stands in the event's data
	text string
	last bool // no more of the texts of that index and item comes
}

// laneKey names a text of an answer.
type laneKey struct {
	index, part int64
	item, field string
}

func readerOf(api string) reader {
	switch api {
	case apiMessages:
		return &messagesReader{blocks: map[int64]*partialCall{}}
	case apiChat:
		return &chatReader{open: map[chatKey]*partialCall{}}
	case apiResponses:
		return &responsesReader{items: map[string]*partialCall{}}
	}
	return nil
}

// partialCall is a tool call of which the input is still coming.
type partialCall struct {
	id, name string
	first    string // the input that it began with
	input    []byte
	server   bool
	// json follows an input that is a JSON object, and told says that the call was given.
	json objectEnd
	told bool
}

func (c *partialCall) call() access.ToolCall {
	in := string(c.input)
	if in == "" {
		in = c.first
	}
	return access.ToolCall{ID: c.id, Name: c.name, Input: in}
}

// cutOff reports whether the input ended in the midst of an object, so that nobody can act on it.
func (c *partialCall) cutOff() bool {
	in := jsontext.Value(strings.TrimSpace(c.call().Input))
	return in.Kind() == '{' && !in.IsValid()
}

// objectEnd finds where a JSON object ends whose text comes in pieces: a client may act on it then.
type objectEnd struct {
	depth                  int
	inString, escaped, bad bool
	whole                  bool
}

// add reads more of it.
func (o *objectEnd) add(s string) {
	for i := 0; i < len(s) && !o.bad; i++ {
		switch c := s[i]; {
		case o.escaped:
			o.escaped = false
		case o.inString:
			o.escaped, o.inString = c == '\\', c != '"'
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case o.whole || o.depth == 0 && c != '{':
			o.bad = true // no object, or more than one
		case c == '"':
			o.inString = true
		case c == '{' || c == '[':
			o.depth++
		case c == '}' || c == ']':
			o.depth--
			o.whole = o.depth == 0
		}
	}
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
	bad    bool
	over   bool
	held   int64
}

func (r *messagesReader) answer() *access.ModelAnswer { return &r.a }
func (r *messagesReader) counted() bool               { return r.final }
func (r *messagesReader) failed() bool                { return r.bad }
func (r *messagesReader) ended() bool                 { return r.over }
func (r *messagesReader) size() int64                 { return r.held }

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
		Type       string                    `json:"type"`
		JSON       *string                   `json:"partial_json"`
		Text       *string                   `json:"text"`
		StopReason string                    `json:"stop_reason"`
		Others     map[string]jsontext.Value `json:",embed"`
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
	r.bad = e.Type == "error"
	r.over = r.over || r.bad || e.Type == "message_stop"
	switch e.Type {
	case "message_start":
		r.a.ID, r.a.Model = e.Message.ID, e.Message.Model
		r.count(e.Message.Usage)
		return nil, r.content(e.Message.Content), nil // empty, unless somebody wants it overlooked
	case "content_block_start":
		if _, open := r.blocks[e.Index]; open {
			return nil, nil, unreadable(nil, "a block begins twice")
		}
		r.blocks[e.Index] = partial(e.Block)
		r.order = append(r.order, e.Index)
	case "content_block_delta":
		ps, err := r.delta(&e)
		return ps, nil, err
	case "content_block_stop":
		return []piece{{lane: laneKey{index: e.Index}, last: true}}, r.stop(e.Index), nil
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

// delta reads a part of a block: of a call's input, or of any text.
func (r *messagesReader) delta(e *messagesEvent) (ps []piece, err error) {
	d := &e.Delta
	add := func(field, text string) {
		ps = append(ps, piece{lane: laneKey{index: e.Index, field: field}, path: []string{"delta", field}, text: text})
	}
	if d.JSON != nil {
		c, open := r.blocks[e.Index]
		if !open {
			return nil, unreadable(nil, "a part of a block that did not begin")
		}
		if c != nil {
			c.input = append(c.input, *d.JSON...)
			r.held += int64(len(*d.JSON))
		}
		add("partial_json", *d.JSON)
	}
	if d.Text != nil {
		add("text", *d.Text)
	}
	return ps, texts(d.Others, add)
}

// texts gives those of some members that are texts, in the order of their names.
func texts(members map[string]jsontext.Value, add func(field, text string)) error {
	if len(members) == 0 {
		return nil
	}
	for _, field := range slices.Sorted(maps.Keys(members)) {
		if v := members[field]; v.Kind() == '"' {
			var s string
			if err := json.Unmarshal(v, &s); err != nil {
				return unreadable(err, "a text is none")
			}
			add(field, s)
		}
	}
	return nil
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
		if c := r.blocks[i]; c != nil && c.cutOff() {
			delete(r.blocks, i)
			continue
		}
		out = append(out, r.stop(i)...)
	}
	r.order = nil
	return out
}

// count takes the tokens that are said; the last word counts.
func (r *messagesReader) count(u messagesUsage) {
	set := func(to, from *int64) {
		if from != nil {
			*to = clamp(*from)
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
	return r.content(m.Content), nil
}

// content gives the calls among blocks that are whole.
func (r *messagesReader) content(blocks []contentBlock) (out []access.ToolCall) {
	for _, b := range blocks {
		if c := partial(b); c != nil {
			out = append(out, r.take(c)...)
		}
	}
	return out
}

func firstOf(a ...string) string {
	for _, s := range a {
		if s != "" {
			return s
		}
	}
	return ""
}
