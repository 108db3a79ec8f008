package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The versions that tests are run with, and docs/agents.md was measured with.
const (
	claudeVersion = "2.1.332"
	codexVersion  = "0.171.0"
)

// ClaudeCode gives the real Claude Code, from npm; CLAUDE_CODE names another, as PREFIX/node_modules/.bin/claude. A test that
// cannot have it is skipped, loudly, only where npm's registry cannot be reached.
func ClaudeCode(t testing.TB) string {
	t.Helper()
	return fromNPM(t, InstallClaudeCode)
}

// Codex gives the real Codex, likewise; CODEX names another.
func Codex(t testing.TB) string {
	t.Helper()
	return fromNPM(t, func(ctx context.Context) (string, error) {
		return install(ctx, "CODEX", "@openai/codex", codexVersion, "codex")
	})
}

func fromNPM(t testing.TB, get func(context.Context) (string, error)) string {
	t.Helper()
	bin, err := get(t.Context())
	if err == nil {
		return bin
	}
	if !npmReachable(t) {
		t.Skipf("SKIPPED, AND NOTHING IS KNOWN: npm's registry cannot be reached, so a client is missing to test with: %v", err)
	}
	t.Fatal(err)
	return ""
}

// InstallClaudeCode gives it, installed where it is not there.
func InstallClaudeCode(ctx context.Context) (string, error) {
	return install(ctx, "CLAUDE_CODE", "@anthropic-ai/claude-code", claudeVersion, "claude")
}

// install gives the program of a package, which is installed once for each version.
func install(ctx context.Context, variable, name, version, program string) (string, error) {
	if bin := os.Getenv(variable); bin != "" {
		return bin, nil
	}
	modules, err := npm(ctx, program, name, version)
	return filepath.Join(modules, ".bin", program), err
}

// NodeModules gives the folder of node_modules with a package of npm, for NODE_PATH; likewise.
func NodeModules(t testing.TB, name, version string) string {
	t.Helper()
	return fromNPM(t, func(ctx context.Context) (string, error) { return npm(ctx, name, name, version) })
}

// npm installs a package in a folder of its own, once for each version.
func npm(ctx context.Context, folder, name, version string) (modules string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "gatebook", folder+"-"+version)
	modules = filepath.Join(dir, "node_modules")
	if _, err := os.Stat(filepath.Join(modules, name, "package.json")); err == nil {
		return modules, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	r, err := run(exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", name+"@"+version))
	if err != nil || r.Code != 0 {
		return "", fmt.Errorf("installing %s: %v\n%s", name, err, r.Out())
	}
	return modules, nil
}

// npmReachable asks the registry that npm is set up for.
func npmReachable(t testing.TB) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := run(exec.CommandContext(ctx, "npm", "ping"))
	return err == nil && r.Code == 0
}

// Claude is a way to run Claude Code through a gateway.
type Claude struct {
	t   testing.TB
	bin string
	// Home is its folder, and Env what it sees beside a clean environment.
	Home string
	Env  []string
}

// NewClaude sets up Claude Code for the model's target of that name, with a token for the gateway. more is more
// environment.
func (g *Gateway) NewClaude(t testing.TB, target, token string, more ...string) *Claude {
	t.Helper()
	home := t.TempDir()
	return &Claude{t: t, bin: ClaudeCode(t), Home: home, Env: append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "IS_SANDBOX=1", "DISABLE_AUTOUPDATER=1",
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "ANTHROPIC_BASE_URL=" + g.URL + "/t/" + target, "ANTHROPIC_AUTH_TOKEN=" + token, "NODE_EXTRA_CA_CERTS=" + g.Data("ca.crt")}, more...)}
}

// Print runs one prompt to its end, and gives what was printed as JSON. The tool Bash is allowed.
func (c *Claude) Print(prompt string, args ...string) Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*Patience)
	defer cancel()
	r := c.PrintUntil(ctx, prompt, args...)
	if r.Code < 0 {
		c.t.Fatalf("claude -p %q did not come to its end\n%s", prompt, r.Out())
	}
	return r
}

// PrintUntil is Print until ctx ends; then it is killed, and its exit code is below 0.
func (c *Claude) PrintUntil(ctx context.Context, prompt string, args ...string) Result {
	cmd := exec.CommandContext(ctx, c.bin, append([]string{"-p", prompt, "--allowedTools", "Bash", "--output-format", "json"}, args...)...)
	cmd.Dir, cmd.Env = c.Home, c.Env
	r, err := run(cmd)
	if err != nil {
		r.Code, r.Stderr = -1, r.Stderr+err.Error()
	}
	return r
}
