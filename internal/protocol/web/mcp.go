package web

import (
	"bytes"
	"encoding/json"

	"gatebook/internal/access"
)

// rpc is a JSON-RPC 2.0 message in a request's body, as the Model Context Protocol sends them over HTTP.
type rpc struct {
	// id of a call, as it came; nil for a notification, and for an answer to the server.
	id json.RawMessage
}

// readRPC recognises a JSON-RPC message in a body that was decoded. A batch is refused: each message in it would be an
// operation of its own, and the protocol has none since its revision of 2025-06-18.
func (x *exchange) readRPC(value any, raw []byte) *access.Refusal {
	if list, ok := value.([]any); ok {
		for _, e := range list {
			if m, ok := e.(map[string]any); ok && m["jsonrpc"] != nil {
				why := malformed("the body is a batch of JSON-RPC messages, which are decided one by one")
				why.Advice = "Send each message in a request of its own."
				return why
			}
		}
	}
	m, ok := value.(map[string]any)
	if !ok || m["jsonrpc"] != "2.0" {
		return nil
	}
	x.rpc = &rpc{}
	method, _ := m["method"].(string)
	if m["method"] != nil && method == "" {
		return malformed("the JSON-RPC message has a method that is no name")
	}
	if method != "" && m["id"] != nil {
		x.rpc.id = rawID(raw)
	}
	x.web.MCP = &access.MCP{Method: method}
	params, _ := m["params"].(map[string]any)
	if method == "tools/call" {
		x.web.MCP.Tool, _ = params["name"].(string)
		x.web.MCP.Arguments, _ = params["arguments"].(map[string]any)
	}
	if meta, _ := params["_meta"].(map[string]any); x.op.Client.Trace == "" {
		if trace, _ := meta["traceparent"].(string); isTrace(trace) {
			x.op.Client.Trace = trace // SEP-414
		}
	}
	return nil
}

// rawID is the id of a message as it is written, so that it goes back the same.
func rawID(raw []byte) json.RawMessage {
	var m struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(raw, &m) != nil { // it was decoded before
		return nil
	}
	return bytes.Clone(m.ID)
}
