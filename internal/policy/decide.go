package policy

import (
	"slices"
	"strings"

	"gatebook/internal/access"
)

const (
	noRuleReason = "no rule allows this"
	noRuleAdvice = "Ask whoever keeps the gateway's policy for a rule that allows it, and say what you need it for."
)

// Decide says what the policy makes of op, and names those of its late fields (see access.Operation.Late) that could
// still change that. The decision holds as it is: a field that was not given counts as unknown. The decision's masks
// and rules may be shared and must not be modified.
func (s *Set) Decide(op *access.Operation) (access.Decision, []string) {
	if op == nil {
		return access.Decision{Reason: noRuleReason, Advice: noRuleAdvice, Policy: s.digest}, nil
	}
	in := s.schema.newInput(op)
	m := s.memories[op.Target.Protocol]
	if m == nil {
		return s.judge(in)
	}
	var few [512]byte
	key, ok := m.key(few[:0], in)
	if !ok {
		return s.judge(in)
	}
	if d, ok := m.recall(key); ok {
		return d, nil
	}
	d, missing := s.judge(in)
	if len(missing) == 0 && d.Approval == nil {
		m.keep(key, d)
	}
	return d, missing
}

// judge asks every rule that could be met.
func (s *Set) judge(in *input) (access.Decision, []string) {
	var few [8]verdict
	vs := few[:0]
	for _, r := range s.candidates(in) {
		if v := r.judge(in); v.outcome != notMet {
			vs = append(vs, v)
		}
	}
	return s.combine(vs)
}

// verdict is what became of one rule.
type verdict struct {
	rule    *rule
	outcome outcome
	// fields that were unknown, and those of them that can still be fetched.
	fields, late []string
	err          string
}

// counts reports whether the rule's effect counts: where it is met, and where that is not certain but it refuses.
func (v *verdict) counts() bool {
	return v.rule.decides && (v.outcome == met || v.outcome != notMet && v.rule.effect != access.Allow)
}

// grants reports whether the rule lets something through by itself, at once or after approval.
func (v *verdict) grants() bool {
	return v.counts() && v.rule.effect != access.Deny && !v.rule.guards
}

// judge holds the operation against the rule: first the scope, then the condition.
func (r *rule) judge(in *input) verdict {
	v := verdict{rule: r}
	v.outcome, v.fields = r.scope.covers(in)
	if v.outcome == notMet || r.program == nil {
		return v
	}
	scoped := v
	act, err := in.activation(r.late)
	if err != nil {
		v.outcome, v.err = failed, err.Error()
		return v
	}
	out, _, err := r.program.Eval(act)
	v.outcome, v.fields, v.late, v.err = asBool(in, out, err)
	switch v.outcome {
	case met: // then it hangs on the scope alone
		return scoped
	case unknown:
		for _, f := range scoped.fields {
			v.fields = appendNew(v.fields, f)
		}
	}
	return v
}

// combine makes one decision of what the rules said: deny over approve over allow, and nothing is deny.
func (s *Set) combine(vs []verdict) (access.Decision, []string) {
	d := access.Decision{Policy: s.digest, Masks: s.masking}
	decided, granted := false, false
	for i := range vs {
		v := &vs[i]
		granted = granted || v.grants()
		d.Risk = max(d.Risk, v.rule.risk)
		for _, name := range v.rule.masks {
			d.Masks = withMask(d.Masks, s.masking, s.masks[name])
		}
		if v.counts() {
			if !decided || v.rule.effect < d.Effect {
				d.Effect, decided = v.rule.effect, true
			}
			d.Rules = append(d.Rules, v.hit())
		}
	}
	if decided && (granted || d.Effect == access.Deny) {
		s.explainEffect(&d, vs)
	} else {
		d.Effect, d.Reason, d.Advice = access.Deny, noRuleReason, noRuleAdvice
		if fields := unknownAllow(vs); fields != "" {
			d.Reason += ": one might, but " + fields + " could not be read"
		}
	}
	if d.Effect == access.Approve {
		s.askWhom(&d, vs)
	}
	if s.observe {
		would := d.Effect
		d.Effect, d.Observed, d.Approval = access.Allow, &would, nil
	}
	return d, needed(vs)
}

// withMask adds m, and never writes to the shared slice.
func withMask(masks, shared []access.Mask, m access.Mask) []access.Mask {
	for _, have := range masks {
		if have.Name == m.Name {
			return masks
		}
	}
	if len(masks) == len(shared) { // nothing was added yet, so it is the shared slice itself
		masks = append(make([]access.Mask, 0, len(shared)+1), shared...)
	}
	return addMask(masks, m)
}

func (v *verdict) hit() access.RuleHit {
	return access.RuleHit{ID: v.rule.id, Effect: v.rule.effect, Reason: v.rule.reason, Advice: v.rule.advice,
		Unknown: v.fields, Error: v.err}
}

// explainEffect gives the reasons and the advice of the deciding rules of the highest risk: rules come in the order
// of strictness and risk, so these are the first.
func (s *Set) explainEffect(d *access.Decision, vs []verdict) {
	var first *rule
	var reasons, advice []string
	for i := range vs {
		v := &vs[i]
		if !v.counts() {
			continue
		}
		if first == nil {
			first = v.rule
		}
		if v.rule.effect != first.effect || v.rule.risk != first.risk {
			break
		}
		reasons = appendNew(reasons, v.reason())
		if v.rule.advice != "" {
			advice = appendNew(advice, v.rule.advice)
		}
	}
	d.Reason, d.Advice = strings.Join(reasons, "; "), strings.Join(advice, " ")
}

func (v *verdict) reason() string {
	switch v.outcome {
	case unknown:
		return v.rule.reason + " (" + strings.Join(v.fields, ", ") + " could not be read, so the rule counts as met)"
	case failed:
		return v.rule.reason + " (the rule's condition could not be evaluated, so it counts as met)"
	}
	return v.rule.reason
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

func unknownAllow(vs []verdict) string {
	var fields []string
	for i := range vs {
		if vs[i].rule.decides && vs[i].outcome == unknown {
			for _, f := range vs[i].fields {
				fields = appendNew(fields, f)
			}
		}
	}
	return strings.Join(fields, ", ")
}

// needed lists what is worth fetching: where a rule that can still change the answer depends on it. Once a rule
// certainly denies, nothing can.
func needed(vs []verdict) []string {
	certain := access.Deny // nothing said yet, which any rule can change
	decided := false
	for i := range vs {
		if v := &vs[i]; v.outcome == met && v.rule.decides {
			if v.rule.effect == access.Deny {
				return nil
			}
			if !decided || v.rule.effect < certain {
				certain, decided = v.rule.effect, true
			}
		}
	}
	var fields []string
	for i := range vs {
		v := &vs[i]
		redundant := decided && v.rule.decides && v.rule.effect == access.Allow && v.rule.risk == access.RiskLow && len(v.rule.masks) == 0
		if !redundant {
			for _, f := range v.late {
				fields = appendNew(fields, f)
			}
		}
	}
	slices.Sort(fields)
	return fields
}
