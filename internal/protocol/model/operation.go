package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	m  *access.Model // as it is kept and shown: with placeholders for its secrets
	// exact is m as the provider reads it, which policy decides on.
	exact *access.Model

	header http.Header // as it is forwarded
	body   []byte      // as it came, and is sent
	// head and recorded are the request's headers and its body with their secrets replaced.
	head, recorded []byte
	redact         redacter
	// reserved is what it counts for in budgets while it is under way.
	reserved *reservation
}

// newExchange reads a request as far as it can be read. With a refusal the exchange still names the operation, so that
// it can be recorded.
func (h *Handler) newExchange(r *http.Request, by protocol.Caller) (*exchange, *access.Refusal) {
	now := h.o.Now()
	api, name, why := apiOf(r)
	x := &exchange{h: h, r: r, m: &access.Model{API: api, Model: name}, redact: redacter{h.o.Masks.Scope(by.Session), h.found.scope(by.Session)}}
	x.op = &access.Operation{ID: access.OperationID(access.NewID(now)), Session: by.Session, Time: now, Principal: by.Principal, Target: h.o.Target,
		Client: access.Client{Address: by.Address, UserAgent: r.UserAgent(), Trace: by.Trace, Reason: r.Header.Get("Gatebook-Reason")},
		Verb:   strings.ToLower(r.Method), Command: r.Method + " " + r.URL.RequestURI(), Model: x.m}
	for _, step := range []func() *access.Refusal{
		func() *access.Refusal { return why },
		x.credentials,
		func() *access.Refusal { return checkHeader(r.Header) },
		x.readBody, x.find, x.decode, x.finish,
	} {
		if why := step(); why != nil {
			x.hide()
			return x, x.hideRefusal(why)
		}
	}
	x.hide()
	return x, nil
}

// credentials refuses a request that shows another one than the gateway's token.
func (x *exchange) credentials() *access.Refusal {
	key, why := foreignKey(x.r)
	if why != nil {
		x.learn([]byte(key))
	}
	return why
}

// learn makes a value secret in what is kept of this session.
func (x *exchange) learn(v []byte) { x.redact.found = x.h.found.learn(x.op.Session, v) }

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

// find looks for secrets in what is sent.
func (x *exchange) find() *access.Refusal {
	for _, sent := range [][]byte{x.body, lines(x.r.Method, x.r.URL.RequestURI(), x.header)} {
		names, values := x.h.find(sent)
		for _, v := range values {
			for _, form := range unescaped(v) {
				x.learn(form)
			}
		}
		x.m.Findings = append(x.m.Findings, names...)
	}
	return nil
}

// authorization is the finding of what the provider is to log in with at another server.
const authorization = "authorization"

// record makes what is sent as it is recorded: with its secrets replaced.
func (x *exchange) record(secrets []string) *access.Refusal {
	for _, s := range secrets {
		x.learn([]byte(s))
		x.m.Findings = append(x.m.Findings, authorization)
	}
	if x.named(x.redact) != x.named(redacter{x.redact.known, x.h.found.bare(x.op.Session)}) { // whoever approves would not see what is asked for
		return malformed("what stands in the request, or in an earlier one, as a credential is also the name of a model, of a tool or of an address in it")
	}
	var inHead, inBody bool
	var err, err2 error
	x.head, inHead, err = x.redact.bytes(lines(x.r.Method, x.r.URL.RequestURI(), x.header))
	x.recorded, inBody, err2 = x.redact.bytes(x.body)
	if err := errors.Join(err, err2); err != nil {
		return access.Refuse(access.CodeUnmaskable, err, "the request cannot be masked for the record")
	}
	if inHead || inBody {
		x.m.Findings = append(x.m.Findings, knownValue)
	}
	slices.Sort(x.m.Findings)
	x.m.Findings = slices.Compact(x.m.Findings)
	return nil
}

// named is, as r shows it, what of the request says which models, tools and addresses it is for.
func (x *exchange) named(r redacter) string {
	return r.string(strings.Join(slices.Concat([]string{x.m.API, x.m.Model}, x.m.Tools, x.m.ServerTools), "\n"))
}

// unread are the fields that are not known of an API that is not read.
var unread = []string{"model", "stream", "maxTokens", "conversation", "agent", "parentAgent", "prompt", "tools", "serverTools", "results", "turns"}

// decode reads the body into the operation.
func (x *exchange) decode() *access.Refusal {
	q := question{Model: x.m}
	switch x.m.API {
	case apiModels, apiHello:
	case apiMessages, apiCountTokens, apiChat, apiResponses:
		why := checkType(x.r.Header.Get("Content-Type"))
		if why != nil {
			return why
		}
		var err error
		if q, err = readQuestion(x.m.API, x.body, x.m); err != nil {
			return access.Refuse(access.CodeMalformed, err, "the request's body is no JSON that can be read in one way alone: a key that is there twice, or differs from one of the API's in case alone, text that is not UTF-8, a value of another type than the API's, or something behind the end")
		}
		for _, f := range q.long {
			x.blind(f, fmt.Sprintf("there are more than %d", maxNames))
		}
	default:
		for _, f := range unread {
			x.blind("model."+f, "the API at "+x.m.API+" is not read")
		}
	}
	x.claims(&q)
	return x.record(q.secrets)
}

// blind says that policy cannot know a field.
func (x *exchange) blind(field, why string) {
	x.op.Uninspectable = append(x.op.Uninspectable, access.Uninspectable{Field: field, Why: why})
}

// checkType refuses a body that could be read as something else than JSON in UTF-8.
func checkType(contentType string) *access.Refusal {
	t, params, err := mime.ParseMediaType(contentType)
	if err != nil || t != "application/json" {
		return malformed("the request's content type is %q, which is not application/json", contentType)
	}
	if c, there := params["charset"]; there && !strings.EqualFold(c, "utf-8") {
		return malformed("the request's character set is %q, which is not utf-8", c)
	}
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
	for name := range x.r.Header {
		if slices.Contains(accountHeaders, plainName(name)) {
			q.flags = append(q.flags, "the request names an account ("+name+"), which is the gateway's to choose")
		}
	}
	x.m.Flags = q.flags
	x.h.used.flag(x.op.Principal, x.m, q.user)
	if readerOf(x.m.API) != nil {
		x.m.ReservedTokens, x.m.ReservedCost = x.h.atMost(x.m)
	}
	if len(x.h.o.Prices) == 0 || x.m.Model == "" {
		return
	}
	if _, priced := x.h.price(x.m.Model); !priced {
		for _, f := range []string{"model.sessionCost", "model.dayCost"} {
			x.blind(f, "the configuration has no price for "+x.m.Model)
		}
	}
}

// finish gives the operation its words and its digest.
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
	x.op.Command += about + unusual(x.header)
	return nil
}

// budgets are the fields that change while a call waits for an approval.
var budgets = []string{"model.sessionTokens", "model.dayTokens", "model.sessionCost", "model.dayCost"}

// reserve counts the call from here on: calls that come after see it.
func (x *exchange) reserve() {
	x.reserved = x.h.used.reserve(x.op)
	x.h.used.again(x.exact, x.reserved)
	x.op.Fetched = budgets
}

// again fills in what was used while a person was asked.
func (x *exchange) again(_ context.Context, fields []string) error {
	if !slices.Contains(fields, budgets[0]) {
		return errors.New("it cannot be known")
	}
	m, exact := *x.m, *x.exact // who holds the operation as it was keeps it so
	x.h.used.again(&m, x.reserved)
	x.h.used.again(&exact, x.reserved)
	x.m, x.op.Model, x.op.Fetched = &m, &m, budgets
	x.exact, x.op.ExactModel = &exact, &exact
	return nil
}

// hide replaces, in all that is kept of an operation, what is secret. Policy decides on it as it is.
func (x *exchange) hide() {
	exact := *x.m
	for _, list := range []*[]string{&exact.Tools, &exact.ServerTools, &exact.Results, &exact.Flags} {
		*list = slices.Clone(*list)
	}
	x.exact, x.op.ExactModel = &exact, &exact
	m, c := x.m, &x.op.Client
	for _, s := range []*string{&x.op.Command, &m.API, &m.Model, &m.Conversation, &m.Agent, &m.ParentAgent, &m.Prompt, &c.UserAgent, &c.Trace, &c.Reason} {
		*s = x.redact.string(*s)
	}
	for _, list := range [][]string{m.Tools, m.ServerTools, m.Results, m.Flags} {
		for i := range list {
			list[i] = x.redact.string(list[i])
		}
	}
	for i := range x.op.Uninspectable {
		x.op.Uninspectable[i].Why = x.redact.string(x.op.Uninspectable[i].Why)
	}
}

// hideRefusal does the same for why it is refused, which names what was read.
func (x *exchange) hideRefusal(why *access.Refusal) *access.Refusal {
	why.Message, why.Advice = x.redact.string(why.Message), x.redact.string(why.Advice)
	if why.Cause != nil {
		why.Cause = errors.New(x.redact.string(why.Cause.Error()))
	}
	return why
}

// card is what approvers see: all of the request, with its secrets replaced.
func (x *exchange) card(context.Context) (access.Card, error) {
	out := bytes.NewBuffer(bytes.ReplaceAll(x.head, []byte("\r\n"), []byte("\n")))
	out.WriteByte('\n')
	if n := out.Len(); json.Indent(out, x.recorded, "", "  ") != nil { // not JSON: as it is
		out.Truncate(n)
		out.Write(x.recorded)
	}
	return access.Card{Object: out.String()}, nil
}

// reads reports whether the call only asks what there is.
func (x *exchange) reads() bool {
	return x.r.Method == http.MethodGet || x.r.Method == http.MethodHead
}
