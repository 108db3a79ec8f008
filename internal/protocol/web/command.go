package web

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gatebook/internal/access"
)

// url is where the request goes, in full.
func (x *exchange) url() string {
	prefix := ""
	if !x.forwarded {
		prefix = x.h.base.EscapedPath()
	}
	out := x.origin.Scheme + "://" + x.origin.Host + prefix + x.r.URL.EscapedPath()
	if x.r.URL.RawQuery != "" {
		out += "?" + x.r.URL.RawQuery
	}
	return out
}

// maxSaid is how long a body may be to be part of the command; a longer one is on the card, and in the recording.
const maxSaid = 4 << 10

// command is the request in the words of curl: all that is forwarded but the client's name for itself.
func (x *exchange) command() string {
	var out strings.Builder
	out.WriteString("curl")
	if m := x.r.Method; m == http.MethodHead {
		out.WriteString(" --head")
	} else if m != http.MethodGet || x.body.Size() > 0 {
		out.WriteString(" -X " + m)
	}
	out.WriteString(" " + quote(x.url()))
	for _, name := range slices.Sorted(maps.Keys(x.header)) {
		for _, v := range x.header[name] {
			if name != "User-Agent" && (name != "Accept" || v != "*/*") {
				out.WriteString(" -H " + quote(name+": "+v))
			}
		}
	}
	if x.socket {
		out.WriteString(" # WebSocket " + strings.Join(x.protocols, ", "))
	}
	switch {
	case x.body.Size() == 0:
	case x.masked != nil && len(x.masked) <= maxSaid:
		out.WriteString(" --data-raw " + quote(string(x.masked)))
	default:
		out.WriteString(" --data-binary @- # " + strconv.FormatInt(x.body.Size(), 10) + " bytes")
	}
	for _, name := range slices.Sorted(maps.Keys(x.trailer)) {
		out.WriteString(" # trailer " + name + ": " + strings.Join(x.trailer[name], ", "))
	}
	return out.String()
}

// quote is s as a word of a shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@%+=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// card is what an approver sees beside the command: the body, or that it cannot be shown.
func (x *exchange) card(context.Context) (access.Card, error) {
	c := access.Card{Uninspectable: slices.Clone(x.op.Uninspectable)}
	switch {
	case x.masked != nil:
		c.Object = string(x.masked)
	case x.body.Size() > 0 && !slices.ContainsFunc(c.Uninspectable, func(u access.Uninspectable) bool { return u.Field == "web.body" }):
		c.Uninspectable = append(c.Uninspectable, access.Uninspectable{Field: "web.body", Why: "it cannot be shown"})
	case x.socket:
		c.Uninspectable = append(c.Uninspectable, access.Uninspectable{Field: "messages", Why: "they come after the approval"})
	}
	return c, nil
}
