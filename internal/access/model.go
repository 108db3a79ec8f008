package access

import "time"

// Model describes one call of a language model's API, as its provider will read it.
type Model struct {
	// API is messages, count_tokens, models, chat.completions, responses, or for other paths the path itself.
	API string `json:"api"`
	// Model is the model that is asked for.
	Model string `json:"model,omitempty"`
	// Stream says that the answer is to come as server-sent events.
	Stream bool `json:"stream,omitempty"`
	// MaxTokens bounds the answer.
	MaxTokens int64 `json:"maxTokens,omitempty"`
	// Conversation, Agent and ParentAgent name the client's run and, in it, a sub-agent. The client's word.
	Conversation string `json:"conversation,omitempty"`
	Agent        string `json:"agent,omitempty"`
	ParentAgent  string `json:"parentAgent,omitempty"`
	// Prompt is what a person, or a parent agent, last asked: without reminders that the client adds and without tool results.
	Prompt string `json:"prompt,omitempty"`
	// Tools are the tools offered to the model that the client runs, and ServerTools those that the provider runs itself.
	Tools       []string `json:"tools,omitempty"`
	ServerTools []string `json:"serverTools,omitempty"`
	// Results are the tool calls whose results this request brings, the latest turn only.
	Results []string `json:"results,omitempty"`
	// Turns counts the conversation's messages, and Bytes the request's body.
	Turns int64 `json:"turns,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	// SessionTokens and DayTokens are what this session, and this principal in the last 24 hours, have used on this
	// target before this call: input and output together. SessionCost and DayCost are the same in millionths of a dollar.
	SessionTokens int64 `json:"sessionTokens,omitempty"`
	DayTokens     int64 `json:"dayTokens,omitempty"`
	SessionCost   int64 `json:"sessionCost,omitempty"`
	DayCost       int64 `json:"dayCost,omitempty"`
	// Findings name the detectors that found a credential in what is sent.
	Findings []string `json:"findings,omitempty"`
}

// ModelAnswer is what came back from a model.
type ModelAnswer struct {
	// ID is the provider's identifier of the message, and Model the model that answered.
	ID         string `json:"id,omitempty"`
	Model      string `json:"model,omitempty"`
	StopReason string `json:"stopReason,omitempty"`
	// Tokens as the provider counted them.
	InputTokens      int64 `json:"inputTokens,omitempty"`
	OutputTokens     int64 `json:"outputTokens,omitempty"`
	CacheReadTokens  int64 `json:"cacheReadTokens,omitempty"`
	CacheWriteTokens int64 `json:"cacheWriteTokens,omitempty"`
	// Cost in millionths of a dollar, by the prices in the configuration; 0 where there are none.
	Cost int64 `json:"cost,omitempty"`
	// Calls are the tool calls that the model emitted, in order.
	Calls []ToolCall `json:"calls,omitempty"`
}

// ToolCall is one tool call that a model emitted.
type ToolCall struct {
	// ID is the provider's, such as toolu_…; it is unique in its session.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Input is the call's arguments, as JSON, as the model wrote them.
	Input string `json:"input,omitempty"`
	// Emitted is when the last byte of it was delivered to the client.
	Emitted time.Time `json:"emitted"`
}

// Call is what the index keeps of a tool call.
type Call struct {
	ToolCall
	Session SessionID `json:"session"`
	// Turn is the model operation whose answer emitted it.
	Turn OperationID `json:"turn"`
	// Ended is when the results of its turn came back; zero while they have not.
	Ended time.Time `json:"ended,omitzero"`
}

func (m *Model) summary() summary {
	return summary{Resource: m.API, Names: []string{m.Model, m.Conversation, m.Agent, m.Prompt}}
}

func (m *Model) texts() []string {
	return append([]string{m.API, m.Model, m.Conversation, m.Agent, m.ParentAgent, m.Prompt}, m.Tools...)
}
