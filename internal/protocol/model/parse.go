package model

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// parser reads a JSON text once, and strictly: a key that is there twice, and bytes that are not UTF-8, are an error, since
// two readers could read them differently; so is a key that differs in case alone from one of the API's, which servers
// written in Go take for that. What it gives of the text are parts of it, no copies.
type parser struct {
	*jsontext.Decoder
	text []byte
	name []byte // without escapes
}

func newParser(text []byte) *parser {
	return &parser{Decoder: jsontext.NewDecoder(bytes.NewBuffer(text)), text: text}
}

// keys are those of the APIs that have a meaning here.
var keys = keySet("model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens", "metadata", "user_id", "user", "safety_identifier",
	"messages", "system", "input", "role", "content", "type", "text", "tool_use_id", "tool_call_id", "call_id", "id", "source", "output", "file_id",
	"tools", "name", "function", "custom", "functions", "environment", "server_url", "connector_id", "authorization", "authorization_token", "headers",
	"mcp_servers", "url", "container", "skills", "skill_id", "fallbacks", "models", "plugins", "search_parameters", "web_search_options",
	"previous_response_id", "conversation", "prompt", "background", "arguments", "citations", "annotations", "action")

func keySet(names ...string) map[string]string {
	out := make(map[string]string, len(names))
	for _, n := range names {
		out[n] = n
	}
	return out
}

// object reads the members of one: f reads the value of each, by name. A name that says nothing here is empty. null is an
// object without members.
func (p *parser) object(f func(name string) error) error {
	switch k := p.PeekKind(); k {
	case 'n':
		return p.SkipValue()
	case '{':
	default:
		return p.not("an object", k)
	}
	if _, err := p.ReadToken(); err != nil {
		return err
	}
	for p.PeekKind() != '}' {
		name, err := p.key()
		if err != nil {
			return err
		}
		if err := f(name); err != nil {
			return err
		}
	}
	_, err := p.ReadToken()
	return err
}

// key reads a member's name. Of those that the API does not have, only names of addresses are given.
func (p *parser) key() (string, error) {
	v, err := p.ReadValue()
	if err != nil {
		return "", err
	}
	b := []byte(v[1 : len(v)-1])
	if bytes.IndexByte(b, '\\') >= 0 {
		if p.name, err = jsontext.AppendUnquote(p.name[:0], v); err != nil {
			return "", err
		}
		b = p.name
	}
	if name, there := keys[string(b)]; there {
		return name, nil
	}
	if bytes.ContainsFunc(b, func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 0x80 }) {
		for name := range keys {
			if bytes.EqualFold(b, []byte(name)) {
				return "", fmt.Errorf("the key %q is %q but for its case", b, name)
			}
		}
	}
	if namesAddress(b) {
		return string(b), nil
	}
	return "", nil
}

// namesAddress reports whether a member of that name says where something is to be taken from.
func namesAddress(name []byte) bool {
	if len(name) < 3 {
		return false
	}
	end := name[len(name)-3:]
	return bytes.EqualFold(end, []byte("url")) || bytes.EqualFold(end, []byte("uri"))
}

// array reads the elements of one: f reads each. null is an array without elements.
func (p *parser) array(f func() error) error {
	switch k := p.PeekKind(); k {
	case 'n':
		return p.SkipValue()
	case '[':
	default:
		return p.not("a list", k)
	}
	if _, err := p.ReadToken(); err != nil {
		return err
	}
	for p.PeekKind() != ']' {
		if err := f(); err != nil {
			return err
		}
	}
	_, err := p.ReadToken()
	return err
}

// value reads any one, as it is written.
func (p *parser) value() (jsontext.Value, error) {
	v, err := p.ReadValue()
	end := int(p.InputOffset())
	return p.text[end-len(v) : end : end], err
}

// read reads a value into a string, a number or a boolean; null is none.
func (p *parser) read(to any) error { return json.UnmarshalDecode(p.Decoder, to) }

// end reads to the end of the text, behind which nothing may stand.
func (p *parser) end() error {
	_, err := p.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("something stands behind the end")
	}
	return err
}

// not is the error of a value of another type.
func (p *parser) not(want string, k jsontext.Kind) error {
	if k == 0 { // no value at all
		if err := p.SkipValue(); err != nil {
			return err
		}
	}
	return fmt.Errorf("at %s stands %s, and no %s", p.StackPointer(), k, strings.TrimPrefix(strings.TrimPrefix(want, "an "), "a "))
}
