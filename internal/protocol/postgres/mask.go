package postgres

import (
	"slices"
	"strings"
	"sync"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/protocol/postgres/grammar"
)

// columnMasks are the columns that a decision hides: those that hold secrets by what they are, and those that the policy
// names, as column, table.column or schema.table.column, with * for any one part.
type columnMasks struct {
	secrets  bool
	patterns []string
}

func (m columnMasks) key() string {
	k := strings.Join(m.patterns, "\x00")
	if m.secrets {
		k += "\x00secrets"
	}
	return k
}

// secretColumns hold passwords, and connections with passwords in them, in PostgreSQL's own catalogs.
var secretColumns = []string{"pg_catalog.pg_authid.rolpassword", "pg_catalog.pg_shadow.passwd", "pg_catalog.pg_user_mapping.umoptions",
	"pg_catalog.pg_user_mappings.umoptions", "pg_catalog.pg_subscription.subconninfo", "pg_catalog.pg_hba_file_rules.options",
	"information_schema.user_mapping_options.option_value", "information_schema._pg_user_mappings.umoptions"}

// secretRelations are those that have them.
var secretRelations = func() map[string]bool {
	out := map[string]bool{}
	for _, c := range secretColumns {
		out[strings.Split(c, ".")[1]] = true
	}
	return out
}()

// repeatingColumns hold values of other tables' columns: they are hidden where anything is.
var repeatingColumns = []string{"pg_catalog.pg_stats.most_common_vals", "pg_catalog.pg_stats.histogram_bounds", "pg_catalog.pg_stats.most_common_elems",
	"pg_catalog.pg_statistic.stavalues1", "pg_catalog.pg_statistic.stavalues2", "pg_catalog.pg_statistic.stavalues3",
	"pg_catalog.pg_statistic.stavalues4", "pg_catalog.pg_statistic.stavalues5", "pg_catalog.pg_stats_ext.*", "pg_catalog.pg_stats_ext_exprs.*",
	"pg_catalog.pg_statistic_ext_data.*", "pg_catalog.pg_stat_activity.query"}

// all are the patterns in force.
func (m columnMasks) all() []string {
	var out []string
	if m.secrets {
		out = append(out, secretColumns...)
	}
	if len(m.patterns) > 0 {
		out = append(append(out, m.patterns...), repeatingColumns...)
	}
	return out
}

// columnMasksOf takes from a decision what is about columns.
func columnMasksOf(masks []access.Mask) (m columnMasks) {
	for _, k := range masks {
		switch k.Name {
		case access.MaskSecrets:
			m.secrets = true
		default:
			m.patterns = append(m.patterns, k.Paths...)
		}
	}
	return m
}

// maskSet is what a decision's masks come to. It is for one goroutine.
type maskSet struct {
	of      []access.Mask
	columns columnMasks
	known   bool
	scope   *mask.Scope
	// source is what the masks hide by the catalog in force when they were last used.
	source *maskSource
}

// maskSet gives that of a decision. Statements that are decided by the same rules share the decision's list, which nobody changes.
func (s *session) maskSet(masks []access.Mask) (*maskSet, error) {
	m := &s.masks
	if len(masks) > 0 && len(masks) == len(m.of) && &masks[0] == &m.of[0] {
		return m, nil
	}
	scope, err := s.scope.Detecting(access.Detectors(masks))
	if err != nil {
		return nil, err
	}
	*m = maskSet{of: masks, columns: columnMasksOf(masks), known: access.HidesKnown(masks), scope: scope}
	return m, nil
}

// sourceBy gives what the masks hide by the catalog.
func (m *maskSet) sourceBy(c *catalog) *maskSource {
	if m.source == nil || m.source.c != c {
		m.source = c.source(m.columns)
	}
	return m.source
}

// hides says what is masked in the answer to a permitted statement, or that it cannot be.
func (s *session) hides(o *operation) *access.Refusal {
	set, err := s.maskSet(o.p.Decision().Masks)
	if err != nil {
		return access.Refuse(access.CodeUnmaskable, err, "the masks of the policy cannot be applied")
	}
	m := set.columns
	o.hide.known, o.hide.scope = set.known, set.scope
	if !m.secrets && len(m.patterns) == 0 {
		return nil
	}
	st := o.statement
	var c *catalog
	if hasNames(st) || st.Is("fetch") || len(m.patterns) > 0 {
		c, err = s.catalog()
	}
	if err != nil || c == nil { // what names stand for is not known, or there are none
		o.hide.source = newMaskSource(nil, m)
	} else {
		o.hide.source = set.sourceBy(c)
	}
	o.hide.exposure = o.hide.source.exposure(s, st)
	e := &o.hide.exposure
	o.hide.touches = e.Touches
	o.hide.columns = e.All || slices.ContainsFunc(e.Outputs, func(x grammar.Output) bool { return x.Hidden })
	if e.Copies && (st.Is("do") || st.Is("create function")) {
		why := access.Refuse(access.CodeUnmaskable, nil, "its code could copy columns that are masked to where they are not, and is not followed")
		why.Advice = "Use plain statements, or ask the database's owner."
		return why
	}
	if e.Copies {
		why := access.Refuse(access.CodeUnmaskable, nil, "it would copy columns that are masked to where they are not")
		why.Advice = "Copy the other columns, or ask the database's owner."
		return why
	}
	if k := st.Copy; k != nil && !k.From && o.hide.columns && (!k.Plain || e.Star) {
		why := access.Refuse(access.CodeUnmaskable, nil, "in this COPY the columns that are masked cannot be told from others")
		why.Advice = "Name the columns, and copy in the text format without options; or use SELECT."
		return why
	}
	return nil
}

// maskSource tells what masks hide of each relation (grammar.Source). It is safe for concurrent use.
type maskSource struct {
	c *catalog
	m columnMasks

	mu    sync.Mutex
	known map[grammar.Name]grammar.Hidden
	seen  map[*grammar.Statement]grammar.Exposure
	depth int
}

// maxViews bounds how deep views are followed.
const maxViews = 64

func newMaskSource(c *catalog, m columnMasks) *maskSource {
	return &maskSource{c: c, m: m, known: map[grammar.Name]grammar.Hidden{}, seen: map[*grammar.Statement]grammar.Exposure{}}
}

// Suspects implements grammar.Source: what the policy names may be read by any function, and by any relation that is not
// known. What the gateway hides by itself takes an administrator's rights to read, and is looked for by name alone.
func (x *maskSource) Suspects() bool { return len(x.m.patterns) > 0 }

// Own implements grammar.Source.
func (x *maskSource) Own(of grammar.Code, name string) bool {
	switch {
	case !x.Suspects():
		return false
	case x.c == nil:
		return true
	}
	return map[grammar.Code]map[string]bool{grammar.Function: x.c.functions, grammar.Operator: x.c.operators, grammar.Type: x.c.types}[of][name]
}

// exposure follows what is hidden through a statement, or through those that a name of the session stands for.
func (x *maskSource) exposure(s *session, st *grammar.Statement) grammar.Exposure {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !st.Is("fetch") && !st.Is("execute") {
		return x.follow(st)
	}
	list, known := s.names.behind(st, 0)
	switch {
	case !known:
		return grammar.Exposure{All: true, Touches: true, Copies: st.Is("create table as")}
	case len(list) == 0: // not from this session's client: a function has opened or prepared it
		return grammar.Exposure{All: x.Suspects(), Touches: x.Suspects(), Copies: x.Suspects() && st.Is("create table as")}
	}
	all := x.follow(list[0])
	for _, t := range list[1:] {
		all = grammar.Either(all, x.follow(t))
	}
	all.Copies = all.Copies || st.Is("create table as") && all.Hides()
	return all
}

func (x *maskSource) follow(st *grammar.Statement) grammar.Exposure {
	st = st.Shape()
	e, ok := x.seen[st]
	if !ok {
		e = st.Exposes(x)
		if x.c != nil && x.Suspects() {
			x.followRules(&e, st)
		}
		if len(x.seen) >= maxWide {
			clear(x.seen)
		}
		x.seen[st] = e
	}
	return e
}

// followRules adds what the rules of a relation that is written show: their queries' rows are part of the answer.
func (x *maskSource) followRules(e *grammar.Exposure, st *grammar.Statement) {
	for _, definition := range x.c.rulesOf(st) {
		list, err := x.c.grammar.Read(definition)
		if err != nil || len(list) != 1 {
			e.All, e.Touches = true, true
			continue
		}
		r := list[0].Exposes(x)
		e.All, e.Touches = e.All || r.Copies, e.Touches || r.Touches
		actions, _ := list[0].Actions()
		for _, a := range actions { // one that leads to others is not followed further
			e.All = e.All || len(x.c.rulesOf(a)) > 0
		}
	}
}

// Relation implements grammar.Source; x.mu is held.
func (x *maskSource) Relation(n grammar.Name) grammar.Hidden {
	if h, ok := x.known[n]; ok {
		return h
	}
	if x.depth++; x.depth > maxViews {
		x.depth--
		return grammar.Hidden{Opaque: true}
	}
	defer func() { x.depth-- }()
	if x.c == nil {
		return grammar.Hidden{Opaque: x.Suspects() || secretRelations[n.Relation]}
	}
	list := x.c.find(n)
	if len(list) == 0 {
		system := !x.Suspects() || n.Schema == "pg_catalog" || n.Schema == "information_schema" || n.Schema == "" && strings.HasPrefix(n.Relation, "pg_")
		return grammar.Hidden{Opaque: !system} // one that is not there, or not yet
	}
	var out grammar.Hidden
	for i, r := range list {
		h := x.of(r)
		out.Opaque = out.Opaque || h.Opaque
		if i == 0 {
			out.All = h.All
		} else if !slices.Equal(out.All, h.All) {
			out.All = nil
		}
		for c := range h.Masked {
			if out.Masked == nil {
				out.Masked = map[string]bool{}
			}
			out.Masked[c] = true
		}
	}
	x.known[n] = out
	return out
}

// of is what is hidden of one relation: by its name, by that of one which it shares rows with, and for a view by what its query reads.
func (x *maskSource) of(r *relation) grammar.Hidden {
	h := grammar.Hidden{Masked: map[string]bool{}}
	for _, c := range r.columns {
		if c != "" {
			h.All = append(h.All, c)
		}
	}
	for _, k := range kinOf(r) {
		for _, c := range k.columns {
			if c != "" && x.names(k, c) {
				h.Masked[c] = true
			}
		}
	}
	if r.view == "" {
		return h
	}
	if r.schema == "pg_catalog" {
		return h // the system's own, which are in the lists above
	}
	statements, err := x.c.grammar.Read(r.view)
	if err != nil || len(statements) != 1 {
		h.Opaque = true
		return h
	}
	e := x.follow(statements[0])
	for i, c := range h.All {
		if e.Shows(i, len(h.All), c) {
			h.Masked[c] = true
		}
	}
	return h
}

// names reports whether a pattern names the column.
func (x *maskSource) names(r *relation, column string) bool {
	for _, p := range x.m.all() {
		parts := strings.Split(p, ".")
		have := []string{r.schema, r.name, column}
		if len(parts) > len(have) {
			continue
		}
		have = have[len(have)-len(parts):]
		fits := !r.isSystem() || len(parts) > 1 && parts[len(parts)-2] == r.name // columns of the system's have everybody's names
		for i := range parts {
			fits = fits && (parts[i] == "*" || parts[i] == have[i])
		}
		if fits {
			return true
		}
	}
	return false
}

// column reports whether the column that the server names by numbers is hidden.
func (x *maskSource) column(table uint32, column int) bool {
	if x == nil || x.c == nil || table == 0 {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.c.byNumber[table]
	if r == nil || column < 1 || column > len(r.columns) {
		return false
	}
	h := x.Relation(grammar.Name{Schema: r.schema, Relation: r.name})
	return h.Opaque || h.Masked[r.columns[column-1]]
}
