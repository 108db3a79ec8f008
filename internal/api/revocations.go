package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/archive"
)

func (a *API) revocations(_ http.ResponseWriter, r call) (any, error) {
	rows, err := a.o.Index.Revocations(r.Context(), a.o.Now())
	return client.Page[access.Revocation]{Items: list(rows)}, err
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

// undo takes a revocation back. Who is revoked cannot do it for themselves, under whichever other token.
func (a *API) undo(_ http.ResponseWriter, r call) (any, error) {
	var in client.Ending
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	now, id := a.o.Now(), r.PathValue("id")
	rows, err := a.o.Index.Revocations(r.Context(), now)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(rows, func(x access.Revocation) bool { return x.ID == id })
	switch {
	case at < 0:
		return nil, notFound("revocation in force", id)
	case strings.TrimSpace(in.Reason) == "":
		return nil, malformed("say why it is taken back, by reason")
	case rows[at].Covers(r.by, a.o.Session(r.by), now):
		return nil, &client.Error{Status: http.StatusForbidden, Code: access.CodeDenied, Message: "nobody takes back what revokes themselves"}
	}
	out := access.Restoration{Revocation: rows[at], Reason: in.Reason, By: r.by.Key(), Time: now}
	if err := a.o.Note(string(rows[at].Session), "revocation.undone", out); err != nil {
		return nil, access.Refuse(access.CodeNotRecorded, err, "that the revocation is taken back could not be recorded, so it was not done")
	}
	return out, a.o.Restore(r.Context(), id)
}
