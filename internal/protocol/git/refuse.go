package git

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/wire/pktline"
)

// statuses map each refusal to an HTTP status. git does not try again by itself.
var statuses = map[access.Code]int{
	access.CodeUnauthenticated: http.StatusUnauthorized,
	access.CodeRevoked:         http.StatusForbidden,
	access.CodeDenied:          http.StatusForbidden,
	access.CodeApprovalPending: http.StatusForbidden,
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
	if s, ok := statuses[why.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Refuse answers in plain text, which git prints behind "remote:" when it asks for refs, its first request; or, for a fetch
// that goes on from there and of which it would print the status alone, as git's own error. A 401 makes it ask its
// credential helper.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, why *access.Refusal) {
	text := strings.Join(lines(why), "\n") + "\n"
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	code := status(why)
	rt, bad := readRoute(r)
	switch {
	case why.Code == access.CodeUnauthenticated:
		header.Set("Www-Authenticate", `Basic realm="gatebook"`)
	case rt.kind == lfsBatch || rt.kind == lfsObject:
		header.Set("Content-Type", lfsType)
		text = lfsMessage(why)
	case bad == nil && rt.kind == upload:
		header.Set("Content-Type", "application/x-git-upload-pack-result")
		code, text = http.StatusOK, failure(why)
	}
	if why.Code == access.CodeDraining {
		header.Set("Retry-After", strconv.Itoa(max(1, int(why.RetryAfter/time.Second))))
	}
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(code)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write([]byte(text)); err != nil {
		h.o.Log.Debug("a refusal did not reach its client", "operation", why.Operation, "error", err)
	}
}

// failure is the pkt-line after which git gives up, and prints what it says.
func failure(why *access.Refusal) string {
	var b strings.Builder
	if err := pktline.NewWriter(&b).Failure(strings.Join(lines(why), "\n")); err != nil {
		return "" // a strings.Builder takes everything
	}
	return b.String()
}

// lines say what was refused and why, by which rule, and what to do instead.
func lines(why *access.Refusal) []string {
	out := []string{"gatebook: " + reason(why)}
	if why.Advice != "" {
		out = append(out, "gatebook: "+why.Advice)
	}
	if why.Approval != "" && !strings.Contains(why.Message+why.Advice, string(why.Approval)) {
		out = append(out, "gatebook: approval "+string(why.Approval))
	}
	if why.Operation != "" {
		out = append(out, "gatebook: operation "+string(why.Operation))
	}
	for i := range out {
		out[i] = oneLine(out[i])
	}
	return out
}

// reason is the first of them: what, and by which rule.
func reason(why *access.Refusal) string {
	var rules []string
	for _, r := range why.Decision.Rules {
		if !isAside(why) && r.Effect == why.Decision.Effect && (why.Code == access.CodeDenied || why.Code == access.CodeApprovalPending || why.Code == access.CodeApprovalDenied) {
			rules = append(rules, r.ID)
		}
	}
	out := strings.TrimSuffix(why.Message, ".")
	if len(rules) > 0 {
		out += " (rule " + strings.Join(rules, ", ") + ")"
	}
	return oneLine(out)
}

// oneLine keeps a text from being read as more than one line of the protocol, or as terminal control.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return ' '
		}
		return c
	}, s)
}

// asRefusal passes a refusal on, and makes any other error one.
func asRefusal(err error, code access.Code) *access.Refusal {
	var why *access.Refusal
	if errors.As(err, &why) {
		own := *why
		return &own
	}
	return access.Refuse(code, err, "the gateway failed")
}
