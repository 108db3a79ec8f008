package postgres

import (
	"errors"
	"strconv"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// states map each refusal to an SQLSTATE (PostgreSQL's Appendix A) that says nearest what it is.
var states = map[access.Code]string{
	access.CodeUnauthenticated: "28P01", // invalid_password
	access.CodeRevoked:         "57P01", // admin_shutdown
	access.CodeDenied:          "42501", // insufficient_privilege
	access.CodeApprovalPending: "42501",
	access.CodeApprovalDenied:  "42501",
	access.CodeApprovalExpired: "42501",
	access.CodeMalformed:       "42601", // syntax_error
	access.CodeTooLarge:        "54000", // program_limit_exceeded
	access.CodeUnmaskable:      "0A000", // feature_not_supported
	access.CodePlaceholder:     "22000", // data_exception
	access.CodeNotRecorded:     "58000", // system_error
	access.CodeUpstream:        "08006", // connection_failure
	access.CodeDraining:        "57P01",
	access.CodeInternal:        "XX000",
}

// refusalFields is what psql prints of a refusal: what and why, the rule and the operation as DETAIL, what to do as HINT.
func refusalFields(severity string, why *access.Refusal) []wire.Report {
	var said *grammar.SyntaxError
	if errors.As(why.Cause, &said) { // in the server's words, whose parser it is, so that a client shows where it stands
		out := []wire.Report{{Code: 'S', Text: severity}, {Code: 'V', Text: severity}, {Code: 'C', Text: states[why.Code]}, {Code: 'M', Text: said.Message}, {Code: 'D', Text: said.Detail}, {Code: 'H', Text: said.Hint}, {Code: 'F', Text: "gatebook"}}
		if said.Position > 0 {
			out = append(out, wire.Report{Code: 'P', Text: strconv.Itoa(said.Position)})
		}
		return out
	}
	state, ok := states[why.Code]
	if !ok {
		state = states[access.CodeInternal]
	}
	var rules []string
	for _, r := range why.Decision.Rules {
		if r.Effect == why.Decision.Effect && (why.Code == access.CodeDenied || why.Code == access.CodeApprovalPending || why.Code == access.CodeApprovalDenied) {
			rules = append(rules, r.ID)
		}
	}
	var detail []string
	if len(rules) > 0 {
		detail = append(detail, "Rule "+strings.Join(rules, ", ")+".")
	}
	if why.Approval != "" {
		detail = append(detail, "Approval "+string(why.Approval)+".")
	}
	if why.Operation != "" {
		detail = append(detail, "Operation "+string(why.Operation)+".")
	}
	return []wire.Report{{Code: 'S', Text: severity}, {Code: 'V', Text: severity}, {Code: 'C', Text: state},
		{Code: 'M', Text: "gatebook: " + strings.TrimSuffix(why.Message, ".")}, {Code: 'D', Text: strings.Join(detail, " ")}, {Code: 'H', Text: why.Advice}}
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
