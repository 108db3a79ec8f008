package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"

	"gatebook/internal/access"
)

// costLimit bounds one evaluation of one condition, in CEL's units: about one per field, operator and 10 characters
// of text looked at, which allows for some thousand turns of a loop and some tens of milliseconds. Conditions of
// bounded cost (no loop) are not counted.
const costLimit = 50_000

// compiler turns conditions into programs. There is one environment per protocol, with its variables.
type compiler struct {
	schema *schema
	envs   map[string]*cel.Env
}

func newCompiler() (*compiler, error) {
	c := &compiler{envs: map[string]*cel.Env{}}
	for _, p := range protocols() {
		if err := c.environment(p); err != nil {
			return nil, fmt.Errorf("making the environment of conditions: %w", err)
		}
	}
	return c, nil
}

// protocols lists what a rule's protocol may be. "" is a rule for every protocol.
func protocols() []string {
	var out []string
	for _, v := range variables() {
		if !slices.Contains(out, v.protocol) {
			out = append(out, v.protocol)
		}
	}
	return out
}

func (c *compiler) environment(protocol string) error {
	env, err := cel.NewEnv(
		cel.OptionalTypes(),
		cel.EnableMacroCallTracking(),          // so that Explain can show a condition as it was written
		cel.EnableErrorOnBadPresenceTest(true), // has(5.x) is a failure, not false: what is malformed must not look absent
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		ext.Strings(), ext.Sets(), ext.Lists(), ext.Regex(), ext.Bindings(), ext.TwoVarComprehensions(),
	)
	if err != nil {
		return err
	}
	if c.schema == nil {
		if c.schema, err = newSchema(env.CELTypeProvider(), env.CELTypeAdapter()); err != nil {
			return err
		}
	}
	c.envs[protocol], err = env.Extend(append(c.schema.install(protocol), functionOptions(c.schema)...)...)
	return err
}

// compile checks the rule's condition and makes its program. What is wrong goes to ps, each with its place.
func (c *compiler) compile(r *rule, ps *problems) {
	env := c.envs[r.protocol]
	if env == nil {
		ps.add(r.at.file, r.at.line, r.at.column, "rule %q: protocol %q is not known; %s", r.id, r.protocol, meant(r.protocol, protocols()[1:]))
		return
	}
	if strings.TrimSpace(r.when) == "" {
		if r.whenAt.node != nil {
			ps.add(r.at.file, r.whenAt.node.Line, r.whenAt.node.Column, "rule %q: when is empty; leave it out to mean always", r.id)
		}
		return
	}
	a, issues := env.Compile(r.when)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			c.report(r, env, e, ps)
		}
		return
	}
	if a.OutputType() != cel.BoolType {
		line, column := r.whenAt.locate(0)
		ps.add(r.at.file, line, column, "rule %q: when must say true or false, and is of type %s; compare it with something", r.id, a.OutputType())
		return
	}
	prog, err := env.Program(a, programOptions(a)...)
	if err != nil {
		line, column := r.whenAt.locate(0)
		ps.add(r.at.file, line, column, "rule %q: %v", r.id, err)
		return
	}
	r.ast, r.program, r.late = a, prog, lateFields(a)
}

func programOptions(a *cel.Ast) []cel.ProgramOption {
	out := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval)}
	if !bounded(a) {
		out = append(out, cel.CostTracking(functionCosts{}), cel.CostLimit(costLimit))
	}
	return out
}

// bounded reports whether every part of the condition runs at most once and costs no more than reading its
// operands, so that the cost need not be counted.
func bounded(a *cel.Ast) bool {
	ok := true
	ast.PostOrderVisit(a.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			ok = false
		case ast.CallKind:
			ok = ok && slices.Contains(boundedCalls, e.AsCall().FunctionName())
		}
	}))
	return ok
}

var boundedCalls = append([]string{
	operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional,
	operators.Equals, operators.NotEquals, operators.In, operators.Index,
	operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
	operators.OptSelect, operators.OptIndex, "orValue", "hasValue",
	"size", "startsWith", "endsWith", "contains", "matches",
}, functionNames()...)

// lateFields lists the late fields that the condition may look at: by name, or by taking kubernetes or git whole.
func lateFields(a *cel.Ast) []string {
	all := access.LateFields()
	var out []string
	ast.PostOrderVisit(ast.NavigateAST(a.NativeRep()), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.IdentKind || e.AsIdent() != "kubernetes" && e.AsIdent() != "git" {
			return
		}
		var parent ast.NavigableExpr
		if nav, ok := e.(ast.NavigableExpr); ok {
			parent, _ = nav.Parent()
		}
		if parent == nil || parent.Kind() != ast.SelectKind {
			out = all
			return
		}
		if f := e.AsIdent() + "." + parent.AsSelect().FieldName(); slices.Contains(all, f) {
			out = appendNew(out, f)
		}
	}))
	return out
}

// report turns an error of the CEL compiler into ours: with its place in the file and, for a misspelt name, the
// nearest one.
func (c *compiler) report(r *rule, env *cel.Env, e *common.Error, ps *problems) {
	line, column := r.whenAt.locate(offsetOf(r.when, e.Location.Line(), e.Location.Column()))
	msg := e.Message
	name := quoted(msg)
	switch {
	case strings.HasPrefix(msg, "undefined field"):
		owner, fields := c.fieldsAt(env, r.when, e.ExprID)
		msg = fmt.Sprintf("%s has no field %q; %s", owner, name, meant(name, fields))
	case strings.HasPrefix(msg, "undeclared reference"):
		msg = undeclared(name, r.protocol)
	}
	ps.add(r.at.file, line, column, "rule %q: %s", r.id, msg)
}

func undeclared(name, protocol string) string {
	var known []string
	for _, v := range variables() {
		if v.name == name {
			return fmt.Sprintf("%s is known only to rules of protocol %s; add protocol: %s", name, v.protocol, v.protocol)
		}
		if v.protocol == "" || v.protocol == protocol {
			known = append(known, v.name)
		}
	}
	known = append(known, functionNames()...)
	return fmt.Sprintf("nothing is called %q; %s", name, meant(name, known))
}

// quoted is the first 'name' in a message of the CEL checker.
func quoted(msg string) string {
	_, rest, _ := strings.Cut(msg, "'")
	name, _, _ := strings.Cut(rest, "'")
	return name
}

// offsetOf is the rune offset of a line (from 1) and column (from 0).
func offsetOf(s string, line, column int) int {
	offset := 0
	for range line - 1 {
		l, rest, ok := strings.Cut(s, "\n")
		if !ok {
			break
		}
		offset += len([]rune(l)) + 1
		s = rest
	}
	return offset + max(column, 0)
}

// fieldsAt finds the struct of which expression id selects a field: how the condition names it, and its fields.
func (c *compiler) fieldsAt(env *cel.Env, when string, id int64) (string, []string) {
	owner, fields := "this", c.allFields()
	parsed, issues := env.Parse(when)
	if issues.Err() != nil {
		return owner, fields
	}
	ast.PostOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() != id || e.Kind() != ast.SelectKind {
			return
		}
		if st, path := c.structAt(e.AsSelect().Operand()); st != nil {
			owner, fields = path, st.order
		}
	}))
	return owner, fields
}

// structAt follows a chain of selections, such as principal.workload, through the schema.
func (c *compiler) structAt(e ast.Expr) (*structType, string) {
	switch e.Kind() {
	case ast.IdentKind:
		for _, v := range variables() {
			if v.name == e.AsIdent() {
				return c.schema.goTypes[v.goType], v.name
			}
		}
	case ast.SelectKind:
		sel := e.AsSelect()
		if st, path := c.structAt(sel.Operand()); st != nil {
			if f := st.fields[sel.FieldName()]; f != nil {
				return f.child, path + "." + f.name
			}
		}
	}
	return nil, ""
}

func (c *compiler) allFields() []string {
	var out []string
	for _, st := range c.schema.structs {
		out = append(out, st.order...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// asBool reads what a condition gave: met, not met, unknown with the fields, or failed with the reason.
func asBool(in *input, v any, err error) (o outcome, fields, late []string, why string) {
	switch v := v.(type) {
	case types.Bool:
		if v {
			return met, nil, nil, ""
		}
		return notMet, nil, nil, ""
	case *types.Unknown:
		fields, late = in.fieldsOf(v)
		return unknown, fields, late, ""
	}
	if err == nil {
		err = fmt.Errorf("the condition gave %T", v)
	}
	return failed, nil, nil, err.Error()
}

// fieldsOf names the fields behind an unknown, and those of them that can still be fetched.
func (in *input) fieldsOf(u *types.Unknown) (fields, late []string) {
	for _, id := range u.IDs() {
		trails, _ := u.GetAttributeTrails(id)
		for _, t := range trails {
			path := []string{t.Variable()}
			for _, q := range t.QualifierPath() {
				path = append(path, fmt.Sprint(q))
			}
			fields = append(fields, in.unreadable(path)...)
			for _, f := range in.late {
				if overlap(path, strings.Split(f, ".")) {
					fields, late = append(fields, f), append(late, f)
				}
			}
		}
	}
	return sorted(fields), sorted(late)
}
