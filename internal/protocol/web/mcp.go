package web

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
)

// rpc is a JSON-RPC 2.0 message in a request's body, as the Model Context Protocol sends them over HTTP.
type rpc struct {
	// id of a call, as it came; nil for a notification, and for an answer to the server.
	id json.RawMessage
	// noise are the parts of the body, from byte to byte, by which a call's answers are told from those of others: the same
	// call made again has others.
	noise [][2]int64
}

// maxCallID bounds what a client names a tool call by.
const maxCallID = 128

// readRPC recognises a JSON-RPC message in a body that was decoded. A batch is refused: each message in it would be an
// operation of its own, and the protocol has none since its revision of 2025-06-18. So is a message that a server which
// reads names without regard to case would read otherwise. What only looks like a message may be one to some server.
func (x *exchange) readRPC(value any, raw []byte) *access.Refusal {
	if list, ok := value.([]any); ok {
		for _, e := range list {
			if m, ok := e.(map[string]any); ok && looksLikeRPC(m) {
				why := malformed("the body is a batch of JSON-RPC messages, which are decided one by one")
				why.Advice = "Send each message in a request of its own."
				return why
			}
		}
	}
	m, ok := value.(map[string]any)
	if !ok || m["jsonrpc"] != "2.0" {
		if looksLikeRPC(m) {
			x.unknown("web.mcp", "it has members of JSON-RPC, and does not say that it is version 2.0 of that")
		}
		return nil
	}
	x.rpc = &rpc{}
	method, isName := m["method"].(string)
	_, called := m["method"]
	switch {
	case called && (!isName || method == ""):
		return malformed("the JSON-RPC message has a method that is no name")
	case misspelt(m, "jsonrpc", "id", "method", "params", "result", "error"):
		return malformed("the JSON-RPC message has a member whose name differs from one of the protocol's by case alone")
	}
	if why := x.rpc.readID(m, called, raw); why != nil {
		return why
	}
	x.web.MCP = &access.MCP{Method: method}
	params, _ := m["params"].(map[string]any)
	if method == "tools/call" {
		if why := x.readTool(params); why != nil {
			return why
		}
	}
	x.checkNamed()
	meta, _ := params["_meta"].(map[string]any)
	if trace, _ := meta["traceparent"].(string); x.op.Client.Trace == "" && protocol.IsTrace(trace) {
		x.op.Client.Trace = trace // SEP-414
	}
	if call, _ := meta["claudecode/toolUseId"].(string); len(call) <= maxCallID {
		x.op.Client.Call = call
	}
	return nil
}

// readTool reads a tool's name and arguments.
func (x *exchange) readTool(params map[string]any) *access.Refusal {
	m := x.web.MCP
	var named, listed bool
	m.Tool, named = params["name"].(string)
	args, given := params["arguments"]
	m.Arguments, listed = args.(map[string]any)
	if !named || m.Tool == "" || given && args != nil && !listed || misspelt(params, "name", "arguments") {
		return malformed("the call of a tool needs params with name, a string, and arguments, if there are any, an object")
	}
	return nil
}

// checkNamed takes as unknown what headers, by which servers may go, say otherwise than the message.
func (x *exchange) checkNamed() {
	m := x.web.MCP
	for header, want := range map[string]string{"Mcp-Method": m.Method, "Mcp-Name": m.Tool} {
		for _, v := range x.header.Values(header) {
			if nameIn(v) != want && (header == "Mcp-Method" || m.Method == "tools/call") {
				x.unknown("web.mcp", "the header "+header+" says otherwise than the message")
			}
		}
	}
}

// nameIn is a name as a header has it: in base64 where it is not ASCII (SEP-2243).
func nameIn(v string) string {
	if inner, ok := strings.CutPrefix(v, "=?base64?"); ok {
		if inner, ok = strings.CutSuffix(inner, "?="); ok {
			if b, err := base64.StdEncoding.DecodeString(inner); err == nil {
				return string(b)
			}
		}
	}
	return v
}

// result takes from a message, as it is delivered, whether it is the error that answers this call.
func (x *exchange) result(message []byte, out *access.Outcome) {
	var m struct {
		ID     json.RawMessage
		Error  *struct{ Message string }
		Result struct{ IsError bool }
	}
	if x.rpc == nil || x.rpc.id == nil || !bytes.Contains(message, []byte("rror\"")) || json.Unmarshal(message, &m) != nil || !bytes.Equal(m.ID, x.rpc.id) {
		return
	}
	switch {
	case m.Error != nil:
		out.Message = m.Error.Message
	case m.Result.IsError:
		out.Message = "the tool says that it failed"
	}
}

// maxResult bounds what is kept of an answer to look for an error in it.
const maxResult = 64 << 10

// kept passes on an answer, and keeps it as long as it is short.
type kept struct {
	io.Writer
	message []byte
}

func (k *kept) Write(b []byte) (int, error) {
	if len(k.message) <= maxResult {
		k.message = append(k.message, b[:min(len(b), maxResult+1-len(k.message))]...)
	}
	return k.Writer.Write(b)
}

// looksLikeRPC reports whether a server that is not strict could take an object for a message.
func looksLikeRPC(m map[string]any) bool {
	for name := range m {
		if strings.EqualFold(name, "jsonrpc") || strings.EqualFold(name, "method") {
			return true
		}
	}
	return false
}

// misspelt reports whether an object has a name that is one of these but for its case.
func misspelt(m map[string]any, names ...string) bool {
	for name := range m {
		if !slices.Contains(names, name) && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			return true
		}
	}
	return false
}

// maxID bounds what of a call is in no approval's digest.
const maxID = 256

func (r *rpc) readID(m map[string]any, called bool, raw []byte) *access.Refusal {
	switch m["id"].(type) {
	case nil, string, int64, float64:
	default:
		return malformed("the JSON-RPC message has an id that is neither a string nor a number")
	}
	if called && m["id"] != nil {
		r.id = rawID(raw)
	}
	r.noise = noiseIn(raw)
	for _, n := range r.noise {
		if n[1]-n[0] > maxID {
			return malformed("the JSON-RPC message has an id, or a token, of more than %d bytes", maxID)
		}
	}
	return nil
}

// noiseIn finds noise in a message, which is valid.
func noiseIn(raw []byte) (out [][2]int64) {
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	for {
		t, err := d.ReadToken()
		if err != nil {
			return out // its end
		}
		if kind, n := d.StackIndex(d.StackDepth()); t.Kind() != '"' || kind != '{' || n%2 == 0 { // no name of a member
			continue
		}
		switch d.StackPointer() {
		case "/id", "/params/_meta/progressToken", "/params/_meta/traceparent", "/params/_meta/tracestate", "/params/_meta/baggage",
			"/params/_meta/claudecode~1toolUseId":
			v, err := d.ReadValue()
			if err != nil {
				return out
			}
			out = append(out, [2]int64{d.InputOffset() - int64(len(v)), d.InputOffset()})
		}
	}
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
