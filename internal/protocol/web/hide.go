package web

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask"
)

// isSecret is why a field of which something is hidden is unknown to policy.
const isSecret = "something in it is known to be secret, or has the form of a credential"

// hideBody gives the operation the body, without what is secret in it.
func (x *exchange) hideBody(value any, raw []byte) *access.Refusal {
	var out bytes.Buffer
	err := maskWhole(x.scope.Claimed().Text(&out), raw)
	if err != nil {
		return access.Refuse(access.CodeUnmaskable, err, "the request's body cannot be masked for the record")
	}
	x.masked = out.Bytes()
	if bytes.Equal(x.masked, raw) {
		x.web.Body = value
		return nil
	}
	for _, field := range []string{"web.body", "web.mcp"} {
		x.unknown(field, isSecret)
	}
	if shown, doubt := decoded(x.header.Get("Content-Type"), x.masked); doubt == "" {
		x.web.Body = shown
	}
	if m := x.web.MCP; m != nil {
		trace, rpc := x.op.Client.Trace, x.rpc
		x.web.MCP = &access.MCP{}
		if why := x.readRPC(x.web.Body, x.masked); why != nil {
			return why
		}
		x.op.Client.Trace, x.rpc = trace, rpc
	}
	return nil
}

// conceal hides what is secret in a field, which is then unknown to policy, so that nobody escapes a rule by
// having the word masked that it looks for.
func (x *exchange) conceal(field string, s *string) {
	if c := x.hidden(*s); c != *s {
		*s = c
		x.unknown(field, isSecret)
	}
}

// hidden is s as it is recorded and shown: without the values that are known to be secret, and without what has the form of a
// credential.
func (x *exchange) hidden(s string) string { return without(x.scope.Claimed(), s) }

// without is s without what scope hides.
func without(scope *mask.Scope, s string) string {
	if s == "" {
		return ""
	}
	var out strings.Builder
	if maskWhole(scope.Text(&out), []byte(s)) != nil { // a strings.Builder takes everything
		return "(cannot be masked)"
	}
	return out.String()
}

func maskWhole(w filter, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Close()
}

// checkPlaceholders refuses a masked value that comes back: nothing is stored here from which it could be restored.
func (x *exchange) checkPlaceholders() *access.Refusal {
	found := x.scope.HasPlaceholder([]byte(x.r.URL.EscapedPath())) || x.scope.HasPlaceholder([]byte(x.r.URL.RawQuery)) || x.scope.HasPlaceholder([]byte(x.r.URL.Path))
	for _, h := range []http.Header{x.header, x.trailer} {
		for _, values := range h {
			found = found || slices.ContainsFunc(values, func(v string) bool { return x.scope.HasPlaceholder([]byte(v)) })
		}
	}
	if !found && x.body.Size() > 0 {
		raw, err := x.body.Bytes()
		if err != nil {
			return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
		}
		found = x.scope.HasPlaceholder(raw)
	}
	if !found {
		return nil
	}
	return placeholder()
}

func placeholder() *access.Refusal {
	why := access.Refuse(access.CodePlaceholder, nil, "the request holds a masked value, which stands for nothing here")
	why.Advice = "A masked value cannot be sent to a service; leave it out, or have the gateway hold the credential."
	return why
}
