package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"

	"gatebook/internal/access"
)

// Explanation is a decision with what became of every rule.
type Explanation struct {
	Decision access.Decision `json:"decision"`
	// Recorded is what was decided when the operation ran, where that is known: by the policy, the clock and the
	// operator's names of then.
	Recorded *access.Decision `json:"recorded,omitempty"`
	// Needs are the fields that were not given and could still change the decision.
	Needs []string `json:"needs,omitempty"`
	// Rules of the operation's protocol: those that count first, in the order of strictness and risk.
	Rules []RuleExplanation `json:"rules"`
}

// RuleExplanation is what became of one rule, and why.
type RuleExplanation struct {
	ID   string `json:"id"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Effect is allow, approve, deny, or empty for a rule that only adds risk or masks.
	Effect string `json:"effect,omitempty"`
	// Outcome is met, not met, unknown or failed.
	Outcome string `json:"outcome"`
	// Counts says whether the effect counted: an unknown or failed rule counts where it denies or asks.
	Counts bool `json:"counts"`
	// Why says in words what decided.
	Why string `json:"why"`
	// Facts are the parts of the condition that were looked at, with their values.
	Facts []Fact `json:"facts,omitempty"`
}

// Fact is one part of a condition and what it was.
type Fact struct {
	Line  int    `json:"line"`
	Part  string `json:"part"`
	Value string `json:"value"`
	// Masked says that the value stands for a secret. Policy judges requests as they are recorded, with secrets
	// masked: so it did when the operation ran, so it does here.
	Masked bool `json:"masked,omitempty"`
}

// maskedBase64 is how a placeholder begins in base64.
const maskedBase64 = "Z2JtL"

// ExplainRecorded is Explain of an operation that ran, with what was decided then.
func (s *Set) ExplainRecorded(r *access.Record) Explanation {
	out := s.Explain(&r.Operation)
	out.Recorded = &r.Decision
	return out
}

// Explain says what Decide makes of op, and why, rule by rule. It is for people: it costs much more than Decide.
func (s *Set) Explain(op *access.Operation) Explanation {
	var out Explanation
	out.Decision, out.Needs = s.Decide(op)
	if op == nil {
		return out
	}
	in := s.schema.newInput(op)
	for _, r := range s.rules {
		if r.protocol == "" || r.protocol == op.Target.Protocol {
			out.Rules = append(out.Rules, s.explainRule(r, in))
		}
	}
	slices.SortStableFunc(out.Rules, func(a, b RuleExplanation) int {
		switch {
		case a.Counts == b.Counts:
			return 0
		case a.Counts:
			return -1
		}
		return 1
	})
	return out
}

func (s *Set) explainRule(r *rule, in *input) RuleExplanation {
	v := r.judge(in)
	out := RuleExplanation{ID: r.id, File: r.at.file, Line: r.at.line, Outcome: v.outcome.String(), Counts: v.counts()}
	if r.decides {
		out.Effect = r.effect.String()
	}
	if covered, _ := r.scope.covers(in); covered == notMet {
		out.Why = r.scope.whyNot(in)
		return out
	}
	switch v.outcome {
	case unknown:
		out.Why = "could not be read: " + strings.Join(v.fields, ", ")
	case failed:
		out.Why = "the condition failed: " + v.err
	case met:
		out.Why = "everything that the rule names is so"
	case notMet:
		out.Why = "the condition is false"
	}
	out.Facts = s.facts(r, in)
	return out
}

func (o outcome) String() string {
	return [...]string{notMet: "not met", met: "met", unknown: "unknown", failed: "failed"}[o]
}

// whyNot says which part of the scope the operation misses.
func (s scope) whyNot(in *input) string {
	if len(s.verbs) > 0 && in.verbUnreadable() == nil && !slices.Contains(s.verbs, in.verb()) {
		return fmt.Sprintf("verb %q is none of %s", in.verb(), strings.Join(s.verbs, ", "))
	}
	var want []string
	for _, p := range s.resources {
		want = append(want, p.text)
	}
	return fmt.Sprintf("resource %q is none of %s", resourceText(in.op.Kubernetes), strings.Join(want, ", "))
}

func resourceText(k *access.Kubernetes) string {
	out := k.Resource
	if k.Group != "" {
		out += "." + k.Group
	}
	if k.Subresource != "" {
		out += "/" + k.Subresource
	}
	return out
}

// facts evaluates the condition once more, keeping the value of every part.
func (s *Set) facts(r *rule, in *input) []Fact {
	if r.ast == nil {
		return nil
	}
	prog, err := s.compiler.envs[r.protocol].Program(r.ast, cel.EvalOptions(cel.OptTrackState, cel.OptPartialEval),
		cel.CostTracking(functionCosts{}), cel.CostLimit(costLimit))
	if err != nil {
		return []Fact{{Line: r.at.line, Part: r.when, Value: "error: " + err.Error()}}
	}
	act, err := in.activation(r.late)
	if err != nil {
		return []Fact{{Line: r.at.line, Part: r.when, Value: "error: " + err.Error()}}
	}
	_, details, err := prog.Eval(act)
	if details == nil {
		return []Fact{{Line: r.at.line, Part: r.when, Value: fmt.Sprintf("error: %v", err)}}
	}
	f := factFinder{rule: r, info: r.ast.NativeRep().SourceInfo(), state: details.State()}
	f.visit(r.ast.NativeRep().Expr())
	return f.facts
}

type factFinder struct {
	rule  *rule
	info  *ast.SourceInfo
	state interpreter.EvalState
	facts []Fact
}

// visit goes through && and || and !, shows each operand, and the fields inside of it.
func (f *factFinder) visit(e ast.Expr) {
	if e.Kind() == ast.CallKind {
		switch e.AsCall().FunctionName() {
		case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional:
			for _, arg := range e.AsCall().Args() {
				f.visit(arg)
			}
			return
		}
	}
	f.show(e)
	if e.Kind() == ast.CallKind {
		for _, arg := range e.AsCall().Args() {
			f.fields(arg)
		}
		if e.AsCall().IsMemberFunction() {
			f.fields(e.AsCall().Target())
		}
	}
}

// fields shows the fields that an operand reads.
func (f *factFinder) fields(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind, ast.SelectKind:
		f.show(e)
	case ast.CallKind:
		for _, arg := range e.AsCall().Args() {
			f.fields(arg)
		}
		if e.AsCall().IsMemberFunction() {
			f.fields(e.AsCall().Target())
		}
	}
}

func (f *factFinder) show(e ast.Expr) {
	v, ok := f.state.Value(e.ID())
	if !ok {
		return // not looked at: another part had decided
	}
	part, err := cel.ExprToString(e, f.info)
	if err != nil {
		part = f.rule.when
	}
	at := f.info.GetStartLocation(e.ID())
	line, _ := f.rule.whenAt.locate(offsetOf(f.rule.when, at.Line(), at.Column()))
	fact := Fact{Line: line, Part: part, Value: show(v)}
	fact.Masked = strings.Contains(fact.Value, access.PlaceholderPrefix) || strings.Contains(fact.Value, maskedBase64)
	if !slices.Contains(f.facts, fact) {
		f.facts = append(f.facts, fact)
	}
}

// show writes a value for people; of lists and maps the size only, since objects are shown elsewhere.
func show(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return strconv.Quote(string(v))
	case *types.Unknown:
		return "unknown"
	case *types.Err:
		return "error: " + v.Error()
	case interface{ Size() ref.Val }:
		if list, ok := v.(interface{ Get(ref.Val) ref.Val }); ok && v.(ref.Val).Type() == types.ListType {
			return showList(list, int(v.Size().(types.Int)))
		}
		return fmt.Sprintf("%d entries", v.Size().Value())
	}
	if _, ok := v.(*object); ok {
		return "set"
	}
	return fmt.Sprint(v.Value())
}

// showList writes short lists out.
func showList(list interface{ Get(ref.Val) ref.Val }, n int) string {
	if n > 20 {
		return fmt.Sprintf("%d entries", n)
	}
	parts := make([]string, n)
	for i := range n {
		parts[i] = show(list.Get(types.Int(i)))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
