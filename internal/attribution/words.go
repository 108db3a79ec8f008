package attribution

import (
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// fields are the words that ws become: braces are expanded, variables that are known are put in and taken apart at blanks.
func (st *shell) fields(ws ...*syntax.Word) []word {
	var out []word
	for _, w := range ws {
		if !syntax.SplitBraces(w) {
			out = append(out, st.field(w)...)
			continue
		}
		n := 0
		for b, err := range expand.BracesSeq(nil, w) {
			if n++; err != nil || n > maxUnrolled {
				out = append(out, word{})
				break
			}
			out = append(out, st.field(b)...)
		}
	}
	return out
}

// field is one word without braces, which may become none or several.
func (st *shell) field(w *syntax.Word) []word {
	if w.Lit() == "[" { // the command; no pattern
		return []word{{"[", true}}
	}
	if all, ok := st.everyParam(w); ok {
		return slices.Clone(all)
	}
	b := builder{st: st, splits: true, known: true}
	b.parts(w.Parts, false)
	return b.end()
}

// plain is a word that is not taken apart: a value, a file's name, a here-document.
func (st *shell) plain(w *syntax.Word) word {
	if w == nil {
		return word{}
	}
	b := builder{st: st, known: true, any: true}
	b.parts(w.Parts, false)
	return word{b.text.String(), b.known}.bounded()
}

// bounded is a word that is not known where it is too long to be gone on with.
func (w word) bounded() word {
	if len(w.text) > maxText {
		return word{}
	}
	return w
}

// document is a here-document's text.
func (st *shell) document(r *syntax.Redirect) word {
	if r.Hdoc == nil {
		return word{"", true}
	}
	b := builder{st: st, known: true, any: true}
	if r.Word.Lit() == "" || strings.Contains(r.Word.Lit(), `\`) { // quoted: taken as it is
		for _, p := range r.Hdoc.Parts {
			if l, ok := p.(*syntax.Lit); ok {
				b.text.WriteString(l.Value)
			}
		}
	} else {
		b.parts(r.Hdoc.Parts, true)
	}
	text := b.text.String()
	if r.Op == syntax.DashHdoc {
		text = strings.TrimLeft(strings.ReplaceAll(text, "\n\t", "\n"), "\t")
	}
	return word{text, b.known}.bounded()
}

// everyParam is "$@", where the parameters are known.
func (st *shell) everyParam(w *syntax.Word) ([]word, bool) {
	if len(w.Parts) != 1 || st.params == nil {
		return nil, false
	}
	q, ok := w.Parts[0].(*syntax.DblQuoted)
	if !ok || len(q.Parts) != 1 {
		return nil, false
	}
	p, ok := q.Parts[0].(*syntax.ParamExp)
	return st.params, ok && paramName(p) == "@"
}

// builder makes words of parts.
type builder struct {
	st     *shell
	splits bool
	text   strings.Builder
	known  bool
	any    bool // there is a word, be it an empty one
	done   []word
}

func (b *builder) end() []word {
	if b.any || b.text.Len() > 0 || !b.known {
		b.done = append(b.done, word{b.text.String(), b.known}.bounded())
	}
	b.text.Reset()
	b.known, b.any = true, false
	return b.done
}

func (b *builder) parts(ps []syntax.WordPart, quoted bool) {
	for i, p := range ps {
		switch p := p.(type) {
		case *syntax.Lit:
			if !quoted && (strings.ContainsAny(p.Value, "*?[") && b.splits || i == 0 && b.text.Len() == 0 && strings.HasPrefix(p.Value, "~")) {
				b.known = false
			}
			b.text.WriteString(unescape(p.Value, quoted))
		case *syntax.SglQuoted:
			if p.Dollar && strings.Contains(p.Value, `\`) {
				b.known = false
			}
			b.any = true
			b.text.WriteString(p.Value)
		case *syntax.DblQuoted:
			b.any = true
			b.parts(p.Parts, true)
		case *syntax.ParamExp:
			b.value(b.st.param(p), quoted)
		case *syntax.CmdSubst:
			out := b.st.clone().stmts(p.Stmts, word{})
			b.value(word{strings.TrimRight(out.text, "\n"), out.known}, quoted)
		default:
			b.st.substitutions(p)
			b.known = false
		}
	}
}

// value puts a value in, which outside of quotes is taken apart at blanks.
func (b *builder) value(v word, quoted bool) {
	if quoted || !b.splits || !v.known || b.st.split && v.text != "" {
		b.text.WriteString(v.text)
		b.known = b.known && v.known && (quoted || !b.splits || !b.st.split)
		return
	}
	if strings.ContainsAny(v.text, "*?[") {
		b.known = false
	}
	pieces := strings.Fields(v.text)
	blank := func(s string) bool { return s != "" && strings.TrimLeft(s[:1], " \t\n") == "" }
	if blank(v.text) && b.text.Len() > 0 {
		b.end()
	}
	for i, p := range pieces {
		if i > 0 {
			b.end()
		}
		b.text.WriteString(p)
	}
	if len(pieces) > 0 && blank(v.text[len(v.text)-1:]) {
		b.end()
	}
}

// param is what a parameter expands to. Only plain ones and defaults of variables that are known are.
func (st *shell) param(p *syntax.ParamExp) word {
	if name := paramName(p); name != "" {
		return st.named(name)
	}
	st.substitutions(p)
	if p.Exp == nil || p.Param == nil {
		return word{}
	}
	v := st.named(p.Param.Value)
	switch p.Exp.Op {
	case syntax.DefaultUnsetOrNull, syntax.ErrorUnsetOrNull:
		if v.known && v.text != "" {
			return v
		}
	case syntax.AssignUnset, syntax.AssignUnsetOrNull:
		delete(st.vars, p.Param.Value)
	}
	return word{}
}

// named is the value of a variable or a parameter.
func (st *shell) named(name string) word {
	if n, err := strconv.Atoi(name); err == nil {
		switch {
		case st.params == nil || n == 0:
			return word{}
		case n > len(st.params):
			return word{"", true}
		}
		return st.params[n-1]
	}
	if (name == "@" || name == "*") && len(st.params) == 1 {
		return st.params[0]
	}
	if name == "PATH" {
		return word{"$PATH", false}
	}
	return st.vars[name]
}

// paramName is the variable of a plain $x or ${x}; empty for anything that computes.
func paramName(p *syntax.ParamExp) string {
	if p.Param == nil || p.Excl || p.Length || p.Width || p.Index != nil || p.Slice != nil || p.Repl != nil || p.Exp != nil {
		return ""
	}
	return p.Param.Value
}

// unescape takes off the backslashes that a shell would: all outside of quotes, a few inside (POSIX, XCU 2.2).
func unescape(s string, quoted bool) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (!quoted || strings.IndexByte("$`\"\\\n", s[i+1]) >= 0) {
			i++
			if s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
