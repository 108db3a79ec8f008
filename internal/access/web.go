package access

// Web describes one request to an HTTP service.
type Web struct {
	// Method is the HTTP method, in upper case; CONNECT for a tunnel that is not looked into.
	Method string `json:"method"`
	// Scheme, Host and Port of the service; Host in lower case.
	Scheme string `json:"scheme,omitempty"`
	Host   string `json:"host"`
	Port   int64  `json:"port,omitempty"`
	// Path is decoded, below the target, and Query the parameters as they came.
	Path  string              `json:"path,omitempty"`
	Query map[string][]string `json:"query,omitempty"`
	// ContentType of the body, without parameters.
	ContentType string `json:"contentType,omitempty"`
	// Body is the decoded body where that is JSON, or a form as lists of values by name, with what is known to be secret
	// replaced. Of a body that is neither, or can be read in two ways, it is unknown.
	Body any `json:"body,omitempty"`
	// Bytes is the body's length, once what compressed it is undone.
	Bytes int64 `json:"bytes,omitempty"`
	// Upgrade is the protocol that a WebSocket handshake or another upgrade asks for.
	Upgrade string `json:"upgrade,omitempty"`
	// GRPC is set for a gRPC call.
	GRPC *GRPC `json:"grpc,omitempty"`
	// MCP is set for a message of the Model Context Protocol: a body that is a JSON-RPC 2.0 message, whichever service it is for.
	MCP *MCP `json:"mcp,omitempty"`
}

// GRPC is one gRPC call.
type GRPC struct {
	Service string `json:"service"`
	Method  string `json:"method"`
	// Stream says that the client had not sent all its messages when the call was decided: what it sends later is recorded,
	// but not part of the decision.
	Stream bool `json:"stream,omitempty"`
}

// MCP is one JSON-RPC message of the Model Context Protocol.
type MCP struct {
	// Method is empty for an answer to the server.
	Method string `json:"method"`
	// Tool and Arguments of a tools/call.
	Tool      string         `json:"tool,omitempty"`
	Arguments map[string]any `json:"arguments,omitempty"`
}

func (w *Web) summary() summary {
	names := []string{w.Host, w.Path}
	if w.MCP != nil {
		names = append(names, w.MCP.Method, w.MCP.Tool)
	}
	return summary{Namespace: w.Host, Resource: w.Method, Names: names}
}

func (w *Web) texts() []string { return []string{w.Method, w.Host, w.Path, w.ContentType} }
