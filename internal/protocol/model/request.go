package model

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
	"gatebook/internal/wire/httpheader"
)

// question is what a request says. Its JSON is read strictly: a key that is there twice, or bytes that are not UTF-8, are
// an error, since two readers could read them differently; what else it holds is left alone.
type question struct {
	*access.Model
	// user is whom the client says it works for.
	user string
	// flags name claims that contradict each other.
	flags []string
}

// readQuestion reads a body as the provider of that API would.
func readQuestion(api string, body []byte, m *access.Model) (question, error) {
	q := question{Model: m}
	switch api {
	case apiMessages, apiCountTokens:
		return q, q.readMessages(body)
	case apiChat:
		return q, q.readChat(body)
	}
	return q, q.readResponses(body)
}

// block is a part of a message's content, in the words of any API.
type block struct {
	Type      string         `json:"type"`
	Text      string         `json:"text"`
	ToolUseID string         `json:"tool_use_id"`
	FileID    string         `json:"file_id"`
	Source    source         `json:"source"`
	Content   jsontext.Value `json:"content"`
}

// source is where the provider is to take an image or a document from.
type source struct {
	Type   string `json:"type"`
	URL    string `json:"url"`
	FileID string `json:"file_id"`
}

// blocks reads a message's content: a string, or a list of blocks.
func blocks(content jsontext.Value) ([]block, error) {
	switch content.Kind() {
	case '"':
		var s string
		err := json.Unmarshal(content, &s)
		return []block{{Type: "text", Text: s}}, err
	case '[':
		var out []block
		err := json.Unmarshal(content, &out)
		return out, err
	case '{': // OpenAI takes some that are alone
		var one block
		err := json.Unmarshal(content, &one)
		return []block{one}, err
	}
	return nil, nil
}

// human is what a person wrote in a message: its texts without the blocks that clients add.
func human(bs []block) string {
	var out []string
	for _, b := range bs {
		if b.Type != "text" && b.Type != "input_text" {
			continue
		}
		if s := strings.TrimSpace(withoutReminders(b.Text)); s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, "\n")
}

// reminders are the elements that Claude Code and Codex put around what no person wrote.
var reminders = []string{"system-reminder", "environment_context", "user_instructions"}

func withoutReminders(s string) string {
	for _, tag := range reminders {
		for from := 0; ; {
			begin := strings.Index(s[from:], "<"+tag+">")
			if begin < 0 {
				break
			}
			begin += from
			end := strings.Index(s[begin:], "</"+tag+">")
			if end < 0 { // it is not an element, so somebody wrote it
				break
			}
			s, from = s[:begin]+s[begin+end+len(tag)+3:], begin
		}
	}
	return s
}

// fetches lists what the provider is to fetch itself for some content, or to take from what is stored with it.
func (q *question) fetches(bs []block) error {
	for _, b := range bs {
		if b.Source.URL != "" {
			q.addServerTool("url:" + b.Source.URL)
		}
		for _, id := range []string{b.FileID, b.Source.FileID} {
			if id != "" {
				q.addServerTool("file:" + id)
			}
		}
		if len(b.Content) == 0 || b.Type == "text" {
			continue
		}
		inner, err := blocks(b.Content)
		if err != nil {
			continue // of another form: a result of the provider's own tools
		}
		if err := q.fetches(inner); err != nil {
			return err
		}
	}
	return nil
}

func (q *question) addServerTool(name string) {
	if !slices.Contains(q.ServerTools, name) {
		q.ServerTools = append(q.ServerTools, name)
	}
}

// messagesRequest is what is read of a request to Anthropic's Messages API.
type messagesRequest struct {
	Model     string `json:"model"`
	Stream    bool   `json:"stream"`
	MaxTokens int64  `json:"max_tokens"`
	Metadata  struct {
		UserID string `json:"user_id"`
	} `json:"metadata"`
	Messages []struct {
		Role    string         `json:"role"`
		Content jsontext.Value `json:"content"`
	} `json:"messages"`
	Tools []struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"tools"`
	MCPServers []struct {
		URL string `json:"url"`
	} `json:"mcp_servers"`
}

func (q *question) readMessages(body []byte) error {
	var r messagesRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	q.Model.Model, q.Stream, q.MaxTokens, q.Turns = r.Model, r.Stream, r.MaxTokens, int64(len(r.Messages))
	latest := true // until the model's own last turn
	for _, m := range slices.Backward(r.Messages) {
		bs, err := blocks(m.Content)
		if err != nil {
			return err
		}
		if err := q.fetches(bs); err != nil {
			return err
		}
		latest = latest && m.Role != "assistant"
		for _, b := range bs {
			if latest && b.Type == "tool_result" && b.ToolUseID != "" {
				q.Results = append(q.Results, b.ToolUseID)
			}
		}
		if q.Prompt == "" && m.Role == "user" {
			q.Prompt = human(bs)
		}
	}
	for _, t := range r.Tools {
		if t.Type == "" || t.Type == "custom" || clientTool(t.Type) {
			q.Tools = append(q.Tools, t.Name)
		} else {
			q.addServerTool(t.Type)
		}
	}
	for _, s := range r.MCPServers {
		q.addServerTool("mcp:" + s.URL)
	}
	return q.readMetadata(r.Metadata.UserID)
}

// clientTool reports whether a tool that Anthropic defines is run by the client. Any other is taken for the provider's.
func clientTool(kind string) bool {
	return httpheader.HasAnyPrefix(kind, []string{"bash_", "text_editor_", "computer_", "memory_"})
}

// readMetadata reads user_id, in which Claude Code puts a JSON object with its session.
func (q *question) readMetadata(user string) error {
	var id struct {
		Session string `json:"session_id"`
	}
	if !strings.HasPrefix(user, "{") || json.Unmarshal([]byte(user), &id) != nil {
		q.user = user
		return nil
	}
	q.converse(id.Session)
	return nil
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

// isJSON reports whether a body begins as a JSON object.
func isJSON(body []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) }
