package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatebook/internal/access"
	"gatebook/internal/policy"
	"gatebook/internal/protocol/postgres/grammar"
	"gatebook/internal/protocol/postgres/grammar/libpgquery"
)

// verdictStatements are of three sizes, as agents and their drivers write them.
var verdictStatements = []struct{ name, text string }{
	{"one row by its key", "SELECT abalance FROM pgbench_accounts WHERE aid = $1"},
	{"one row by its key, another each time", "SELECT abalance FROM pgbench_accounts WHERE aid = 4711"},
	{"a report", `SELECT c.name, count(*) AS orders, sum(o.total) AS total FROM customers c JOIN orders o ON o.customer_id = c.id
 WHERE o.created_at >= now() - interval '30 days' AND o.status IN ('paid', 'shipped') GROUP BY c.name HAVING sum(o.total) > 1000 ORDER BY total DESC LIMIT 20`},
}

// others are texts that differ from this one in its key alone, where it has one.
func others(text string) []string {
	const key = "4711"
	if !strings.Contains(text, key) {
		return []string{text}
	}
	out := make([]string, 1000)
	for i := range out {
		out[i] = strings.ReplaceAll(text, key, strconv.Itoa(i))
	}
	return out
}

// verdictRow is row 10: what a statement costs that was seen before, against parsing it.
func verdictRow(rep *report) error {
	set, err := policy.Load(policy.Default())
	if err != nil {
		return err
	}
	g := grammar.New("")
	parser, err := libpgquery.New("")
	if err != nil {
		return err
	}
	defer parser.Close()
	per := func(f func()) time.Duration {
		return time.Duration(testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				f()
			}
		}).NsPerOp())
	}
	t := table{head: []string{"verdict on a statement", "parse by libpg_query, µs", "read again, ns", "and decided by the default policy, ns"}}
	for _, x := range verdictStatements {
		statements, err := g.Read(x.text)
		if err != nil {
			return err
		}
		st := statements[0]
		op := &access.Operation{ID: "1", Time: time.Now(), Verb: "execute", Command: x.text, Target: access.Target{Name: "bench", Protocol: "postgres"},
			SQL: &access.SQL{Text: x.text, Kinds: st.Kinds, Effect: st.Effect, Tables: st.Tables, Columns: st.Columns, Functions: st.Functions, Volatile: st.Volatile}}
		var failed error
		parse := per(func() {
			var b []byte
			if b, failed = parser.Parse(x.text); failed == nil {
				failed = proto.Unmarshal(b, &pg.ParseResult{})
			}
		})
		if failed != nil {
			return failed
		}
		texts, n := others(x.text), 0
		next := func() string { n++; return texts[n%len(texts)] }
		again := per(func() { _, failed = g.Read(next()) })
		decided := per(func() {
			_, failed = g.Read(next())
			set.Decide(op)
		})
		if failed != nil {
			return failed
		}
		t.add(x.name, "%.0f", float64(parse)/1e3, "%.0f", float64(again), "%.0f", float64(decided))
		rep.goal("10", fmt.Sprintf("verdict on a repeated statement (%s) against parsing it", x.name), float64(again)/float64(parse), atMost, 0.005)
	}
	rep.tables = append(rep.tables, t)
	rep.note("Row 10: libpg_query is the one that the gateway uses, compiled to WebAssembly; as C it is some times faster (24–190 µs a parse).")
	return nil
}
