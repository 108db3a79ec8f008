package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatebook/test/lab"
)

var update = flag.Bool("update", false, "write the table of kubectl commands in docs/protocols/kubernetes.md anew, and the conversations that internal/protocol/model replays")

// try is one kubectl command and what is expected of it. In args, stdin and wants, NS stands for the test's namespace,
// NODE for a node object of its own and DIR for its folder.
type try struct {
	// does is what happens where everything is allowed, for the documentation.
	does  string
	args  string
	stdin string
	env   []string
	// code is the exit code where everything is allowed, wants a pattern that its output matches.
	code  int
	wants string
	// byDefault is what the default policy makes of it: passes, held or denied, and the rule that says so.
	byDefault string
	// probe is for a command that goes on: it is run once the output matches wants, and then the command is ended.
	probe func(line string) error
	// name is how the documentation calls it, where args would not do.
	name string
}

// shown is the command as the documentation has it.
func (c try) shown() string {
	if c.name != "" {
		return c.name
	}
	return strings.NewReplacer(" -n NS", "", "NODE", "node-1", "DIR/", "", "lab.local/busybox:1", "busybox").Replace(c.args)
}

// Every common kubectl command works through the gateway where policy allows it, secrets masked; under the default
// policy it passes, waits for a person or is denied, by the rule that is named. The table in the documentation is what
// this test saw.
func TestKubectl(t *testing.T) {
	ns := namespace(t)
	w := newWorkbench(t, ns)
	byDefault := cluster.StartGateway(t, binary, lab.Options{Config: "approvals: {hold: 100ms, holdOthers: 100ms}\n"})
	all := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	w.sees(byDefault)
	w.sees(all)
	held := byDefault.Kubeconfig(byDefault.Agent(ns, "claude", ""))
	allowed := all.Kubeconfig(all.Agent(ns, "claude", ""))
	defaults := map[string]string{}
	for _, c := range kubectlCommands() { // nothing changes here: what would is held or denied
		r := w.run(t, held, c)
		got := verdict(r)
		if got == "passes" {
			w.check(t, "default policy", c, r)
		}
		if got != c.byDefault {
			t.Errorf("default policy: kubectl %s: %q, want %q", c.args, got, c.byDefault)
		}
		defaults[c.args] = got
	}
	for _, c := range kubectlCommands() {
		w.check(t, "all allowed", c, w.run(t, allowed, c))
	}
	if !t.Failed() {
		documented(t, defaults)
	}
}

// check compares what a command that was not refused did with what is expected.
func (w *workbench) check(t *testing.T, policy string, c try, r lab.Result) {
	t.Helper()
	if r.Code != c.code || !w.pattern(c.wants).MatchString(r.Out()) {
		t.Errorf("%s: kubectl %s: exit %d, want %d with %q\n%s", policy, c.args, r.Code, c.code, c.wants, r.Out())
	}
	if strings.Contains(r.Out(), secretValue) {
		t.Errorf("%s: kubectl %s shows the secret\n%s", policy, c.args, r.Out())
	}
}

var refusedBy = regexp.MustCompile(`\(rule ([a-z-]+)`)

// verdict reads off a command's output what the policy made of it.
func verdict(r lab.Result) string {
	rule := refusedBy.FindStringSubmatch(r.Out())
	switch {
	case rule == nil && strings.Contains(r.Out(), "gatebook:"):
		return "refused"
	case rule == nil:
		return "passes"
	case strings.Contains(r.Out(), "is pending"):
		return "held: " + rule[1]
	}
	return "denied: " + rule[1]
}

// documented compares the table in the documentation with what was seen.
func documented(t *testing.T, defaults map[string]string) {
	t.Helper()
	var table bytes.Buffer
	for _, c := range kubectlCommands() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", strings.ReplaceAll(c.shown(), "|", `\|`), c.does, defaults[c.args])
	}
	file := filepath.Join(lab.Root(), "docs", "protocols", "kubernetes.md")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| kubectl | everything allowed, default masks | default policy |\n|---|---|---|\n"
	before, rest, found := strings.Cut(string(b), head)
	if !found {
		t.Fatalf("%s has no table of kubectl commands", file)
	}
	end := strings.Index(rest+"\n\n", "\n\n") + 1
	if end > len(rest) {
		end = len(rest)
	}
	if rest[:end] == table.String() {
		return
	}
	if !*update {
		t.Errorf("the table in %s is not what was seen; run with -update\n%s", file, table.String())
		return
	}
	if err := os.WriteFile(file, []byte(before+head+table.String()+rest[end:]), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs one command.
func (w *workbench) run(t *testing.T, kubeconfig string, c try) lab.Result {
	t.Helper()
	args := split(w.fill(c.args))
	if c.probe != nil {
		return w.runUntil(t, kubeconfig, c, args)
	}
	r, err := cluster.KubectlEnv(t.Context(), kubeconfig, c.env, w.fill(c.stdin), args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", c.args, err, r.Out())
	}
	return r
}

// runUntil runs a command that goes on: it is probed and ended as soon as its output matches.
func (w *workbench) runUntil(t *testing.T, kubeconfig string, c try, args []string) lab.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = slices.Concat(os.Environ(), c.env, []string{"HOME=" + w.dir})
	stdin, err := cmd.StdinPipe() // stays open: the command goes on
	if err != nil {
		t.Fatal(err)
	}
	out := &until{pattern: w.pattern(c.wants), seen: make(chan string, 1)}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, w.fill(c.stdin)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r := lab.Result{Code: c.code}
	select {
	case line := <-out.seen:
		if err := c.probe(line); err != nil {
			r.Stderr = err.Error() + "\n"
			r.Code = -1
		}
		cancel()
		<-ended
	case <-ended:
		r.Code = cmd.ProcessState.ExitCode()
	}
	r.Stderr += out.String()
	return r
}
