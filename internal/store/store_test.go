package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

func open(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func fresh(t testing.TB) *Store { return open(t, filepath.Join(t.TempDir(), "index.db"), Options{}) }

// A path is a path, whatever is in it; nobody else reads the files.
func TestOpenFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new dir", "a b?c=d#e%41.db")
	s := open(t, path, Options{})
	if err := s.PutKnownValues(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		fi, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", fi.Name(), fi.Mode())
		}
	}
	var sync, mode string
	err := s.write.QueryRowContext(t.Context(), "SELECT s.synchronous, m.journal_mode FROM pragma_synchronous s, pragma_journal_mode m").Scan(&sync, &mode)
	if err != nil || sync != "2" || mode != "wal" {
		t.Errorf("synchronous %s, journal mode %s (%v)", sync, mode, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	s := open(t, newer, Options{})
	if _, err := s.write.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{garbage: "not a database", newer: "made by a newer gatebook", dir: "is a directory"} {
		if _, err := Open(t.Context(), path, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(path), err, want)
		}
	}
}

// What ends before it has its turn changes nothing; what has begun is finished.
func TestUpdateIsWhole(t *testing.T) {
	s := fresh(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutKnownValues(gone, []byte("a")); err == nil {
		t.Error("a change under a context that had ended")
	}
	if b, err := s.KnownValues(t.Context()); err != nil || b != nil {
		t.Errorf("%q %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.update(ctx, func(inner context.Context, tx *sql.Tx) error {
		cancel()
		_, err := tx.ExecContext(inner, "INSERT INTO known_values (one, body) VALUES (1, 'b')")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	err = s.update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM known_values"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "nonsense")
		return err
	})
	if b, rerr := s.KnownValues(t.Context()); err == nil || rerr != nil || string(b) != "b" {
		t.Errorf("%v; %q %v", err, b, rerr)
	}
}

func TestRevocations(t *testing.T) {
	s := fresh(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	rs := []access.Revocation{
		{ID: "1", Subject: "a|b", Reason: "left", By: "idp|ada", Time: at},
		{ID: "2", Session: "s", Reason: "odd", By: "idp|ada", Time: at, Until: at.Add(time.Hour)},
	}
	for _, r := range append(rs, rs...) {
		if err := s.PutRevocation(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Revocations(t.Context(), at.Add(time.Hour-1))
	if diff := cmp.Diff(rs, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	got, err = s.Revocations(t.Context(), at.Add(time.Hour))
	if diff := cmp.Diff(rs[:1], got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestMessages(t *testing.T) {
	var log strings.Builder
	s := open(t, filepath.Join(t.TempDir(), "index.db"), Options{MaxMessages: 3, Log: slog.New(slog.NewTextHandler(&log, nil))})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 5 {
		a := access.Approval{ID: access.ApprovalID(fmt.Sprint(i)), Created: at.Add(time.Duration(i) * time.Second)}
		ok, err := s.CreateApproval(t.Context(), a, fmt.Sprint("slot", i), 64, []byte(fmt.Sprint("message ", i)))
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if ok, err := s.CreateApproval(t.Context(), access.Approval{ID: "x", Created: at}, "slot1", 64, []byte("never")); ok || err != nil {
		t.Errorf("a slot was taken twice: %v %v", ok, err)
	}
	if n := strings.Count(log.String(), "dropped=1"); n != 2 {
		t.Errorf("said %d times that messages were dropped, want 2: %s", n, &log)
	}
	var got []string
	for delayed := false; ; {
		m, ok, err := s.NextMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, fmt.Sprintf("%s/%d/%v", m.Body, m.Attempts, m.Due.Sub(m.Created)))
		if !delayed {
			delayed = true
			if err := s.DelayMessage(t.Context(), m.ID, at.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := s.FinishMessage(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"message 2/0/0s", "message 3/0/0s", "message 4/0/0s", "message 2/1/59m58s"}, got); diff != "" {
		t.Error(diff)
	}
}

// A replacement compares with what is there, and does nothing or everything.
func TestReplaceApprovalCompares(t *testing.T) {
	s := fresh(t)
	ctx, at := t.Context(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	was := access.Approval{ID: "1", State: access.ApprovalPending, Created: at, Expires: at.Add(time.Hour)}
	if ok, err := s.CreateApproval(ctx, was, "slot", 64); !ok || err != nil {
		t.Fatal(ok, err)
	}
	now := was
	now.State, now.Scope, now.ValidUntil = access.ApprovalGranted, access.ScopeTime, at.Add(time.Minute)
	now.Answers = []access.Answer{{Approver: access.Principal{Issuer: "i", Subject: "s"}, Yes: true, Scope: access.ScopeTime, For: time.Minute, Time: at}}
	for i, want := range []bool{true, false} {
		if ok, err := s.ReplaceApproval(ctx, was, now, "slot", "", at); ok != want || err != nil {
			t.Errorf("answer %d: %v %v", i, ok, err)
		}
	}
	stale := now
	stale.Answers = nil
	if ok, err := s.ReplaceApproval(ctx, stale, now, "slot", "", at); ok || err != nil {
		t.Errorf("with the right state and the wrong answers: %v %v", ok, err)
	}
	for i, want := range []bool{true, false} {
		if ok, err := s.ReplaceApproval(ctx, now, now, "slot", "op", at, []byte("m")); ok != want || err != nil {
			t.Errorf("use %d: %v %v", i, ok, err)
		}
	}
	used := now
	used.State, used.UsedBy = access.ApprovalUsed, "op 2"
	for i, want := range []bool{true, false} {
		if ok, err := s.ReplaceApproval(ctx, now, used, "", access.OperationID(fmt.Sprint("op ", i+2)), at); ok != want || err != nil {
			t.Errorf("from a state that it has left, %d: %v %v", i, ok, err)
		}
	}
	got, err := s.Approvals(ctx, access.ApprovalFilter{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]access.Approval{used}, got); diff != "" {
		t.Error(diff)
	}
	var n int
	if err := s.read.QueryRowContext(ctx, "SELECT count(*) FROM messages").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d messages (%v): a refused change left one", n, err)
	}
}

func TestApprovalsFilter(t *testing.T) {
	s := fresh(t)
	ctx, at := t.Context(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, st := range []access.ApprovalState{access.ApprovalPending, access.ApprovalGranted, access.ApprovalUsed, access.ApprovalPending} {
		a := access.Approval{ID: access.ApprovalID(fmt.Sprint(i)), State: st, Binding: access.Digest{byte(i/2 + 1)}, Created: at, Card: access.Card{Object: "o"},
			Expires: at.Add(time.Duration(i) * time.Minute), ValidUntil: at.Add(time.Duration(i) * time.Minute)}
		a.Operation.Session, a.Operation.Principal = access.SessionID(fmt.Sprint("s", i%2)), access.Principal{Issuer: "i", Subject: fmt.Sprint(i % 2)}
		slot := fmt.Sprint(i)
		if st == access.ApprovalUsed {
			slot = ""
		}
		if ok, err := s.CreateApproval(ctx, a, slot, 64); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	for name, c := range map[string]struct {
		f    access.ApprovalFilter
		want string
	}{
		"all":       {access.ApprovalFilter{}, "3210"},
		"id":        {access.ApprovalFilter{ID: "2"}, "2"},
		"none":      {access.ApprovalFilter{ID: "2' OR true --"}, ""},
		"binding":   {access.ApprovalFilter{Binding: access.Digest{1}}, "10"},
		"states":    {access.ApprovalFilter{States: []access.ApprovalState{access.ApprovalGranted, access.ApprovalUsed}}, "21"},
		"session":   {access.ApprovalFilter{Session: "s1"}, "31"},
		"principal": {access.ApprovalFilter{Principal: "i|0"}, "20"},
		"due":       {access.ApprovalFilter{Due: at.Add(time.Minute)}, "10"},
		"due later": {access.ApprovalFilter{Due: at.Add(time.Hour)}, "310"},
		"page":      {access.ApprovalFilter{Before: "3", Limit: 2}, "21"},
		"brief":     {access.ApprovalFilter{ID: "0", Brief: true}, "0"},
	} {
		got, err := s.Approvals(ctx, c.f)
		ids := ""
		for _, a := range got {
			ids += string(a.ID)
			if (a.Card.Object == "") != c.f.Brief {
				t.Errorf("%s: card %+v", name, a.Card)
			}
		}
		if err != nil || ids != c.want {
			t.Errorf("%s: got %q (%v), want %q", name, ids, err, c.want)
		}
	}
	if n, err := s.CountPending(ctx, "i|1", at); err != nil || n != 1 {
		t.Errorf("%d pending (%v), want 1", n, err)
	}
	if n, err := s.CountPending(ctx, "i|0", at); err != nil || n != 0 {
		t.Errorf("%d pending (%v): one that has lapsed counts", n, err)
	}
}
