package grammar

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Hidden is what a mask hides of one relation.
type Hidden struct {
	// Opaque: what its columns hold is not known, so all of them are hidden.
	Opaque bool
	// Masked names the columns that are hidden.
	Masked map[string]bool
	// All names the columns that there are, in order; nil where that is not known.
	All []string
}

// any reports whether something of it is hidden.
func (h Hidden) any() bool { return h.Opaque || len(h.Masked) > 0 }

// Source tells what is hidden of a relation by the name that a statement gives it.
type Source interface {
	Relation(Name) Hidden
	// Suspects says that a function which is not known may show what is hidden.
	Suspects() bool
	// Own reports whether code of the database's own may be behind the name, of which nobody knows what it shows.
	Own(of Code, name string) bool
}

// Code is what can have code behind its name.
type Code byte

// The kinds of Code.
const (
	Function Code = iota
	Operator
	Type
)

// Exposure says which columns of an answer may show what is hidden. The zero value: none.
type Exposure struct {
	// All: every one.
	All bool
	// Outputs are the answer's columns, unless Star says that there are more of them than the text tells; then names
	// alone can be held against it.
	Outputs []Output
	Star    bool
	// Touches says that something hidden is within the statement's reach, so that an error may repeat it.
	Touches bool
	// Copies says that it writes what is hidden to another place, where it would not be.
	Copies bool
}

// Output is one column of an answer.
type Output struct {
	Name   string
	Hidden bool
}

// Hides reports whether any column is hidden.
func (e *Exposure) Hides() bool {
	for _, o := range e.Outputs {
		if o.Hidden {
			return true
		}
	}
	return e.All
}

// Shows reports whether column i of n, of that name, may show what is hidden.
func (e *Exposure) Shows(i, n int, name string) bool {
	switch {
	case e.All:
		return true
	case e.Star:
		for _, o := range e.Outputs {
			if o.Hidden && (o.Name == name || o.Name == "") {
				return true
			}
		}
		return false
	case n != len(e.Outputs):
		return e.Touches
	}
	return e.Outputs[i].Hidden
}

// Exposes follows what src hides through the statement: aliases, subqueries, WITH, joins and expressions. Whatever it
// cannot follow counts as showing it.
func (s *Statement) Exposes(src Source) Exposure {
	t := &tracer{src: src}
	e := t.statement(s.root)
	for _, n := range s.Relations { // those of definitions among them, whose errors repeat values as well
		t.touched = t.touched || src.Relation(n).any()
	}
	if src.Suspects() && len(s.Relations) == 0 && slices.ContainsFunc(s.Kinds, func(k string) bool { return slices.Contains(ofEverything, k) }) {
		t.touched = true
	}
	e.Touches, e.Copies = e.Touches || t.touched, t.copies
	for _, f := range s.Volatile {
		if src.Suspects() && effectOf(f) == Admin { // it may read anything, and say so in an error, or in a plan
			e.Touches = true
			e.All = e.All || s.Is("explain") || s.Is("explain analyze")
		}
	}
	return e
}

// ofEverything are the kinds that without a relation are about all that there are.
var ofEverything = []string{"vacuum", "analyze", "cluster", "reindex"}

// item is something in a FROM, by the name that it has there.
type item struct {
	alias string
	Hidden
	// aside: it can be named, and adds no columns of its own: those of JOIN … USING (…) AS x.
	aside bool
	// named are columns that it is known to have where not All are known.
	named []string
}

// has reports whether the item is known to have a column of that name.
func (i item) has(column string) bool {
	return slices.Contains(i.All, column) || slices.Contains(i.named, column)
}

// scope is what names can stand for: the items of this query, and of those around it.
type scope struct {
	items []item
	withs map[string]Hidden
	outer *scope
}

type tracer struct {
	src     Source
	touched bool
	copies  bool
	// unknown: code of the database's own is called, of which nobody knows what it reads.
	unknown bool
	depth   int
}

// maxDepth bounds recursion; the parser has bounded it before.
const maxDepth = 500

func (t *tracer) statement(n *pg.Node) Exposure {
	switch v := n.GetNode().(type) {
	case nil:
		return Exposure{}
	case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt, *pg.Node_MergeStmt:
		return t.query(n, nil)
	case *pg.Node_DeclareCursorStmt:
		return t.statement(v.DeclareCursorStmt.Query)
	case *pg.Node_PrepareStmt:
		return t.statement(v.PrepareStmt.Query)
	case *pg.Node_CopyStmt:
		if v.CopyStmt.Query != nil {
			return t.statement(v.CopyStmt.Query)
		}
		return t.table(v.CopyStmt)
	case *pg.Node_ExplainStmt: // plans hold the query's own constants, counts, and what planning has made of functions
		t.statement(v.ExplainStmt.Query)
		return Exposure{All: t.unknown}
	case *pg.Node_CallStmt, *pg.Node_ExecuteStmt, *pg.Node_FetchStmt:
		return Exposure{All: t.src.Suspects(), Touches: t.src.Suspects()}
	case *pg.Node_DoStmt, *pg.Node_CreateFunctionStmt: // the client's own code, which is not followed
		t.copies = t.src.Suspects()
		return Exposure{}
	case *pg.Node_CreateTableAsStmt:
		e := t.statement(v.CreateTableAsStmt.Query)
		t.copies = t.copies || e.Hides()
		return Exposure{}
	case *pg.Node_ViewStmt: // it gives no rows, and what reads it is followed
		return Exposure{Touches: t.src.Suspects()}
	}
	t.definition(n)
	return Exposure{}
}

// definition finds what would have a hidden column's values go elsewhere, or by another name, from then on.
func (t *tracer) definition(n *pg.Node) {
	hides := func(r *pg.RangeVar) bool { return r != nil && t.relation(r).any() }
	switch v := n.GetNode().(type) {
	case *pg.Node_RenameStmt:
		h := t.relation(v.RenameStmt.Relation)
		switch v.RenameStmt.RenameType {
		case pg.ObjectType_OBJECT_COLUMN:
			t.copies = t.copies || h.Opaque || h.Masked[v.RenameStmt.Subname]
		case pg.ObjectType_OBJECT_TABCONSTRAINT, pg.ObjectType_OBJECT_TRIGGER, pg.ObjectType_OBJECT_POLICY, pg.ObjectType_OBJECT_RULE:
		case pg.ObjectType_OBJECT_SCHEMA:
			t.copies = t.copies || t.src.Suspects() // it may be that of a pattern
		case pg.ObjectType_OBJECT_ATTRIBUTE: // by CASCADE the column of a table of that type
			t.copies = t.copies || t.src.Suspects() && v.RenameStmt.Behavior == pg.DropBehavior_DROP_CASCADE
		default: // ALTER INDEX and its like rename tables as well
			t.copies = t.copies || v.RenameStmt.Relation != nil && h.any()
		}
	case *pg.Node_AlterObjectSchemaStmt:
		t.copies = t.copies || hides(v.AlterObjectSchemaStmt.Relation)
	case *pg.Node_CreateTrigStmt:
		t.copies = t.copies || hides(v.CreateTrigStmt.Relation)
	case *pg.Node_RuleStmt:
		h := t.relation(v.RuleStmt.Relation)
		sc := &scope{withs: map[string]Hidden{}, items: []item{{alias: "old", Hidden: h}, {alias: "new", Hidden: h}}}
		for _, a := range v.RuleStmt.Actions {
			switch a.GetNode().(type) {
			case *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt: // else NOTIFY
				e := t.query(a, sc)
				t.copies = t.copies || e.Hides()
			}
		}
	case *pg.Node_AlterTableStmt: // USING and GENERATED make a column of others
		h := t.relation(v.AlterTableStmt.Relation)
		sc := &scope{withs: map[string]Hidden{}, items: []item{{alias: v.AlterTableStmt.Relation.GetRelname(), Hidden: h}}}
		t.copies = t.expressions(v.AlterTableStmt.Cmds, sc) || t.copies
		for _, c := range v.AlterTableStmt.Cmds { // its rows would no longer be those of the other
			switch c.GetAlterTableCmd().GetSubtype() {
			case pg.AlterTableType_AT_DetachPartition, pg.AlterTableType_AT_DropInherit:
				t.copies = t.copies || h.any()
			}
		}
	case *pg.Node_CreateStmt: // DEFAULT and GENERATED
		for _, e := range v.CreateStmt.TableElts {
			for _, c := range e.GetColumnDef().GetConstraints() {
				t.copies = t.expression(c.GetConstraint().GetRawExpr(), &scope{}) || t.copies
			}
		}
	}
}

// table is COPY of a table.
func (t *tracer) table(n *pg.CopyStmt) Exposure {
	h := t.relation(n.Relation)
	e := Exposure{All: h.Opaque}
	columns := names(n.Attlist)
	if len(columns) == 0 {
		columns = h.All
	}
	if columns == nil {
		e.All = e.All || h.any()
	}
	for _, c := range columns {
		e.Outputs = append(e.Outputs, Output{c, h.Opaque || h.Masked[c]})
	}
	return e
}

func (t *tracer) relation(r *pg.RangeVar) Hidden {
	h := t.src.Relation(Name{r.GetSchemaname(), r.GetRelname()})
	t.touched = t.touched || h.any()
	return h
}

// query gives the outputs of a statement that has some.
func (t *tracer) query(n *pg.Node, outer *scope) Exposure {
	if t.depth++; t.depth > maxDepth {
		t.touched = true
		return Exposure{All: true}
	}
	defer func() { t.depth-- }()
	switch v := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		return t.selects(v.SelectStmt, outer)
	case *pg.Node_InsertStmt:
		return t.returning(v.InsertStmt.WithClause, []*pg.Node{target(v.InsertStmt.Relation)}, v.InsertStmt.ReturningList, v.InsertStmt.OnConflictClause.GetWhereClause(), outer, v.InsertStmt.SelectStmt, conflict(v.InsertStmt.OnConflictClause))
	case *pg.Node_UpdateStmt:
		return t.returning(v.UpdateStmt.WithClause, append([]*pg.Node{target(v.UpdateStmt.Relation)}, v.UpdateStmt.FromClause...), v.UpdateStmt.ReturningList, v.UpdateStmt.WhereClause, outer, list(v.UpdateStmt.TargetList))
	case *pg.Node_DeleteStmt:
		return t.returning(v.DeleteStmt.WithClause, append([]*pg.Node{target(v.DeleteStmt.Relation)}, v.DeleteStmt.UsingClause...), v.DeleteStmt.ReturningList, v.DeleteStmt.WhereClause, outer)
	case *pg.Node_MergeStmt:
		return t.returning(v.MergeStmt.WithClause, []*pg.Node{target(v.MergeStmt.Relation), v.MergeStmt.SourceRelation}, v.MergeStmt.ReturningList, v.MergeStmt.JoinCondition, outer, list(v.MergeStmt.MergeWhenClauses))
	}
	t.touched = true
	return Exposure{All: true}
}

func list(l []*pg.Node) *pg.Node { return &pg.Node{Node: &pg.Node_List{List: &pg.List{Items: l}}} }

func conflict(c *pg.OnConflictClause) *pg.Node { return list(c.GetTargetList()) }

func target(r *pg.RangeVar) *pg.Node { return &pg.Node{Node: &pg.Node_RangeVar{RangeVar: r}} }

// returning is a statement that changes rows, and what it gives of them. written is what it writes: a query, or expressions.
func (t *tracer) returning(w *pg.WithClause, from, returned []*pg.Node, where *pg.Node, outer *scope, written ...*pg.Node) Exposure {
	sc := t.scope(w, outer)
	for _, f := range from {
		sc.items = append(sc.items, t.from(f, sc)...)
	}
	for _, n := range written {
		if n.GetSelectStmt() == nil {
			t.copies = t.expression(n, sc) || t.copies
		} else if e := t.query(n, sc); e.Hides() {
			t.copies = true
		}
	}
	t.expression(where, sc)
	return t.outputs(returned, sc)
}

func (t *tracer) selects(n *pg.SelectStmt, outer *scope) Exposure {
	sc := t.scope(n.WithClause, outer)
	if n.Op != pg.SetOperation_SETOP_NONE && n.Op != pg.SetOperation_SET_OPERATION_UNDEFINED {
		t.expressions([]*pg.Node{n.LimitCount, n.LimitOffset, list(n.SortClause)}, sc)
		return Either(t.selects(n.Larg, sc), t.selects(n.Rarg, sc))
	}
	if len(n.ValuesLists) > 0 {
		t.expressions([]*pg.Node{n.LimitCount, n.LimitOffset}, sc)
		return t.values(n.ValuesLists, sc)
	}
	for _, f := range n.FromClause {
		sc.items = append(sc.items, t.from(f, sc)...)
	}
	// What only decides which rows there are shows nothing, but may hand on what it is given.
	t.expressions([]*pg.Node{n.WhereClause, n.HavingClause, n.LimitCount, n.LimitOffset, list(n.DistinctClause), list(n.GroupClause), list(n.SortClause), list(n.WindowClause)}, sc)
	e := t.outputs(n.TargetList, sc)
	t.copies = t.copies || n.IntoClause != nil && e.Hides()
	return e
}

// Either is what an answer shows that is of l or of r, or of both as with UNION: names are the left side's, and either side shows.
func Either(l, r Exposure) Exposure {
	if l.Star || r.Star || len(l.Outputs) != len(r.Outputs) {
		l.All = l.Hides() || r.Hides()
		l.Star = true
	}
	l.All, l.Touches, l.Copies = l.All || r.All, l.Touches || r.Touches, l.Copies || r.Copies
	if l.Outputs = slices.Clone(l.Outputs); !l.Star {
		for i := range l.Outputs {
			l.Outputs[i].Hidden = l.Outputs[i].Hidden || r.Outputs[i].Hidden
		}
	}
	return l
}

func (t *tracer) values(lists []*pg.Node, sc *scope) Exposure {
	var e Exposure
	for _, l := range lists {
		for i, v := range l.GetList().GetItems() {
			if i == len(e.Outputs) {
				e.Outputs = append(e.Outputs, Output{Name: valuesColumn(i)})
			}
			e.Outputs[i].Hidden = t.expression(v, sc) || e.Outputs[i].Hidden
		}
	}
	return e
}

// scope is that of a statement with its WITH.
func (t *tracer) scope(w *pg.WithClause, outer *scope) *scope {
	sc := &scope{outer: outer, withs: map[string]Hidden{}}
	if w == nil {
		return sc
	}
	for _, n := range w.Ctes {
		cte := n.GetCommonTableExpr()
		if w.Recursive {
			sc.withs[cte.GetCtename()] = Hidden{}
		}
	}
	for range max(1, len(w.Ctes)+2) { // until nothing more is found to be hidden
		changed := false
		for _, n := range w.Ctes {
			cte := n.GetCommonTableExpr()
			h, _ := renamed(t.query(cte.GetCtequery(), sc), cte.GetAliascolnames())
			if cte.GetSearchClause() != nil || cte.GetCycleClause() != nil { // columns made of others
				h.Opaque = h.any()
			}
			was := sc.withs[cte.GetCtename()]
			changed = changed || was.Opaque != h.Opaque || len(was.Masked) != len(h.Masked)
			sc.withs[cte.GetCtename()] = h
		}
		if !w.Recursive {
			return sc
		}
		if !changed {
			return sc
		}
	}
	for name := range sc.withs {
		sc.withs[name] = Hidden{Opaque: true}
	}
	return sc
}

// renamed makes what a query gives a relation, whose columns may get other names. named are some of its columns, where not All are known.
func renamed(e Exposure, aliases []*pg.Node) (h Hidden, named []string) {
	h = Hidden{Opaque: e.All, Masked: map[string]bool{}}
	to := names(aliases)
	if e.Star && len(to) > 0 {
		for _, o := range e.Outputs {
			h.Opaque = h.Opaque || o.Hidden
		}
		return h, to
	}
	for i, o := range e.Outputs {
		name := o.Name
		if i < len(to) {
			name = to[i]
		}
		h.All = append(h.All, name)
		if o.Hidden && name == "" {
			h.Opaque = true
		} else if o.Hidden {
			h.Masked[name] = true
		}
	}
	if e.Star {
		h.All, named = nil, h.All
	}
	return h, named
}
