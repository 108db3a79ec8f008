package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
	"gatebook/internal/archive"
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
	return client.Page[access.SessionSummary]{Items: rows, Next: next}, nil
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
	return a.mayAsk(p, x) || x.Operation.Principal.Key() == p.Key()
}

// mayAsk says whether somebody sees this approval as more than the one who asks.
func (a *API) mayAsk(p access.Principal, x access.Approval) bool {
	return a.mayList(p) || approval.Named(x.Decision.Approval, p)
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
	id := r.PathValue("id")
	x, err := a.o.Desk.Get(r.Context(), access.ApprovalID(id))
	if errors.Is(err, approval.ErrNotFound) || err == nil && !a.maySee(r.by, x) {
		return nil, notFound("approval", id)
	}
	return a.shown(r.by, x), err
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

// revocable refuses what would take nothing back, though it looks as if.
func revocable(r access.Revocation, now time.Time) error {
	set := 0
	for _, s := range []string{r.Subject, string(r.Session), r.TokenID} {
		if s != "" {
			set++
		}
	}
	issuer, subject, _ := strings.Cut(r.Subject, "|")
	switch {
	case set != 1 || strings.TrimSpace(r.Reason) == "":
		return malformed("say what is revoked by one of subject (issuer|subject), session and tokenId, and give a reason")
	case r.Subject != "" && (issuer == "" || subject == ""):
		return malformed("subject: %q is not issuer|subject, as whoami and records show it", r.Subject)
	case r.Session != "" && archive.CheckSession(string(r.Session)) != nil:
		return malformed("session: %q is not a session", r.Session)
	case !r.Until.IsZero() && !r.Until.After(now):
		return malformed("until: %s has passed", r.Until.Format(time.RFC3339))
	}
	return nil
}

func (a *API) revoke(_ http.ResponseWriter, r call) (any, error) {
	var in access.Revocation
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	now := a.o.Now()
	if err := revocable(in, now); err != nil {
		return nil, err
	}
	in.ID, in.By, in.Time = access.NewID(now), r.by.Key(), now
	if err := a.o.Note(string(in.Session), "revocation", in); err != nil {
		return nil, access.Refuse(access.CodeNotRecorded, err, "the revocation could not be recorded, so it was not made")
	}
	return in, a.o.Revoke(r.Context(), in)
}
