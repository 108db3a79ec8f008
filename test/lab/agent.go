package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// Untraced takes tracing and telemetry out of the settings of Claude Code.
func (w *Workplace) Untraced() {
	w.t.Helper()
	path := filepath.Join(w.Env, "claude.json")
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		w.t.Fatal(err)
	}
	env, _ := s["env"].(map[string]any)
	for k := range env {
		if strings.HasPrefix(k, "OTEL_") || strings.Contains(k, "TELEMETRY") || strings.Contains(k, "TRACEPARENT") {
			delete(env, k)
		}
	}
	if b, err = json.Marshal(s); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Claude runs the real Claude Code without a terminal: what it knows of the gateway is in the settings that env wrote.
func (w *Workplace) Claude(prompt string) Result {
	w.t.Helper()
	program := ClaudeCode(w.t)
	cmd, cancel := w.command(program, "--settings", filepath.Join(w.Env, "claude.json"), "-p", prompt, "--allowedTools", "Bash", "--output-format", "json")
	defer cancel()
	// It refuses to run tools as root but in a sandbox, which a test is.
	cmd.Env = append(cmd.Env, "DISABLE_AUTOUPDATER=1", "IS_SANDBOX=1")
	return w.run(cmd)
}
