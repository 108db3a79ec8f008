package postgres

import (
	"slices"
	"strings"
	"testing"

	"gatebook/internal/access"
	wire "gatebook/internal/wire/postgres"
)

// What is approved is bound to the settings by which the text means what it does: where they are the same it is the same, however they
// came to be, and where they are not, or are not known, it is another.
func TestSettingsAreBound(t *testing.T) {
	w := newWorld(t, nil, "create table t (at date)")
	digests := make(chan access.Digest, 1)
	allow := w.decide
	w.decide = func(op *access.Operation) access.Decision {
		if op.SQL != nil && strings.HasPrefix(op.SQL.Text, "delete") {
			digests <- op.Digest
		}
		return allow(op)
	}
	// after gives the digest of the same statement behind others, each of which is a message of its own.
	after := func(sql ...string) access.Digest {
		t.Helper()
		x := w.connect(t)
		defer x.conn.Close()
		for _, s := range append(sql, "delete from t where at = '01.02.2026'") {
			var b wire.Builder
			if rest, ok := strings.CutPrefix(s, "extended "); ok {
				run(&b, rest)
				sync1(&b)
			} else {
				query(&b, s)
			}
			x.send(b.Bytes)
			if got := strings.ReplaceAll(x.answer(1), "E:42P01", "no table"); strings.Contains(got, "E:") != (strings.Contains(s, "1/0") || strings.Contains(s, "nonsense")) {
				t.Errorf("%q: %s", s, got)
			}
		}
		return <-digests
	}
	plain := after()
	for _, sql := range [][]string{
		{"set application_name = 'x'", "set statement_timeout = '1min'", "set work_mem = '8MB'", "begin", "set local lock_timeout = 1", "commit"},
		{"set datestyle = german", "reset datestyle"}, {"set extra_float_digits = 0", "reset all"}, {"set extra_float_digits = 0", "discard all"}, {"set xmloption = document", "set xmloption to default"},
		{"begin", "set timezone = 'Asia/Tokyo'", "rollback"}, {"begin", "set local timezone = 'Asia/Tokyo'", "commit"}, {"set timezone = 'nonsense'"}, {"set xmloption = nonsense"}, {"set timezone = 'Asia/Tokyo'; select 1/0"}, {"select 1/0"},
	} {
		if after(sql...) != plain {
			t.Errorf("%q: it is another statement", sql)
		}
	}
	seen := map[access.Digest]string{plain: "nothing"}
	for _, sql := range [][]string{
		{"set datestyle = german"}, {"set datestyle = sql, dmy"}, {"set timezone = 'Asia/Tokyo'"}, {"set timezone = 5"}, {"extended set timezone = -7"}, {"set intervalstyle = sql_standard"}, {"select set_config('timezone', 'Asia/Baku', false)"},
		{"begin", "set local timezone = 'Asia/Dubai'"}, {"set search_path = pg_catalog, public"}, {"set search_path = ''"}, {"set extra_float_digits = 0"}, {"set extra_float_digits = -15"}, {"set bytea_output = escape"}, {"set row_security = off"},
		{"set default_transaction_isolation = serializable"},
		// What may be undone is not known, and is no other's.
		{"begin", "set xmloption = document", "commit"}, {"begin", "set xmloption = document", "rollback"}, {"begin", "set xmloption = document"}, {"set xmloption = document; select 1"}, {"extended set xmloption = document"},
		{"select set_config('xmloption', 'document', false)"}, {"begin", "reset all", "rollback"}, {"begin", "set xmloption = document", "commit"},
	} {
		d, name := after(sql...), strings.Join(sql, "; ")
		if seen[d] != "" {
			t.Errorf("%s: it is the same statement as after %s", name, seen[d])
		}
		seen[d] = name
	}
	if a, b := after("set timezone = 'UTC'", "set extra_float_digits = 0"), after("set extra_float_digits = 2", "set extra_float_digits = 0", "set timezone = 'utc'", "set timezone = 'UTC'"); a != b {
		t.Error("with the same settings it is another statement")
	}
	x := w.connect(t)
	w.decide = func(op *access.Operation) access.Decision { return allow(op) }
	var b wire.Builder
	query(&b, "set datestyle = german")
	query(&b, "set xmlbinary = hex")
	x.send(b.Bytes)
	x.answer(2)
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	var cards []string
	for _, s := range w.h.sessions {
		s.mu.Lock()
		cards = append(cards, s.settings.card())
		s.mu.Unlock()
	}
	if want := "\n-- the session's settings: DateStyle = 'German, DMY', xmlbinary = 'hex'"; !slices.Contains(cards, want) {
		t.Errorf("%q, want %q among them", cards, want)
	}
}
