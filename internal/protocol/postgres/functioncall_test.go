package postgres

import (
	"encoding/binary"
	"strings"
	"testing"

	"gatebook/internal/access"
	wire "gatebook/internal/wire/postgres"
)

// call is a call of a function by its number, with arguments in the binary format.
func call(b *wire.Builder, function int, args ...any) {
	b.Begin(wire.FunctionCall).Int32(uint32(function)).Int16(1).Int16(1).Int16(len(args))
	for _, a := range args {
		switch a := a.(type) {
		case int:
			b.Value(binary.BigEndian.AppendUint32(nil, uint32(a)))
		case string:
			b.Value([]byte(a))
		}
	}
	b.Int16(1).End()
}

// Large objects are read and written by number as libpq does it: each call is decided and recorded as the SELECT that it stands for, what it gives is
// masked, and after a refusal, or an error, the answers stay in step.
func TestLargeObjectsByNumber(t *testing.T) {
	const secret = "correct-horse-battery-staple-1234567890"
	w := newWorld(t, func(o *Options) { o.Masks.Learn([]byte(secret)) }, "select lo_from_bytea(4242, 'before "+secret+" behind')")
	allow := w.decide
	asked := make(chan access.SQL, 100)
	w.decide = func(op *access.Operation) access.Decision {
		if op.Verb != "lookup" {
			asked <- *op.SQL
		}
		if op.SQL != nil && strings.Contains(op.SQL.Text, "lo_unlink") {
			return access.Decision{Effect: access.Deny}
		}
		return allow(op)
	}
	x := w.connect(t)
	<-asked
	var b wire.Builder
	query(&b, "begin")
	call(&b, 952, 4242, 0x60000)
	call(&b, 954, 0, 4)
	call(&b, 954, 0, 100)
	call(&b, 955, 0, "changed")
	call(&b, 954, 7, 100)
	query(&b, "rollback")
	call(&b, 964, 4242)
	call(&b, 952, 4242)
	call(&b, 1262)
	query(&b, "begin")
	call(&b, 964, 4242)
	query(&b, "select 1")
	query(&b, "rollback")
	x.send(b.Bytes)
	const want = "C Z:T V Z:T V Z:T V Z:T V Z:T E:42704 Z:E C Z:I E:42501 Z:I E:42601 Z:I E:42501 Z:I C Z:T E:42501 Z:E E:25P02 Z:E C Z:I"
	var got []string
	var values []string
	for n := 0; n < 14; {
		m, err := x.in.Next()
		must(t, err)
		switch s := string(m.Type); m.Type {
		case wire.FunctionCallResponse:
			v, err := wire.ReadFunctionCallResponse(m.Body)
			must(t, err)
			values = append(values, string(v))
			got = append(got, s)
		case wire.ErrorResponse:
			fields, err := wire.ReadReport(m.Body)
			must(t, err)
			for _, f := range fields {
				if f.Code == 'C' {
					got = append(got, s+":"+f.Text)
				}
			}
		case wire.ReadyForQuery:
			n++
			got = append(got, s+":"+string(m.Body))
		default:
			got = append(got, s)
		}
	}
	if g := strings.Join(got, " "); g != want {
		t.Errorf("%s\nwant %s", g, want)
	}
	if len(values) != 4 || values[0] != "\x00\x00\x00\x00" || values[1] != "befo" || values[2] != "" || values[3] != "\x00\x00\x00\x07" {
		t.Errorf("%q", values)
	}
	<-asked // begin
	if q := <-asked; q.Text != "SELECT pg_catalog.lo_open($1, $2)" || strings.Join(q.Parameters, " ") != "4242 393216" || q.Effect != "write" || strings.Join(q.Volatile, " ") != "lo_open" {
		t.Errorf("%+v", q)
	}
	<-asked
	<-asked
	if q := <-asked; q.Text != "SELECT pg_catalog.lowrite($1, $2)" || strings.Join(q.Parameters, " ") != `0 \x6368616e676564` {
		t.Errorf("%+v", q)
	}
	if got := w.p.Admin(t, w.db, "select length(lo_get(4242))"); got != "53" {
		t.Errorf("%s bytes are left", got)
	}
}
