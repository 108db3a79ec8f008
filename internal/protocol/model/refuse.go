package model

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
)

// answers map each refusal to a status, and to the type of Anthropic's errors. Clients send 401, 429 and 5xx again by
// themselves, ten times, and a refusal would be seen minutes later: X-Should-Retry says no. Only where the same request may
// fare better soon, Retry-After says when: while the gateway restarts, and while a person is asked, so that a client goes on
// waiting for longer than one request can be held.
var answers = map[access.Code]struct {
	status int
	kind   string
}{
	access.CodeUnauthenticated: {http.StatusUnauthorized, "authentication_error"},
	access.CodeRevoked:         {http.StatusForbidden, "permission_error"},
	access.CodeDenied:          {http.StatusForbidden, "permission_error"},
	access.CodeApprovalPending: {http.StatusTooManyRequests, "rate_limit_error"},
	access.CodeApprovalDenied:  {http.StatusForbidden, "permission_error"},
	access.CodeApprovalExpired: {http.StatusForbidden, "permission_error"},
	access.CodeMalformed:       {http.StatusBadRequest, "invalid_request_error"},
	access.CodeTooLarge:        {http.StatusRequestEntityTooLarge, "request_too_large"},
	access.CodeTooSlow:         {http.StatusRequestTimeout, "invalid_request_error"},
	access.CodeUnmaskable:      {http.StatusBadGateway, "api_error"},
	access.CodeNotRecorded:     {http.StatusServiceUnavailable, "api_error"},
	access.CodeUpstream:        {http.StatusBadGateway, "api_error"},
	access.CodeDraining:        {http.StatusServiceUnavailable, "overloaded_error"},
	access.CodeInternal:        {http.StatusInternalServerError, "api_error"},
}

func statusOf(why *access.Refusal) (int, string) {
	a, ok := answers[why.Code]
	if !ok {
		a = answers[access.CodeInternal]
	}
	return a.status, a.kind
}

// Refuse answers in the shape of the provider's own errors.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal) {
	if why.Code == access.CodeUnauthenticated {
		own := *why
		if said := shown(r); said != "" {
			own.Message = said
		}
		if own.Advice == "" {
			own.Advice = "Send the token of the gateway, which gatebook token prints, as the API key or as a bearer token, and nothing else; the provider's key is the gateway's to add"
		}
		why = &own
	}
	status, kind := statusOf(why)
	body, err := json.Marshal(refusalBody(r, why, kind))
	if err != nil { // a map of strings
		h.o.Log.Error("encoding a refusal", "error", err)
	}
	head := w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if why.Code == access.CodeDraining || why.Code == access.CodeApprovalPending {
		head.Set("Retry-After", strconv.Itoa(max(1, int(why.RetryAfter/time.Second))))
	} else {
		head.Set("X-Should-Retry", "false")
	}
	if why.Code == access.CodeUnauthenticated {
		head.Set("Www-Authenticate", `Bearer realm="gatebook"`)
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil {
		h.o.Log.Debug("a refusal did not reach its client", "operation", why.Operation, "error", err)
	}
}

// refusalBody is an error of Anthropic's, or of OpenAI's where that is called.
func refusalBody(r *http.Request, why *access.Refusal, kind string) map[string]any {
	message := refusalMessage(why)
	if strings.HasPrefix(r.URL.Path, "/v1/chat/") || strings.HasPrefix(r.URL.Path, "/v1/responses") {
		return map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": "gatebook_" + strings.ToLower(string(why.Code))}}
	}
	out := map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}}
	if why.Operation != "" {
		out["request_id"] = string(why.Operation)
	}
	return out
}

// refusalMessage is what an agent's terminal prints: what was refused, why, by which rule, and what to do instead.
func refusalMessage(why *access.Refusal) string {
	parts := []string{"gatebook: " + strings.TrimSuffix(why.Message, ".")}
	var rules []string
	for _, r := range why.Decision.Rules {
		if r.Effect == why.Decision.Effect && (why.Code == access.CodeDenied || why.Code == access.CodeApprovalPending || why.Code == access.CodeApprovalDenied) {
			rules = append(rules, r.ID)
		}
	}
	if len(rules) > 0 {
		parts[0] += " (rule " + strings.Join(rules, ", ") + ")"
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
