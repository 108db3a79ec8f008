package kubernetes

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gatebook/internal/access"
)

// answers map each refusal to a status that kubectl prints at once. None is one that client-go sends again in silence
// (429, or 503 with Retry-After), but Draining, where another replica answers.
var answers = map[access.Code]struct {
	code   int
	reason metav1.StatusReason
}{
	access.CodeUnauthenticated: {http.StatusUnauthorized, metav1.StatusReasonUnauthorized},
	access.CodeRevoked:         {http.StatusForbidden, metav1.StatusReasonForbidden},
	access.CodeDenied:          {http.StatusForbidden, metav1.StatusReasonForbidden},
	access.CodeApprovalPending: {http.StatusForbidden, metav1.StatusReasonForbidden},
	access.CodeApprovalDenied:  {http.StatusForbidden, metav1.StatusReasonForbidden},
	access.CodeApprovalExpired: {http.StatusForbidden, metav1.StatusReasonForbidden},
	access.CodeMalformed:       {http.StatusBadRequest, metav1.StatusReasonBadRequest},
	access.CodeTooLarge:        {http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge},
	access.CodeTooSlow:         {http.StatusRequestTimeout, metav1.StatusReasonTimeout},
	access.CodeUnmaskable:      {http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable},
	access.CodePlaceholder:     {http.StatusConflict, metav1.StatusReasonConflict},
	access.CodeNotRecorded:     {http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable},
	access.CodeUpstream:        {http.StatusBadGateway, metav1.StatusReasonServiceUnavailable},
	access.CodeDraining:        {http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable},
	access.CodeInternal:        {http.StatusInternalServerError, metav1.StatusReasonInternalError},
}

// Refuse answers with a Kubernetes Status, in JSON: every client reads an error in JSON, but client-go where it asks for
// aggregated discovery. There it looks into no Status and says "unknown"; of a text it says what is written.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal) {
	s := refusalStatus(why)
	body, err := json.Marshal(s)
	if err != nil { // a struct of strings
		h.o.Log.Error("encoding a refusal", "error", err)
		w.WriteHeader(int(s.Code))
		return
	}
	mediaType := typeJSON
	if asksDiscovery(r.Header) {
		mediaType, body = "text/plain; charset=utf-8", []byte(s.Message+"\n")
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if asksUpgrade(r.Header) { // what follows on the connection may be meant for the other protocol
		w.Header().Set("Connection", "close")
	}
	if why.Code == access.CodeDraining {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(why.RetryAfter/time.Second))))
	}
	if why.Code == access.CodeUnauthenticated {
		w.Header().Set("Www-Authenticate", `Bearer realm="gatebook"`)
	}
	w.WriteHeader(int(s.Code))
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil {
		h.o.Log.Debug("a refusal did not reach its client", "operation", why.Operation, "error", err)
	}
}

// asksDiscovery reports whether a client asks for all groups and their resources at once.
func asksDiscovery(h http.Header) bool {
	return strings.Contains(strings.Join(h.Values("Accept"), ","), "as=APIGroupDiscoveryList")
}

// refusalStatus is what kubectl prints: what was refused, why, by which rule, and what to do instead.
func refusalStatus(why *access.Refusal) metav1.Status {
	a, ok := answers[why.Code]
	if !ok {
		a = answers[access.CodeInternal]
	}
	s := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(a.code), Reason: a.reason, Message: refusalMessage(why),
		Details: &metav1.StatusDetails{UID: types.UID(why.Operation)}}
	cause := func(kind, field, message string) {
		if message != "" {
			s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Type: metav1.CauseType("Gatebook" + kind), Field: field, Message: message})
		}
	}
	cause("Code", "", string(why.Code))
	for _, r := range why.Decision.Rules {
		if r.Effect == why.Decision.Effect {
			cause("Rule", r.ID, ruleText(r))
		}
	}
	cause("Advice", "", why.Advice)
	cause("Approval", "", string(why.Approval))
	cause("Operation", "", string(why.Operation))
	return s
}

func ruleText(r access.RuleHit) string {
	t := r.Reason
	if t == "" {
		t = r.Effect.String()
	}
	if len(r.Unknown) > 0 {
		t += " (could not be read: " + strings.Join(r.Unknown, ", ") + ")"
	}
	return t
}

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
