package api

import (
	"errors"
	"net/http"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
)

func (a *API) whoAmI(_ http.ResponseWriter, r call) (any, error) {
	out := client.WhoAmI{Principal: r.by, Session: a.o.Session(r.by), Roles: []string{}, Targets: a.o.Targets}
	for _, role := range []Role{Approver, Auditor, Admin, BreakGlass} {
		if a.o.May(r.by, role) {
			out.Roles = append(out.Roles, string(role))
		}
	}
	return out, nil
}

func (a *API) sessions(_ http.ResponseWriter, r call) (any, error) {
	f, err := sessionFilter(r.URL.Query(), a.o.Now())
	if err != nil {
		return nil, err
	}
	rows, next, err := a.o.Index.Sessions(r.Context(), f)
	if err != nil {
		return nil, err
	}
	out := client.Page[client.Session]{Items: make([]client.Session, len(rows)), Next: next}
	for i, s := range rows {
		out.Items[i] = client.Session(s)
	}
	return out, nil
}

func (a *API) operations(_ http.ResponseWriter, r call) (any, error) {
	f, err := operationFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	rows, next, err := a.o.Index.Search(r.Context(), f)
	if err != nil {
		return nil, err
	}
	return client.Page[access.Record]{Items: rows, Next: next}, nil
}

func (a *API) record(r call) (access.Record, error) {
	id := r.PathValue("id")
	rec, ok, err := a.o.Index.Operation(r.Context(), access.OperationID(id))
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
	return a.o.Explain(&rec.Operation), nil
}

// mayList says whether somebody sees the approvals of others.
func (a *API) mayList(p access.Principal) bool {
	return a.o.May(p, Approver) || a.o.May(p, Auditor) || a.o.May(p, BreakGlass)
}

// maySee says whether somebody sees this approval: who asked, who may be asked, and who sees all.
func (a *API) maySee(p access.Principal, x access.Approval) bool {
	return a.mayList(p) || x.Operation.Principal.Key() == p.Key() || named(x.Decision.Approval, p)
}

// named reports whether policy names p among those who may answer.
func named(t *access.ApprovalTerms, p access.Principal) bool {
	return t != nil && (slices.Contains(t.Users, p.Name) || slices.ContainsFunc(t.Groups, p.InGroup))
}

func (a *API) approvals(_ http.ResponseWriter, r call) (any, error) {
	q := r.URL.Query()
	f := access.ApprovalFilter{Before: access.ApprovalID(q.Get("cursor"))}
	for _, s := range q["state"] {
		f.States = append(f.States, access.ApprovalState(s))
	}
	rows, err := a.o.Desk.List(r.Context(), f)
	if err != nil {
		return nil, err
	}
	out := client.Page[access.Approval]{Items: []access.Approval{}}
	for _, x := range rows {
		if a.maySee(r.by, x) {
			out.Items = append(out.Items, x)
		}
	}
	if len(rows) == 100 { // a full page of what is there, whatever of it may be seen
		out.Next = string(rows[99].ID)
	}
	return out, nil
}

func (a *API) approval(_ http.ResponseWriter, r call) (any, error) {
	id := r.PathValue("id")
	x, err := a.o.Desk.Get(r.Context(), access.ApprovalID(id))
	if errors.Is(err, approval.ErrNotFound) || err == nil && !a.maySee(r.by, x) {
		return nil, notFound("approval", id)
	}
	return x, err
}

// answer is recorded by the desk's events, which precede what the answer sets free.
func (a *API) answer(_ http.ResponseWriter, r call) (any, error) {
	var in client.Answer
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	x, err := a.o.Desk.Get(r.Context(), access.ApprovalID(id))
	if errors.Is(err, approval.ErrNotFound) || err == nil && !a.maySee(r.by, x) {
		return nil, notFound("approval", id)
	}
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
		{approval.ErrInvalid, http.StatusBadRequest, access.CodeMalformed},
	} {
		if errors.Is(err, known.err) {
			return &client.Error{Status: known.status, Code: known.code, Message: err.Error()}
		}
	}
	return err
}

func (a *API) revocations(_ http.ResponseWriter, r call) (any, error) {
	rows, err := a.o.Index.Revocations(r.Context(), a.o.Now())
	return client.Page[access.Revocation]{Items: rows}, err
}

func (a *API) revoke(_ http.ResponseWriter, r call) (any, error) {
	var in access.Revocation
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	set := 0
	for _, s := range []string{in.Subject, string(in.Session), in.TokenID} {
		if s != "" {
			set++
		}
	}
	if set != 1 || in.Reason == "" {
		return nil, &client.Error{Status: http.StatusBadRequest, Code: access.CodeMalformed,
			Message: "say what is revoked by one of subject (issuer|subject), session and tokenId, and give a reason"}
	}
	now := a.o.Now()
	in.ID, in.By, in.Time = access.NewID(now), r.by.Key(), now
	if err := a.o.Note(string(in.Session), "revocation", in); err != nil {
		return nil, access.Refuse(access.CodeNotRecorded, err, "the revocation could not be recorded, so it was not made")
	}
	return in, a.o.Revoke(r.Context(), in)
}
