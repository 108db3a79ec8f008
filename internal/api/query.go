package api

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/store"
)

// query reads a client.Query. An unknown or malformed parameter is an error, never ignored.
type query struct {
	v   url.Values
	err error
}

func (q *query) take(k string) string {
	s := q.v[k]
	delete(q.v, k)
	if len(s) > 1 {
		q.fail("%s is given twice", k)
	}
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

func (q *query) fail(format string, args ...any) {
	if q.err == nil {
		q.err = malformed(format, args...)
	}
}

func (q *query) date(k string) time.Time {
	s := q.take(k)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		q.fail("%s: %q is not a time of RFC 3339, such as 2026-01-31T12:00:00Z", k, s)
	}
	return t
}

func (q *query) number(k string) int {
	s := q.take(k)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		q.fail("%s: %q is not a positive number", k, s)
	}
	return n
}

func (q *query) text(k string, into interface{ UnmarshalText([]byte) error }) bool {
	s := q.take(k)
	if s == "" {
		return false
	}
	if err := into.UnmarshalText([]byte(s)); err != nil {
		q.fail("%s: %v", k, err)
	}
	return true
}

func (q *query) flag(k string) *bool {
	s := q.take(k)
	if s == "" {
		return nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		q.fail("%s: %q is not true or false", k, s)
	}
	return &b
}

// done gives the first error, of which an unknown parameter is one.
func (q *query) done() error {
	for k := range q.v {
		q.fail("there is no parameter %q here", k)
	}
	return q.err
}

func operationFilter(v url.Values) (store.OperationFilter, error) {
	q := &query{v: v}
	f := store.OperationFilter{
		Text: q.take("text"), Principal: q.take("principal"), Namespace: q.take("namespace"), Verb: q.take("verb"),
		Resource: q.take("resource"), Target: q.take("target"), Session: access.SessionID(q.take("session")),
		Approval: access.ApprovalID(q.take("approval")), Refused: q.flag("refused"),
		Since: q.date("since"), Until: q.date("until"), Limit: q.number("limit"), Cursor: q.take("cursor"),
	}
	q.text("risk", &f.MinRisk)
	var e access.Effect
	if q.text("effect", &e) {
		f.Effect = &e
	}
	return f, q.done()
}

func approvalFilter(v url.Values) (access.ApprovalFilter, error) {
	q := &query{v: v}
	f := access.ApprovalFilter{}
	for _, s := range v["state"] {
		f.States = append(f.States, q.state(s))
	}
	delete(v, "state")
	f.Before = access.ApprovalID(q.take("cursor"))
	return f, q.done()
}

func (q *query) state(s string) access.ApprovalState {
	known := []access.ApprovalState{access.ApprovalPending, access.ApprovalGranted, access.ApprovalUsed, access.ApprovalDenied, access.ApprovalExpired, access.ApprovalEnded}
	if !slices.Contains(known, access.ApprovalState(s)) {
		q.fail("state: %q is none of %q", s, known)
	}
	return access.ApprovalState(s)
}

func sessionFilter(v url.Values, now time.Time) (store.SessionFilter, error) {
	q := &query{v: v}
	f := store.SessionFilter{
		ID: access.SessionID(q.take("session")), Principal: q.take("principal"), Target: q.take("target"),
		Since: q.date("since"), Until: q.date("until"), Limit: q.number("limit"), Cursor: q.take("cursor"), Now: now,
	}
	q.text("risk", &f.MinRisk)
	return f, q.done()
}
