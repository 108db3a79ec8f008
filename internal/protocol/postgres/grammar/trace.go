package grammar

import (
	"slices"
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func valuesColumn(i int) string { return "column" + strconv.Itoa(i+1) }

// from gives the items of one entry of a FROM.
func (t *tracer) from(n *pg.Node, sc *scope) []item {
	switch v := n.GetNode().(type) {
	case *pg.Node_RangeVar:
		return []item{t.named(v.RangeVar, sc)}
	case *pg.Node_RangeSubselect:
		a := v.RangeSubselect.Alias
		h, named := renamed(t.query(v.RangeSubselect.Subquery, sc), a.GetColnames())
		return []item{{alias: a.GetAliasname(), Hidden: h, named: named}}
	case *pg.Node_JoinExpr:
		return t.join(v.JoinExpr, sc)
	case *pg.Node_RangeTableSample:
		return t.from(v.RangeTableSample.Relation, sc)
	case *pg.Node_RangeFunction:
		h := Hidden{Opaque: t.expressions(append(slices.Clone(v.RangeFunction.Functions), v.RangeFunction.Coldeflist...), sc)}
		return []item{{alias: functionAlias(v.RangeFunction), Hidden: h, named: names(v.RangeFunction.Alias.GetColnames())}}
	case *pg.Node_RangeTableFunc:
		return []item{{alias: v.RangeTableFunc.Alias.GetAliasname(), Hidden: Hidden{Opaque: t.message(v.RangeTableFunc.ProtoReflect(), sc)}}}
	case *pg.Node_JsonTable:
		return []item{{alias: v.JsonTable.Alias.GetAliasname(), Hidden: Hidden{Opaque: t.message(v.JsonTable.ProtoReflect(), sc)}}}
	}
	t.touched = true
	return []item{{Hidden: Hidden{Opaque: true}}}
}

func functionAlias(n *pg.RangeFunction) string {
	if n.Alias != nil {
		return n.Alias.Aliasname
	}
	for _, f := range n.Functions {
		for _, x := range f.GetList().GetItems() {
			if c := x.GetFuncCall(); c != nil {
				return last(names(c.Funcname))
			}
		}
	}
	return ""
}

func (t *tracer) named(r *pg.RangeVar, sc *scope) item {
	alias := r.Relname
	if r.Alias != nil {
		alias = r.Alias.Aliasname
	}
	h, found := Hidden{}, false
	if r.Schemaname == "" {
		for s := sc; s != nil && !found; s = s.outer {
			h, found = s.withs[r.Relname]
		}
	}
	if found {
		t.touched = t.touched || h.any()
	} else {
		h = t.relation(r)
	}
	if to := r.Alias.GetColnames(); len(to) > 0 && h.any() {
		h = aliased(h, names(to))
	}
	return item{alias: alias, Hidden: h}
}

// aliased gives columns the names of a list, which may be shorter than they are.
func aliased(h Hidden, to []string) Hidden {
	if h.Opaque || h.All == nil || len(to) > len(h.All) {
		return Hidden{Opaque: true}
	}
	out := Hidden{Masked: map[string]bool{}, All: slices.Clone(h.All)}
	copy(out.All, to)
	for i, name := range h.All {
		if h.Masked[name] {
			out.Masked[out.All[i]] = true
		}
	}
	return out
}

func (t *tracer) join(j *pg.JoinExpr, sc *scope) []item {
	left := t.from(j.Larg, sc)
	inner := &scope{items: append(slices.Clone(sc.items), left...), withs: sc.withs, outer: sc.outer} // LATERAL sees the left side
	items := append(left, t.from(j.Rarg, inner)...)
	inner.items = append(slices.Clone(sc.items), items...)
	t.expression(j.Quals, inner)
	if j.JoinUsingAlias != nil {
		h := Hidden{All: names(j.UsingClause), Masked: map[string]bool{}}
		for _, c := range h.All {
			for _, i := range items {
				if i.Opaque || i.Masked[c] {
					h.Masked[c] = true
				}
			}
		}
		items = append(items, item{alias: j.JoinUsingAlias.Aliasname, Hidden: h, aside: true})
	}
	if j.Alias == nil {
		return items
	}
	h := Hidden{Masked: map[string]bool{}}
	for _, i := range items {
		h.Opaque = h.Opaque || i.Opaque || i.any() && len(j.Alias.Colnames) > 0
		for m := range i.Masked {
			h.Masked[m] = true
		}
	}
	return []item{{alias: j.Alias.Aliasname, Hidden: h}}
}

// outputs is a list of targets.
func (t *tracer) outputs(list []*pg.Node, sc *scope) Exposure {
	var e Exposure
	for _, n := range list {
		r := n.GetResTarget()
		if ref := r.GetVal().GetColumnRef(); ref != nil && isStar(ref) {
			t.star(&e, ref, sc)
			continue
		}
		if ind := r.GetVal().GetAIndirection(); ind != nil && len(ind.Indirection) > 0 && ind.Indirection[len(ind.Indirection)-1].GetAStar() != nil {
			e.Star = true // (row).*: columns of whatever the row is made of
			if t.expression(r.Val, sc) {
				e.All = true
			}
			continue
		}
		e.Outputs = append(e.Outputs, Output{outputName(r), t.expression(r.GetVal(), sc)})
	}
	return e
}

func isStar(ref *pg.ColumnRef) bool {
	return len(ref.Fields) > 0 && ref.Fields[len(ref.Fields)-1].GetAStar() != nil
}

// star adds the columns of all items of this query, or of one.
func (t *tracer) star(e *Exposure, ref *pg.ColumnRef, sc *scope) {
	of := names(ref.Fields)
	items := sc.items
	if len(of) > 0 {
		items = sc.find(last(of))
		if items == nil { // such as JOIN … USING (…) AS x
			e.Star = true
			e.All = e.All || sc.hides()
		}
	}
	for _, i := range items {
		if i.aside && len(of) == 0 {
			continue
		}
		if i.Opaque {
			e.All = true
		}
		if i.All == nil || len(sc.items) > 1 { // USING and NATURAL put columns together
			e.Star = true
		}
		if i.All == nil {
			for m := range i.Masked {
				e.Outputs = append(e.Outputs, Output{m, true})
			}
			for _, c := range i.named {
				if !i.Masked[c] {
					e.Outputs = append(e.Outputs, Output{c, false})
				}
			}
			continue
		}
		for _, c := range i.All {
			e.Outputs = append(e.Outputs, Output{c, i.Masked[c]})
		}
	}
}

// find gives the items of that name, of the innermost query that has any.
func (sc *scope) find(alias string) []item {
	for s := sc; s != nil; s = s.outer {
		var out []item
		for _, i := range s.items {
			if i.alias == alias {
				out = append(out, i)
			}
		}
		if out != nil {
			return out
		}
	}
	return nil
}

// outputName is what the server calls a target without AS, or empty where that takes more than a look.
func outputName(r *pg.ResTarget) string {
	if r.GetName() != "" {
		return r.Name
	}
	if ref := r.GetVal().GetColumnRef(); ref != nil {
		return last(names(ref.Fields))
	}
	if f := r.GetVal().GetFuncCall(); f != nil {
		return last(names(f.Funcname))
	}
	return ""
}

func (t *tracer) expressions(list []*pg.Node, sc *scope) bool {
	hidden := false
	for _, n := range list {
		hidden = t.expression(n, sc) || hidden
	}
	return hidden
}

// expression reports whether a value may show what is hidden.
func (t *tracer) expression(n *pg.Node, sc *scope) bool {
	return n != nil && t.message(n.ProtoReflect(), sc)
}

// message walks all of an expression, since what it touches counts as well.
func (t *tracer) message(m protoreflect.Message, sc *scope) bool {
	if !m.IsValid() {
		return false
	}
	hidden := false
	switch n := m.Interface().(type) {
	case *pg.ColumnRef:
		return t.reference(n, sc)
	case *pg.SubLink:
		e := t.query(n.Subselect, sc)
		for _, o := range e.Outputs {
			hidden = hidden || o.Hidden
		}
		hidden = (hidden || e.All) && n.SubLinkType != pg.SubLinkType_EXISTS_SUBLINK || t.operators(n)
		return t.expression(n.Testexpr, sc) || hidden
	case *pg.SelectStmt: // such as ARRAY(…) of a grammar to come
		t.selects(n, sc)
		return true
	case *pg.FuncCall:
		harmless, own := t.called(names(n.Funcname))
		given := t.below(m, sc)
		t.copies = t.copies || given && !harmless // what it does with it nobody knows
		return given || own
	case *pg.A_Expr, *pg.SortBy, *pg.CaseExpr:
		hidden = t.operators(n)
	case *pg.TypeName:
		if name := names(n.Names); len(name) > 0 {
			hidden = t.own(Type, last(name))
		}
	case *pg.A_Indirection: // (x).f is f(x) as well
		for _, f := range names(n.Indirection) {
			hidden = t.own(Function, f) || hidden
		}
	}
	return t.below(m, sc) || hidden
}

// called says of a function whether it does no more than compute, and whether it may show what is hidden by itself.
func (t *tracer) called(name []string) (harmless, own bool) {
	system := len(name) == 2 && name[0] == "pg_catalog"
	if system {
		name = name[1:]
	}
	if len(name) != 1 {
		t.unknown = t.unknown || t.src.Suspects()
		return false, t.src.Suspects()
	}
	own = !system && t.own(Function, name[0])
	harmless = isHarmless(name[0]) && !own
	return harmless, own || t.src.Suspects() && (repeating[name[0]] || !isHarmless(name[0]) && effectOf(name[0]) == Admin && name[0] != "set_config")
}

// repeating are harmless functions that give what other sessions run, values within.
var repeating = words("pg_stat_get_activity pg_stat_get_backend_activity")

// own reports whether code of the database's own may be behind a name.
func (t *tracer) own(of Code, name string) bool {
	own := t.src.Own(of, name)
	t.unknown = t.unknown || own
	return own
}

// operators reports whether code of the database's own may be behind one of a node's operators.
func (t *tracer) operators(m proto.Message) bool {
	return slices.ContainsFunc(operatorsOf(m), func(name string) bool { return t.own(Operator, name) })
}

// below walks everything that is within m.
func (t *tracer) below(m protoreflect.Message, sc *scope) (hidden bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() != protoreflect.MessageKind {
			return true
		}
		if !f.IsList() {
			hidden = t.message(v.Message(), sc) || hidden
			return true
		}
		for i := range v.List().Len() {
			hidden = t.message(v.List().Get(i).Message(), sc) || hidden
		}
		return true
	})
	return hidden
}

// systemColumns hold nothing of the others.
var systemColumns = []string{"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}

// reference reports whether a column's name may stand for something hidden: a column, a whole row, or, as x.f is also
// f(x), what a function makes of a row.
func (t *tracer) reference(n *pg.ColumnRef, sc *scope) bool {
	parts := names(n.Fields)
	star := isStar(n)
	if len(parts) == 0 { // a bare * within an expression
		return sc.hides()
	}
	if len(parts) == 1 && !star {
		return sc.bare(parts[0])
	}
	alias, column := parts[len(parts)-1], ""
	if !star {
		alias, column = parts[len(parts)-2], parts[len(parts)-1]
	}
	items := sc.find(alias)
	if items == nil {
		return sc.hides() || t.own(Function, column)
	}
	for _, i := range items {
		if !star && !i.has(column) && t.own(Function, column) {
			return true
		}
		switch {
		case i.Opaque, star && i.any(), i.Masked[column]:
			return true
		case i.any() && !i.has(column) && !slices.Contains(systemColumns, column):
			return true
		}
	}
	return false
}

// hides reports whether anything that can be named here is hidden.
func (sc *scope) hides() bool {
	for s := sc; s != nil; s = s.outer {
		for _, i := range s.items {
			if i.any() {
				return true
			}
		}
	}
	return false
}

// bare is a name alone: a column of some item, or an item's whole row. One of which it is not known what it stands for may be hidden
// where anything is.
func (sc *scope) bare(name string) bool {
	for s := sc; s != nil; s = s.outer {
		known := false
		for _, i := range s.items {
			known = known || i.has(name) || i.alias == name
			if i.Masked[name] || i.alias == name && i.any() || i.Opaque && i.has(name) {
				return true
			}
		}
		if known { // it is that one: names are not ambiguous
			return false
		}
		for _, i := range s.items {
			if i.Opaque {
				return true
			}
		}
	}
	return !slices.Contains(systemColumns, name) && sc.hides()
}
