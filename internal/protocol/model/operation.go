package model

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/protocol"
)

// exchange is one call on its way. It belongs to one goroutine.
type exchange struct {
	h  *Handler
	r  *http.Request
	op *access.Operation
	m  *access.Model

	header http.Header // as it is forwarded
	body   []byte      // as it came, and is sent
	// recorded is the body with its secrets replaced.
	recorded []byte
	redact   redacter
}

// newExchange reads a request as far as it can be read. With a refusal the exchange still names the operation, so that
// it can be recorded.
func (h *Handler) newExchange(r *http.Request, by protocol.Caller) (*exchange, *access.Refusal) {
	now := h.o.Now()
	api, name, why := apiOf(r)
	x := &exchange{h: h, r: r, m: &access.Model{API: api, Model: name}, redact: redacter{h.o.Masks.Scope(by.Session), h.o.Found.Scope(by.Session)}}
	x.op = &access.Operation{ID: access.OperationID(access.NewID(now)), Session: by.Session, Time: now, Principal: by.Principal, Target: h.o.Target,
		Client: access.Client{Address: by.Address, UserAgent: r.UserAgent(), Trace: by.Trace, Reason: x.redact.string(r.Header.Get("Gatebook-Reason"))},
		Verb:   strings.ToLower(r.Method), Command: x.redact.string(r.Method + " " + r.URL.RequestURI()), Model: x.m}
	for _, step := range []func() *access.Refusal{
		func() *access.Refusal { return why },
		func() *access.Refusal { return checkHeader(r.Header) },
		x.readBody, x.find, x.decode, x.finish,
	} {
		if why := step(); why != nil {
			return x, why
		}
	}
	return x, nil
}

func (x *exchange) readBody() (why *access.Refusal) {
	x.header = forwardedHeader(x.r.Header)
	if x.body, why = x.h.readBody(x.r); why != nil {
		return why
	}
	x.m.Bytes = int64(len(x.body))
	if len(x.body) > 0 && (x.r.Method == http.MethodGet || x.r.Method == http.MethodHead) {
		return malformed("a %s request has a body", x.r.Method)
	}
	return nil
}

// find looks for secrets in what is sent, and makes the body as it is recorded.
func (x *exchange) find() *access.Refusal {
	names, values := detect(x.body)
	for _, v := range values {
		for _, form := range unescaped(v) {
			x.h.o.Found.Learn(form)
		}
	}
	var known bool
	var err error
	if x.recorded, known, err = x.redact.bytes(x.body); err != nil {
		return access.Refuse(access.CodeUnmaskable, err, "the request's body cannot be masked for the record")
	}
	if known {
		names = append(names, knownValue)
		slices.Sort(names)
	}
	x.m.Findings = names
	return nil
}

// unread are the fields that are not known of an API that is not read.
var unread = []string{"model", "stream", "maxTokens", "conversation", "agent", "parentAgent", "prompt", "tools", "serverTools", "results", "turns"}

// decode reads the body into the operation.
func (x *exchange) decode() *access.Refusal {
	q := question{Model: x.m}
	switch x.m.API {
	case apiModels, apiHello:
	case apiMessages, apiCountTokens, apiChat, apiResponses:
		if t, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || t != "application/json" {
			return malformed("the request's content type is %q, which is not application/json", x.r.Header.Get("Content-Type"))
		}
		var err error
		if q, err = readQuestion(x.m.API, x.body, x.m); err != nil || !isJSON(x.body) {
			return access.Refuse(access.CodeMalformed, err, "the request's body is no JSON that can be read in one way alone: a key that is there twice, text that is not UTF-8, a value of another type than the API's, or something behind the end")
		}
	default:
		for _, f := range unread {
			x.op.Uninspectable = append(x.op.Uninspectable, access.Uninspectable{Field: "model." + f, Why: "the API at " + x.m.API + " is not read"})
		}
	}
	x.claims(&q)
	return nil
}

// conversations are the headers that name one: Claude Code's, and Codex' in both spellings.
var conversations = []string{"X-Claude-Code-Session-Id", "Session-Id", "Session_id"}

var _ protocol.Conversant = (*Handler)(nil)

// Conversation parts the sessions of a client that is no pod. It is the client's word, and reaches only its own.
func (h *Handler) Conversation(r *http.Request) string {
	for _, name := range conversations {
		if v := r.Header.Get(name); v != "" && len(v) <= maxNameBytes {
			return v
		}
	}
	return ""
}

// claims reads what the client says of itself, and flags what contradicts what the gateway saw.
func (x *exchange) claims(q *question) {
	in := x.m.Conversation // as the body has it
	x.m.Conversation = ""
	for _, name := range conversations {
		for _, v := range x.r.Header.Values(name) {
			q.converse(v)
		}
	}
	q.converse(in)
	x.m.Agent, x.m.ParentAgent = x.r.Header.Get("X-Claude-Code-Agent-Id"), x.r.Header.Get("X-Claude-Code-Parent-Agent-Id")
	if thread := x.r.Header.Get("Thread-Id"); thread != "" && thread != x.m.Conversation && x.m.Agent == "" {
		x.m.Agent = thread // Codex: a thread that is not the session's own is a sub-agent's
	}
	x.m.Flags = q.flags
	x.h.used.before(x.op.Principal, x.op.Session, x.m, q.user)
	if len(x.h.o.Prices) == 0 || x.m.Model == "" {
		return
	}
	if _, priced := x.h.price(x.m.Model); !priced {
		for _, f := range []string{"model.sessionCost", "model.dayCost"} {
			x.op.Uninspectable = append(x.op.Uninspectable, access.Uninspectable{Field: f, Why: "the configuration has no price for " + x.redact.string(x.m.Model)})
		}
	}
}

// finish gives the operation its words and its digest, and hides in all that is kept of it what is secret.
func (x *exchange) finish() *access.Refusal {
	x.op.Digest = x.h.digest(x.r, x.header, x.body)
	m := x.m
	about := ""
	if m.Bytes > 0 {
		about = fmt.Sprintf(" # %d bytes", m.Bytes)
	}
	if m.Model != "" && m.Bytes > 0 {
		about = fmt.Sprintf(" # %s, %d messages, %d bytes", m.Model, m.Turns, m.Bytes)
	}
	x.op.Command = x.redact.string(x.r.Method + " " + x.r.URL.RequestURI() + about + unusual(x.header))
	for _, s := range []*string{&m.API, &m.Model, &m.Conversation, &m.Agent, &m.ParentAgent, &m.Prompt, &x.op.Client.UserAgent, &x.op.Client.Trace} {
		*s = x.redact.string(*s)
	}
	for _, list := range [][]string{m.Tools, m.ServerTools, m.Results, m.Flags} {
		for i := range list {
			list[i] = x.redact.string(list[i])
		}
	}
	return nil
}

// card is what approvers see: all of the request, with its secrets replaced.
func (x *exchange) card(context.Context) (access.Card, error) {
	var pretty bytes.Buffer
	if json.Indent(&pretty, x.recorded, "", "  ") != nil { // not JSON: as it is
		return access.Card{Object: string(x.recorded)}, nil
	}
	return access.Card{Object: pretty.String()}, nil
}

// reads reports whether the call only asks what there is.
func (x *exchange) reads() bool {
	return x.r.Method == http.MethodGet || x.r.Method == http.MethodHead
}
