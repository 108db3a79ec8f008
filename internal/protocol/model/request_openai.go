package model

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// chatRequest is what is read of a request to OpenAI's chat completions, which many others offer as well.
type chatRequest struct {
	Model               string `json:"model"`
	Stream              bool   `json:"stream"`
	MaxTokens           int64  `json:"max_tokens"`
	MaxCompletionTokens int64  `json:"max_completion_tokens"`
	User                string `json:"user"`
	SafetyIdentifier    string `json:"safety_identifier"`
	Messages            []struct {
		Role       string         `json:"role"`
		Content    jsontext.Value `json:"content"`
		ToolCallID string         `json:"tool_call_id"`
	} `json:"messages"`
	Tools []struct {
		Type     string `json:"type"`
		Function named  `json:"function"`
		Custom   named  `json:"custom"`
	} `json:"tools"`
	Functions []named        `json:"functions"`
	WebSearch jsontext.Value `json:"web_search_options"`
}

type named struct {
	Name string `json:"name"`
}

func (q *question) readChat(body []byte) error {
	var r chatRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	q.Model.Model, q.Stream, q.Turns = r.Model, r.Stream, int64(len(r.Messages))
	q.MaxTokens = max(r.MaxTokens, r.MaxCompletionTokens)
	q.user = firstOf(r.SafetyIdentifier, r.User)
	latest := true
	for _, m := range slices.Backward(r.Messages) {
		bs, err := blocks(m.Content)
		if err != nil {
			return err
		}
		if latest = latest && m.Role != "assistant"; latest && m.ToolCallID != "" {
			q.Results = append(q.Results, m.ToolCallID)
		}
		if q.Prompt == "" && m.Role == "user" {
			q.Prompt = human(bs)
		}
	}
	for _, t := range r.Tools {
		switch t.Type {
		case "function":
			q.Tools = append(q.Tools, t.Function.Name)
		case "custom":
			q.Tools = append(q.Tools, t.Custom.Name)
		default:
			q.addServerTool(t.Type)
		}
	}
	for _, f := range r.Functions {
		q.Tools = append(q.Tools, f.Name)
	}
	if k := r.WebSearch.Kind(); k != 0 && k != 'n' {
		q.addServerTool("web_search")
	}
	return nil
}

// responsesRequest is what is read of a request to OpenAI's responses.
type responsesRequest struct {
	Model            string         `json:"model"`
	Stream           bool           `json:"stream"`
	MaxOutputTokens  int64          `json:"max_output_tokens"`
	User             string         `json:"user"`
	SafetyIdentifier string         `json:"safety_identifier"`
	Input            jsontext.Value `json:"input"`
	Tools            []struct {
		Type        string `json:"type"`
		Name        string `json:"name"`
		ServerURL   string `json:"server_url"`
		Environment struct {
			Type string `json:"type"`
		} `json:"environment"`
	} `json:"tools"`
}

// inputItem is one item of what a response is asked to.
type inputItem struct {
	Type    string         `json:"type"`
	Role    string         `json:"role"`
	Content jsontext.Value `json:"content"`
	CallID  string         `json:"call_id"`
}

func (q *question) readResponses(body []byte) error {
	var r responsesRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	q.Model.Model, q.Stream, q.MaxTokens = r.Model, r.Stream, r.MaxOutputTokens
	q.user = firstOf(r.SafetyIdentifier, r.User)
	items := []inputItem{{Role: "user", Content: r.Input}}
	if r.Input.Kind() == '[' {
		items = nil
		if err := json.Unmarshal(r.Input, &items); err != nil {
			return err
		}
	}
	q.Turns = int64(len(items))
	latest := true
	for _, it := range slices.Backward(items) {
		isResult := strings.HasSuffix(it.Type, "_output")
		latest = latest && (isResult || it.Role == "user" || it.Role == "developer" || it.Role == "system")
		if latest && isResult && it.CallID != "" {
			q.Results = append(q.Results, it.CallID)
		}
		bs, err := blocks(it.Content)
		if err != nil {
			return err
		}
		if q.Prompt == "" && it.Role == "user" {
			q.Prompt = human(bs)
		}
	}
	for _, t := range r.Tools {
		switch t.Type {
		case "function", "custom":
			q.Tools = append(q.Tools, t.Name)
		case "local_shell", "apply_patch", "computer_use_preview", "computer":
			q.Tools = append(q.Tools, t.Type)
		case "mcp":
			q.addServerTool("mcp:" + t.ServerURL)
		case "shell":
			if t.Environment.Type == "local" {
				q.Tools = append(q.Tools, t.Type)
				continue
			}
			q.addServerTool(t.Type)
		default:
			q.addServerTool(t.Type)
		}
	}
	return nil
}

func firstOf(a ...string) string {
	for _, s := range a {
		if s != "" {
			return s
		}
	}
	return ""
}
