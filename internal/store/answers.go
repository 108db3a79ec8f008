package store

import (
	"context"
	"database/sql"
	"encoding/json"

	"gatebook/internal/access"
)

// addAnswers stores the answers that now has and was has not.
func addAnswers(ctx context.Context, tx *sql.Tx, was, now access.Approval) error {
	for i := len(was.Answers); i < len(now.Answers); i++ {
		body, err := json.Marshal(now.Answers[i])
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO answers (approval, n, body) VALUES (?, ?, ?)`, was.ID, i, string(body)); err != nil {
			return err
		}
	}
	return nil
}
