package attribution

import (
	"slices"
	"strings"
)

// sqlProgram is a program that talks to a database, read.
type sqlProgram struct {
	mysql bool
	// database is the one that is written; empty: it comes from elsewhere.
	database string
	// statements are those that are written, in normal form. open says that there may be others.
	statements []string
	open       bool
	// reads says that it changes nothing, and kinds what its statements are where that is all that is known of them.
	reads bool
	kinds []string
}

// sqlValued are the options of psql, pgbench and the like, and of mysql, that take the next word.
var (
	pgValued = strings.Fields(`-c --command -f --file -d --dbname -h --host -p --port -U --username -v --set --variable -o --output -L --log-file -F -P --pset -R -T -t -n -j --jobs
	-Z --compress -N -s -S -O -l -D -x --schema --table --exclude-table --tablespace --owner --template --encoding --locale --format --snapshot --role`)
	mysqlValued = strings.Fields(`-e --execute -D --database -h --host -P --port -u --user -S --socket --protocol --init-command`)
	// pgFlags are those of the above that take no word with psql.
	pgFlags = map[string]string{"psql": "-t -n -s -S -l -x -N -O -D -j -Z -R", "pg_dump": "-c -s -x -O -v -l", "pg_dumpall": "-c -s -x -O -v -t -r -g", "pgbench": "-n -S -N -C -l -v -d -x", "pg_restore": "-c -s -x -O -v -l"}
)

func (st *shell) newSQL(c *command) matcher {
	name := base(c.words[0].text)
	p := &sqlProgram{mysql: strings.HasPrefix(name, "my") || strings.HasPrefix(name, "maria")}
	switch name {
	case "pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump":
		p.reads, p.open = true, true
	case "createdb":
		p.kinds = []string{"create database", "comment"}
	case "dropdb":
		p.kinds = []string{"drop database"}
	case "createuser":
		p.kinds = []string{"create role", "create user"}
	case "dropuser":
		p.kinds = []string{"drop role", "drop user"}
	case "vacuumdb", "reindexdb", "clusterdb":
		p.kinds = []string{"vacuum", "analyze", "reindex", "cluster", "select", "set", "show"}
	case "pg_isready":
		return nil
	case "psql", "mysql", "mariadb", "pgcli", "mycli":
	default: // pgbench, pg_restore
		p.open = true
	}
	interactive := !p.open && p.kinds == nil
	if !st.sqlWords(p, c, name) && interactive { // typed, or piped in
		st.sqlText(p, c.stdin)
	}
	if p.database == "" && !p.mysql {
		for _, v := range []string{"PGSERVICE", "PGDATABASE"} {
			if w := st.vars[v]; w.text != "" {
				p.database = w.text
				break
			}
		}
	}
	return p
}

// sqlWords reads the command's words, and reports whether they say what to run.
func (st *shell) sqlWords(p *sqlProgram, c *command, name string) (given bool) {
	takes := pgValued
	if p.mysql {
		takes = mysqlValued
	}
	flags := strings.Fields(pgFlags[name])
	plain := 0
	for args := c.words[1:]; len(args) > 0; args = args[1:] {
		w := args[0]
		if !strings.HasPrefix(w.text, "-") || w.text == "-" {
			if plain++; plain == 1 {
				p.names(w)
			}
			continue
		}
		option, v := w.text, word{"", true}
		if key, value, ok := strings.Cut(option, "="); ok && strings.HasPrefix(option, "--") {
			option, v = key, word{value, w.known}
		} else if last := "-" + option[len(option)-1:]; !strings.HasPrefix(option, "--") && len(option) > 2 && slices.Contains(takes, last) && !slices.Contains(flags, last) && len(args) > 1 {
			option, v = last, args[1] // -tAc TEXT
			args = args[1:]
		} else if slices.Contains(takes, option) && !slices.Contains(flags, option) && len(args) > 1 {
			v = args[1]
			args = args[1:]
		}
		given = st.sqlOption(p, option, v) || given
	}
	return given
}

func (st *shell) sqlOption(p *sqlProgram, option string, v word) bool {
	switch option {
	case "-c", "--command", "-e", "--execute":
		if p.reads || len(p.kinds) > 0 || (option == "-e") != p.mysql && len(option) == 2 {
			return false
		}
		st.sqlText(p, v)
		return true
	case "-f", "--file":
		if p.reads { // where to
			return false
		}
		st.sqlText(p, st.read(v))
		p.open = true
		return true
	case "-l", "--list":
		p.open = true
		return true
	case "-d", "--dbname", "-D", "--database":
		p.names(v)
	}
	return false
}

// names takes the database of a word: its name, a connection string or a URL.
func (p *sqlProgram) names(w word) {
	if !w.known || p.database != "" {
		return
	}
	t := w.text
	if _, rest, ok := strings.Cut(t, "://"); ok {
		_, t, _ = strings.Cut(rest, "/")
		t, _, _ = strings.Cut(t, "?")
		p.database = t
		return
	}
	if strings.Contains(t, "=") {
		for _, f := range strings.Fields(t) {
			if k, v, _ := strings.Cut(f, "="); k == "service" || k == "dbname" {
				p.database = v
				return
			}
		}
		return
	}
	p.database = t
}

// sqlText takes statements that are written. Commands and variables of psql's own make others.
func (st *shell) sqlText(p *sqlProgram, w word) {
	p.open = p.open || !w.known || strings.Contains(w.text, `\`) || hasVariable(w.text)
	p.statements = append(p.statements, statements(w.text)...)
}

// hasVariable reports whether psql would put variables into a text.
func hasVariable(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == ':' && s[i+1] != ':' && (i == 0 || s[i-1] != ':') && (s[i+1] == '\'' || s[i+1] == '"' || s[i+1] == '{' || s[i+1] == '_' || s[i+1]|0x20 >= 'a' && s[i+1]|0x20 <= 'z') {
			return true
		}
	}
	return false
}

// fit compares what a program of SQL is given with an operation.
func (p *sqlProgram) fit(s *subject) fit {
	q := s.op.SQL
	if q == nil || p.mysql != (s.op.Target.Protocol == "mysql") {
		return cannot
	}
	f := p.runs(s)
	if f == fits && p.database != "" && p.database != s.op.Target.Name && p.database != q.Database && p.database != s.op.Target.Name+"/"+q.Database { // names of the client's own
		return may
	}
	return f
}

// around are the kinds of statement that clients send beside those that they are given.
var around = []string{"begin", "start transaction", "commit", "rollback", "set", "show", "savepoint", "release"}

func (p *sqlProgram) runs(s *subject) fit {
	q := s.op.SQL
	framing := len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, func(k string) bool { return !slices.Contains(around, k) })
	switch {
	case slices.Equal(q.Kinds, []string{"connect"}) || slices.Equal(q.Kinds, []string{"cancel"}):
		return fits
	case len(p.kinds) > 0:
		return when(framing || len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, func(k string) bool { return !slices.Contains(p.kinds, k) }), fits)
	case p.reads:
		changes := q.Effect == "write" || q.Effect == "ddl" || q.Effect == "admin"
		for _, t := range s.sql() {
			word, _, _ := strings.Cut(strings.ToLower(t), " ")
			changes = changes || slices.Contains([]string{"insert", "update", "delete", "drop", "alter", "create", "truncate", "grant", "merge"}, word)
		}
		return when(!changes, fits)
	case len(p.statements) == 0: // nothing is known of what it sends
		return fits
	}
	for _, t := range s.sql() {
		if !slices.Contains(p.statements, t) {
			return when(p.open || framing, may)
		}
	}
	return fits
}

// statements takes SQL apart at semicolons, and makes white space, comments and a last semicolon not matter.
func statements(text string) []string {
	out := []string{}
	var b strings.Builder
	end := func() {
		if t := strings.TrimSpace(b.String()); t != "" {
			out = append(out, t)
		}
		b.Reset()
	}
	for i := 0; i < len(text); {
		n := sqlToken(text[i:])
		switch t := text[i : i+n]; {
		case t == ";":
			end()
		case strings.HasPrefix(t, "--"), strings.HasPrefix(t, "/*"), strings.TrimLeft(t, " \t\r\n\f\v") == "":
			if b.Len() > 0 && !strings.HasSuffix(b.String(), " ") {
				b.WriteByte(' ')
			}
		default:
			b.WriteString(t)
		}
		i += n
	}
	end()
	return out
}

// sqlToken is the length of the first token: white space, a comment, a quoted text of any kind, or one byte.
func sqlToken(s string) int {
	until := func(from int, end string) int {
		if i := strings.Index(s[min(from, len(s)):], end); i >= 0 {
			return from + i + len(end)
		}
		return len(s)
	}
	switch {
	case strings.HasPrefix(s, "--"):
		return until(2, "\n")
	case strings.HasPrefix(s, "/*"):
		return comment(s)
	case s[0] == '\'' || s[0] == '"':
		return until(1, s[:1]) // a doubled quote begins the next
	case (s[0] == 'E' || s[0] == 'e') && len(s) > 1 && s[1] == '\'':
		for i := 2; i < len(s); i++ {
			if s[i] == '\\' {
				i++
			} else if s[i] == '\'' {
				return i + 1
			}
		}
		return len(s)
	case s[0] == '$':
		if i := strings.IndexByte(s[1:], '$'); i >= 0 && strings.Trim(s[1:1+i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" && (i == 0 || s[1] > '9') {
			return until(i+2, s[:i+2])
		}
	}
	return 1
}

// comment is the length of a comment, in which others may be.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			if depth--; depth == 0 {
				return i + 2
			}
			i++
		}
	}
	return len(s)
}
