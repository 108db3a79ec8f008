package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
)

// ErrCursor says that a cursor was not given by the list that it is used for.
var ErrCursor = errors.New("the cursor was not given by this list")

// OperationFilter selects operations, newest first. The zero filter selects all.
type OperationFilter struct {
	// Text is words as a person types them, all of which must begin a word of the command, the principal's name,
	// what it acts on, or why it was refused. No character in it has a special meaning.
	Text      string
	Principal string // a Principal.Name, or a Principal.Key
	Namespace string
	Verb      string
	Resource  string // with "/subresource" where there is one
	Target    string
	Session   access.SessionID
	Approval  access.ApprovalID
	MinRisk   access.Risk
	Effect    *access.Effect
	// Refused selects those that did not run (true) or did (false).
	Refused *bool
	// Since is inclusive, Until exclusive.
	Since, Until time.Time
	// Limit is the most to give; at most and by default 100.
	Limit int
	// Cursor is what the page before gave.
	Cursor string
}

// Search gives a page of operations, without their documents, and the cursor of the next page, empty where this is the
// last. An operation that is added later never moves another to a page where it was not.
func (s *Store) Search(ctx context.Context, f OperationFilter) ([]access.Record, string, error) {
	c, err := operationConditions(f)
	if err != nil {
		return nil, "", err
	}
	n := limit(f.Limit)
	from, seq := `operations o`, `o.seq`
	if match(f.Text) != "" { // the text search leads, newest first, and stops when the page is full
		from, seq = `operations_text t CROSS JOIN operations o ON o.seq = t.rowid`, `t.rowid`
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+recordColumns+`, o.seq FROM `+from+` WHERE `+c.where()+` ORDER BY `+seq+` DESC LIMIT ?`, append(c.args, n+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("searching operations: %w", err)
	}
	defer rows.Close()
	var out []access.Record
	var last int64 // of the page
	for rows.Next() {
		var seq int64
		r, err := scanRecord(rows, &seq)
		if err != nil {
			return nil, "", fmt.Errorf("searching operations: %w", err)
		}
		if out = append(out, r); len(out) == n {
			last = seq
		}
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("searching operations: %w", err)
	}
	if len(out) <= n {
		return out, "", nil
	}
	return out[:n], strconv.FormatInt(last, 10), nil
}

func operationConditions(f OperationFilter) (conditions, error) {
	var c conditions
	if q := match(f.Text); q != "" {
		c.add("operations_text MATCH ?", q)
	}
	by := "o.name"
	if strings.Contains(f.Principal, "|") {
		by = "o.principal"
	}
	for _, eq := range []struct{ column, value string }{
		{by, f.Principal}, {"o.namespace", f.Namespace}, {"o.verb", f.Verb}, {"o.resource", f.Resource},
		{"o.target", f.Target}, {"o.session", string(f.Session)}, {"o.approval", string(f.Approval)},
	} {
		if eq.value != "" {
			c.add(eq.column+" = ?", eq.value)
		}
	}
	if f.Namespace != "" { // as its index says of itself
		c.add("o.namespace <> ''")
	}
	if f.MinRisk > 0 {
		c.add("o.risk >= ?", int64(f.MinRisk))
	}
	if f.Effect != nil {
		c.add("o.effect = ?", int64(*f.Effect))
	}
	if f.Refused != nil {
		c.add("(o.refused IS NOT NULL) = ?", *f.Refused)
	}
	if !f.Since.IsZero() {
		c.add("o.seq >= ?", nanos(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("o.seq < ?", nanos(f.Until))
	}
	if f.Cursor != "" {
		seq, err := strconv.ParseInt(f.Cursor, 10, 64)
		if err != nil {
			return c, ErrCursor
		}
		c.add("o.seq < ?", seq)
	}
	return c, nil
}

// match makes an FTS5 query of what a person typed: each word a quoted string, in which nothing is special but the
// quote, which is doubled; all must be met, each as a prefix.
func match(text string) string {
	var q []string
	for _, w := range strings.Fields(strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", " "), " ")) {
		q = append(q, `"`+strings.ReplaceAll(w, `"`, `""`)+`"*`)
	}
	return strings.Join(q, " ")
}

// conditions are joined by AND.
type conditions struct {
	conds []string
	args  []any
}

func (c *conditions) add(cond string, args ...any) {
	c.conds, c.args = append(c.conds, cond), append(c.args, args...)
}

func (c *conditions) where() string {
	if len(c.conds) == 0 {
		return "true"
	}
	return strings.Join(c.conds, " AND ")
}
