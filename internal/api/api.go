// Package api is Gatebook's own API, JSON over HTTP below /gatebook/v1/. It guarantees that every request carries a
// bearer token of its own (there is no cookie, so nothing that a browser sends by itself can approve anything), that
// each route names the role it needs, and that reading a recording, answering, revoking and taking either back are
// recorded before they have any effect.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/attribution"
	"gatebook/internal/store"
)

// Role is what somebody may do with Gatebook itself.
type Role string

const (
	Approver   Role = "approver"
	Auditor    Role = "auditor"
	Admin      Role = "admin"
	BreakGlass Role = "break-glass"
	Restorer   Role = "restorer" // takes back revocations
)

// Index finds operations, sessions and revocations, and what caused what.
type Index interface {
	attribution.Index
	Sessions(ctx context.Context, f store.SessionFilter) ([]access.SessionSummary, string, error)
	Revocations(ctx context.Context, now time.Time) ([]access.Revocation, error)
}

// Desk is where approvals are answered.
type Desk interface {
	Get(ctx context.Context, id access.ApprovalID) (access.Approval, error)
	List(ctx context.Context, f access.ApprovalFilter) ([]access.Approval, error)
	Answer(ctx context.Context, id access.ApprovalID, a access.Answer) (access.Approval, error)
	End(ctx context.Context, id access.ApprovalID, who access.Principal, reason string) (access.Approval, error)
}

// Options join the API to the rest. All are required except Log, Now, CatchUp, Register, Span and Explain.
type Options struct {
	Authenticate func(ctx context.Context, token string) (access.Principal, error)
	Session      func(access.Principal) access.SessionID
	// Register tells of a call by p that is under way; cancel is called when p is revoked or its token ends, and what is
	// returned when the call has ended. Nil: calls go on.
	Register func(p access.Principal, cancel func(error)) (done func())
	// May says whether p has a role.
	May     func(p access.Principal, r Role) bool
	Targets []client.Target
	Index   Index
	// CatchUp waits until Index has what was recorded before, or ctx ends. Nil: it has it always.
	CatchUp func(ctx context.Context)
	Desk    Desk
	// Note records what was done through the API; an error of it refuses the request.
	Note func(session, kind string, v any) error
	// Revoke keeps a revocation and puts it in force.
	Revoke func(ctx context.Context, r access.Revocation) error
	// Restore forgets a revocation, and takes it out of force.
	Restore func(ctx context.Context, id string) error
	// Forget makes a value that was taken for a secret known no longer, and gives how many patterns of it were known.
	Forget func(ctx context.Context, value []byte) (int, error)
	// Digest is the masker's keyed digest of a value, for the record.
	Digest func(value []byte) string
	// Span takes what a session's client says of a span. Nil: there is no attribution.
	Span func(access.Principal, access.SessionID, attribution.Span)
	// Explain says why policy decides what is recorded as it does.
	Explain func(r *access.Record) any
	Book    Book
	Now     func() time.Time
	Log     *slog.Logger
}

// API is an http.Handler for everything below client.Prefix. It is safe for concurrent use.
type API struct {
	o   Options
	mux *http.ServeMux
}

// New makes the API.
func New(o Options) *API {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CatchUp == nil {
		o.CatchUp = func(context.Context) {}
	}
	if o.Register == nil {
		o.Register = func(access.Principal, func(error)) func() { return func() {} }
	}
	a := &API{o: o, mux: http.NewServeMux()}
	for pattern, h := range a.routes() {
		method, path, _ := strings.Cut(pattern, " ")
		a.mux.Handle(method+" "+client.Prefix+path, a.guard(h))
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, &client.Error{Status: http.StatusNotFound, Code: access.CodeMalformed, Message: fmt.Sprintf("there is no %s %s", r.Method, r.URL.Path)})
	})
	return a
}

// routes are all that the API answers, by method and path below client.Prefix.
func (a *API) routes() map[string]handler {
	return map[string]handler{
		"GET whoami":                  {a.whoAmI, nil},
		"GET why":                     {a.why, []Role{Auditor}},
		"GET sessions/{id}/timeline":  {a.timeline, []Role{Auditor}},
		"POST otlp/v1/traces":         {a.spans, nil},
		"POST otlp/v1/metrics":        {a.ignored, nil},
		"POST otlp/v1/logs":           {a.ignored, nil},
		"GET sessions":                {a.sessions, []Role{Auditor}},
		"GET operations":              {a.operations, []Role{Auditor}},
		"GET operations/{id}":         {a.operation, []Role{Auditor}},
		"GET operations/{id}/explain": {a.explain, []Role{Auditor}},
		"GET approvals":               {a.approvals, nil},
		"GET approvals/{id}":          {a.approval, nil},
		"POST approvals/{id}/answer":  {a.answer, nil},
		"POST approvals/{id}/end":     {a.end, nil},
		"GET revocations":             {a.revocations, []Role{Admin, Auditor, Restorer}},
		"POST revocations":            {a.revoke, []Role{Admin}},
		"POST revocations/{id}/undo":  {a.undo, []Role{Restorer}},
		"POST forgotten":              {a.forget, []Role{Admin}},
		"GET archive":                 {a.archiveList, []Role{Auditor}},
		"GET archive/{name...}":       {a.archiveFile, []Role{Auditor}},
		"GET ledger/{name...}":        {a.ledgerFile, []Role{Auditor}},
		"GET sessions/{id}/frames":    {a.frames, []Role{Auditor}},
		"GET frames":                  {a.frames, []Role{Auditor}},
	}
}

// call is one authenticated request.
type call struct {
	*http.Request
	by access.Principal
}

// handler answers a call with a value that is sent as JSON, or has answered by itself where that is nil.
type handler struct {
	do func(http.ResponseWriter, call) (any, error)
	// roles of which the caller needs one; none: any authenticated caller.
	roles []Role
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

func (a *API) guard(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Cache-Control", "no-store")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		out, err := a.handle(w, r, h)
		switch {
		case err != nil:
			a.fail(w, err)
		case out != nil:
			head.Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(out); err != nil {
				a.o.Log.Debug("an answer could not be sent", "path", r.URL.Path, "error", err)
			}
		}
	})
}

func (a *API) handle(w http.ResponseWriter, r *http.Request, h handler) (any, error) {
	p, err := a.o.Authenticate(r.Context(), bearer(r))
	if err != nil {
		return nil, err
	}
	// Who is revoked reads no further, be it in the middle of a stream.
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer a.o.Register(p, cancel)()
	r = r.WithContext(ctx)
	if len(h.roles) > 0 && !slices.ContainsFunc(h.roles, func(role Role) bool { return a.o.May(p, role) }) {
		return nil, &client.Error{Status: http.StatusForbidden, Code: access.CodeDenied,
			Message: fmt.Sprintf("%s has none of the roles that this needs: %v", p.Name, h.roles)}
	}
	if r.Method == http.MethodPost {
		t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if otlp := strings.HasPrefix(r.URL.Path, client.Prefix+"otlp/") && t == "application/x-protobuf"; err != nil || t != "application/json" && !otlp {
			return nil, &client.Error{Status: http.StatusUnsupportedMediaType, Code: access.CodeMalformed, Message: "Content-Type must be application/json"}
		}
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	}
	return h.do(w, call{r, p})
}

// bearer gives the request's token; RFC 6750, section 2.1. Two Authorization headers are none.
func bearer(r *http.Request) string {
	v := r.Header["Authorization"]
	if len(v) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(v[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// statuses of refusals; anything else is an internal error.
func status(c access.Code) int {
	switch c {
	case access.CodeUnauthenticated:
		return http.StatusUnauthorized
	case access.CodeRevoked, access.CodeDenied, access.CodeApprovalDenied, access.CodeApprovalPending, access.CodeApprovalExpired:
		return http.StatusForbidden
	case access.CodeTooSlow:
		return http.StatusRequestTimeout
	case access.CodeMalformed, access.CodePlaceholder:
		return http.StatusBadRequest
	case access.CodeNotRecorded, access.CodeDraining:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// fail answers with an error; what is not meant for callers goes to the log alone.
func (a *API) fail(w http.ResponseWriter, err error) {
	e := &client.Error{Status: http.StatusInternalServerError, Code: access.CodeInternal, Message: "something went wrong inside the gateway; its log says what"}
	var why *access.Refusal
	switch {
	case errors.As(err, &e):
	case errors.Is(err, store.ErrCursor):
		e = malformed("%v", store.ErrCursor)
	case errors.As(err, &why):
		e = &client.Error{Status: status(why.Code), Code: why.Code, Message: why.Message, Advice: why.Advice}
		if why.Cause != nil {
			a.o.Log.Info("refused", "code", why.Code, "message", why.Message, "cause", why.Cause)
		}
	default:
		a.o.Log.Error("a request of the API failed", "error", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	if err := json.NewEncoder(w).Encode(e); err != nil {
		a.o.Log.Debug("an error could not be sent", "error", err)
	}
}

func decode(r call, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	var why *access.Refusal
	if err := d.Decode(into); errors.As(err, &why) {
		return why
	} else if err != nil {
		return malformed("the request's body is not what is expected: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed("the request's body goes on behind its end")
	}
	return nil
}

func malformed(format string, args ...any) *client.Error {
	return &client.Error{Status: http.StatusBadRequest, Code: access.CodeMalformed, Message: fmt.Sprintf(format, args...)}
}

func notFound(what, id string) error {
	return &client.Error{Status: http.StatusNotFound, Code: access.CodeMalformed, Message: fmt.Sprintf("there is no %s %q", what, id)}
}
