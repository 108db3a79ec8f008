package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatebook/internal/access"
)

// modelUse adds up by session, conversation and hour, all sessions that were used since a time. The calls that were under
// way when the gateway died come one by one, with their model and their length: nobody counted what they used.
const modelUse = `SELECT o.session, o.body ->> '$.principal', coalesce(o.body ->> '$.model.conversation', ''), max(o.seq),
	sum(coalesce(o.outcome ->> '$.answer.inputTokens', 0) + coalesce(o.outcome ->> '$.answer.outputTokens', 0)
	  + coalesce(o.outcome ->> '$.answer.cacheReadTokens', 0) + coalesce(o.outcome ->> '$.answer.cacheWriteTokens', 0)),
	sum(coalesce(o.outcome ->> '$.answer.cost', 0)), '', 0, 0, min(o.seq) AS first
	FROM operations o JOIN sessions s ON s.id = o.session
	WHERE o.target = ?1 AND s.last >= ?2 AND o.outcome ->> '$.answer' IS NOT NULL
	GROUP BY o.session, o.principal, 3, o.seq / 3600000000000
UNION ALL SELECT o.session, o.body ->> '$.principal', coalesce(o.body ->> '$.model.conversation', ''), o.seq, 0, 0, o.body ->> '$.model.model',
	coalesce(o.outcome ->> '$.requestBytes', 0), coalesce(o.outcome ->> '$.responseBytes', 0), o.seq
	FROM operations o JOIN sessions s ON s.id = o.session
	WHERE o.target = ?1 AND s.last >= ?2 AND o.outcome ->> '$.truncated' IS NOT NULL AND o.outcome ->> '$.answer' IS NULL
	AND o.body ->> '$.model.reservedTokens' > 0
ORDER BY first`

// ModelUse gives what was used of a model's target by the sessions that were used since then, the earliest first, so that
// budgets go on where they were.
func (s *Store) ModelUse(ctx context.Context, target string, since time.Time) ([]access.ModelUse, error) {
	rows, err := s.read.QueryContext(ctx, modelUse, target, nanos(since))
	if err != nil {
		return nil, fmt.Errorf("reading what was used of a model: %w", err)
	}
	defer rows.Close()
	var out []access.ModelUse
	for rows.Next() {
		var u access.ModelUse
		var by string
		var at, first int64
		if err := rows.Scan(&u.Session, &by, &u.Conversation, &at, &u.Tokens, &u.Cost, &u.Model, &u.RequestBytes, &u.ResponseBytes, &first); err != nil {
			return nil, fmt.Errorf("reading what was used of a model: %w", err)
		}
		if err := json.Unmarshal([]byte(by), &u.Principal); err != nil {
			return nil, fmt.Errorf("reading what was used of a model: %w", err)
		}
		u.Time = timeOf(at)
		out = append(out, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading what was used of a model: %w", err)
	}
	return out, nil
}
