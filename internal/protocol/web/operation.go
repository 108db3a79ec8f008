package web

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/spool"
	"gatebook/internal/wire/httpheader"
)

// exchange is one request on its way. It belongs to one goroutine.
type exchange struct {
	h   *Handler
	r   *http.Request
	op  *access.Operation
	web *access.Web
	// origin is where the request goes; forwarded says that the client named it, using the gateway as its proxy.
	origin    *url.URL
	forwarded bool

	// header and trailer are the client's as they are forwarded.
	header, trailer http.Header
	body            *spool.Body
	// masked is the body as it is recorded, where it was decoded.
	masked []byte
	rpc    *rpc
	// socket says that the client asks for WebSocket, and protocols which subprotocols it offers.
	socket    bool
	protocols []string

	scope *mask.Scope
}

// newExchange begins an operation, of which nothing is read yet.
func (h *Handler) newExchange(r *http.Request, by protocol.Caller, origin *url.URL) *exchange {
	now := h.o.Now()
	x := &exchange{h: h, r: r, body: &spool.Body{}, scope: h.o.Masks.Scope(by.Session), origin: origin, forwarded: origin != nil}
	if origin == nil {
		x.origin = h.base
	}
	port, _ := strconv.ParseInt(portOf(x.origin), 10, 64) // a URL's port is a number, or was refused when it was parsed
	x.web = &access.Web{Method: r.Method, Scheme: x.origin.Scheme, Host: strings.ToLower(x.origin.Hostname()), Port: port, Path: r.URL.Path}
	x.op = &access.Operation{
		ID: access.OperationID(access.NewID(now)), Session: by.Session, Time: now, Principal: by.Principal, Target: h.o.Target,
		Client: access.Client{Address: by.Address, UserAgent: x.hidden(r.UserAgent()), Reason: x.hidden(r.Header.Get("Gatebook-Reason")), Trace: by.Trace},
		Verb:   strings.ToLower(r.Method), Web: x.web,
	}
	if x.forwarded {
		x.conceal("web.host", &x.web.Host)
	}
	return x
}

// reject puts on record that the request was not even decided.
func (x *exchange) reject(why *access.Refusal) {
	why.Message = x.hidden(why.Message) // it may quote the client
	x.h.o.Gate.Reject(x.op, why)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// read reads a request as far as it can be read. With a refusal the exchange still names the operation, so that it can be
// recorded.
func (x *exchange) read() (why *access.Refusal) {
	for _, step := range []func() *access.Refusal{x.readLine, x.readHeader, x.readBody, x.checkPlaceholders} {
		if why = step(); why != nil {
			break
		}
	}
	if err := x.finish(); err != nil && why == nil {
		why = access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	return why
}

// readLine reads method, path and query.
func (x *exchange) readLine() *access.Refusal {
	switch m := x.r.Method; {
	case len(m) > 32 || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "":
		return malformed("%.32q is no method in upper case, which services read differently", m)
	case m == "TRACE", m == "TRACK", m == "CONNECT":
		return malformed("method %s is not passed on: a service could give back what the gateway adds to the request", m)
	}
	doubt, why := checkPath(x.r.URL)
	if why != nil {
		return why
	}
	if doubt != "" {
		x.unknown("web.path", doubt)
	}
	q, doubt, why := readQuery(x.r.URL)
	if doubt != "" {
		x.unknown("web.query", doubt)
	}
	x.web.Query = q
	return why
}

func (x *exchange) readHeader() *access.Refusal {
	x.header = upstreamHeader(x.r.Header)
	if why := checkHeaders(x.r.Header); why != nil {
		return why
	}
	if c := x.header.Get("Content-Type"); c != "" {
		mediaType, _, _ := strings.Cut(c, ";")
		x.web.ContentType = strings.ToLower(strings.TrimSpace(mediaType))
	}
	return x.readUpgrade()
}

// readUpgrade takes WebSocket alone: other protocols' frames cannot be read.
func (x *exchange) readUpgrade() *access.Refusal {
	if !asksUpgrade(x.r.Header) {
		return nil
	}
	x.web.Upgrade = strings.ToLower(x.r.Header.Get("Upgrade"))
	if x.web.Upgrade != "websocket" || x.r.Method != http.MethodGet || len(x.r.Header.Values("Upgrade")) != 1 || x.r.Header.Get("Sec-Websocket-Version") != "13" {
		return malformed("an upgrade to %q is not passed on; only WebSocket (version 13) is", x.r.Header.Get("Upgrade"))
	}
	x.socket = true
	for _, v := range x.r.Header.Values("Sec-Websocket-Protocol") {
		for p := range strings.SplitSeq(v, ",") {
			if p = strings.TrimSpace(p); p != "" {
				x.protocols = append(x.protocols, p)
			}
		}
	}
	return nil
}

func asksUpgrade(h http.Header) bool {
	return httpheader.AsksUpgrade(h)
}

// readBody reads the body and what it says; what cannot be read with certainty is unknown to policy.
func (x *exchange) readBody() *access.Refusal {
	var why *access.Refusal
	if x.body, why = x.h.readBody(x.r); why != nil {
		return why
	}
	x.trailer = upstreamHeader(x.r.Trailer)
	x.web.Bytes = x.body.Size()
	if x.body.Size() == 0 {
		return nil
	}
	if x.socket {
		return malformed("the request for a WebSocket has a body")
	}
	return x.decode()
}

func (x *exchange) decode() *access.Refusal {
	if x.header.Get("Content-Type") == "" {
		x.unreadable("it has no content type")
		return nil
	}
	if !isJSON(x.web.ContentType) && x.web.ContentType != typeForm { // is not held in memory
		_, doubt := decoded(x.header.Get("Content-Type"), nil)
		x.unreadable(doubt)
		return nil
	}
	raw, err := x.body.Bytes()
	if err != nil {
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	value, doubt := decoded(x.header.Get("Content-Type"), raw)
	if doubt != "" {
		x.unreadable(doubt)
		return nil
	}
	if isJSON(x.web.ContentType) {
		if why := x.readRPC(value, raw); why != nil {
			return why
		}
	}
	return x.hideBody(value, raw)
}

// unreadable says that the body is unknown, and with it whether it is a message of MCP.
func (x *exchange) unreadable(why string) {
	x.unknown("web.body", why)
	x.unknown("web.mcp", why)
}

// finish gives the operation its words and its digest, and hides in them what is known to be secret.
func (x *exchange) finish() error {
	var err error
	if x.op.Digest, err = x.digest(); err != nil {
		return err
	}
	plain := x.command()
	if x.op.Command = x.hidden(plain); x.op.Command != plain {
		x.unknown("operation.command", isSecret)
	}
	x.conceal("web.path", &x.web.Path)
	x.conceal("web.contentType", &x.web.ContentType)
	x.conceal("web.upgrade", &x.web.Upgrade)
	if g := x.web.GRPC; g != nil {
		x.conceal("web.grpc", &g.Service)
		x.conceal("web.grpc", &g.Method)
	}
	x.conceal("client.call", &x.op.Client.Call)
	if q := x.web.Query; q != nil {
		x.web.Query = map[string][]string{}
		for k, vs := range q {
			x.conceal("web.query", &k)
			for _, v := range vs {
				x.conceal("web.query", &v)
				x.web.Query[k] = append(x.web.Query[k], v)
			}
		}
	}
	return nil
}

func (x *exchange) unknown(field, why string) {
	if !slices.ContainsFunc(x.op.Uninspectable, func(u access.Uninspectable) bool { return u.Field == field }) {
		x.op.Uninspectable = append(x.op.Uninspectable, access.Uninspectable{Field: field, Why: why})
	}
}

// isChange says that the request may do more than read.
func (x *exchange) isChange() bool {
	return x.socket || x.body.Size() > 0 || !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, x.r.Method)
}

// sameHost reports whether a request's Host names an origin.
func sameHost(host string, origin *url.URL) bool {
	h, port, err := net.SplitHostPort(host)
	if err != nil {
		h, port = strings.Trim(host, "[]"), ""
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[origin.Scheme]
	}
	return strings.EqualFold(h, origin.Hostname()) && port == portOf(origin)
}
