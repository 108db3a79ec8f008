package attribution

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// command is one simple command that a tool call would run, as far as it can be read without running it.
type command struct {
	words []word
	// stdin is the text of a here-document or here-string; empty where there is none or it is not known.
	stdin string
}

// word is one word of a command. It is whole only where nothing in it is decided when it runs.
type word struct {
	text  string
	known bool
}

// script is what a shell text would run. It is opaque where it may run commands that are not listed.
type script struct {
	commands []command
	opaque   bool
}

// maxDepth bounds shells within shells, such as sh -c 'bash -c "…"'.
const maxDepth = 8

// parseScript reads shell text. What cannot be parsed is opaque.
func parseScript(text string) script {
	var s script
	s.parse(text, 0)
	return s
}

func (s *script) parse(text string, depth int) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil || depth > maxDepth {
		s.opaque = true
		return
	}
	vars := map[string]string{}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Stmt:
			if call, ok := n.Cmd.(*syntax.CallExpr); ok {
				s.call(call, n.Redirs, vars, depth)
			}
		case *syntax.DeclClause: // export A=b
			assign(n.Args, vars)
		case *syntax.ForClause: // its variable takes many values
			if it, ok := n.Loop.(*syntax.WordIter); ok {
				delete(vars, it.Name.Value)
			}
		}
		return true
	})
}

// call adds one simple command, unwrapped.
func (s *script) call(call *syntax.CallExpr, redirs []*syntax.Redirect, vars map[string]string, depth int) {
	if len(call.Args) == 0 {
		assign(call.Assigns, vars)
		return
	}
	c := command{words: make([]word, 0, len(call.Args))}
	for _, a := range call.Args {
		c.words = append(c.words, literal(a, vars))
	}
	for _, r := range redirs {
		switch {
		case r.Hdoc != nil:
			if w := literal(r.Hdoc, vars); w.known {
				c.stdin = w.text
			}
		case r.Op == syntax.WordHdoc:
			if w := literal(r.Word, vars); w.known {
				c.stdin = w.text
			}
		}
	}
	s.add(c, depth)
}

func assign(as []*syntax.Assign, vars map[string]string) {
	for _, a := range as {
		if a.Name == nil {
			continue
		}
		delete(vars, a.Name.Value)
		if a.Value != nil && !a.Append && a.Index == nil {
			if w := literal(a.Value, vars); w.known {
				vars[a.Name.Value] = w.text
			}
		}
	}
}

// literal is a word's text without its quotes. Only variables that the same text set to something known are expanded.
func literal(w *syntax.Word, vars map[string]string) word {
	var b strings.Builder
	known := parts(&b, w.Parts, vars, false)
	return word{b.String(), known}
}

func parts(b *strings.Builder, ps []syntax.WordPart, vars map[string]string, quoted bool) bool {
	known := true
	for _, p := range ps {
		switch p := p.(type) {
		case *syntax.Lit:
			if !quoted && strings.ContainsAny(p.Value, "*?[") {
				known = false
			}
			b.WriteString(unescape(p.Value, quoted))
		case *syntax.SglQuoted:
			if p.Dollar && strings.Contains(p.Value, `\`) {
				known = false
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			known = parts(b, p.Parts, vars, true) && known
		case *syntax.ParamExp:
			v, ok := vars[paramName(p)]
			b.WriteString(v)
			known = known && ok
		default:
			known = false
		}
	}
	return known
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
			if i++; s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// add lists c, or what it would run in its place.
func (s *script) add(c command, depth int) {
	for range maxDepth {
		if len(c.words) == 0 {
			return
		}
		if !c.words[0].known {
			s.opaque = true
			return
		}
		inner, done := s.unwrap(c, depth)
		if done {
			return
		}
		if inner == nil {
			s.commands = append(s.commands, c)
			return
		}
		c = command{words: inner, stdin: c.stdin}
	}
	s.opaque = true
}

// unwrap looks through programs that run another. It gives the words of that one; nil where c is no such program; and
// done where everything that c runs has been dealt with.
func (s *script) unwrap(c command, depth int) (inner []word, done bool) {
	args := c.words[1:]
	switch name := base(c.words[0].text); name {
	case "bash", "sh", "dash", "zsh", "ash":
		s.shell(c, depth)
		return nil, true
	case "eval":
		text, known := joined(args)
		if !known {
			s.opaque = true
		} else {
			s.parse(text, depth+1)
		}
		return nil, true
	case "source", ".":
		s.opaque = true
		return nil, true
	case "command", "exec", "nohup", "time", "builtin", "setsid", "stdbuf", "nice", "ionice", "sudo", "doas", "env", "timeout", "xargs":
		inner := skipOptions(name, args)
		if name == "xargs" { // what it reads comes behind
			inner = append(slices.Clip(inner), word{})
		}
		return inner, false
	case "find":
		for i, w := range args {
			if w.text == "-exec" || w.text == "-execdir" || w.text == "-ok" {
				return args[i+1:], false
			}
		}
	case "gatebook":
		if i := dashes(args); i >= 0 { // gatebook connect TARGET -- psql …
			return args[i+1:], false
		}
	}
	return nil, false
}

// valued are the options of wrapping programs that take the next word.
var valued = map[string]string{
	"nice": "-n", "ionice": "-c -n -p", "sudo": "-u -g -h -p -C -r -t -T -U -D -R", "env": "-u -C -S", "timeout": "-s -k",
	"xargs": "-I -i -n -P -L -d -a -E -s", "stdbuf": "-i -o -e", "exec": "-a", "time": "-f -o",
}

// skipOptions gives the words from the program that a wrapping one runs.
func skipOptions(name string, args []word) []word {
	takes := strings.Fields(valued[name])
	for len(args) > 0 {
		t := args[0].text
		switch {
		case t == "--":
			return args[1:]
		case strings.HasPrefix(t, "-") && t != "-":
			n := 1
			for _, o := range takes {
				if t == o {
					n = 2
				}
			}
			args = args[min(n, len(args)):]
		case name == "env" && strings.Contains(t, "="):
			args = args[1:]
		case name == "timeout": // the duration
			if len(args) == 1 {
				return nil
			}
			return args[1:]
		default:
			return args
		}
	}
	return args
}

// shell deals with a shell that is run: the text of -c, a here-document, or a file of which nothing is known.
func (s *script) shell(c command, depth int) {
	args := c.words[1:]
	for i, w := range args {
		switch {
		case !w.known:
			s.opaque = true
			return
		case strings.HasPrefix(w.text, "-") && !strings.HasPrefix(w.text, "--") && strings.Contains(w.text, "c"):
			if i+1 >= len(args) || !args[i+1].known {
				s.opaque = true
				return
			}
			s.parse(args[i+1].text, depth+1)
			return
		case strings.HasPrefix(w.text, "-"):
		default: // a file
			s.opaque = true
			return
		}
	}
	if c.stdin == "" {
		s.opaque = true
		return
	}
	s.parse(c.stdin, depth+1)
}

func joined(ws []word) (string, bool) {
	texts, known := make([]string, len(ws)), true
	for i, w := range ws {
		texts[i], known = w.text, known && w.known
	}
	return strings.Join(texts, " "), known
}

func dashes(ws []word) int {
	for i, w := range ws {
		if w.text == "--" {
			return i
		}
	}
	return -1
}

// base is a program's name without its folder.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
