package lab

import (
	"encoding/json"
	"path/filepath"
	"strings"
)

// Untraced takes tracing and telemetry out of the settings of Claude Code.
func (w *Workplace) Untraced() {
	w.t.Helper()
	file := quoted(w.Env + "/claude.json")
	var s map[string]any
	if err := json.Unmarshal([]byte(Must(w.t, w.run("cat "+file, "", nil)).Stdout), &s); err != nil {
		w.t.Fatal(err)
	}
	env, _ := s["env"].(map[string]any)
	for k := range env {
		if strings.HasPrefix(k, "OTEL_") || strings.Contains(k, "TELEMETRY") || strings.Contains(k, "TRACEPARENT") {
			delete(env, k)
		}
	}
	Must(w.t, w.run("cat > "+file, toJSON(s), nil))
}

// Claude runs the real Claude Code without a terminal: what it knows of the gateway is in the settings that env wrote. It may
// run shell commands and other agents; args are more of its flags.
func (w *Workplace) Claude(prompt string, args ...string) Result {
	w.t.Helper()
	script := `PATH=$PATH:` + quoted(filepath.Dir(ClaudeCode(w.t))) + ` exec claude --settings ` + quoted(w.Env+"/claude.json") + ` --allowedTools Bash,Agent --output-format json -p ` + quoted(prompt)
	for _, a := range args {
		script += " " + quoted(a)
	}
	return w.run(script, "", nil)
}
