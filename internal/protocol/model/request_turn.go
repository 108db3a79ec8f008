package model

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// turn is one message of a conversation, or one item of what a response is asked to, in the words of any API.
type turn struct {
	role string
	// texts are what stands in it, as JSON strings, and results the tool calls that it answers.
	texts   []jsontext.Value
	results []string
}

// block is an object in a turn. The turn itself is one.
type block struct {
	kind, id string
	// call is the tool call whose result it is.
	call string
	text jsontext.Value
	// addresses are where something is to be taken from.
	addresses []string
}

// turn reads one.
func (q *question) turn() error {
	var t turn
	b, err := q.block(&t, 0)
	if err != nil {
		return err
	}
	q.Turns++
	isResult := strings.HasSuffix(b.kind, "_output")
	switch t.role {
	case "user", "system", "developer", "tool", "function":
	default:
		if !isResult { // the model's own: what was answered before it has been taken up
			q.Results = nil
		}
	}
	if b.call != "" {
		t.results = append(t.results, b.call)
	}
	for _, id := range t.results {
		q.Results = q.keep(q.Results, "model.results", id)
	}
	if t.role == "user" && len(t.texts) > 0 {
		q.written = append(q.written, t.texts)
	}
	if b.kind == "item_reference" && b.id != "" {
		q.serverTool("stored:" + b.id)
	}
	return nil
}

// content reads a turn's, or a block's: a string, a block, or a list of blocks.
func (q *question) content(t *turn, depth int) error {
	switch k := q.p.PeekKind(); k {
	case '"':
		v, err := q.p.value()
		if depth == 0 {
			t.texts = append(t.texts, v)
		}
		return err
	case '[':
		return q.p.array(func() error {
			if k := q.p.PeekKind(); k != '{' {
				return q.p.not("a block", k)
			}
			return q.inner(t, depth+1)
		})
	case '{', 'n': // OpenAI takes one that is alone
		return q.inner(t, depth+1)
	default:
		return q.p.not("a content", k)
	}
}

// inner reads any value within a turn, to find what the provider is to fetch.
func (q *question) inner(t *turn, depth int) error {
	switch q.p.PeekKind() {
	case '{':
		b, err := q.block(t, depth)
		switch {
		case err != nil || depth != 1:
		case b.kind == "tool_result" && b.call != "":
			t.results = append(t.results, b.call)
		case b.text != nil && (b.kind == "text" || b.kind == "input_text"):
			t.texts = append(t.texts, b.text)
		}
		return err
	case '[':
		return q.p.array(func() error { return q.inner(t, depth) })
	}
	return q.p.SkipValue()
}

// found are blocks that say where the provider found something before: it does not go there again.
var found = map[string]bool{"web_search_result": true, "web_fetch_result": true, "web_search_result_location": true, "url_citation": true}

func (q *question) block(t *turn, depth int) (b block, err error) {
	err = q.p.object(func(key string) error { return q.member(t, &b, key, depth) })
	if !found[b.kind] {
		for _, a := range b.addresses {
			q.serverTool("url:" + a)
		}
	}
	return b, err
}

// member reads one of a block.
func (q *question) member(t *turn, b *block, key string, depth int) error {
	k := q.p.PeekKind()
	switch key {
	case "type":
		return q.p.read(&b.kind)
	case "role":
		if depth == 0 {
			return q.p.read(&t.role)
		}
	case "id":
		if k == '"' {
			return q.p.read(&b.id)
		}
	case "tool_use_id", "tool_call_id":
		return q.p.read(&b.call)
	case "call_id":
		var id string
		err := q.p.read(&id)
		if strings.HasSuffix(b.kind, "_output") || b.kind == "" {
			b.call = id
		}
		return err
	case "text":
		if k == '"' {
			var err error
			b.text, err = q.p.value()
			return err
		}
	case "content":
		return q.content(t, depth)
	case "file_id":
		var id string
		err := q.p.read(&id)
		if id != "" {
			q.serverTool("file:" + id)
		}
		return err
	case "input", "arguments", "citations", "annotations", "action": // the tool's own, or what was found before
		return q.p.SkipValue()
	}
	if k == '"' && namesAddress([]byte(key)) {
		return q.address(b)
	}
	return q.inner(t, depth+1)
}

// address reads where something is to be taken from. What is given in place of an address is none.
func (q *question) address(b *block) error {
	var at string
	if err := q.p.read(&at); err != nil {
		return err
	}
	if at != "" && !strings.EqualFold(at[:min(len(at), len("data:"))], "data:") && len(b.addresses) <= maxNames {
		b.addresses = append(b.addresses, at)
	}
	return nil
}

// human is what a person wrote in a turn: its texts without the elements that clients add.
func human(texts []jsontext.Value) string {
	var out []string
	for _, v := range texts {
		b, err := jsontext.AppendUnquote(nil, v)
		if err != nil { // it was read before
			return fmt.Sprintf("(%v)", err)
		}
		if s := bytes.TrimSpace(withoutReminders(b)); len(s) > 0 {
			out = append(out, string(s))
		}
	}
	return strings.Join(out, "\n")
}

// reminders are the elements that Claude Code and Codex put around what no person wrote.
var reminders = []string{"system-reminder", "environment_context", "user_instructions"}

// withoutReminders takes them out, in the same room.
func withoutReminders(s []byte) []byte {
	for _, tag := range reminders {
		begin, end := []byte("<"+tag+">"), []byte("</"+tag+">")
		kept := s[:0]
		for {
			i := bytes.Index(s, begin)
			if i < 0 {
				break
			}
			j := bytes.Index(s[i:], end)
			if j < 0 { // it is no element, so somebody wrote it
				break
			}
			kept, s = append(kept, s[:i]...), s[i+j+len(end):]
		}
		s = append(kept, s...)
	}
	return s
}
