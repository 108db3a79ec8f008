package attribution

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// unknowing forgets every variable that something in n may change, since it is not known how often n runs.
func (st *shell) unknowing(n syntax.Node) {
	syntax.Walk(n, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Assign:
			if n.Name != nil {
				delete(st.vars, n.Name.Value)
			}
		case *syntax.WordIter:
			delete(st.vars, n.Name.Value)
		case *syntax.ArithmCmd, *syntax.ArithmExp, *syntax.CStyleLoop, *syntax.LetClause:
			syntax.Walk(n, func(n syntax.Node) bool {
				if l, ok := n.(*syntax.Lit); ok {
					delete(st.vars, l.Value)
				}
				return true
			})
		case *syntax.ParamExp:
			if n.Exp != nil && n.Param != nil { // ${x:=y}
				delete(st.vars, n.Param.Value)
			}
		case *syntax.CallExpr:
			if len(n.Args) > 0 && st.changes(n.Args[0].Lit()) {
				st.forget()
			}
		}
		return true
	})
}

// changes reports whether a command of that name may change variables that its words do not show; empty: it is not known.
func (st *shell) changes(name string) bool {
	_, function := st.funcs[name]
	return function || name == "" || slices.Contains([]string{"read", "mapfile", "readarray", "getopts", "printf", "unset", "eval", "source", ".", "shift", "set", "wait"}, name)
}

// substitutions goes through the commands that are run inside of words, tests and arithmetic.
func (st *shell) substitutions(n syntax.Node) {
	syntax.Walk(n, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CmdSubst:
			st.clone().stmts(n.Stmts, word{})
			return false
		case *syntax.ProcSubst:
			st.clone().stmts(n.Stmts, word{})
			return false
		}
		return true
	})
}

func (st *shell) declare(c *syntax.DeclClause) {
	local := st.locals != nil && c.Variant.Value != "export" && c.Variant.Value != "readonly"
	computed := c.Variant.Value == "nameref"
	for _, a := range c.Args {
		if a.Name == nil {
			w := word{}
			if a.Value != nil {
				w = st.plain(a.Value)
			}
			if !w.known || !strings.HasPrefix(w.text, "-") || strings.ContainsAny(w.text, "niulaA") { // -n, -i … give values another meaning
				computed = true
			}
			continue
		}
		if local {
			if _, hidden := st.locals[a.Name.Value]; !hidden {
				st.locals[a.Name.Value] = st.vars[a.Name.Value]
			}
		}
		switch {
		case computed:
			st.substitutions(a)
			delete(st.vars, a.Name.Value)
		case !a.Naked:
			st.assign(a)
		case local:
			delete(st.vars, a.Name.Value)
		}
	}
	if computed && c.Variant.Value != "export" {
		st.forgetNamed(c)
	}
}

func (st *shell) forgetNamed(c *syntax.DeclClause) {
	for _, a := range c.Args {
		if a.Name != nil {
			delete(st.vars, a.Name.Value)
		}
	}
}

// assign gives a variable its value, where that is known.
func (st *shell) assign(a *syntax.Assign) {
	if a.Name == nil {
		return
	}
	name := a.Name.Value
	switch {
	case a.Array != nil || a.Index != nil:
		st.substitutions(a)
		delete(st.vars, name)
		return
	case a.Value == nil && !a.Append:
		st.set(name, word{"", true})
		return
	case a.Value == nil:
		return
	}
	v := st.plain(a.Value)
	if a.Append {
		old, ok := st.vars[name]
		v = word{old.text + v.text, v.known && ok}
	}
	st.set(name, v)
}

// set gives a variable a value. Some change what other words mean.
func (st *shell) set(name string, v word) {
	switch name {
	case "IFS":
		st.split = true
	case "PATH":
		if !strings.HasPrefix(v.text, "$PATH:") { // programs may be others now
			st.opaque()
		}
	case "LD_PRELOAD", "BASH_ENV", "ENV", "GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "PROMPT_COMMAND", "PYTHONSTARTUP", "NODE_OPTIONS":
		st.opaque()
	}
	if !v.known || len(v.text) > maxText {
		delete(st.vars, name)
		return
	}
	st.vars[name] = v
}
