package kubernetes

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/kubernetes/stream"
	"gatebook/internal/spool"
	"gatebook/internal/wire/httpheader"
)

// exchange is one request on its way. It belongs to one goroutine.
type exchange struct {
	h  *Handler
	r  *http.Request
	k  *reading
	op *access.Operation

	// header is the client's as it is forwarded, and as it counts for decoding and the digest.
	header http.Header
	body   *spool.Body
	// upgrade is what the client asks its connection to become.
	upgrade stream.Kind
	// logProtocol is the subprotocol in which a log goes over WebSocket; it may be empty.
	logProtocol string
	// doc is the decoded body; nil where there is none, or none that can be read with certainty.
	doc *document
	// masked is doc as it is recorded and shown.
	masked []byte
	// placeholders says that the body holds values that the client was given masked.
	placeholders bool

	scope *mask.Scope
	shape *mask.Shape // of the objects of this resource
}

// newExchange reads a request as far as it can be read. With a refusal the exchange still names the operation, so that
// it can be recorded.
func (h *Handler) newExchange(r *http.Request, by protocol.Caller) (*exchange, *access.Refusal) {
	k, why := readRequest(r)
	now := h.o.Now()
	x := &exchange{h: h, r: r, k: k, body: &spool.Body{}, scope: h.o.Masks.Scope(by.Session), op: &access.Operation{
		ID: access.OperationID(access.NewID(now)), Session: by.Session, Time: now, Principal: by.Principal, Target: h.o.Target,
		Client: access.Client{Address: by.Address, UserAgent: r.UserAgent(), Invocation: r.Header.Get("Kubectl-Session"), Trace: by.Trace},
		Verb:   k.Verb, Kubernetes: &k.Kubernetes,
	}}
	x.op.Client.InvokedAs = x.hidden(r.Header.Get("Kubectl-Command"))
	x.op.Client.Reason = x.hidden(r.Header.Get("Gatebook-Reason"))
	x.op.Command = x.hidden(rawCommand(r))
	x.shape = h.shapes.object(k)
	for _, step := range []func() *access.Refusal{
		func() *access.Refusal { return why },
		x.readHeader,
		x.readUpgrade, x.readBody, x.decode, x.finish,
	} {
		if why := step(); why != nil {
			x.show()
			x.hideRefusal(why)
			return x, why
		}
	}
	x.show()
	return x, nil
}

func (x *exchange) readHeader() *access.Refusal {
	if x.header = upstreamHeader(x.r.Header); x.k.isStream {
		x.header = streamHeader(x.r.Header)
	}
	return checkHeaders(x.r.Header)
}

// readUpgrade reads what an exec, attach or port-forward asks for, or a log over WebSocket, and refuses every other
// upgrade: a connection whose frames are not decoded cannot be recorded.
func (x *exchange) readUpgrade() *access.Refusal {
	if asksUpgrade(x.r.Header) {
		var why *access.Refusal
		if x.upgrade, why = stream.ReadUpgrade(x.r); why != nil {
			return why
		}
		if x.takesLogSocket() {
			return x.readLogSocket()
		}
		if !x.k.isStream {
			why = malformed("an upgrade to %q is not passed on here", x.r.Header.Get("Upgrade"))
			why.Advice = "Only exec, attach and port-forward of pods may upgrade, to WebSocket or SPDY, and logs to WebSocket; watch works without."
			return why
		}
	}
	if !x.k.isStream {
		return nil
	}
	if x.k.Subresource == "portforward" {
		for _, p := range x.k.query["ports"] {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil || n == 0 {
				return malformed("%q is no port", p)
			}
			x.k.Ports = append(x.k.Ports, int64(n))
		}
		return nil
	}
	e, err := streamOptions(x.k.query)
	if err != nil {
		return access.Refuse(access.CodeMalformed, err, "the options of %s cannot be read: %v", x.k.Subresource, err)
	}
	x.k.Exec = &e
	return nil
}

// asksUpgrade reports whether the client asks for any upgrade at all.
func asksUpgrade(h http.Header) bool {
	return httpheader.AsksUpgrade(h)
}

func (x *exchange) readBody() *access.Refusal {
	var why *access.Refusal
	if x.body, why = x.h.readBody(x.r); why != nil {
		return why
	}
	if x.body.Size() > 0 && (x.k.isStream || !x.k.isProxy && (x.r.Method == http.MethodGet || x.r.Method == http.MethodHead)) {
		return malformed("the request has a body where the API server reads none")
	}
	return nil
}

// decode reads the body into the operation; what cannot be read with certainty is named as uninspectable.
func (x *exchange) decode() *access.Refusal {
	k, contentType := x.k, x.header.Get("Content-Type")
	if k.Verb == "patch" {
		mediaType, _, _ := strings.Cut(contentType, ";") // as the API server reads it (handlers.PatchResource)
		if k.PatchType = patchType(mediaType); k.PatchType == "" {
			x.uninspectable(access.FieldKubernetesObject, "content type "+strconv.Quote(contentType)+" is no patch")
		}
	}
	if x.body.Size() == 0 {
		return nil
	}
	raw, err := x.body.Bytes()
	if err != nil {
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	if k.isProxy {
		x.placeholders = x.scope.HasPlaceholder(raw) // nothing is stored from which they could be restored: forward refuses
		x.uninspectable(access.FieldKubernetesObject, "the body is for what is behind the proxy, not for the API server")
		return nil
	}
	if x.doc, err = x.h.decodeDocument(contentType, raw); err != nil {
		x.doc = nil
		if why := x.checkUndecoded(); why != nil {
			return why
		}
		x.placeholders = x.scope.HasPlaceholder(raw)
		x.uninspectable(access.FieldKubernetesObject, err.Error())
		if k.Verb == "delete" || k.Verb == "deletecollection" {
			k.DryRun = false // the API server takes it from the body alone
		}
		return nil
	}
	x.placeholders = x.scope.HasPlaceholder(x.doc.json)
	return x.maskBody()
}

// maskBody makes the body as it is recorded, shown and judged.
func (x *exchange) maskBody() *access.Refusal {
	masked, err := x.maskDocument()
	if err == nil {
		masked, err = x.hideMisplaced(masked)
	}
	if err != nil {
		return access.Refuse(access.CodeUnmaskable, err, "the request's body cannot be masked for the record")
	}
	x.masked = masked
	v, err := decodeJSON(masked)
	if err != nil {
		return access.Refuse(access.CodeInternal, err, "the request's body cannot be masked for the record")
	}
	o, ok := v.(map[string]any)
	if x.k.PatchType == "json" {
		x.uninspectable(access.FieldKubernetesObject, "a JSON patch shows steps, not the object that comes of them")
		return nil
	}
	if !ok {
		x.uninspectable(access.FieldKubernetesObject, "the body is not an object")
		return nil
	}
	x.k.Object = o
	x.k.Kind, _ = x.doc.object()["kind"].(string)
	if deleteDryRun, known := x.deleteDryRun(); known {
		x.k.DryRun = deleteDryRun
	}
	return nil
}

// deleteDryRun reads dryRun of a deletion that has a body: the API server takes it from there alone.
func (x *exchange) deleteDryRun() (dryRun, known bool) {
	if x.k.Verb != "delete" && x.k.Verb != "deletecollection" {
		return false, false
	}
	list, _ := x.doc.object()["dryRun"].([]any)
	return slices.Contains(list, any("All")), true
}

// finish gives the operation its words and its digest.
func (x *exchange) finish() *access.Refusal {
	var object map[string]any
	if x.masked != nil {
		object = x.k.Object
		if object == nil {
			object, _ = decodeObject(x.masked) // a patch; an array names no object
		}
	}
	x.op.Verb = x.k.Verb
	x.op.Command = x.hidden(command(x.r, x.k, x.masked, object) + unsaid(x.header))
	var err error
	if x.op.Digest, err = x.h.digest(x.r, x.k, x.header, x.body); err != nil {
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	x.keepExact()
	return nil
}

// keepExact keeps what policy decides on, before anything of it is hidden.
func (x *exchange) keepExact() {
	exact := x.k.Kubernetes
	if e := x.k.Exec; e != nil {
		own := *e
		exact.Exec = &own
	}
	if x.k.Object != nil {
		exact.Object = x.doc.object()
	}
	x.op.Exact = &exact
}

// show gives the operation what policy's messages, approvers and the record see of the request: its words without known
// secrets. What goes upstream, and what is looked up, is read from the request itself.
func (x *exchange) show() {
	k, c := x.k.Kubernetes, &x.op.Client
	words := []*string{&x.op.Verb, &c.UserAgent, &c.Invocation, &c.Trace, &k.Verb, &k.Group, &k.Version, &k.Resource, &k.Subresource,
		&k.Namespace, &k.Name, &k.Kind, &k.Path, &k.FieldManager, &k.FieldSelector, &k.LabelSelector, &k.ProxyPath}
	if k.Exec != nil {
		e := *k.Exec
		e.Command = slices.Clone(e.Command)
		for i := range e.Command {
			words = append(words, &e.Command[i])
		}
		words, k.Exec = append(words, &e.Container), &e
	}
	x.hideWords(words...)
	x.op.Kubernetes = &k
}

// hideWords hides known secrets in each of words, which are looked at together, since there is seldom one.
func (x *exchange) hideWords(words ...*string) {
	var all strings.Builder
	for _, w := range words {
		all.WriteString(*w + "\x00")
	}
	if x.hidden(all.String()) == all.String() {
		return
	}
	for _, w := range words {
		*w = x.hidden(*w)
	}
}

// hideRefusal hides known secrets in why, which may repeat what the client sent: what it is told, and what the log is.
func (x *exchange) hideRefusal(why *access.Refusal) {
	x.hideWords(&why.Message, &why.Advice)
	if why.Cause == nil {
		return
	}
	if text := x.hidden(why.Cause.Error()); text != why.Cause.Error() {
		why.Cause = errors.New(text)
	}
}

// hidden is s without the values that are known to be secret, and without what has the form of a credential.
func (x *exchange) hidden(s string) string {
	if s == "" {
		return ""
	}
	masked, err := maskText(x.scope.Claimed(), s)
	if err != nil { // a strings.Builder takes everything
		return "(cannot be masked)"
	}
	return masked
}

func (x *exchange) uninspectable(field, why string) {
	x.op.Uninspectable = append(x.op.Uninspectable, access.Uninspectable{Field: field, Why: x.hidden(why)})
}

// inspectable takes back what was said of a field that could not be read.
func (x *exchange) inspectable(field string) {
	x.op.Uninspectable = slices.DeleteFunc(x.op.Uninspectable, func(u access.Uninspectable) bool { return u.Field == field })
}

// budget is how long this client can be held: by what it is, and by what it says of its own time-out.
func (x *exchange) budget() time.Duration {
	b := x.h.o.Hold.Other
	if strings.HasPrefix(x.r.UserAgent(), "kubectl") {
		b = x.h.o.Hold.Kubectl
	}
	if d, err := time.ParseDuration(x.k.query.Get("timeout")); err == nil && d > 0 {
		b = min(b, d*9/10) // an answer in time is worth more than the last tenth
	}
	return b
}
