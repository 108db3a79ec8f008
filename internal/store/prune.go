package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"gatebook/internal/access"
)

// Prunable names what can be pruned.
type Prunable string

const (
	Operations  Prunable = "operations"  // that have ended
	Sessions    Prunable = "sessions"    // of which no operation is left
	Approvals   Prunable = "approvals"   // that are settled, and could no longer be used anyway
	Revocations Prunable = "revocations" // that have lapsed
	Notices     Prunable = "notices"     // for the webhook
)

// pruning is how one thing is pruned: which, as keys in an order, at a time in nanoseconds (?1) and an identifier of that
// time (?2); and what to remove of them, a JSON list.
type pruning struct {
	keys   string
	remove []string
}

func prunings(what Prunable) (pruning, bool) {
	const these = ` IN (SELECT value FROM json_each(?))`
	p, ok := map[Prunable]pruning{
		Operations: {`SELECT seq FROM operations WHERE seq < ?1 AND running = 0 AND ?2 <> '' AND
			time + coalesce(max(json_extract(outcome, '$.durationNs'), 0), 0) < ?1 ORDER BY seq`,
			[]string{`DELETE FROM causes WHERE operation IN (SELECT id FROM operations WHERE seq` + these + `)`,
				`DELETE FROM call_results WHERE EXISTS (SELECT 1 FROM calls c JOIN operations o ON o.id = c.turn WHERE c.session = call_results.session AND c.id = call_results.call AND o.seq` + these + `)`,
				`DELETE FROM calls WHERE turn IN (SELECT id FROM operations WHERE seq` + these + `)`,
				`DELETE FROM operations_text WHERE rowid` + these, `DELETE FROM operations WHERE seq` + these}},
		Sessions: {`SELECT id FROM sessions WHERE started < ?1 AND last < ?1 AND ?2 <> '' AND
			NOT EXISTS (SELECT 1 FROM operations WHERE session = sessions.id) ORDER BY started`,
			[]string{`DELETE FROM conversations WHERE session` + these, `DELETE FROM session_targets WHERE session` + these, `DELETE FROM sessions WHERE id` + these}},
		Approvals: {`SELECT id FROM approvals WHERE id < ?2 AND slot IS NULL AND max(created, expires, valid_until) < ?1 ORDER BY id`,
			[]string{`DELETE FROM approval_uses WHERE approval` + these, `DELETE FROM answers WHERE approval` + these, `DELETE FROM approvals WHERE id` + these}},
		Revocations: {`SELECT id FROM revocations WHERE until <> 0 AND until < ?1 AND ?2 <> '' ORDER BY id`,
			[]string{`DELETE FROM revocations WHERE id` + these}},
		Notices: {`SELECT id FROM messages WHERE created < ?1 AND id < ?2 ORDER BY id`,
			[]string{`DELETE FROM messages WHERE id` + these}},
	}[what]
	return p, ok
}

// CountPrunable counts what Prune would remove.
func (s *Store) CountPrunable(ctx context.Context, what Prunable, before time.Time) (int, error) {
	p, ok := prunings(what)
	if !ok {
		return 0, fmt.Errorf("there are no %q to prune", what)
	}
	var n int
	err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM (`+p.keys+`)`, nanos(before), access.NewID(before)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting %s to prune: %w", what, err)
	}
	return n, nil
}

// Prune removes the oldest of what ended before before, at most most of them, as one short step, and gives how many that
// were. The file does not become smaller; what is added later takes the room.
func (s *Store) Prune(ctx context.Context, what Prunable, before time.Time, most int) (int, error) {
	p, ok := prunings(what)
	if !ok {
		return 0, fmt.Errorf("there are no %q to prune", what)
	}
	keys, err := list[any](ctx, s.read, p.keys+` LIMIT ?3`, nanos(before), access.NewID(before), most)
	if err == nil && len(keys) > 0 {
		err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error { return removeAll(ctx, tx, p.remove, keys) })
	}
	if err != nil {
		return 0, fmt.Errorf("pruning %s: %w", what, err)
	}
	return len(keys), nil
}

func removeAll(ctx context.Context, tx *sql.Tx, statements []string, keys []any) error {
	b, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	for _, q := range statements {
		if _, err := tx.ExecContext(ctx, q, string(b)); err != nil {
			return err
		}
	}
	return nil
}
