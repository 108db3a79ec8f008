package grammar

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// classifier walks one statement.
type classifier struct {
	s *Statement
	// withs are the names that WITH gives, of the statements around, innermost last.
	withs [][]string
	// settingName is the one row's that SELECT … FROM pg_settings WHERE name = '…' is about.
	settingName string
}

func classify(n *pg.Node, text string) *Statement {
	c := &classifier{s: &Statement{Text: text, Effect: Read, root: n}}
	c.node(n)
	s := c.s
	if len(s.Volatile) > 0 {
		for _, f := range s.Volatile {
			c.effect(effectOf(f))
		}
	}
	for _, list := range []*[]string{&s.Tables, &s.Writes, &s.Columns, &s.Functions, &s.Volatile, &s.Types, &s.Operators} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return s
}

func (c *classifier) kind(k, effect string) {
	if !c.s.Is(k) {
		c.s.Kinds = append(c.s.Kinds, k)
	}
	c.effect(effect)
}

func (c *classifier) effect(e string) { c.s.Effect = Stronger(c.s.Effect, e) }

func (c *classifier) node(n *pg.Node) {
	if n != nil {
		c.message(n.ProtoReflect())
	}
}

// fields walks everything below a message.
func (c *classifier) fields(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() != protoreflect.MessageKind {
			return true
		}
		if f.IsList() {
			for i := range v.List().Len() {
				c.message(v.List().Get(i).Message())
			}
			return true
		}
		c.message(v.Message())
		return true
	})
}

// message is the one place that says what each node of the grammar means. Whatever is a statement and is not here can do anything.
func (c *classifier) message(m protoreflect.Message) {
	if !m.IsValid() {
		return
	}
	msg := m.Interface()
	if with := withOf(msg); with != nil {
		c.with(with)
		defer func() { c.withs = c.withs[:len(c.withs)-1] }()
	}
	switch n := msg.(type) {
	case *pg.WithClause: // walked before the statement that it belongs to
		return
	case *pg.SelectStmt:
		c.selects(n)
	case *pg.InsertStmt:
		c.kind("insert", Write)
		c.write(n.Relation)
		for _, t := range n.Cols {
			c.column(t.GetResTarget().GetName())
		}
		if u := n.OnConflictClause; u != nil {
			c.targets(u.TargetList)
		}
	case *pg.UpdateStmt:
		c.kind("update", Write)
		c.write(n.Relation)
		if n.Relation.GetRelname() == settingsView {
			c.s.Refuse = SettingsUpdate
		}
		c.targets(n.TargetList)
		c.s.NoWhere = c.s.NoWhere || n.WhereClause == nil
	case *pg.DeleteStmt:
		c.kind("delete", Write)
		c.write(n.Relation)
		c.s.NoWhere = c.s.NoWhere || n.WhereClause == nil
	case *pg.MergeStmt: // not into a view that has rules
		c.kind("merge", Write)
		c.write(n.Relation)
	case *pg.RangeVar:
		c.relation(n)
	case *pg.FuncCall:
		if c.function(n) {
			return
		}
	case *pg.ColumnRef:
		c.column(columnName(n))
	case *pg.TypeName:
		c.typeName(n)
	case *pg.A_Expr, *pg.SortBy, *pg.SubLink, *pg.CaseExpr, *pg.JoinExpr:
		c.s.Operators = append(c.s.Operators, operatorsOf(n)...)
	case *pg.LockingClause: // its relations are aliases
		return
	case *pg.RangeTableSample:
		c.call(names(n.Method))
	case *pg.JsonFuncExpr, *pg.JsonParseExpr, *pg.JsonScalarExpr, *pg.JsonSerializeExpr, *pg.JsonObjectConstructor, *pg.JsonArrayConstructor,
		*pg.JsonObjectAgg, *pg.JsonArrayAgg, *pg.JsonArrayQueryConstructor, *pg.JsonTable, *pg.JsonIsPredicate, *pg.MergeSupportFunc:
		// To an older server these are calls of functions, which somebody may have made.
		c.jsonCall(string(m.Descriptor().Name()))
	default:
		if c.statement(msg) {
			return
		}
	}
	c.fields(m)
}

// settingsView is the view whose UPDATE sets parameters of the session, by a rule of the server's own.
const settingsView = "pg_settings"

// SettingsUpdate says why it is not let through.
const SettingsUpdate = "an UPDATE of pg_settings sets parameters of the session; use SET"

// UpdatesSettings reports whether a statement that writes to a view with definition v sets parameters.
func (s *Statement) UpdatesSettings(v *Statement) bool {
	return s.Is("update") && slices.ContainsFunc(v.Relations, func(n Name) bool { return n.Relation == settingsView })
}

// Actions gives what a rule does, where the statement is the definition of one.
func (s *Statement) Actions() (out []*Statement, is bool) {
	r := s.root.GetRuleStmt()
	if r == nil {
		return nil, false
	}
	for _, a := range r.Actions {
		out = append(out, classify(a, s.Text))
	}
	if r.WhereClause != nil {
		where := classify(&pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: &pg.SelectStmt{WhereClause: r.WhereClause}}}, s.Text)
		where.Kinds = nil
		out = append(out, where)
	}
	return out, true
}

// WritesTo reports whether it changes the relation that it names so.
func (s *Statement) WritesTo(n Name) bool {
	name := n.Relation
	if n.Schema != "" {
		name = n.Schema + "." + n.Relation
	}
	return slices.Contains(s.Writes, name)
}

func withOf(m proto.Message) *pg.WithClause {
	switch n := m.(type) {
	case *pg.SelectStmt:
		return n.WithClause
	case *pg.InsertStmt:
		return n.WithClause
	case *pg.UpdateStmt:
		return n.WithClause
	case *pg.DeleteStmt:
		return n.WithClause
	case *pg.MergeStmt:
		return n.WithClause
	}
	return nil
}

// with walks the queries of a WITH, each of which sees those before it, or all where it is recursive.
func (c *classifier) with(w *pg.WithClause) {
	var all []string
	for _, n := range w.Ctes {
		all = append(all, n.GetCommonTableExpr().GetCtename())
	}
	for i, n := range w.Ctes {
		seen := all
		if !w.Recursive {
			seen = all[:i]
		}
		c.withs = append(c.withs, seen)
		c.fields(n.GetCommonTableExpr().ProtoReflect())
		c.withs = c.withs[:len(c.withs)-1]
	}
	c.withs = append(c.withs, all)
}

func (c *classifier) selects(n *pg.SelectStmt) {
	c.kind("select", Read)
	c.settingName = c.oneSetting(n)
	if n.IntoClause != nil {
		c.kind("select into", DDL)
	}
	if len(n.LockingClause) > 0 { // it writes to the rows, and needs the right to
		c.kind("select for update", Write)
		for _, f := range n.FromClause {
			if r := f.GetRangeVar(); r != nil && !c.isWith(r) {
				c.s.Writes = append(c.s.Writes, tableNames(r)...)
			}
		}
	}
}

// oneSetting is how pg_dump sets what not every server has: SELECT set_config(name, …) FROM pg_settings WHERE name = '…'.
func (c *classifier) oneSetting(n *pg.SelectStmt) string {
	if len(n.TargetList) != 1 || len(n.FromClause) != 1 || len(c.withs) > 0 || n.WhereClause.GetAExpr() == nil {
		return ""
	}
	r, w := n.FromClause[0].GetRangeVar(), n.WhereClause.GetAExpr()
	value, ok := constant(w.Rexpr)
	if !ok || r.GetRelname() != "pg_settings" || r.GetSchemaname() != "pg_catalog" && r.GetSchemaname() != "" || w.Kind != pg.A_Expr_Kind_AEXPR_OP ||
		last(names(w.Name)) != "=" || columnName(w.Lexpr.GetColumnRef()) != "name" {
		return ""
	}
	return value
}

func (c *classifier) isWith(r *pg.RangeVar) bool {
	return r.Schemaname == "" && slices.ContainsFunc(c.withs, func(w []string) bool { return slices.Contains(w, r.Relname) })
}

// tableNames are what a relation is listed by: its name, and where a schema is written that name as well, so that nobody escapes a rule by
// writing it.
func tableNames(r *pg.RangeVar) []string {
	if r.Schemaname != "" {
		return []string{r.Relname, r.Schemaname + "." + r.Relname}
	}
	return []string{r.Relname}
}

func (c *classifier) relation(r *pg.RangeVar) {
	if c.isWith(r) {
		return
	}
	c.s.Tables = append(c.s.Tables, tableNames(r)...)
	c.s.Relations = append(c.s.Relations, Name{r.Schemaname, r.Relname})
}

// write notes what a statement changes. That is never what a WITH names.
func (c *classifier) write(r *pg.RangeVar) {
	if r == nil {
		return
	}
	c.s.Tables, c.s.Writes = append(c.s.Tables, tableNames(r)...), append(c.s.Writes, tableNames(r)...)
	c.s.Relations = append(c.s.Relations, Name{r.Schemaname, r.Relname})
}

func (c *classifier) targets(list []*pg.Node) {
	for _, t := range list {
		c.column(t.GetResTarget().GetName())
	}
}

func (c *classifier) column(name string) {
	if name != "" {
		c.s.Columns = append(c.s.Columns, name)
	}
}

func columnName(n *pg.ColumnRef) string {
	if n == nil {
		return ""
	}
	var parts []string
	for _, f := range n.Fields {
		switch {
		case f.GetString_() != nil:
			parts = append(parts, f.GetString_().Sval)
		case f.GetAStar() != nil:
			parts = append(parts, "*")
		}
	}
	return strings.Join(parts, ".")
}

func names(list []*pg.Node) []string {
	var out []string
	for _, n := range list {
		if s := n.GetString_(); s != nil {
			out = append(out, s.Sval)
		}
	}
	return out
}

// function notes a call. It reports that the arguments need no walk.
func (c *classifier) function(n *pg.FuncCall) bool {
	name := names(n.Funcname)
	if last(name) == "set_config" && len(name) <= 2 && (len(name) == 1 || name[0] == "pg_catalog") && len(n.Args) == 3 {
		key, ok := constant(n.Args[0])
		if !ok && c.settingName != "" && columnName(n.Args[0].GetColumnRef()) == "name" {
			key, ok = c.settingName, true
		}
		value, known := constant(n.Args[1])
		local, _ := constant(n.Args[2])
		if ok {
			c.s.Functions = append(c.s.Functions, "set_config")
			c.kind("set", Session)
			if c.s.Setting != nil { // more than one in a statement: only one can be followed
				c.effect(Admin)
			}
			c.setting(strings.ToLower(key), value, local != "off" && local != "f" && local != "false", known)
			return true
		}
		c.s.Refuse = "set_config of a parameter that is not a constant"
	}
	c.call(name)
	return false
}

func last(name []string) string {
	if len(name) == 0 {
		return ""
	}
	return name[len(name)-1]
}

func (c *classifier) call(name []string) {
	written := strings.TrimPrefix(strings.Join(name, "."), "pg_catalog.")
	if written == "" {
		return
	}
	c.s.Functions = append(c.s.Functions, written)
	if !isHarmless(written) {
		c.s.Volatile = append(c.s.Volatile, written)
	}
}

// jsonFunctions are what nodes of newer grammars are called in a statement.
var jsonFunctions = map[string][]string{
	"JsonFuncExpr": {"json_exists", "json_query", "json_value"}, "JsonParseExpr": {"json"}, "JsonScalarExpr": {"json_scalar"},
	"JsonSerializeExpr": {"json_serialize"}, "JsonObjectConstructor": {"json_object"}, "JsonArrayConstructor": {"json_array"},
	"JsonArrayQueryConstructor": {"json_array"}, "JsonObjectAgg": {"json_objectagg"}, "JsonArrayAgg": {"json_arrayagg"},
	"JsonTable": {"json_table"}, "MergeSupportFunc": {"merge_action"},
}

func (c *classifier) jsonCall(node string) {
	c.s.Functions = append(c.s.Functions, jsonFunctions[node]...)
}

func (c *classifier) typeName(n *pg.TypeName) {
	name := names(n.Names)
	if len(name) == 2 && name[0] == "pg_catalog" || len(name) == 0 {
		return
	}
	c.s.Types = append(c.s.Types, last(name))
}

// operatorsOf are the operators by which a node compares or computes, those among them that it does not name.
func operatorsOf(m proto.Message) []string {
	var name []*pg.Node
	equals := false
	switch n := m.(type) {
	case *pg.A_Expr:
		switch n.Kind {
		case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN, pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
			return []string{"<", ">", "<=", ">="}
		}
		name = n.Name
	case *pg.SortBy:
		name = n.UseOp
	case *pg.SubLink:
		name, equals = n.OperName, n.SubLinkType == pg.SubLinkType_ANY_SUBLINK && len(n.OperName) == 0 // IN
	case *pg.CaseExpr:
		equals = n.Arg != nil
	case *pg.JoinExpr:
		equals = n.IsNatural || len(n.UsingClause) > 0
	}
	if equals {
		return []string{"="}
	}
	if written := names(name); len(written) > 0 {
		return written[len(written)-1:]
	}
	return nil
}
