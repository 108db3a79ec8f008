package store

import (
	"context"
	"database/sql"
	"errors"

	"gatebook/internal/access"
)

// RestoreApproval takes an approval as the record has it, and the operation that used it, if any. It goes forward only:
// what is as far or further stays as it is. It does nothing where another open approval holds slot.
func (s *Store) RestoreApproval(ctx context.Context, a access.Approval, slot string, use access.OperationID) error {
	_, err := changed("restoring approval", s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := restoreApproval(ctx, tx, a, slot); err != nil || use == "" {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO approval_uses (approval, operation) VALUES (?, ?) ON CONFLICT DO NOTHING`, a.ID, use)
		return err
	}))
	return err
}

func restoreApproval(ctx context.Context, tx *sql.Tx, a access.Approval, slot string) error {
	was := access.Approval{ID: a.ID}
	var answers int
	err := tx.QueryRowContext(ctx, `SELECT state, (SELECT count(*) FROM answers WHERE approval = approvals.id) FROM approvals WHERE id = ?`, a.ID).
		Scan(&was.State, &answers)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if err := insertApproval(ctx, tx, a, slot); err != nil {
			return err
		}
		return addAnswers(ctx, tx, was, a)
	case err != nil:
		return err
	case !further(a, was.State, answers):
		return nil
	}
	was.Answers = a.Answers[:answers]
	return replaceApproval(ctx, tx, was, a, slot)
}

// further reports whether a is a later version than the state and the number of answers.
func further(a access.Approval, state access.ApprovalState, answers int) bool {
	rank := func(s access.ApprovalState) int {
		switch s {
		case access.ApprovalPending:
			return 0
		case access.ApprovalGranted:
			return 1
		}
		return 2
	}
	switch was, now := rank(state), rank(a.State); {
	case len(a.Answers) < answers:
		return false
	case now == was:
		return now < 2 && len(a.Answers) > answers
	default:
		return now > was
	}
}
