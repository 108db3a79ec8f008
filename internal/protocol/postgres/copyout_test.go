package postgres

import (
	"slices"
	"strings"
	"testing"

	wire "gatebook/internal/wire/postgres"
)

// copied gives the rows of a COPY to the client as they come, message by message.
func (x *client) copied(sql string) (rows []string) {
	x.t.Helper()
	var b wire.Builder
	query(&b, sql)
	x.send(b.Bytes)
	for {
		m, err := x.in.Next()
		must(x.t, err)
		switch m.Type {
		case wire.CopyData:
			rows = append(rows, string(m.Body))
		case wire.ErrorResponse:
			x.t.Fatalf("%s: %q", sql, m.Body)
		case wire.ReadyForQuery:
			return rows
		}
	}
}

// Each row of a COPY is a message, as the server sends it, in every format, also where something in it is replaced: libpq and
// others give them on one by one.
func TestCopiedRowsStayApart(t *testing.T) {
	const secret = "correct-horse-battery-staple-1234567890"
	w := newWorld(t, func(o *Options) { o.Masks.Learn([]byte(secret)) }, "create table t (id int, note text)", "insert into t select i, case i when 700 then '"+secret+`' else E'two\nlines "' || repeat('x', i) end from generate_series(1, 900) i`)
	x := w.connect(t)
	for _, format := range []string{"text", "csv", "binary"} {
		copy := "copy (select * from t where id < 700 order by id) to stdout (format " + format + ")"
		rows := x.copied(copy)
		want := 699
		if format == "binary" {
			want++ // its end
		}
		if len(rows) != want || slices.Contains(rows, "") {
			t.Errorf("%s: %d messages, want %d", format, len(rows), want)
		}
	}
	rows := x.copied("copy (select * from t order by id) to stdout")
	if len(rows) != 900 {
		t.Fatalf("%d messages, want 900", len(rows))
	}
	for i, r := range rows {
		if strings.Count(r, "\t") != 1 || strings.Contains(r, secret) || !strings.HasSuffix(r, "\n") {
			t.Errorf("row %d is %q", i+1, r)
		}
	}
}
