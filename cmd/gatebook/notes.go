package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/api"
	"gatebook/internal/approval"
)

// noteText says in a line what a note tells; a note of a kind that it does not know, or that is not as expected, whole.
func noteText(kind string, data []byte) string {
	var text string
	var err error
	switch {
	case kind == "reading":
		text, err = say(data, func(r api.Reading) string { return fmt.Sprintf("%s read %s, from %s", r.Name, r.What, r.Address) })
	case kind == noteRevoked:
		text, err = say(data, func(r access.Revocation) string { return strings.TrimSpace(revocationLine(r)) })
	case kind == noteRestored:
		text, err = say(data, func(r access.Restoration) string {
			return fmt.Sprintf("by %s: %s; it was %s", r.By, r.Reason, strings.TrimSpace(revocationLine(r.Revocation)))
		})
	case kind == "retention":
		text, err = say(data, func(p pruned) string {
			return fmt.Sprintf("%d %s from before %s, kept for %s", p.Count, p.What, stamp(p.Before), p.Kept)
		})
	case strings.HasPrefix(kind, noteApproval):
		text, err = say(data, approvalText)
	}
	if text == "" || err != nil {
		return string(data)
	}
	return text
}

func say[T any](data []byte, text func(T) string) (string, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return "", err
	}
	return text(v), nil
}

func approvalText(e approval.Event) string {
	out := fmt.Sprintf("%s is %s", e.Approval.ID, e.Approval.State)
	if e.Kind == approval.Void {
		return fmt.Sprintf("%s: what was noted last was not done", e.Approval.ID)
	}
	if !e.Answer.Approver.IsZero() {
		said := "no"
		if e.Answer.Yes {
			said = "yes, " + scopeWord(e.Answer.Scope)
		}
		out += fmt.Sprintf(", %s by %s: %s", said, e.Answer.Approver.Name, e.Answer.Reason)
	}
	if e.Operation != "" {
		out += fmt.Sprintf(", by operation %s", e.Operation)
	}
	return out + ": " + e.Approval.Operation.Command
}
