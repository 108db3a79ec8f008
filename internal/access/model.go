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
	// Tools are the tools offered to the model that the client runs. ServerTools are what the provider is to run or fetch
	// itself: tools by their type, such as web_search_20250305, and mcp:URL, url:URL and file:ID.
	Tools       []string `json:"tools,omitempty"`
	ServerTools []string `json:"serverTools,omitempty"`
	// Results are the tool calls whose results this request brings, the latest turn only.
	Results []string `json:"results,omitempty"`
	// Turns counts the conversation's messages, and Bytes the request's body.
	Turns int64 `json:"turns,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
	// SessionTokens and DayTokens are what this session, and this principal in the last 24 hours, have used on this
	// target before this call: input and output together, from a cache or not. A call that is under way is in it with what it
	// may use at most. SessionCost and DayCost are the same in millionths of a dollar.
	SessionTokens int64 `json:"sessionTokens,omitempty"`
	DayTokens     int64 `json:"dayTokens,omitempty"`
	SessionCost   int64 `json:"sessionCost,omitempty"`
	DayCost       int64 `json:"dayCost,omitempty"`
	// ReservedTokens is what this call may use itself, as far as can be told before it: a token for four bytes of the request,
	// and maxTokens, which are taken for 128,000 where the request names none. ReservedCost is what that costs.
	ReservedTokens int64 `json:"reservedTokens,omitempty"`
	ReservedCost   int64 `json:"reservedCost,omitempty"`
	// Findings name the detectors that found a credential in what is sent; known-value is one that the gateway knows to be
	// secret.
	Findings []string `json:"findings,omitempty"`
	// Flags are claims of the client that contradict each other or what the gateway saw, such as a conversation that is
	// another principal's.
	Flags []string `json:"flags,omitempty"`
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
	// Estimated says that the answer broke off before the provider counted, or had no count: then a token is taken to be
	// four bytes of what was sent and delivered.
	Estimated bool `json:"estimated,omitempty"`
	// Cost in millionths of a dollar, by the prices in the configuration; 0 where there are none.
	Cost int64 `json:"cost,omitempty"`
	// Calls are the tool calls that the model emitted, in order.
	Calls []ToolCall `json:"calls,omitempty"`
	// ServerCalls are those that the provider ran itself.
	ServerCalls []ToolCall `json:"serverCalls,omitempty"`
}

// Tokens are all that the provider worked through.
func (a *ModelAnswer) Tokens() int64 {
	return a.InputTokens + a.OutputTokens + a.CacheReadTokens + a.CacheWriteTokens
}

// ModelUse is what one call of a model, or several, used. It is what budgets count.
type ModelUse struct {
	Session      SessionID
	Principal    Principal
	Conversation string
	// Time is when it was asked.
	Time time.Time
	// Tokens of every kind, and Cost in millionths of a dollar.
	Tokens, Cost int64
	// Model is set where nobody has counted, since the gateway died meanwhile: then RequestBytes and ResponseBytes are what
	// was seen of the call.
	Model                       string
	RequestBytes, ResponseBytes int64
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
