package grammar

import (
	"cmp"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// statement notes what a statement other than SELECT and the four that change rows can do. It reports that nothing below needs a walk.
func (c *classifier) statement(m proto.Message) bool {
	switch n := m.(type) {
	case *pg.ExplainStmt:
		return c.explain(n)
	case *pg.CopyStmt:
		c.copy(n)
	case *pg.TransactionStmt:
		c.transaction(n)
	case *pg.VariableSetStmt:
		c.set(n)
		return true
	case *pg.VariableShowStmt:
		c.kind("show", Read)
	case *pg.DeclareCursorStmt:
		c.kind("declare", Read)
		c.s.Cursor = n.Portalname
	case *pg.FetchStmt:
		c.kind("fetch", Read)
		c.s.Cursor = n.Portalname
	case *pg.ClosePortalStmt:
		c.kind("close", Session)
		c.s.Cursor = n.Portalname
	case *pg.PrepareStmt:
		c.kind("prepare", Session)
		c.s.Prepared = n.Name
	case *pg.ExecuteStmt:
		c.kind("execute", Read)
		c.s.Prepared = n.Name
	case *pg.DeallocateStmt:
		c.kind("deallocate", Session)
		c.s.Prepared = n.Name
	case *pg.DiscardStmt:
		c.kind("discard", Session)
		if n.Target == pg.DiscardMode_DISCARD_ALL {
			c.s.Setting = &Setting{Name: "all"}
		}
	case *pg.ListenStmt, *pg.UnlistenStmt:
		c.kind(strings.ToLower(strings.TrimSuffix(nodeName(m), "Stmt")), Session)
	case *pg.ConstraintsSetStmt:
		c.kind("set constraints", Session)
	case *pg.NotifyStmt:
		c.kind("notify", Write)
	case *pg.LockStmt:
		c.kind("lock", Write)
		if n.Mode == accessShare {
			c.s.Effect = Session
		}
	case *pg.TruncateStmt:
		c.kind("truncate", Write)
		c.s.NoWhere = true
		c.writeAll(n.Relations)
	case *pg.RefreshMatViewStmt:
		c.kind("refresh materialized view", Write)
		c.write(n.Relation)
	case *pg.VacuumStmt:
		c.kind("vacuum", Write)
		if !n.IsVacuumcmd {
			c.s.Kinds = []string{"analyze"}
		}
	case *pg.CreateTableAsStmt:
		c.kind("create table as", DDL)
		c.write(n.Into.GetRel())
	case *pg.DoStmt:
		c.kind("do", Admin)
		return true
	case *pg.CallStmt:
		c.kind("call", Admin)
	case *pg.DropStmt:
		c.kind("drop "+object(n.RemoveType), DDL)
		for _, o := range n.Objects {
			if list := o.GetList(); list != nil {
				name := names(list.Items)
				both := []string{last(name), strings.Join(name, ".")}
				c.s.Tables, c.s.Writes = append(c.s.Tables, both...), append(c.s.Writes, both...)
			}
		}
		return true
	default:
		name := nodeName(m)
		switch {
		case definitions[name]:
			c.kind(spaced(name), DDL)
			c.defines(m)
		case strings.HasSuffix(name, "Stmt") && !parts[name]:
			// Rights, roles, whole databases, servers, extensions, and what this grammar does not name.
			c.kind(spaced(name), Admin)
			c.defines(m)
		}
	}
	return false
}

// accessShare is the lock mode that a SELECT takes (AccessShareLock).
const accessShare = 1

// definitions are the statements that change what is defined, and nobody's rights.
var definitions = words(`CreateSchemaStmt AlterTableStmt AlterDomainStmt CreateStmt CreatePolicyStmt AlterPolicyStmt CreateTrigStmt CreateSeqStmt
	AlterSeqStmt DefineStmt CreateDomainStmt CommentStmt IndexStmt CreateStatsStmt AlterStatsStmt CreateFunctionStmt AlterFunctionStmt RenameStmt
	AlterObjectDependsStmt AlterObjectSchemaStmt AlterTypeStmt RuleStmt CompositeTypeStmt CreateEnumStmt CreateRangeStmt AlterEnumStmt ViewStmt
	ClusterStmt ReindexStmt CreateConversionStmt CreateCastStmt AlterTSDictionaryStmt AlterTSConfigurationStmt AlterCollationStmt
	CreateOpClassStmt CreateOpFamilyStmt AlterOpFamilyStmt AlterOperatorStmt`)

// parts end in Stmt and are no statements of their own.
var parts = words(`RawStmt SetOperationStmt ReturnStmt PLAssignStmt ReplicaIdentityStmt`)

// defines notes the relation that a definition is about as changed.
func (c *classifier) defines(m proto.Message) {
	switch n := m.(type) {
	case *pg.AlterTableStmt:
		c.write(n.Relation)
		for _, x := range n.Cmds {
			if x.GetAlterTableCmd().GetSubtype() == pg.AlterTableType_AT_ChangeOwner { // whose rights its code has
				c.effect(Admin)
			}
		}
	case *pg.CreateFunctionStmt:
		for _, o := range n.Options {
			if d := o.GetDefElem(); d.GetDefname() == "language" && !trusted[strings.ToLower(d.Arg.GetString_().GetSval())] { // C's is loaded, and runs, at once
				c.effect(Admin)
			}
		}
	case interface{ GetRelation() *pg.RangeVar }:
		c.write(n.GetRelation())
	case *pg.ViewStmt:
		c.write(n.View)
	}
}

// trusted are the languages in which a definition by itself runs nothing.
var trusted = words(`sql plpgsql plperl pltcl`)

func (c *classifier) writeAll(list []*pg.Node) {
	for _, n := range list {
		c.write(n.GetRangeVar())
	}
}

// explain runs the statement where it is told to; else it plans it, which calls what is immutable.
func (c *classifier) explain(n *pg.ExplainStmt) bool {
	runs := false
	for _, o := range n.Options {
		d := o.GetDefElem()
		if d.GetDefname() == "analyze" {
			v, known := constant(d.Arg)
			if d.Arg != nil && d.Arg.GetString_() != nil {
				v, known = d.Arg.GetString_().Sval, true
			}
			v = strings.ToLower(v)
			runs = d.Arg == nil || !known || v != "off" && v != "false" && v != "0"
		}
	}
	if runs {
		c.kind("explain analyze", Read)
		return false
	}
	c.kind("explain", Read)
	inner := &classifier{s: &Statement{Effect: Read}, withs: c.withs}
	inner.node(n.Query)
	s, i := c.s, inner.s
	s.Tables, s.Columns, s.Functions = append(s.Tables, i.Tables...), append(s.Columns, i.Columns...), append(s.Functions, i.Functions...)
	s.Relations, s.Types, s.Operators = append(s.Relations, i.Relations...), append(s.Types, i.Types...), append(s.Operators, i.Operators...)
	s.Volatile = append(s.Volatile, i.Volatile...)                                                                   // one that is called immutable is run to plan
	if e := cmp.Or(n.Query.GetExecuteStmt(), n.Query.GetCreateTableAsStmt().GetQuery().GetExecuteStmt()); e != nil { // its parameters are computed
		c.fields(e.ProtoReflect())
	}
	return true
}

func (c *classifier) transaction(n *pg.TransactionStmt) {
	kind := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(n.Kind.String(), "TRANS_STMT_")), "_", " ")
	effect := Session
	if strings.Contains(kind, "prepare") { // it outlives the session
		effect = Admin
	}
	if kind == "prepare" {
		kind = "prepare transaction"
	}
	c.kind(kind, effect)
}

func (c *classifier) copy(n *pg.CopyStmt) {
	switch {
	case n.IsProgram:
		c.kind("copy program", Admin)
	case n.Filename != "":
		c.kind("copy file", Admin)
	default:
		for _, o := range n.Options {
			if d := o.GetDefElem(); d.GetDefname() == "encoding" {
				if why := misread("client_encoding", d.Arg.GetString_().GetSval()); why != "" {
					c.s.Refuse = "COPY in another encoding: " + why
				}
			}
		}
		c.s.Copy = &Copy{From: n.IsFrom, Plain: len(n.Options) == 0, Columns: names(n.Attlist), query: n.Query}
		if n.Relation != nil {
			c.s.Copy.Relation = Name{n.Relation.Schemaname, n.Relation.Relname}
		}
		if n.IsFrom {
			c.kind("copy from", Write)
			c.write(n.Relation)
			return
		}
		c.kind("copy to", Read)
	}
	for _, a := range names(n.Attlist) {
		c.column(a)
	}
}

func nodeName(m proto.Message) string { return string(m.ProtoReflect().Descriptor().Name()) }

// spaced is a node's name as words: CreateStmt becomes "create table", AlterDomainStmt "alter domain".
func spaced(name string) string {
	if k, ok := commandNames[name]; ok {
		return k
	}
	var out strings.Builder
	for i, r := range strings.TrimSuffix(name, "Stmt") {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				out.WriteByte(' ')
			}
			r += 'a' - 'A'
		}
		out.WriteRune(r)
	}
	return out.String()
}

// commandNames are those that the node's own name does not tell.
var commandNames = map[string]string{
	"CreateStmt": "create table", "ViewStmt": "create view", "IndexStmt": "create index", "CreateTrigStmt": "create trigger", "CreateSeqStmt": "create sequence",
	"AlterSeqStmt": "alter sequence", "DefineStmt": "create", "RuleStmt": "create rule", "CompositeTypeStmt": "create type", "CreateEnumStmt": "create type",
	"CreateRangeStmt": "create type", "AlterEnumStmt": "alter type", "RenameStmt": "alter rename", "AlterObjectSchemaStmt": "alter schema", "AlterOwnerStmt": "alter owner",
	"CreatedbStmt": "create database", "DropdbStmt": "drop database", "CreateExtensionStmt": "create extension", "GrantStmt": "grant", "GrantRoleStmt": "grant role",
	"CheckPointStmt": "checkpoint", "LoadStmt": "load", "AlterSystemStmt": "alter system", "CreatePLangStmt": "create language", "CreateStatsStmt": "create statistics",
}

// object is what DROP removes.
func object(t pg.ObjectType) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(t.String(), "OBJECT_")), "_", " ")
}
