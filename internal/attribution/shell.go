package attribution

import (
	"maps"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// command is one simple command that a tool call would run, as far as it can be read without running it.
type command struct {
	words []word
	stdin word // the text that it reads; known only where it is all of it
	// from says by which file the command came in; empty: it stands in the call.
	from string
	// shown is the command as evidence.
	shown string
	// lingers says that it may go on when its call has ended.
	lingers bool
	// match holds the command against operations; nil: it reaches nothing.
	match matcher
}

// word is one word of a command, or a text. It is whole only where nothing in it is decided when it runs.
type word struct {
	text  string
	known bool
}

// script is what a shell text would run. It is opaque where it may run commands that are not listed.
type script struct {
	commands []command
	opaque   bool
	// jobs says that what is not listed may go on when the call has ended.
	jobs bool
	// written are the files that it writes, by path; a text that is not known is of one that may be anything now.
	written map[string]word
}

const (
	// maxDepth bounds shells within shells, such as sh -c 'bash -c "…"', and functions within functions.
	maxDepth = 8
	// maxCommands and maxSteps bound what is read of one call.
	maxCommands = 500
	maxSteps    = 2000
	// maxText bounds a text that is gone through, and a value.
	maxText = 64 << 10
	// maxUnrolled bounds the words of a loop that is gone through word by word.
	maxUnrolled = 32
)

// parseScript reads shell text; known are files whose texts are. What cannot be parsed is opaque.
func parseScript(text string, known files) script {
	s := script{written: map[string]word{}}
	st := &shell{s: &s, steps: new(int), files: known, vars: map[string]word{}, funcs: map[string]*syntax.Stmt{}}
	st.text(text)
	return s
}

// shell goes through shell text as a shell would, without running anything: it knows of a variable what the text itself
// gives it on every way to where it stands. It errs towards not knowing.
type shell struct {
	s     *script
	steps *int
	files files
	depth int
	from  string // the file that is gone through
	// lingers says that what is run may outlive the call.
	lingers bool
	vars    map[string]word
	funcs   map[string]*syntax.Stmt
	// params are $1 and so on; nil: not known.
	params []word
	// locals are what function-local variables hide.
	locals map[string]word
	// split says that IFS is not its own, so that words cannot be told apart.
	split bool
}

// clone is the shell as a subshell or a branch begins with it.
func (st *shell) clone() *shell {
	c := *st
	c.vars, c.funcs = maps.Clone(st.vars), maps.Clone(st.funcs)
	return &c
}

// join leaves of what is known that which is so on the other way, too.
func (st *shell) join(other *shell) {
	maps.DeleteFunc(st.vars, func(k string, v word) bool { o, ok := other.vars[k]; return !ok || o != v })
	for k, f := range other.funcs {
		if st.funcs[k] != f {
			st.funcs[k] = f
		}
	}
	st.split = st.split || other.split
	if !slices.Equal(st.params, other.params) {
		st.params = nil
	}
}

// forget is for what may have changed any variable.
func (st *shell) forget() {
	st.vars, st.params, st.split = map[string]word{}, nil, true
}

func (st *shell) opaque() { st.s.opaque, st.s.jobs = true, st.s.jobs || st.lingers }

// over counts a step, and says whether there were too many.
func (st *shell) over() bool {
	if *st.steps++; *st.steps > maxSteps || st.depth > maxDepth || len(st.s.commands) > maxCommands {
		st.opaque()
		return true
	}
	return false
}

func (st *shell) text(text string) {
	if len(text) > maxText {
		st.opaque()
		st.forget()
		return
	}
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		st.opaque()
		st.forget()
		return
	}
	st.stmts(f.Stmts, word{})
}

// inner goes through text that another shell runs, which has none of this one's variables but may have been given them.
func (st *shell) inner(text string, params []word) {
	c := st.clone()
	c.depth, c.params = st.depth+1, params
	if !c.over() {
		c.text(text)
	}
}

// stmts gives what the last of them prints where that is all that they print.
func (st *shell) stmts(list []*syntax.Stmt, in word) (out word) {
	for _, s := range list {
		out = st.stmt(s, in)
	}
	if len(list) != 1 {
		return word{}
	}
	return out
}

// stmt goes through one statement, which reads in, and gives what it prints.
func (st *shell) stmt(s *syntax.Stmt, in word) word {
	if st.over() || s.Cmd == nil && len(s.Redirs) == 0 {
		return word{}
	}
	on := st
	if s.Background {
		on = st.clone()
		on.lingers = true
	}
	in, outs := on.redirect(s.Redirs, in)
	out := on.cmd(s.Cmd, in)
	for _, o := range outs {
		on.write(o.path, out, o.add)
		out = word{"", true}
	}
	return out
}

// target is a file that output goes to.
type target struct {
	path word
	add  bool
}

func (st *shell) redirect(rs []*syntax.Redirect, in word) (word, []target) {
	var outs []target
	for _, r := range rs {
		switch r.Op {
		case syntax.Hdoc, syntax.DashHdoc:
			in = st.document(r)
		case syntax.WordHdoc:
			in = st.plain(r.Word)
			in.text += "\n"
		case syntax.RdrIn:
			in = st.read(st.device(r.Word))
		case syntax.RdrOut, syntax.RdrClob, syntax.AppOut:
			if w := st.device(r.Word); r.N == nil || r.N.Value == "1" {
				outs = append(outs, target{w, r.Op == syntax.AppOut})
			} else {
				st.write(w, word{}, false)
			}
		case syntax.DplIn, syntax.DplOut:
		default:
			st.write(st.device(r.Word), word{}, false)
		}
	}
	return in, outs
}

// device is a file's name; bash opens connections by some.
func (st *shell) device(w *syntax.Word) word {
	name := st.plain(w)
	if !name.known || strings.Contains(name.text, "/dev/tcp/") || strings.Contains(name.text, "/dev/udp/") {
		st.opaque()
	}
	return name
}

// cmd goes through one command of any kind, and gives what it prints.
func (st *shell) cmd(c syntax.Command, in word) word {
	switch c := c.(type) {
	case *syntax.CallExpr:
		return st.call(c, in)
	case *syntax.BinaryCmd:
		return st.binary(c, in)
	case *syntax.Subshell:
		return st.clone().stmts(c.Stmts, in)
	case *syntax.Block:
		return st.stmts(c.Stmts, in)
	case *syntax.IfClause:
		st.branch(c, in)
	case *syntax.CaseClause:
		st.cases(c)
	case *syntax.ForClause:
		st.loop(c)
	case *syntax.WhileClause:
		st.unknowing(c)
		body := st.clone()
		body.stmts(c.Cond, word{})
		body.stmts(c.Do, word{})
		st.join(body)
	case *syntax.FuncDecl:
		st.funcs[c.Name.Value] = c.Body
	case *syntax.DeclClause:
		st.declare(c)
	case *syntax.TimeClause:
		if c.Stmt != nil {
			return st.stmt(c.Stmt, in)
		}
	case *syntax.CoprocClause:
		job := st.clone()
		job.lingers = true
		job.stmt(c.Stmt, word{})
	case nil:
	default: // tests and arithmetic
		st.substitutions(c)
		st.unknowing(c)
	}
	return word{}
}

// binary goes through a pipeline or a list. What stands behind && runs only where what is before has, with all that this
// gave to variables.
func (st *shell) binary(c *syntax.BinaryCmd, in word) word {
	switch c.Op {
	case syntax.Pipe, syntax.PipeAll:
		out := st.clone().stmt(c.X, in)
		return st.clone().stmt(c.Y, out)
	case syntax.AndStmt:
		var failed []*shell
		st.and(c, in, &failed)
		for _, f := range failed {
			st.join(f)
		}
	default:
		st.stmt(c.X, in)
		right := st.clone()
		right.stmt(c.Y, in)
		st.join(right)
	}
	return word{}
}

func (st *shell) and(c *syntax.BinaryCmd, in word, failed *[]*shell) {
	if left, ok := c.X.Cmd.(*syntax.BinaryCmd); ok && left.Op == syntax.AndStmt && len(c.X.Redirs) == 0 && !c.X.Background && !st.over() {
		st.and(left, in, failed)
	} else {
		st.stmt(c.X, in)
	}
	*failed = append(*failed, st.clone())
	st.stmt(c.Y, in)
}

func (st *shell) branch(c *syntax.IfClause, in word) {
	if len(c.Cond) > 0 {
		st.stmts(c.Cond, in)
	}
	other := st.clone()
	st.stmts(c.Then, in)
	if c.Else != nil {
		other.branch(c.Else, in)
	}
	st.join(other)
}

func (st *shell) cases(c *syntax.CaseClause) {
	st.plain(c.Word)
	before := st.clone()
	for _, it := range c.Items {
		way := before.clone()
		way.stmts(it.Stmts, word{})
		st.join(way)
	}
}

// loop goes through a loop word by word, where these are known and nothing leaves the loop early.
func (st *shell) loop(c *syntax.ForClause) {
	before := st.clone()
	defer func() { st.join(before) }()
	it, ok := c.Loop.(*syntax.WordIter)
	if !ok {
		st.substitutions(c.Loop)
		st.unknowing(c)
		st.stmts(c.Do, word{})
		return
	}
	items, known := st.params, st.params != nil
	if it.InPos.IsValid() {
		items = st.fields(it.Items...)
		known = !slices.ContainsFunc(items, func(w word) bool { return !w.known })
	}
	if !known || c.Select || len(items) > maxUnrolled {
		st.unknowing(c)
		delete(st.vars, it.Name.Value)
		st.stmts(c.Do, word{})
		return
	}
	for _, w := range items {
		st.vars[it.Name.Value] = w
		st.stmts(c.Do, word{})
		if leaves(c.Do) {
			st.unknowing(c)
		}
	}
}

// leaves reports whether something may leave the loop, or go on with the next word, early.
func leaves(list []*syntax.Stmt) (out bool) {
	for _, s := range list {
		syntax.Walk(s, func(n syntax.Node) bool {
			if c, ok := n.(*syntax.CallExpr); ok && len(c.Args) > 0 {
				out = out || slices.Contains([]string{"break", "continue", "return"}, c.Args[0].Lit())
			}
			return !out
		})
	}
	return out
}

// call goes through one simple command, and gives what it prints.
func (st *shell) call(call *syntax.CallExpr, in word) word {
	if len(call.Args) == 0 {
		for _, a := range call.Assigns {
			st.assign(a)
		}
		return word{}
	}
	words := st.fields(call.Args...)
	on := st
	if len(call.Assigns) > 0 { // for this command alone
		on = st.clone()
		for _, a := range call.Assigns {
			on.assign(a)
		}
	}
	if len(words) == 0 {
		return word{}
	}
	if body, ok := st.funcs[words[0].text]; ok && words[0].known {
		st.function(body, words[1:], in)
		return word{}
	}
	if out, done := st.builtin(words, in); done {
		return out
	}
	on.run(command{words: words, stdin: in, from: st.from}, 0)
	return st.prints(words, in)
}

// function goes through a function's body with its parameters.
func (st *shell) function(body *syntax.Stmt, params []word, in word) {
	if st.depth++; st.over() {
		st.depth--
		st.forget()
		return
	}
	outer, locals := st.params, st.locals
	st.params, st.locals = params, map[string]word{}
	if st.params == nil {
		st.params = []word{}
	}
	st.stmt(body, in)
	for name, v := range st.locals {
		if v.known {
			st.vars[name] = v
		} else {
			delete(st.vars, name)
		}
	}
	st.params, st.locals = outer, locals
	st.depth--
}
