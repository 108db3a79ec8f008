package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatebook/internal/api/client"
)

// agentTokenFile is where a pod has the token that its manifest projects for the gateway.
const agentTokenFile = "/var/run/secrets/gatebook/token"

// environment is what an agent's environment is made from.
type environment struct {
	// dir is the folder that is written, program this one, both absolute.
	dir, program string
	gateway      string
	// tokenFile holds the agent's token; empty: a person's login gives it.
	tokenFile string
	// ca is the gateway's own, in PEM; empty: its certificate is of a CA that the system knows.
	ca      []byte
	targets []client.Target
	// claude and codex are the model targets of the two.
	claude, codex string
	proxy         bool
}

// envFile is one file of an environment.
type envFile struct{ name, text, what string }

func addEnv(parent *cobra.Command) {
	var c connection
	var agent bool
	var e environment
	cmd := &cobra.Command{
		Use: "env", Short: "Write what an agent needs to reach everything through the gateway", Args: cobra.NoArgs,
		Long: "Writes a folder with settings for the programs that an agent uses: kubectl, git, psql, curl, Claude Code and Codex. They ask\n" +
			"`gatebook token` for a token at each use, with the trace of the tool call behind it; no file holds a secret.\n\n" +
			"With --agent the token comes from a file, such as the projected service-account token of the agent's pod (--token-file,\n" +
			"default " + agentTokenFile + "); else from `gatebook login`.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if agent && c.TokenFile == "" {
				c.TokenFile = agentTokenFile
			}
			if err := e.fill(cmd, &c); err != nil {
				return err
			}
			files := e.files()
			if err := writeEnv(e.dir, files); err != nil {
				return err
			}
			return e.print(cmd.OutOrStdout(), files)
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&agent, "agent", false, "for an agent, whose token comes from a file")
	f.StringVar(&e.dir, "dir", "", "the folder to write (default ~/.gatebook/agent)")
	f.StringVar(&e.claude, "claude", "", "the target that is Claude Code's model (default: the first of protocol model; none: no settings for it)")
	f.StringVar(&e.codex, "codex", "", "the target that is Codex's model, an OpenAI-compatible one (default: no settings for Codex)")
	f.BoolVar(&e.proxy, "proxy", false, "send other HTTPS through the gateway's forward proxy (HTTPS_PROXY)")
	parent.AddCommand(cmd)
}

// fill finds out what the flags leave open: paths, and from the gateway what there is.
func (e *environment) fill(cmd *cobra.Command, c *connection) (err error) {
	x, err := c.open()
	if err != nil {
		return err
	}
	defer x.Close()
	if e.ca, err = c.ca(); err != nil {
		return err
	}
	if e.program, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if c.TokenFile != "" {
		if e.tokenFile, err = filepath.Abs(c.TokenFile); err != nil {
			return err
		}
	}
	if e.dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return usageError{fmt.Errorf("finding the home folder: %w; give --dir", err)}
		}
		e.dir = filepath.Join(home, ".gatebook", "agent")
	}
	if e.dir, err = filepath.Abs(e.dir); err != nil {
		return err
	}
	for _, path := range []string{e.dir, e.program, e.tokenFile} {
		if strings.ContainsAny(path, "\n\r\x00") {
			return usageError{fmt.Errorf("%q: a path with a line break cannot be written into settings", path)}
		}
	}
	e.gateway = strings.TrimSuffix(c.Gateway, "/")
	me, err := x.WhoAmI(cmd.Context())
	if err != nil {
		return err
	}
	e.targets = me.Targets
	return e.models()
}

// models finds the model targets of Claude Code and Codex.
func (e *environment) models() error {
	models := e.of("model")
	for _, name := range []string{e.claude, e.codex} {
		if name != "" && !slices.ContainsFunc(models, func(t client.Target) bool { return t.Name == name }) {
			return usageError{fmt.Errorf("the gateway offers no target %q of protocol model", name)}
		}
	}
	if e.claude == "" && len(models) > 0 && models[0].Name != e.codex {
		e.claude = models[0].Name
	}
	return nil
}

// of gives the targets of a protocol.
func (e *environment) of(protocol string) []client.Target {
	return slices.DeleteFunc(slices.Clone(e.targets), func(t client.Target) bool { return t.Protocol != protocol })
}

// url gives where a target is reached.
func (e *environment) url(name string) string {
	for _, t := range e.targets {
		if t.Name == name {
			return t.URL
		}
	}
	return ""
}

func (e *environment) path(name string) string { return filepath.Join(e.dir, name) }

// tokenArgs are the arguments by which this program prints a token in a format.
func (e *environment) tokenArgs(format string) []string {
	args := []string{"token", "--format", format}
	if e.tokenFile != "" {
		return append(args, "--token-file", e.tokenFile)
	}
	args = append(args, "--gateway", e.gateway)
	if e.ca != nil {
		args = append(args, "--ca", e.path("ca.crt"))
	}
	return args
}

// tokenCommand is the same as a line of shell.
func (e *environment) tokenCommand(format string) string {
	line := shellQuote(e.program)
	for _, a := range e.tokenArgs(format) {
		line += " " + shellQuote(a)
	}
	return line
}

// shellQuote makes s one word of a POSIX shell, whatever is in it.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// writeEnv writes the files, each whole or not at all: an agent may be using those of before. What an earlier run wrote
// and this one does not goes, so that no setting outlives its target.
func writeEnv(dir string, files []envFile) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the environment's folder: %w", err)
	}
	for _, name := range envNames {
		i := slices.IndexFunc(files, func(f envFile) bool { return f.name == name })
		err := os.Remove(filepath.Join(dir, name))
		if i >= 0 {
			err = replaceFile(filepath.Join(dir, name), files[i].text)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("writing the environment: %w", err)
		}
	}
	return nil
}

func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (e *environment) print(w io.Writer, files []envFile) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Written to %s, without a secret:\n", inert(e.dir))
	for _, f := range files {
		fmt.Fprintf(&b, "  %-16s %s\n", f.name, f.what)
	}
	b.WriteString("\nTo use it:\n")
	if e.claude != "" {
		line := "claude --settings " + shellQuote(e.path("claude.json"))
		if len(e.mcpServers()) > 0 {
			line += " --mcp-config " + shellQuote(e.path("mcp.json"))
		}
		fmt.Fprintf(&b, "  %s\n", inert(line))
	}
	if e.codex != "" {
		fmt.Fprintf(&b, "  . %s && CODEX_HOME=%s codex\n", inert(shellQuote(e.path("env.sh"))), inert(shellQuote(e.dir)))
	}
	fmt.Fprintf(&b, "  . %s    in any other shell\n", inert(shellQuote(e.path("env.sh"))))
	_, err := io.WriteString(w, b.String())
	return err
}
