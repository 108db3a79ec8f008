package web

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
)

var statuses = map[access.Code]int{
	access.CodeUnauthenticated: http.StatusUnauthorized,
	access.CodeRevoked:         http.StatusForbidden,
	access.CodeDenied:          http.StatusForbidden,
	access.CodeApprovalPending: http.StatusTooManyRequests,
	access.CodeApprovalDenied:  http.StatusForbidden,
	access.CodeApprovalExpired: http.StatusForbidden,
	access.CodeMalformed:       http.StatusBadRequest,
	access.CodeTooLarge:        http.StatusRequestEntityTooLarge,
	access.CodeTooSlow:         http.StatusRequestTimeout,
	access.CodeUnmaskable:      http.StatusNotAcceptable,
	access.CodePlaceholder:     http.StatusConflict,
	access.CodeNotRecorded:     http.StatusServiceUnavailable,
	access.CodeUpstream:        http.StatusBadGateway,
	access.CodeDraining:        http.StatusServiceUnavailable,
	access.CodeInternal:        http.StatusInternalServerError,
}

func status(why *access.Refusal) int {
	if c, ok := statuses[why.Code]; ok {
		return c
	}
	return http.StatusInternalServerError
}

// retryAfter is when a client may send a request again that waits for an approval.
const retryAfter = 10 * time.Second

// problem is a refusal as RFC 9457 has it, with members of Gatebook's own.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Error is Detail, for clients that look for that.
	Error     string   `json:"error"`
	Code      string   `json:"code"`
	Rules     []string `json:"rules,omitempty"`
	Advice    string   `json:"advice,omitempty"`
	Approval  string   `json:"approval,omitempty"`
	Operation string   `json:"operation,omitempty"`
}

func newProblem(why *access.Refusal, code int) problem {
	p := problem{Type: "about:blank", Title: http.StatusText(code), Status: code, Detail: message(why), Code: string(why.Code), Advice: why.Advice,
		Approval: string(why.Approval), Operation: string(why.Operation), Rules: rules(why)}
	p.Error = p.Detail
	return p
}

func rules(why *access.Refusal) []string {
	var out []string
	for _, r := range why.Decision.Rules {
		if r.Effect == why.Decision.Effect {
			out = append(out, r.ID)
		}
	}
	return out
}

// message is what was refused, why, by which rule, and what to do instead, in one line.
func message(why *access.Refusal) string {
	parts := []string{"gatebook: " + strings.TrimSuffix(why.Message, ".")}
	if ids := rules(why); len(ids) > 0 && (why.Code == access.CodeDenied || why.Code == access.CodeApprovalPending || why.Code == access.CodeApprovalDenied) {
		parts[0] += " (rule " + strings.Join(ids, ", ") + ")"
	}
	if why.Advice != "" {
		parts = append(parts, strings.TrimSuffix(why.Advice, "."))
	}
	if why.Approval != "" && !strings.Contains(why.Message+why.Advice, string(why.Approval)) {
		parts = append(parts, "Approval "+string(why.Approval))
	}
	if why.Operation != "" {
		parts = append(parts, "Operation "+string(why.Operation))
	}
	return strings.Join(parts, ". ")
}

// Refuse answers with a problem (RFC 9457).
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal) {
	if isGRPC(r) {
		refuseGRPC(w, why)
		return
	}
	code := status(why)
	if code == http.StatusUnauthorized {
		w.Header().Set("Www-Authenticate", `Bearer realm="gatebook"`)
	}
	writeProblem(w, r, newProblem(why, code), why)
}

func writeProblem(w http.ResponseWriter, r *http.Request, p problem, why *access.Refusal) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if r.ProtoMajor == 1 && (asksUpgrade(r.Header) || r.Method == http.MethodConnect || why.Code == access.CodeMalformed) { // what follows on the connection may be meant otherwise
		h.Set("Connection", "close")
	}
	if why.Code == access.CodeApprovalPending || why.Code == access.CodeDraining {
		h.Set("Retry-After", strconv.Itoa(int(max(retryAfter, why.RetryAfter)/time.Second)))
	}
	writeJSON(w, r, p.Status, p)
}

func writeJSON(w http.ResponseWriter, r *http.Request, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // structs of strings
		code, body = http.StatusInternalServerError, nil
	}
	body = append(body, '\n')
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // what cannot be written any more has no reader
	}
}

// refuse answers the request: a call of MCP in the words of JSON-RPC, which its client shows, anything else with a problem.
func (x *exchange) refuse(w http.ResponseWriter, why *access.Refusal) {
	if x.rpc == nil || x.rpc.id == nil {
		x.h.Refuse(w, x.r, why)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	p := newProblem(why, status(why))
	writeJSON(w, x.r, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": x.rpc.id,
		"error": map[string]any{"code": refusedByGatebook, "message": p.Detail, "data": p}})
}

// refusedByGatebook is a code of those that JSON-RPC 2.0, section 5.1, leaves to servers.
const refusedByGatebook = -32003
