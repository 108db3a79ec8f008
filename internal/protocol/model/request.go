package model

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
)

// maxNames bounds each list that is kept of a request. A longer one is unknown to policy.
const maxNames = 1000

// question is what a request says. Its body is read once, to its end; what has no meaning here is left alone.
type question struct {
	*access.Model
	p *parser
	// user is whom the client says it works for.
	user string
	// flags name claims that contradict each other.
	flags []string
	// secrets are what the provider is to log in with elsewhere.
	secrets []string
	// written are the texts of each turn that is a user's.
	written [][]jsontext.Value
	// seen are the names in ServerTools, and long the fields that hold more than is kept.
	seen map[string]bool
	long []string
}

// readQuestion reads a body as the provider of that API would.
func readQuestion(api string, body []byte, m *access.Model) (question, error) {
	q := question{Model: m, p: newParser(body), seen: map[string]bool{}}
	if k := q.p.PeekKind(); k != '{' {
		return q, q.p.not("an object", k)
	}
	read := q.responses
	switch api {
	case apiMessages, apiCountTokens:
		read = q.messages
	case apiChat:
		read = q.chat
	}
	if err := q.p.object(read); err != nil {
		return q, err
	}
	if err := q.p.end(); err != nil {
		return q, err
	}
	for _, texts := range slices.Backward(q.written) {
		if q.Prompt = human(texts); q.Prompt != "" {
			break
		}
	}
	return q, nil
}

// messages reads a member of a request to Anthropic's Messages API.
func (q *question) messages(key string) error {
	switch key {
	case "model":
		return q.p.read(&q.Model.Model)
	case "stream":
		return q.p.read(&q.Stream)
	case "max_tokens":
		return q.p.read(&q.MaxTokens)
	case "metadata":
		return q.p.object(func(key string) error {
			if key != "user_id" {
				return q.p.SkipValue()
			}
			var user string
			err := q.p.read(&user)
			q.metadata(user)
			return err
		})
	case "system":
		return q.content(&turn{}, 0)
	case "messages":
		return q.p.array(q.turn)
	case "tools":
		return q.p.array(q.messagesTool)
	case "mcp_servers":
		return q.p.array(q.mcpServer)
	case "container":
		return q.container()
	case "fallbacks", "models":
		return q.otherModels()
	}
	return q.p.SkipValue()
}

// clientTools are the tools that Anthropic defines and a client runs, before their dates. Any other is taken for the
// provider's.
var clientTools = []string{"bash", "text_editor", "computer", "memory"}

func (q *question) messagesTool() error {
	var kind, name string
	err := q.p.object(func(key string) error {
		switch key {
		case "type":
			return q.p.read(&kind)
		case "name":
			return q.p.read(&name)
		}
		return q.p.SkipValue()
	})
	base, date := kind, ""
	if i := strings.LastIndexByte(kind, '_'); i > 0 {
		base, date = kind[:i], kind[i+1:]
	}
	if kind == "" || kind == "custom" || len(date) == 8 && slices.Contains(clientTools, base) {
		q.tool(name)
	} else {
		q.serverTool(kind)
	}
	return err
}

func (q *question) mcpServer() error {
	return q.p.object(func(key string) error {
		var s string
		switch key {
		case "url":
			err := q.p.read(&s)
			q.serverTool("mcp:" + s)
			return err
		case "authorization_token":
			err := q.p.read(&s)
			q.secret(s)
			return err
		}
		return q.p.SkipValue()
	})
}

// container reads which of the provider's own machines, and which of its skills, a call is for.
func (q *question) container() error {
	named := func(prefix string) error {
		var s string
		err := q.p.read(&s)
		if s != "" {
			q.serverTool(prefix + s)
		}
		return err
	}
	if q.p.PeekKind() == '"' {
		return named("container:")
	}
	return q.p.object(func(key string) error {
		switch key {
		case "id":
			return named("container:")
		case "skills":
			return q.p.array(func() error {
				return q.p.object(func(key string) error {
					if key == "skill_id" {
						return named("skill:")
					}
					return q.p.SkipValue()
				})
			})
		}
		return q.p.SkipValue()
	})
}

// otherModels reads which models may answer in place of the one that is asked for: names, or objects with one.
func (q *question) otherModels() error {
	var name string
	switch q.p.PeekKind() {
	case '[':
		return q.p.array(q.otherModels)
	case '"':
		err := q.p.read(&name)
		q.serverTool("model:" + name)
		return err
	}
	return q.p.object(func(key string) error {
		if key == "model" {
			return q.otherModels()
		}
		return q.p.SkipValue()
	})
}

// metadata reads user_id, in which Claude Code puts a JSON object with its session.
func (q *question) metadata(user string) {
	var id struct {
		Session string `json:"session_id"`
	}
	if !strings.HasPrefix(user, "{") || json.Unmarshal([]byte(user), &id) != nil {
		q.user = user
		return
	}
	q.converse(id.Session)
}

// converse takes a name for the conversation. Two that differ are flagged, and the first stays.
func (q *question) converse(id string) {
	switch {
	case id == "":
	case q.Conversation == "":
		q.Conversation = id
	case q.Conversation != id:
		q.flags = append(q.flags, "the request names two conversations, "+q.Conversation+" and "+id)
	}
}

func (q *question) secret(s string) {
	if s != "" && len(q.secrets) < maxNames {
		q.secrets = append(q.secrets, s)
	}
}

func (q *question) tool(name string) { q.Tools = q.keep(q.Tools, "model.tools", name) }

func (q *question) serverTool(name string) {
	if !q.seen[name] {
		if q.ServerTools = q.keep(q.ServerTools, "model.serverTools", name); len(q.seen) < maxNames {
			q.seen[name] = true
		}
	}
}

// keep adds to a list, or notes that it has become too long.
func (q *question) keep(list []string, field, name string) []string {
	if len(list) < maxNames {
		return append(list, name)
	}
	if !slices.Contains(q.long, field) {
		q.long = append(q.long, field)
	}
	return list
}
