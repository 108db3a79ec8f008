package model

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// chat reads a member of a request to OpenAI's chat completions, which many others offer as well, with additions of
// their own.
func (q *question) chat(key string) error {
	switch key {
	case "model":
		return q.p.read(&q.Model.Model)
	case "stream":
		return q.p.read(&q.Stream)
	case "max_tokens", "max_completion_tokens":
		return q.limit()
	case "user", "safety_identifier":
		return q.person(key)
	case "messages":
		return q.p.array(q.turn)
	case "tools":
		return q.p.array(q.chatTool)
	case "functions":
		return q.p.array(func() error {
			name, err := q.named()
			q.tool(name)
			return err
		})
	case "models":
		return q.otherModels()
	case "web_search_options", "plugins", "search_parameters":
		return q.serverOption(key)
	}
	return q.p.SkipValue()
}

// limit reads how long an answer may be.
func (q *question) limit() error {
	var n int64
	err := q.p.read(&n)
	q.MaxTokens = max(q.MaxTokens, n)
	return err
}

// person reads whom the client says it works for; user is the older name.
func (q *question) person(key string) error {
	var s string
	err := q.p.read(&s)
	if s != "" && (key != "user" || q.user == "") {
		q.user = s
	}
	return err
}

// serverOption reads a member that makes the provider do something by itself, where it is there.
func (q *question) serverOption(key string) error {
	v, err := q.p.value()
	if k := v.Kind(); err == nil && k != 'n' && k != 'f' {
		if key == "web_search_options" {
			key = "web_search"
		}
		q.serverTool(key)
	}
	return err
}

// named reads an object with a name.
func (q *question) named() (name string, err error) {
	err = q.p.object(func(key string) error {
		if key == "name" {
			return q.p.read(&name)
		}
		return q.p.SkipValue()
	})
	return name, err
}

func (q *question) chatTool() error {
	var kind, name string
	err := q.p.object(func(key string) (err error) {
		switch key {
		case "type":
			return q.p.read(&kind)
		case "function", "custom":
			name, err = q.named()
			return err
		}
		return q.p.SkipValue()
	})
	if kind == "function" || kind == "custom" {
		q.tool(name)
	} else {
		q.serverTool(kind)
	}
	return err
}

// responses reads a member of a request to OpenAI's responses.
func (q *question) responses(key string) error {
	switch key {
	case "model":
		return q.p.read(&q.Model.Model)
	case "stream":
		return q.p.read(&q.Stream)
	case "max_output_tokens":
		return q.limit()
	case "user", "safety_identifier":
		return q.person(key)
	case "input":
		if q.p.PeekKind() != '"' {
			return q.p.array(q.turn)
		}
		v, err := q.p.value()
		q.Turns, q.written = 1, append(q.written, []jsontext.Value{v})
		return err
	case "tools":
		return q.p.array(q.responsesTool)
	case "models":
		return q.otherModels()
	case "previous_response_id", "conversation", "prompt":
		return q.stored()
	case "background", "plugins":
		return q.serverOption(key)
	}
	return q.p.SkipValue()
}

// stored reads what of a conversation is kept by the provider, and cannot be seen here: a name, or an object with an id.
func (q *question) stored() error {
	var id string
	if q.p.PeekKind() == '"' {
		err := q.p.read(&id)
		q.serverTool("stored:" + id)
		return err
	}
	return q.p.object(func(key string) error {
		if key != "id" {
			return q.p.SkipValue()
		}
		err := q.p.read(&id)
		q.serverTool("stored:" + id)
		return err
	})
}

// responsesTool is what is read of a tool that a response may use.
type responsesTool struct {
	kind, name, server, environment string
	// inner says that it holds tools, which have been read.
	inner bool
}

func (q *question) responsesTool() error {
	var t responsesTool
	err := q.p.object(func(key string) error {
		switch key {
		case "type":
			return q.p.read(&t.kind)
		case "name":
			return q.p.read(&t.name)
		case "server_url", "connector_id":
			return q.p.read(&t.server)
		case "authorization":
			var s string
			err := q.p.read(&s)
			q.secret(s)
			return err
		case "headers":
			return q.headers()
		case "environment":
			return q.p.object(func(key string) error {
				if key == "type" {
					return q.p.read(&t.environment)
				}
				return q.p.SkipValue()
			})
		case "tools": // of a namespace
			t.inner = true
			return q.p.array(q.responsesTool)
		}
		return q.p.SkipValue()
	})
	switch t.kind {
	case "function", "custom":
		q.tool(t.name)
	case "namespace": // Codex' sub-agents, for instance
		if !t.inner {
			q.serverTool(t.kind)
		}
	case "local_shell", "apply_patch", "computer_use_preview", "computer":
		q.tool(t.kind)
	case "mcp":
		q.serverTool("mcp:" + t.server)
	case "shell":
		if t.environment == "local" {
			q.tool(t.kind)
			break
		}
		q.serverTool(t.kind)
	default:
		q.serverTool(t.kind)
	}
	return err
}

// headers reads what the provider is to send to an MCP server.
func (q *question) headers() error {
	v, err := q.p.value()
	if err != nil {
		return err
	}
	var all map[string]string
	if err := json.Unmarshal(v, &all); err != nil {
		return err
	}
	for name, value := range all {
		if namesCredential(name) {
			q.secret(value)
		}
	}
	return nil
}
