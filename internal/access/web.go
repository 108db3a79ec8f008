package access

// Web describes one request to an HTTP service.
type Web struct {
	// Method is the HTTP method, in upper case; CONNECT for a tunnel that is not looked into.
	Method string `json:"method"`
	// Scheme, Host and Port of the service; Host in lower case.
	Scheme string `json:"scheme,omitempty"`
	Host   string `json:"host"`
	Port   int64  `json:"port,omitempty"`
	// Path is decoded, and Query the parameters as they came.
	Path  string              `json:"path,omitempty"`
	Query map[string][]string `json:"query,omitempty"`
	// ContentType of the body, without parameters.
	ContentType string `json:"contentType,omitempty"`
	// Body is the decoded body where that is JSON, with what is known to be secret replaced.
	Body any `json:"body,omitempty"`
	// Upgrade is the protocol that a WebSocket handshake or another upgrade asks for.
	Upgrade string `json:"upgrade,omitempty"`
	// GRPC is set for a gRPC call.
	GRPC *GRPC `json:"grpc,omitempty"`
	// MCP is set for a message of the Model Context Protocol.
	MCP *MCP `json:"mcp,omitempty"`
}

// GRPC is one gRPC call.
type GRPC struct {
	Service string `json:"service"`
	Method  string `json:"method"`
}

// MCP is one JSON-RPC message of the Model Context Protocol.
type MCP struct {
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
