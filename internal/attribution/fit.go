package attribution

import (
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

// intent is what a tool call would do, parsed once, when it is emitted.
type intent struct {
	script script
	// shell says that the tool runs shell commands. Otherwise reach says what it can reach by itself.
	shell bool
	reach fit
	// url of a tool that fetches one, and mcp of one that a server offers.
	url string
	mcp string
	// args of the tool, for MCP.
	args map[string]any
}

// Tools of coding agents that touch files and plans alone. They reach no target.
var localTools = []string{"Read", "Edit", "MultiEdit", "Write", "NotebookEdit", "NotebookRead", "Glob", "Grep", "LS", "TodoWrite", "TodoRead", "Task", "Agent", "SendMessage",
	"TaskCreate", "TaskGet", "TaskList", "TaskUpdate", "ReportFindings", "EnterWorktree", "ExitWorktree", "CronCreate", "CronDelete", "CronList", "ScheduleWakeup", "ToolSearch",
	"BashOutput", "TaskOutput", "TaskStop", "KillShell", "KillBash", "ExitPlanMode", "EnterPlanMode", "AskUserQuestion", "SlashCommand", "Skill", "apply_patch", "update_plan", "view_image"}

// parseIntent reads a tool call's input: the shell tools of coding agents, those that fetch a URL, those of MCP servers.
func parseIntent(tool, input string) intent {
	var in struct {
		Command json.RawMessage `json:"command"`
		Cmd     json.RawMessage `json:"cmd"`
		URL     string          `json:"url"`
	}
	if slices.Contains(localTools, tool) {
		return intent{reach: cannot}
	}
	if name, ok := mcpTool(tool); ok {
		out := intent{reach: may, mcp: name}
		if json.Unmarshal([]byte(input), &out.args) != nil {
			out.args = nil
		}
		return out
	}
	if err := json.Unmarshal([]byte(input), &in); err != nil {
		return intent{reach: may}
	}
	if text, ok := shellText(in.Command, in.Cmd); ok {
		return intent{shell: true, script: parseScript(text)}
	}
	if in.URL != "" {
		return intent{reach: cannot, url: in.URL}
	}
	return intent{reach: may}
}

// mcpTool is the server's own name of a tool that Claude Code calls mcp__SERVER__TOOL.
func mcpTool(tool string) (string, bool) {
	rest, ok := strings.CutPrefix(tool, "mcp__")
	if !ok {
		return "", false
	}
	_, name, ok := strings.Cut(rest, "__")
	return name, ok
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

// holds says whether the call could have caused op.
func (in intent) holds(op *access.Operation) fit {
	switch {
	case in.url != "":
		return webFit(in.url, "", op)
	case in.mcp != "":
		return in.mcpFit(op)
	case !in.shell:
		return in.reach
	}
	best := cannot
	if in.script.opaque {
		best = may
	}
	for _, c := range in.script.commands {
		best = max(best, c.holds(op))
	}
	return best
}

func (in intent) mcpFit(op *access.Operation) fit {
	if op.Web == nil || op.Web.MCP == nil || op.Web.MCP.Tool == "" {
		return may
	}
	if op.Web.MCP.Tool != in.mcp {
		return cannot
	}
	a, err1 := json.Marshal(in.args)
	b, err2 := json.Marshal(op.Web.MCP.Arguments)
	if err1 != nil || err2 != nil || len(in.args)+len(op.Web.MCP.Arguments) > 0 && string(a) != string(b) {
		return cannot
	}
	return fits
}

// Programs that reach nothing over the network by themselves.
var localPrograms = strings.Fields(`[ [[ : awk base64 basename bc bg break cat cd chmod chown clear cmp column comm continue cp csplit cut date df diff dirname du echo egrep
	env expand expr export false fg fgrep file find fmt fold getopts grep gunzip gzip hash head hexdump history hostname iconv id install jobs join jq kill less let ln local ls
	md5sum mkdir mktemp more mv nl nproc od paste patch pgrep pkill printenv printf ps pushd popd pwd read readlink readonly realpath return rev rg rm rmdir sed seq set
	sha1sum sha256sum sha512sum shift shopt shuf sleep sort split stat strings sum sync tac tail tar tee test touch tr trap tree true truncate type umask uname unexpand uniq
	unset unxz unzip wait wc whereis which who whoami xxd xz yes yq zcat zip`)

// readers run programs of their own language, in which anything may be.
func runsOthers(c command) bool {
	name := base(c.words[0].text)
	return (name == "awk" || name == "sed") && slices.ContainsFunc(c.words[1:], func(w word) bool {
		return !w.known || strings.Contains(w.text, "system") || strings.Contains(w.text, "|") && name == "awk" || name == "sed" && strings.HasSuffix(w.text, "/e")
	})
}

// holds says whether one command could have caused op.
func (c command) holds(op *access.Operation) fit {
	name := base(c.words[0].text)
	switch name {
	case "kubectl", "oc", "kubecolor":
		return kubectlFit(c, op)
	case "helm", "helmfile", "kustomize", "flux", "argocd", "k9s", "stern", "kubectx", "kubens", "skaffold", "istioctl":
		return only(op.Kubernetes != nil || op.Web != nil, may)
	case "git":
		return gitFit(c, op)
	case "git-lfs", "gh", "glab", "jj", "hub":
		return only(op.Git != nil || op.Web != nil, may)
	case "gatebook": // it asks the gateway itself; what connect runs has been looked at instead
		return cannot
	case "psql":
		return psqlFit(c, op)
	case "pg_dump", "pg_dumpall", "pg_restore", "pgbench", "createdb", "dropdb", "createuser", "dropuser", "vacuumdb", "reindexdb", "clusterdb", "pg_isready":
		return only(op.SQL != nil, fits)
	case "curl", "wget", "http", "https", "xh", "grpcurl":
		return curlFit(c, op)
	}
	if slices.Contains(localPrograms, name) && !runsOthers(c) {
		return cannot
	}
	return may
}

// only is f where the operation is of the right kind, and excludes it otherwise.
func only(right bool, f fit) fit {
	if right {
		return f
	}
	return cannot
}
