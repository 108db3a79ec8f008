package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// estimatePatience bounds an EXPLAIN: somebody waits to be asked.
const estimatePatience = 2 * time.Second

// estimate says on the card how many rows the planner takes a statement to reach, or why that is not known. It is asked over a
// connection of the gateway's own, and never runs the statement.
func (s *session) estimate(op *access.Operation, st *grammar.Statement, r request) string {
	n, err := s.planned(op, st, r)
	if err != nil {
		return "\n-- no estimate of the rows that it reaches: " + s.conceal(err.Error())
	}
	return fmt.Sprintf("\n-- the planner takes it to reach %s rows", strconv.FormatFloat(n, 'f', -1, 64))
}

// planned asks the planner. What planning could run, or could see otherwise than the statement will, is not asked.
func (s *session) planned(op *access.Operation, st *grammar.Statement, r request) (float64, error) {
	s.mu.Lock()
	other := s.unsure || s.role != s.t.Upstream.Role()
	settings, known := s.settings.inForce()
	s.mu.Unlock()
	switch {
	case r.verb != "execute" || r.of > 1 || !estimable(st):
		return 0, errors.New("it is not one SELECT, INSERT, UPDATE or DELETE")
	case len(st.Volatile) > 0:
		return 0, errors.New("it calls what is not known to be harmless")
	case other:
		return 0, errors.New("it runs as another role")
	case !known:
		return 0, errors.New("a setting was changed within what has not ended, or by a function")
	}
	for _, u := range op.Uninspectable {
		if u.Field == "sql.effect" || u.Field == "sql.functions" {
			return 0, errors.New(u.Why)
		}
	}
	if s.temporary(st) {
		return 0, errors.New("a temporary table may have the name of one that it names")
	}
	text := "EXPLAIN (FORMAT JSON) " + r.statement.Text
	if list, err := s.h.grammar.Read(text); err != nil || len(list) != 1 || !list[0].Is("explain") || len(list[0].Volatile) > 0 {
		return 0, errors.New("EXPLAIN of it cannot be read")
	}
	var plan strings.Builder
	err := s.ask(question{text: text, message: explainMessage(text, r), patience: estimatePatience, settings: settings}, func(cells []string) error {
		plan.WriteString(strings.Join(cells, ""))
		return nil
	})
	if err != nil {
		return 0, err
	}
	return plannedRows(plan.String())
}

// temporary reports whether a name may stand for a temporary table, which nobody else sees.
func (s *session) temporary(st *grammar.Statement) bool {
	c, err := s.catalog()
	if err != nil {
		return true
	}
	for _, n := range st.Relations {
		for _, r := range c.find(n) {
			if strings.HasPrefix(r.schema, "pg_temp_") {
				return true
			}
		}
	}
	return false
}

// estimable reports whether a statement is of those that are planned, and nothing else.
func estimable(st *grammar.Statement) bool {
	change := 0
	for _, k := range st.Kinds {
		switch k {
		case "insert", "update", "delete":
			change++
		case "select", "select for update":
		default:
			return false
		}
	}
	return change <= 1 && len(st.Kinds) > 0
}

// explainMessage binds what the client has bound, byte for byte.
func explainMessage(text string, r request) []byte {
	var b wire.Builder
	b.Begin(wire.Parse).Text("").Text(text).Int16(len(r.types))
	for _, t := range r.types {
		b.Int32(t)
	}
	b.End()
	b.Begin(wire.Bind).Text("").Text("")
	var formats []int
	var values [][]byte
	if r.binding != nil {
		formats, values = r.binding.Formats, r.binding.Values
	}
	b.Int16(len(formats))
	for _, f := range formats {
		b.Int16(f)
	}
	b.Int16(len(values))
	for _, v := range values {
		b.Value(v)
	}
	b.Int16(0).End()
	b.Begin(wire.Execute).Text("").Int32(0).End()
	b.Begin(wire.Sync).End()
	return b.Bytes
}

// plan is what of EXPLAIN's JSON counts: a node that changes rows says how many it gives, which without RETURNING are none, and not how
// many it changes, which those below it give.
type plan struct {
	Node  string  `json:"Node Type"`
	Rows  float64 `json:"Plan Rows"`
	Below []plan  `json:"Plans"`
}

func plannedRows(text string) (float64, error) {
	var list []struct {
		Plan plan `json:"Plan"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 {
		return 0, errors.New("its plan cannot be read")
	}
	p := list[0].Plan
	if p.Node != "ModifyTable" {
		return p.Rows, nil
	}
	n := 0.0
	for _, b := range p.Below {
		n += b.Rows
	}
	return n, nil
}
