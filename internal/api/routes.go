package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
	"gatebook/internal/attribution"
)

func (a *API) whoAmI(_ http.ResponseWriter, r call) (any, error) {
	out := client.WhoAmI{Principal: r.by, Session: a.o.Session(r.by), Roles: []string{}, Targets: list(a.o.Targets)}
	for _, role := range []Role{Approver, Auditor, Admin, BreakGlass, Restorer} {
		if a.o.May(r.by, role) {
			out.Roles = append(out.Roles, string(role))
		}
	}
	return out, nil
}

// list is what JSON writes as a list, also where there is nothing in it.
func list[T any](rows []T) []T {
	if rows == nil {
		return []T{}
	}
	return rows
}

// maxBehind bounds how long an answer waits for the index. What is not there by then is found later.
const maxBehind = 2 * time.Second

// index is what to look in. It has what was recorded before the call, so that who looks for what has just happened finds it.
func (a *API) index(r call) Index {
	ctx, cancel := context.WithTimeout(r.Context(), maxBehind)
	defer cancel()
	a.o.CatchUp(ctx)
	return a.o.Index
}

func (a *API) sessions(_ http.ResponseWriter, r call) (any, error) {
	f, err := sessionFilter(r.URL.Query(), a.o.Now())
	if err != nil {
		return nil, err
	}
	rows, next, err := a.index(r).Sessions(r.Context(), f)
	if err != nil {
		return nil, err
	}
	return client.Page[access.SessionSummary]{Items: list(rows), Next: next}, nil
}

func (a *API) operations(_ http.ResponseWriter, r call) (any, error) {
	f, err := operationFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	rows, next, err := a.index(r).Search(r.Context(), f)
	if err != nil {
		return nil, err
	}
	return client.Page[access.Record]{Items: list(rows), Next: next}, nil
}

func (a *API) record(r call) (access.Record, error) {
	id := r.PathValue("id")
	rec, ok, err := a.index(r).Operation(r.Context(), access.OperationID(id))
	if err == nil && !ok {
		err = notFound("operation", id)
	}
	return rec, err
}

func (a *API) operation(_ http.ResponseWriter, r call) (any, error) {
	rec, err := a.record(r)
	if err != nil {
		return nil, err
	}
	return rec, a.read(r, rec.Operation.Session, "operation "+string(rec.Operation.ID))
}

func (a *API) explain(_ http.ResponseWriter, r call) (any, error) {
	rec, err := a.record(r)
	if err != nil {
		return nil, err
	}
	if err := a.read(r, rec.Operation.Session, "explanation of operation "+string(rec.Operation.ID)); err != nil {
		return nil, err
	}
	return a.o.Explain(&rec), nil
}

// mayList says whether somebody sees the approvals of others.
func (a *API) mayList(p access.Principal) bool {
	return a.o.May(p, Approver) || a.o.May(p, Auditor) || a.o.May(p, BreakGlass)
}

// maySee says whether somebody sees this approval: who asked (and not an account made again under its name), who may be
// asked, and who sees all.
func (a *API) maySee(p access.Principal, x access.Approval) bool {
	asked := x.Operation.Principal
	return a.mayAsk(p, x) || asked.Key() == p.Key() && asked.Workload.ServiceAccountUID == p.Workload.ServiceAccountUID
}

// mayAsk says whether somebody sees this approval as more than the one who asks.
func (a *API) mayAsk(p access.Principal, x access.Approval) bool {
	return a.mayList(p) || approval.Named(x.Decision.Approval, p)
}

// seen gives an approval to who sees it; to anybody else there is none.
func (a *API) seen(r call) (access.Approval, error) {
	id := r.PathValue("id")
	x, err := a.o.Desk.Get(r.Context(), access.ApprovalID(id))
	if errors.Is(err, approval.ErrNotFound) || err == nil && !a.maySee(r.by, x) {
		return x, notFound("approval", id)
	}
	return x, err
}

// shown is an approval as p sees it. Who asks learns what was decided and by whom; how a rule failed is for operators,
// and of who answered the name is enough.
func (a *API) shown(p access.Principal, x access.Approval) access.Approval {
	if a.mayAsk(p, x) {
		return x
	}
	x.Decision.Rules = slices.Clone(x.Decision.Rules)
	for i := range x.Decision.Rules {
		x.Decision.Rules[i].Unknown, x.Decision.Rules[i].Error = nil, ""
	}
	x.Answers = slices.Clone(x.Answers)
	for i, ans := range x.Answers {
		x.Answers[i].Approver = access.Principal{Issuer: ans.Approver.Issuer, Name: ans.Approver.Name}
	}
	return x
}

func (a *API) approvals(_ http.ResponseWriter, r call) (any, error) {
	f, err := approvalFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	if !a.mayList(r.by) && !r.by.Workload.IsZero() { // policy names no workload as an approver
		f.Principal = r.by.Key()
	}
	rows, err := a.o.Desk.List(r.Context(), f)
	if err != nil {
		return nil, err
	}
	out := client.Page[access.Approval]{Items: []access.Approval{}}
	for _, x := range rows {
		if a.maySee(r.by, x) {
			out.Items = append(out.Items, a.shown(r.by, x))
		}
	}
	if len(rows) == 100 { // a full page of what is there, whatever of it may be seen
		out.Next = string(rows[99].ID)
	}
	return out, nil
}

func (a *API) approval(_ http.ResponseWriter, r call) (any, error) {
	x, err := a.seen(r)
	if err != nil {
		return nil, err
	}
	out := client.Approval{Approval: a.shown(r.by, x)}
	if a.mayAsk(r.by, x) {
		out.Links, err = attribution.Links(r.Context(), a.index(r), x.Operation)
	}
	return out, err
}

// answer is recorded by the desk before it is given.
func (a *API) answer(_ http.ResponseWriter, r call) (any, error) {
	var in client.Answer
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	x, err := a.seen(r)
	if err != nil {
		return nil, err
	}
	x, err = a.o.Desk.Answer(r.Context(), x.ID, access.Answer{Approver: r.by, Yes: in.Yes, Reason: in.Reason,
		Scope: in.Scope, For: in.For, BreakGlass: in.BreakGlass, Time: a.o.Now()})
	if err != nil {
		return nil, answerError(err)
	}
	return x, nil
}

// end takes back a yes; the desk says who may, and records it.
func (a *API) end(_ http.ResponseWriter, r call) (any, error) {
	var in client.Ending
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	x, err := a.seen(r)
	if err != nil {
		return nil, err
	}
	x, err = a.o.Desk.End(r.Context(), x.ID, r.by, in.Reason)
	if err != nil {
		return nil, answerError(err)
	}
	return x, nil
}

func answerError(err error) error {
	for _, known := range []struct {
		err    error
		status int
		code   access.Code
	}{
		{approval.ErrRequester, http.StatusForbidden, access.CodeDenied},
		{approval.ErrNotAllowed, http.StatusForbidden, access.CodeDenied},
		{approval.ErrTwice, http.StatusForbidden, access.CodeDenied},
		{approval.ErrAnswered, http.StatusConflict, access.CodeDenied},
		{approval.ErrUsed, http.StatusConflict, access.CodeDenied},
		{approval.ErrDenied, http.StatusConflict, access.CodeDenied},
		{approval.ErrExpired, http.StatusConflict, access.CodeApprovalExpired},
		{approval.ErrNotGranted, http.StatusConflict, access.CodeDenied},
		{approval.ErrInvalid, http.StatusBadRequest, access.CodeMalformed},
	} {
		if errors.Is(err, known.err) {
			return &client.Error{Status: known.status, Code: known.code, Message: err.Error()}
		}
	}
	if errors.Is(err, approval.ErrUnrecorded) {
		return access.Refuse(access.CodeNotRecorded, err, "%v", approval.ErrUnrecorded)
	}
	return err
}
