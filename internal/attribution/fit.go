package attribution

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// fit is how a tool call and an operation go together. The zero value excludes.
type fit uint8

const (
	cannot fit = iota // everything that the call runs is known, and none of it reaches what the operation does
	may               // something in the call is not known
	fits              // a command of the call should cause just such an operation
)

func (f fit) String() string { return [...]string{"cannot", "may", "fits"}[f] }

// subject is an operation that is held against calls, and what is worked out of it once for all of them.
type subject struct {
	op         *access.Operation
	statements []string // of SQL, when they have been asked for
}

// sql gives the statements of the operation, as normal forms; none where there is no text, as of a new connection.
func (s *subject) sql() []string {
	if s.statements == nil {
		s.statements = statements(s.op.SQL.Text)
	}
	return s.statements
}

// matcher is what a command would cause, made once, when its call is emitted.
type matcher interface {
	fit(s *subject) fit
}

// reaches is a program of which no more is known than the kinds of target that it can reach.
type reaches struct {
	kubernetes, git, sql, web bool
}

func (r reaches) fit(s *subject) fit {
	op := s.op
	if r.kubernetes && op.Kubernetes != nil || r.git && op.Git != nil || r.sql && op.SQL != nil || r.web && op.Web != nil {
		return may
	}
	return cannot
}

var anything = reaches{true, true, true, true}

// intent is what a tool call would do, read once, when it is emitted.
type intent struct {
	commands []command
	opaque   bool
	// reach says what it can reach where it is no shell's.
	reach fit
	// url of a tool that fetches one, and mcp of one that a server offers, with its arguments.
	url  *web
	mcp  string
	args map[string]any
	// lingers says that some of the commands may go on when the call has ended, and jobs that among them may be any.
	lingers, jobs bool
	// agent says that it gives a prompt to another agent, and prompt which.
	agent  bool
	prompt string
}

// Tools of coding agents that touch files and plans alone, or start others. They reach no target themselves.
var (
	localTools = []string{"Read", "Edit", "MultiEdit", "Write", "NotebookEdit", "NotebookRead", "Glob", "Grep", "LS", "TodoWrite", "TodoRead", "TaskCreate", "TaskUpdate", "TaskList",
		"TaskGet", "ReportFindings", "EnterWorktree", "ExitWorktree", "CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "BashOutput", "TaskOutput", "TaskStop", "KillShell", "KillBash", "ExitPlanMode", "EnterPlanMode", "AskUserQuestion", "ToolSearch", "apply_patch", "update_plan", "view_image"}
	agentTools = []string{"Agent", "Task", "SendMessage"}
)

// parseIntent reads a tool call's input: the shell tools of coding agents, those that fetch a URL, those of MCP servers. It
// gives the files that the call writes as well.
func parseIntent(tool, input string, known files) (intent, map[string]word) {
	if slices.Contains(localTools, tool) {
		return intent{}, toolFiles(tool, input, known)
	}
	if name, ok := strings.CutPrefix(tool, "mcp__"); ok {
		out := intent{reach: may, mcp: name}
		if json.Unmarshal([]byte(input), &out.args) != nil {
			out.args = nil
		}
		return out, nil
	}
	var in struct {
		Command json.RawMessage `json:"command"`
		Cmd     json.RawMessage `json:"cmd"`
		URL     string          `json:"url"`
		Prompt  string          `json:"prompt"`
		Message string          `json:"message"`
		Leave   bool            `json:"run_in_background"`
	}
	err := json.Unmarshal([]byte(input), &in)
	switch text, shell := shellText(in.Command, in.Cmd); {
	case slices.Contains(agentTools, tool):
		return intent{agent: true, prompt: strings.TrimSpace(cmp.Or(in.Prompt, in.Message))}, nil
	case err != nil:
		return intent{reach: may}, nil
	case shell:
		s := parseScript(text, known)
		out := intent{commands: s.commands, opaque: s.opaque, jobs: s.jobs || s.opaque && in.Leave}
		out.lingers = out.jobs
		for i := range out.commands {
			c := &out.commands[i]
			if c.match == nil {
				c.lingers = false
				continue
			}
			c.lingers, c.shown = c.lingers || in.Leave, c.show()
			out.lingers = out.lingers || c.lingers
		}
		return out, s.written
	case in.URL != "":
		return intent{url: fetch(in.URL)}, nil
	}
	return intent{reach: may}, nil
}

// shellText is a command given as text (Claude Code's Bash) or as a list of words (Codex' shell).
func shellText(raws ...json.RawMessage) (string, bool) {
	for _, raw := range raws {
		var text string
		var words []string
		switch {
		case len(raw) == 0:
		case json.Unmarshal(raw, &text) == nil:
			return text, true
		case json.Unmarshal(raw, &words) == nil:
			for i, w := range words {
				words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
			}
			return strings.Join(words, " "), true
		}
	}
	return "", false
}

// holds says whether the call could have caused the operation, and by which of its commands.
func (in *intent) holds(s *subject) (fit, *command) {
	switch {
	case in.url != nil:
		return in.url.fit(s), nil
	case in.mcp != "":
		return in.mcpFit(s.op), nil
	}
	best, by := in.reach, (*command)(nil)
	if in.opaque {
		best = may
	}
	for i := range in.commands {
		c := &in.commands[i]
		if c.match == nil {
			continue
		}
		if f := c.match.fit(s); f > best {
			best, by = f, c
		}
		if best == fits {
			break
		}
	}
	return best, by
}

// left says whether what may go on after the call could have caused the operation, and which of its commands.
func (in *intent) left(s *subject) (fit, *command) {
	best, by := cannot, (*command)(nil)
	if in.jobs {
		best = may
	}
	for i := range in.commands {
		c := &in.commands[i]
		if !c.lingers {
			continue
		}
		if f := c.match.fit(s); f > best {
			best, by = f, c
		}
	}
	return best, by
}

// mcpFit compares a tool of an MCP server's with a call of one. What else a server does that runs on the agent's side is not
// known.
func (in *intent) mcpFit(op *access.Operation) fit {
	if op.Web == nil || op.Web.MCP == nil || op.Web.MCP.Tool == "" {
		return may
	}
	name := mcpName(op.Web.MCP.Tool)
	if _, tool, ok := strings.Cut(in.mcp, "__"); !ok || tool != name && !strings.HasSuffix(in.mcp, "__"+name) {
		return cannot
	}
	a, err1 := json.Marshal(in.args)
	b, err2 := json.Marshal(op.Web.MCP.Arguments)
	if err1 != nil || err2 != nil || len(in.args)+len(op.Web.MCP.Arguments) > 0 && string(a) != string(b) {
		return cannot
	}
	return fits
}

// mcpName is a tool's name as Claude Code writes it into its own, mcp__SERVER__TOOL.
func mcpName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s)
}

// Programs that reach nothing over the network by themselves.
var localPrograms = func() map[string]bool {
	out := map[string]bool{}
	for _, p := range strings.Fields(`[ [[ : alias awk base32 base64 basename bc bg break cat cd chgrp chmod chown clear cmp column comm continue cp csplit cut date dd df diff dirname disown
	du echo egrep exit expand export expr factor false fg fgrep file find fmt fold free getconf getopts grep groups gunzip gzip hash head hexdump history hostname iconv id install
	jobs join jq kill killall less let ln local locale ls lscpu lsof md5sum mkdir mkfifo mktemp more mount mv nl nproc numfmt od paste patch pathchk pgrep pidof pkill popd printenv
	printf pr ps pushd pwd read readlink realpath return rev rg rm rmdir sed seq set sha1sum sha224sum sha256sum sha384sum sha512sum shift shopt shuf sleep sort split stat strings
	stty sum sync tac tail tar tee test touch tput tr trap tree true truncate tsort tty type ulimit umask unalias uname unexpand uniq unset unxz unzip uptime users wait wc whereis
	which who whoami xxd xz xzcat yes yq zcat zip zstd`) {
		out[p] = true
	}
	return out
}()

// systemFolders are where programs of the system are.
var systemFolders = []string{"/bin/", "/usr/bin/", "/usr/local/bin/", "/sbin/", "/usr/sbin/"}

// local reports whether a command reaches nothing, and runs nothing that might.
func (c *command) local() bool {
	path := c.words[0].text
	if strings.Contains(path, "/") && !slices.Contains(systemFolders, path[:strings.LastIndexByte(path, '/')+1]) {
		return false
	}
	name := base(path)
	if !localPrograms[name] {
		return false
	}
	return !slices.ContainsFunc(c.words[1:], func(w word) bool { return runsOthers(name, w) })
}

// runsOthers reports whether a word may make a local program run another.
func runsOthers(name string, w word) bool {
	t := w.text
	switch name {
	case "awk":
		return !w.known || t == "-f" || strings.Contains(t, "system") || strings.Contains(t, "|") || strings.Contains(t, "/inet")
	case "sed":
		return !w.known || t == "-f" || strings.HasPrefix(t, "--file") || sedRuns(t)
	case "tar":
		return t == "-I" || strings.HasPrefix(t, "--to-command") || strings.HasPrefix(t, "--checkpoint-action") || strings.HasPrefix(t, "--use-compress-program") ||
			strings.HasPrefix(t, "--rsh-command") || strings.HasPrefix(t, "--info-script") || t == "-F"
	case "sort":
		return strings.HasPrefix(t, "--compress-program")
	case "split":
		return strings.HasPrefix(t, "--filter")
	case "rg":
		return strings.HasPrefix(t, "--pre")
	case "zip":
		return strings.HasPrefix(t, "-TT") || strings.HasPrefix(t, "--unzip-command")
	case "install":
		return strings.HasPrefix(t, "--strip-program")
	case "mount":
		return !w.known || strings.Contains(t, ":") || strings.Contains(t, "fuse")
	case "less", "more":
		return strings.HasPrefix(t, "+")
	}
	return false
}

// sedRuns reports whether a script of sed's may run commands: e as a command of its own, or as a flag of s.
func sedRuns(script string) bool {
	for _, line := range strings.FieldsFunc(script, func(r rune) bool { return r == ';' || r == '\n' || r == '{' || r == '}' }) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndexAny(line, `/|#,!@:_`); i >= 0 && strings.Trim(line[i+1:], "gpiImM0123456789") == "e" {
			return true
		}
		if rest := strings.TrimLeft(line, "0123456789$,~+! "); rest == "e" || strings.HasPrefix(rest, "e ") {
			return true
		}
	}
	return false
}

// compile gives what a command would cause; nil where it reaches nothing.
func (st *shell) compile(c *command) matcher {
	switch base(c.words[0].text) {
	case "kubectl", "oc", "kubecolor":
		return st.newKubectl(c)
	case "helm", "helmfile", "flux", "argocd", "k9s", "stern", "kubectx", "kubens", "skaffold", "istioctl":
		return reaches{kubernetes: true, web: true}
	case "kustomize":
		return reaches{git: true, web: true}
	case "git":
		return st.newGit(c)
	case "git-lfs", "gh", "glab", "jj", "hub":
		return reaches{git: true, web: true}
	case "psql", "mysql", "mariadb", "pgcli", "mycli", "pgbench", "pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump", "pg_restore", "createdb", "dropdb", "createuser",
		"dropuser", "vacuumdb", "reindexdb", "clusterdb", "pg_isready":
		return st.newSQL(c)
	case "curl", "curlie", "wget", "http", "https", "xh", "xhs":
		return newWeb(c)
	case "grpcurl", "websocat", "wscat":
		return reaches{web: true}
	case "python", "python3", "node", "ruby", "perl", "php", "deno", "bun":
		return st.newProgram(c)
	}
	if c.local() {
		return nil
	}
	return anything
}
