package attribution

import (
	"slices"
	"strconv"
	"strings"
)

// builtin deals with what changes the shell itself. It gives what is printed, and whether it was such.
func (st *shell) builtin(ws []word, in word) (out word, done bool) {
	args := ws[1:]
	switch ws[0].text {
	case "read", "mapfile", "readarray", "unset", "getopts", "wait":
		st.lose(args)
		for _, name := range []string{"REPLY", "MAPFILE", "OPTARG", "OPTIND"} {
			delete(st.vars, name)
		}
	case "printf":
		if len(args) > 1 && args[0].text == "-v" {
			st.lose(args[1:2])
			return word{}, true
		}
		return word{}, false
	case "eval":
		text, known := joined(args)
		if !known {
			st.opaque()
			st.forget()
			return word{}, true
		}
		st.here(text)
	case "source", ".":
		st.source(args)
	case "set":
		if i := dashes(args); i >= 0 {
			st.params = append([]word{}, args[i+1:]...)
		} else if len(args) > 0 && (!args[0].known || !strings.HasPrefix(args[0].text, "-") && !strings.HasPrefix(args[0].text, "+")) {
			st.params = nil
		}
	case "shift":
		if n := len(args); n > 0 || len(st.params) == 0 {
			st.params = nil
		} else {
			st.params = st.params[1:]
		}
	case "trap":
		if len(args) > 1 && args[0].known {
			st.inner(args[0].text, nil)
		} else if len(args) > 1 {
			st.opaque()
		}
	case "shopt":
		if slices.ContainsFunc(args, func(w word) bool { return !w.known || w.text == "expand_aliases" }) {
			st.opaque()
		}
	default:
		return word{}, false
	}
	return word{}, true
}

// lose forgets the variables that are named.
func (st *shell) lose(names []word) {
	for _, w := range names {
		if !w.known {
			st.forget()
			return
		}
		delete(st.vars, w.text)
	}
}

// here goes through text that this shell itself runs.
func (st *shell) here(text string) {
	if st.depth++; st.over() {
		st.forget()
	} else {
		st.text(text)
	}
	st.depth--
}

func (st *shell) source(args []word) {
	text, by := "", ""
	if len(args) > 0 {
		text, by = st.file(args[0])
	}
	st.opaque() // it may have been changed since
	if by == "" {
		st.forget()
		return
	}
	outer := st.from
	st.from = by
	st.here(text)
	st.from = outer
	st.forget()
}

// run lists c, or what it would run in its place.
func (st *shell) run(c command, depth int) {
	if len(c.words) == 0 {
		return
	}
	if depth > maxDepth || !c.words[0].known {
		st.opaque()
		return
	}
	name, args := base(c.words[0].text), c.words[1:]
	again := func(ws []word) {
		st.run(command{words: ws, stdin: c.stdin, from: c.from}, depth+1)
	}
	switch name {
	case "bash", "sh", "dash", "zsh", "ash", "ksh":
		st.runShell(c)
	case "eval":
		if text, known := joined(args); known {
			st.inner(text, nil)
		} else {
			st.opaque()
		}
	case "hash":
		if slices.ContainsFunc(args, func(w word) bool { return !w.known || strings.HasPrefix(w.text, "-") && strings.Contains(w.text, "p") }) {
			st.opaque() // names may be other programs now
		}
	case "command", "type":
		if name == "command" && (len(args) == 0 || args[0].text != "-v" && args[0].text != "-V") {
			again(skipOptions(name, args))
		}
	case "env":
		st.runEnv(args, again)
	case "setsid", "systemd-run":
		job := st.clone()
		job.lingers = true
		job.run(command{words: skipOptions(name, args), stdin: c.stdin, from: c.from}, depth+1)
	case "exec", "nohup", "time", "builtin", "stdbuf", "nice", "ionice", "sudo", "doas", "timeout", "taskset", "chrt", "unbuffer", "strace", "ltrace", "setpriv", "unshare", "catchsegv":
		again(skipOptions(name, args))
	case "watch":
		text, known := joined(skipOptions(name, args))
		st.textOf(word{text, known})
	case "flock":
		st.runFlock(skipOptions(name, args), again)
	case "su", "runuser", "script":
		if i := slices.IndexFunc(args, func(w word) bool { return w.text == "-c" || w.text == "--command" }); i >= 0 && i+1 < len(args) {
			st.textOf(args[i+1])
		} else {
			st.opaque()
		}
	case "xargs":
		st.runXargs(args, c.stdin, again)
	case "find":
		st.runFind(args, again)
	case "gatebook":
		if i := dashes(args); i >= 0 { // gatebook connect TARGET -- psql …
			again(args[i+1:])
		}
	default:
		st.add(c)
	}
}

// textOf goes through a text that is given to another shell.
func (st *shell) textOf(w word) {
	if w.known {
		st.inner(w.text, nil)
	} else {
		st.opaque()
	}
}

// add lists a command that runs no other, as far as is known.
func (st *shell) add(c command) {
	if st.over() {
		return
	}
	if name := c.words[0].text; strings.Contains(name, "/") {
		if text, by := st.file(c.words[0]); by != "" {
			st.script(text, by, c.words[1:])
			return
		}
	}
	st.changed(c)
	c.match, c.lingers = st.compile(&c), st.lingers
	st.s.commands = append(st.s.commands, c)
}

// script goes through a file that is run, whose text is known as it was written last, which need not be as it is now.
func (st *shell) script(text, by string, params []word) {
	st.opaque()
	if first, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, "#!") && !strings.Contains(first, "sh") {
		st.s.commands = append(st.s.commands, command{words: []word{{base(strings.Fields(first[2:] + " ?")[0]), true}}, from: by, match: newLiteral(text), lingers: st.lingers})
		return
	}
	outer := st.from
	st.from = by
	st.inner(text, append([]word{}, params...))
	st.from = outer
}

// runShell deals with a shell that is run: the text of -c, what it reads, or a file.
func (st *shell) runShell(c command) {
	args := c.words[1:]
	for i, w := range args {
		switch {
		case !w.known:
			st.opaque()
			return
		case strings.HasPrefix(w.text, "-") && !strings.HasPrefix(w.text, "--") && strings.Contains(w.text, "c"):
			if i+1 >= len(args) || !args[i+1].known {
				st.opaque()
				return
			}
			var params []word
			if i+2 < len(args) {
				params = args[i+3:]
			}
			st.inner(args[i+1].text, append([]word{}, params...))
			return
		case w.text == "-o" || w.text == "-O":
			st.opaque() // what it takes is not looked at
			return
		case strings.HasPrefix(w.text, "-"):
		default:
			if text, by := st.file(w); by != "" {
				st.script(text, by, args[i+1:])
			} else {
				st.opaque()
			}
			return
		}
	}
	if !c.stdin.known {
		st.opaque()
	}
	if c.stdin.text != "" {
		st.inner(c.stdin.text, nil)
	}
}

func (st *shell) runEnv(args []word, again func([]word)) {
	for i, w := range args {
		if w.text == "-S" && i+1 < len(args) {
			st.textOf(args[i+1])
			return
		}
	}
	again(skipOptions("env", args))
}

func (st *shell) runFlock(args []word, again func([]word)) {
	switch {
	case len(args) > 2 && (args[1].text == "-c" || args[1].text == "--command"):
		st.textOf(args[2])
	case len(args) > 1:
		again(args[1:])
	}
}

// runXargs puts what xargs reads behind the command or, with -I, in it; what it reads is seldom known.
func (st *shell) runXargs(args []word, in word, again func([]word)) {
	inner := skipOptions("xargs", args)
	options := args[:len(args)-len(inner)]
	replace := ""
	plain := in.known && !strings.ContainsAny(in.text, `'"\`)
	each := 0
	for i, o := range options {
		glued := func() string {
			if len(o.text) > 2 {
				return o.text[2:]
			}
			if i+1 < len(options) {
				return options[i+1].text
			}
			return ""
		}
		switch {
		case strings.HasPrefix(o.text, "-I"):
			replace = glued()
		case o.text == "-i" || strings.HasPrefix(o.text, "--replace"):
			replace = "{}"
		case strings.HasPrefix(o.text, "-n"):
			each, _ = strconv.Atoi(glued())
		case o.text == "-r" || o.text == "-t" || strings.HasPrefix(o.text, "-P") || !strings.HasPrefix(o.text, "-"):
		default:
			plain = false
		}
	}
	items := make([]word, 0, 8)
	if lines := strings.Split(strings.TrimSuffix(in.text, "\n"), "\n"); plain && replace != "" {
		for _, l := range lines {
			items = append(items, word{strings.TrimSpace(l), true})
		}
		each = 1
	} else if plain {
		for _, f := range strings.Fields(in.text) {
			items = append(items, word{f, true})
		}
	}
	if !plain || len(items) > maxUnrolled {
		items = []word{{}}
	}
	if each < 1 {
		each = max(1, len(items))
	}
	for part := range slices.Chunk(items, each) {
		again(placed(inner, replace, part))
	}
}

// placed puts items behind the words or, where there is a text to replace, in their place.
func placed(ws []word, replace string, items []word) []word {
	if replace == "" {
		return append(slices.Clone(ws), items...)
	}
	out := slices.Clone(ws)
	for i, w := range out {
		if strings.Contains(w.text, replace) {
			out[i] = word{strings.ReplaceAll(w.text, replace, items[0].text), w.known && items[0].known}
		}
	}
	return out
}

// runFind runs what find is to execute, of files that are not known.
func (st *shell) runFind(args []word, again func([]word)) {
	for i, w := range args {
		if !slices.Contains([]string{"-exec", "-execdir", "-ok", "-okdir"}, w.text) {
			continue
		}
		rest := args[i+1:]
		if end := slices.IndexFunc(rest, func(w word) bool { return w.text == ";" || w.text == "+" }); end >= 0 {
			rest = rest[:end]
		}
		again(placed(rest, "{}", []word{{}}))
	}
}

// valued are the options of wrapping programs that take the next word.
var valued = map[string]string{
	"nice": "-n", "ionice": "-c -n -p", "sudo": "-u -g -h -p -C -r -t -T -U -D -R", "doas": "-u -C", "env": "-u -C", "timeout": "-s -k --signal --kill-after",
	"xargs": "-I -n -P -L -d -a -E -s", "stdbuf": "-i -o -e", "exec": "-a", "time": "-f -o", "watch": "-n --interval", "flock": "-w -E --timeout", "strace": "-o -e -p -s -u",
	"ltrace": "-o -e", "setpriv": "--reuid --regid",
}

// leading are the wrapping programs that take so many words before the program's.
var leading = map[string]int{"timeout": 1, "taskset": 1, "chrt": 1}

// skipOptions gives the words from the program that a wrapping one runs.
func skipOptions(name string, args []word) []word {
	takes := strings.Fields(valued[name])
	lead := leading[name]
	for len(args) > 0 {
		t := args[0].text
		switch {
		case t == "--":
			return args[min(1+lead, len(args)):]
		case strings.HasPrefix(t, "-") && t != "-":
			n := 1
			if slices.Contains(takes, t) {
				n = 2
			}
			args = args[min(n, len(args)):]
		case (name == "env" || name == "sudo" || name == "doas") && strings.Contains(t, "="):
			args = args[1:]
		case lead > 0:
			lead--
			args = args[1:]
		default:
			return args
		}
	}
	return args
}

func joined(ws []word) (string, bool) {
	texts, known := make([]string, len(ws)), true
	for i, w := range ws {
		texts[i], known = w.text, known && w.known
	}
	return strings.Join(texts, " "), known
}

func dashes(ws []word) int {
	return slices.IndexFunc(ws, func(w word) bool { return w.text == "--" })
}

// base is a program's name without its folder.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// String is the command as a person would type it; what is decided when it runs is "…".
func (c *command) String() string {
	var b strings.Builder
	for i, w := range c.words {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch text := w.text; {
		case !w.known:
			b.WriteString(text + "…")
		case text == "" || strings.ContainsAny(text, " \t\n'\"$&|;<>()\\"):
			b.WriteString("'" + strings.ReplaceAll(text, "'", `'\''`) + "'")
		default:
			b.WriteString(text)
		}
	}
	return b.String()
}

// runs reports whether this is what a client says it runs, by the words of its usual client.
func (c *command) runs(as []string) bool {
	k, ok := c.match.(*kubectl)
	return ok && as[0] == "kubectl" && k.verb == as[1]
}
