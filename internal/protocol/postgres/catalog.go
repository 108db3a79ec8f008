package postgres

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"gatebook/internal/protocol/postgres/grammar"
	wire "gatebook/internal/wire/postgres"
)

// catalog is what a database has behind names: views, functions, types and operators of its own, policies for rows, and
// which columns there are. By it a statement is known for what it does, and what it shows.
type catalog struct {
	grammar *grammar.Grammar
	loaded  time.Time
	// relations by name, of any schema.
	relations map[string][]*relation
	byNumber  map[uint32]*relation
	// functions of the database's own that have the name of a harmless one, or can be written as a column; types and
	// operators with code of the database's own behind them.
	functions, rowFunctions, types, operators map[string]bool

	mu      sync.Mutex
	wide    map[*grammar.Statement]*grammar.Statement
	sources map[string]*maskSource
}

type relation struct {
	number       uint32
	schema, name string
	columns      []string // in order, by number-1; empty where one was dropped
	view         string   // its definition; empty: it is no view
	policies     []string
	rules        []rule
	kin          []*relation // those it inherits from, and those that inherit from it
}

// rule is what is done beside or instead of a statement that changes the relation.
type rule struct{ event, definition string }

// isSystem reports whether it is one that every database has.
func (r *relation) isSystem() bool {
	return r.schema == "pg_catalog" || r.schema == "information_schema"
}

// catalogAge is how long what others have defined may go unseen. What goes through this gateway is seen at once.
const catalogAge = time.Minute

// catalogQuery gives all that the database itself has, in one answer: a letter, and what it says. Plain is what only computes: C's and the
// server's own code, which none but a superuser can bring in, or an extension's SQL, where it is declared immutable.
const catalogQuery = `
WITH RECURSIVE plain AS (
  SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 AND p.provolatile = 'i' AND NOT p.prosecdef AND (
         p.prokind = 'f' AND (p.prolang IN (12, 13) OR p.prolang = 14 AND EXISTS (
           SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'))
      OR p.prokind = 'a' AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc q ON q.oid = ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                  a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])
            WHERE a.aggfnoid = p.oid AND (q.provolatile <> 'i' OR q.prolang NOT IN (12, 13))))),
casts AS (SELECT c.casttarget FROM pg_catalog.pg_cast c WHERE c.castfunc >= 16384 AND c.castfunc NOT IN (SELECT oid FROM plain)),
coded AS ( -- types with code of their own behind them, and rows and arrays of such
  SELECT t.oid, t.typrelid FROM pg_catalog.pg_type t
   WHERE t.oid >= 16384 AND (t.typtype IN ('d', 'r', 'm') OR t.typtype = 'b' AND t.typelem = 0 AND t.typinput::pg_catalog.oid >= 16384
         AND t.typinput::pg_catalog.oid NOT IN (SELECT oid FROM plain) OR t.oid IN (SELECT casttarget FROM casts))
  UNION SELECT t.oid, t.typrelid FROM coded JOIN (
           SELECT a.atttypid AS part, c.reltype AS whole FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
            WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384 AND c.reltype <> 0
           UNION ALL SELECT t.typelem, t.oid FROM pg_catalog.pg_type t WHERE t.typelem >= 16384) of ON of.part = coded.oid
      JOIN pg_catalog.pg_type t ON t.oid = of.whole)
SELECT 'f', p.proname::text, (p.pronargs = 1 AND (t.typtype IN ('c','p') OR t.typrelid <> 0))::text, NULL, NULL
  FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
 WHERE p.oid >= 16384 AND p.oid NOT IN (SELECT oid FROM plain)
UNION ALL SELECT 'o', o.oprname::text, NULL, NULL, NULL FROM pg_catalog.pg_operator o WHERE o.oid >= 16384 AND o.oprcode::pg_catalog.oid NOT IN (SELECT oid FROM plain)
UNION ALL SELECT 't', t.typname::text, NULL, NULL, NULL FROM coded JOIN pg_catalog.pg_type t ON t.oid = coded.oid
UNION ALL SELECT 't', t.typname::text, NULL, NULL, NULL FROM casts JOIN pg_catalog.pg_type t ON t.oid = casts.casttarget
UNION ALL SELECT 'r', n.nspname::text, c.relname::text, c.oid::text, CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
UNION ALL SELECT 'c', a.attrelid::text, a.attnum::text, CASE WHEN a.attisdropped THEN '' ELSE a.attname::text END, NULL
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
UNION ALL SELECT 'i', i.inhrelid::text, i.inhparent::text, NULL, NULL FROM pg_catalog.pg_inherits i
UNION ALL SELECT 'u', w.ev_class::text, CASE w.ev_type WHEN '2' THEN 'update' WHEN '3' THEN 'insert' ELSE 'delete' END, pg_catalog.pg_get_ruledef(w.oid), NULL
  FROM pg_catalog.pg_rewrite w WHERE w.oid >= 16384 AND w.ev_type <> '1'
UNION ALL SELECT 'p', p.polrelid::text, pg_catalog.pg_get_expr(p.polqual, p.polrelid), NULL, NULL FROM pg_catalog.pg_policy p WHERE p.polqual IS NOT NULL`

// systemQuery gives what every database of the server has, which never changes.
const systemQuery = `
SELECT 'r', n.nspname::text, c.relname::text, c.oid::text, CASE WHEN n.nspname = 'information_schema' AND c.relname IN ('user_mapping_options', '_pg_user_mappings') THEN pg_catalog.pg_get_viewdef(c.oid) END
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v') AND n.nspname IN ('pg_catalog', 'information_schema')
UNION ALL SELECT 'c', a.attrelid::text, a.attnum::text, a.attname::text, NULL
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0 AND c.relkind IN ('r', 'v') AND n.nspname IN ('pg_catalog', 'information_schema')`

var errDefined = errors.New("something was defined in this transaction, which others cannot see yet")

// catalog gives the database's, read anew where it is old or something was defined.
func (s *session) catalog() (*catalog, error) {
	s.mu.Lock()
	defined := s.defined
	s.mu.Unlock()
	if defined {
		return nil, errDefined
	}
	h := s.h
	h.mu.Lock()
	k := h.kept(s)
	c := k.c
	h.mu.Unlock()
	if c != nil && h.o.Now().Sub(c.loaded) < catalogAge {
		return c, nil
	}
	got, err, shared := k.loading.Do("", func() (any, error) { return s.renewCatalog(k) })
	if err != nil && shared { // whose client may have left
		got, err = s.renewCatalog(k)
	}
	if err != nil {
		h.o.Log.Warn("the database's definitions could not be read", "target", s.t.Target.Name, "database", s.database, "error", err)
		return nil, errors.New("the database's definitions could not be read")
	}
	return got.(*catalog), nil
}

func (s *session) renewCatalog(k *keptCatalog) (*catalog, error) {
	s.h.mu.Lock()
	defines, system := k.defines, k.system
	s.h.mu.Unlock()
	c, system, err := s.loadCatalog(system)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err == nil {
		k.system = system
	}
	if err == nil && k.defines == defines { // else it may be of before
		k.c = c
	}
	return c, err
}

// keptCatalog is one database's, as far as it is known.
type keptCatalog struct {
	// loading has those who ask at the same time wait for one answer.
	loading singleflight.Group
	// c and defines, which counts what was defined, are below the handler's mu, and so is system, what was read of the server's own relations.
	c       *catalog
	defines int
	system  [][]string
}

// kept is below mu.
func (h *Handler) kept(s *session) *keptCatalog {
	key := s.t.Target.Name + "/" + s.database
	if h.catalogs[key] == nil {
		h.catalogs[key] = &keptCatalog{}
	}
	return h.catalogs[key]
}

// forgetCatalog is for when something was defined.
func (h *Handler) forgetCatalog(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.kept(s)
	k.c = nil
	k.defines++
	k.loading.Forget("") // what is under way may be of before
}

// loadCatalog reads it from the database. system is what was read of before of what every database has.
func (s *session) loadCatalog(system [][]string) (*catalog, [][]string, error) {
	c := &catalog{grammar: s.h.grammar, loaded: s.h.o.Now(), relations: map[string][]*relation{}, byNumber: map[uint32]*relation{}, functions: map[string]bool{}, rowFunctions: map[string]bool{},
		types: map[string]bool{}, operators: map[string]bool{}, wide: map[*grammar.Statement]*grammar.Statement{}, sources: map[string]*maskSource{}}
	read := func(text string) (rows [][]string, err error) {
		var q wire.Builder
		q.Begin(wire.Query).Text(text).End()
		err = s.ask(question{text: text, message: q.Bytes, patience: 20 * time.Second, settings: map[string]string{"search_path": "pg_catalog"}, over: &s.aside}, func(row []string) error {
			if len(row) != 5 {
				return wire.ErrField
			}
			rows = append(rows, row)
			return nil
		})
		return rows, err
	}
	if system == nil {
		var err error
		if system, err = read(systemQuery); err != nil {
			return nil, nil, err
		}
	}
	own, err := read(catalogQuery)
	for _, rows := range [][][]string{system, own} {
		var later [][]string // what says something of a relation that may come behind it
		for _, row := range rows {
			if !c.take(row) {
				later = append(later, row)
			}
		}
		for _, row := range later {
			c.add(row)
		}
	}
	return c, system, err
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0 // no relation has it
	}
	return uint32(n)
}

func (c *catalog) take(row []string) bool {
	switch row[0] {
	case "f":
		c.functions[row[1]] = true
		if row[2] == "true" {
			c.rowFunctions[row[1]] = true
		}
	case "o":
		c.operators[row[1]] = true
	case "t":
		c.types[row[1]] = true
	case "r":
		r := &relation{schema: row[1], name: row[2], number: number(row[3]), view: row[4]}
		c.relations[r.name] = append(c.relations[r.name], r)
		c.byNumber[r.number] = r
	default:
		return false
	}
	return true
}

func (c *catalog) add(row []string) {
	r := c.byNumber[number(row[1])]
	if r == nil {
		return
	}
	switch row[0] {
	case "c":
		n := int(number(row[2]))
		for len(r.columns) < n {
			r.columns = append(r.columns, "")
		}
		r.columns[n-1] = row[3]
	case "i":
		if parent := c.byNumber[number(row[2])]; parent != nil {
			r.kin, parent.kin = append(r.kin, parent), append(parent.kin, r)
		}
	case "p":
		r.policies = append(r.policies, row[2])
	case "u":
		r.rules = append(r.rules, rule{row[2], row[3]})
	}
}

// find gives the relations that a name may stand for.
func (c *catalog) find(n grammar.Name) []*relation {
	if n.Schema == "" {
		list := c.relations[n.Relation]
		if len(list) > 1 { // information_schema has everybody's names, and is in nobody's path
			list = slices.DeleteFunc(slices.Clone(list), func(r *relation) bool { return r.schema == "information_schema" })
		}
		return list
	}
	var out []*relation
	for _, r := range c.relations[n.Relation] {
		if r.schema == n.Schema || n.Schema == "pg_temp" && strings.HasPrefix(r.schema, "pg_temp_") {
			out = append(out, r)
		}
	}
	return out
}

// maxWide bounds what is remembered of statements.
const maxWide = 10_000

// widen gives a statement with what the database has behind its names. Its text is that of any statement of the same shape.
func (c *catalog) widen(st *grammar.Statement) *grammar.Statement {
	c.mu.Lock()
	defer c.mu.Unlock()
	st = st.Shape()
	if w, ok := c.wide[st]; ok {
		return w
	}
	out := *st
	c.widenInto(&out, st, false, map[definition]bool{})
	if len(c.wide) >= maxWide {
		clear(c.wide)
	}
	c.wide[st] = &out
	return &out
}

// definition is what stands behind a name. through: what it reads is written, as behind a view that is.
type definition struct {
	text    string
	through bool
}

// widenInto adds to out what is behind the names of st. through: it is a view's, which is written. What was followed is not followed again:
// each way to it would be another, and rules may lead back to themselves.
func (c *catalog) widenInto(out, st *grammar.Statement, through bool, followed map[definition]bool) {
	own := func(names []string, of map[string]bool, what string) {
		for _, n := range names {
			if of[n] {
				out.Call(what + n)
			}
		}
	}
	own(st.Functions, c.functions, "")
	own(st.Types, c.types, "type ")
	if len(c.types) > 0 { // the type is that of a value
		for _, f := range st.Functions {
			if slices.Contains(makingRows, f) {
				out.Call(f)
			}
		}
	}
	own(st.Operators, c.operators, "operator ")
	for _, col := range st.Columns {
		if i := strings.LastIndexByte(col, '.'); i >= 0 && c.rowFunctions[col[i+1:]] { // x.f is f(x) as well
			out.Call(col[i+1:])
		}
	}
	for _, rule := range c.rulesOf(st) {
		c.widenBy(out, definition{rule, false}, followed)
	}
	for _, n := range st.Relations {
		for _, r := range c.find(n) {
			if r.view != "" {
				c.widenBy(out, definition{r.view, through || st.WritesTo(n)}, followed)
			}
			for _, p := range r.policies {
				c.widenBy(out, definition{"SELECT " + p, false}, followed)
			}
		}
	}
}

// makingRows are functions that make a row of its type's parts, and so run what checks these.
var makingRows = []string{"json_populate_record", "json_populate_recordset", "jsonb_populate_record", "jsonb_populate_recordset"}

// widenBy adds what a definition does.
func (c *catalog) widenBy(out *grammar.Statement, d definition, followed map[definition]bool) {
	if followed[d] {
		return
	}
	followed[d] = true
	statements, err := c.grammar.Read(d.text)
	if err != nil || len(statements) != 1 {
		out.Call("a view that cannot be read")
		return
	}
	if out.UpdatesSettings(statements[0]) {
		out.Refuse = grammar.SettingsUpdate
	}
	if actions, is := statements[0].Actions(); is {
		for _, a := range actions {
			out.Add(a)
			c.widenInto(out, a, false, followed)
		}
		return
	}
	inner := *statements[0]
	inner.Kinds = nil
	if d.through { // what of it is written, the database knows
		inner.Writes = inner.Tables
	}
	out.Add(&inner)
	c.widenInto(out, statements[0], d.through, followed)
}

// rulesOf gives the definitions of the rules by which a statement does something else, or more.
func (c *catalog) rulesOf(st *grammar.Statement) (out []string) {
	if len(st.Writes) == 0 || st.Is("create rule") {
		return nil
	}
	for _, n := range st.Relations {
		if !st.WritesTo(n) {
			continue
		}
		for _, r := range c.find(n) {
			for _, u := range r.rules {
				if st.Is(u.event) {
					out = append(out, u.definition)
				}
			}
		}
	}
	return out
}

// source gives what masks hide, remembered for as long as the catalog is.
func (c *catalog) source(m columnMasks) *maskSource {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := m.key()
	src := c.sources[key]
	if src == nil {
		src = newMaskSource(c, m)
		c.sources[key] = src
	}
	return src
}

// kinOf are a relation and all that share rows with it by inheritance or partitioning.
func kinOf(r *relation) []*relation {
	out := []*relation{r}
	for i := 0; i < len(out); i++ {
		for _, k := range out[i].kin {
			if !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
	}
	return out
}
