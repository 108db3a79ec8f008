package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"gatebook/internal/api/client"
	"gatebook/internal/identity/login"
)

func addLogin(parent *cobra.Command) {
	var c connection
	var device bool
	cmd := &cobra.Command{
		Use:   "login --gateway URL",
		Short: "Log in, and remember the gateway for the other verbs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.CA != "" {
				abs, err := filepath.Abs(c.CA)
				if err != nil {
					return err
				}
				c.CA = abs
			}
			if err := c.complete(); err != nil {
				return err
			}
			lc, err := c.loginConfig(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			flow := login.Browser
			if device {
				flow = login.Device
			}
			t, err := flow(cmd.Context(), lc)
			if err != nil {
				return fmt.Errorf("logging in: %w", err)
			}
			cache, err := c.cache()
			if err != nil {
				return err
			}
			if err := cache.Save(lc, c.Gateway, t); err != nil {
				return err
			}
			if err := c.remember(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Logged in at %s until %s.\n", c.Gateway, t.Expires.Local().Format("2006-01-02 15:04"))
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&c.Issuer, "issuer", "", "the issuer to log in at (default: the one inside the gateway)")
	cmd.Flags().StringVar(&c.ClientID, "client-id", "", "the public client at that issuer (default: gatebook-cli)")
	cmd.Flags().StringVar(&c.Key, "key", "", "file with the age identity that opens recordings, remembered for later")
	cmd.Flags().BoolVar(&device, "device", false, "log in from another device, by a code")
	parent.AddCommand(cmd)
}

func addToken(parent *cobra.Command) {
	var c connection
	var format string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a token, for the clients that ask for one",
		Long: "Prints a token: by default as kubectl's credential plugins do. As git's credential helper (--format git) it answers\n" +
			"`get` and takes `store` and `erase` without doing anything. Where TRACEPARENT is set, the trace goes along with the\n" +
			"token, behind a ~, so that the gateway can tell which tool call a request belongs to.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (format != "git" || args[0] != "get") {
				if format == "git" && (args[0] == "store" || args[0] == "erase") {
					return nil
				}
				return usageError{fmt.Errorf("token: %q is not known; only git's helpers take get, store or erase", args[0])}
			}
			if c.TokenFile == "" {
				if err := c.complete(); err != nil {
					return err
				}
			}
			t, err := c.token(cmd.Context())
			if err != nil {
				return err
			}
			t.ID += traceSuffix(os.Getenv("TRACEPARENT"))
			out, err := formatToken(format, t)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", out)
			return err
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&format, "format", "exec", "exec (kubectl's plugins), plain, git (its credential helpers), or headers (Claude Code's otelHeadersHelper)")
	parent.AddCommand(cmd)
}

func formatToken(format string, t login.Token) (string, error) {
	switch format {
	case "exec":
		b, err := login.ExecCredential(os.Getenv("KUBERNETES_EXEC_INFO"), t)
		return string(b), err
	case "plain":
		return t.ID, nil
	case "git":
		return "username=gatebook\npassword=" + t.ID, nil
	case "headers":
		b, err := json.Marshal(map[string]string{"Authorization": "Bearer " + t.ID})
		return string(b), err
	}
	return "", usageError{fmt.Errorf("--format: %q is not exec, plain, git or headers", format)}
}

var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// traceSuffix goes behind a token; a trace that is none is left out.
func traceSuffix(trace string) string {
	if !traceparent.MatchString(trace) {
		return ""
	}
	return "~" + trace
}

func addWhoAmI(parent *cobra.Command) {
	var c connection
	var o output
	cmd := c.verb(&cobra.Command{Use: "whoami", Short: "Say who the gateway takes you for, and what you can reach", Args: cobra.NoArgs},
		func(cmd *cobra.Command, _ []string, x *client.Client) error {
			me, err := x.WhoAmI(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), me, func(out io.Writer) error { printWhoAmI(out, me); return nil })
		})
	o.flag(cmd)
	parent.AddCommand(cmd)
}

func printWhoAmI(out io.Writer, me client.WhoAmI) {
	fmt.Fprintf(out, "%s\nsubject %s\nsession %s\n", inert(me.Principal.Name), inert(me.Principal.Key()), me.Session)
	if len(me.Principal.Groups) > 0 {
		fmt.Fprintf(out, "groups  %s\n", inert(strings.Join(me.Principal.Groups, ", ")))
	}
	if len(me.Roles) > 0 {
		fmt.Fprintf(out, "roles   %s\n", strings.Join(me.Roles, ", "))
	}
	for _, t := range me.Targets {
		fmt.Fprintf(out, "target  %s (%s) %s\n", t.Name, t.Protocol, t.URL)
	}
}

// addKubeconfig prints a kubeconfig that points at the gateway. It holds no secret.
func addKubeconfig(parent *cobra.Command) {
	var c connection
	var agent bool
	var target, tokenFile, caFile string
	cmd := c.verb(&cobra.Command{
		Use: "kubeconfig", Short: "Print a kubeconfig that points at the gateway", Args: cobra.NoArgs,
		Long: "Prints a kubeconfig with one context for each target. It holds no secret: people's tokens come from\n`gatebook token`, an agent's from its projected service-account token.",
	}, func(cmd *cobra.Command, _ []string, x *client.Client) error {
		me, err := x.WhoAmI(cmd.Context())
		if err != nil {
			return err
		}
		user := map[string]any{"exec": map[string]any{"apiVersion": "client.authentication.k8s.io/v1", "command": "gatebook",
			"args": []string{"token", "--gateway", c.Gateway}, "interactiveMode": "IfAvailable"}}
		cluster := map[string]any{}
		if agent {
			user = map[string]any{"tokenFile": tokenFile}
		}
		switch ca, err := c.ca(); {
		case err != nil:
			return err
		case caFile != "":
			cluster["certificate-authority"] = caFile
		case ca != nil:
			cluster["certificate-authority-data"] = ca
		}
		b, err := json.MarshalIndent(kubeconfig(me.Targets, target, cluster, user), "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
		return err
	})
	f := cmd.Flags()
	f.BoolVar(&agent, "agent", false, "for an agent in a pod: its token comes from a file")
	f.StringVar(&target, "target", "", "the current context (default: the first target)")
	f.StringVar(&tokenFile, "agent-token-file", "/var/run/secrets/gatebook/token", "where the agent's token is, in its pod")
	f.StringVar(&caFile, "agent-ca-file", "", "where the gateway's CA is, in the agent's pod (default: written into the kubeconfig)")
	parent.AddCommand(cmd)
}

func kubeconfig(targets []client.Target, current string, cluster, user map[string]any) map[string]any {
	var clusters, contexts []any
	for _, t := range targets {
		if t.Protocol != "kubernetes" {
			continue
		}
		if current == "" {
			current = t.Name
		}
		one := map[string]any{"server": t.URL}
		for k, v := range cluster {
			one[k] = v
		}
		clusters = append(clusters, map[string]any{"name": t.Name, "cluster": one})
		contexts = append(contexts, map[string]any{"name": t.Name, "context": map[string]any{"cluster": t.Name, "user": "gatebook"}})
	}
	return map[string]any{"apiVersion": "v1", "kind": "Config", "clusters": clusters, "contexts": contexts,
		"users": []any{map[string]any{"name": "gatebook", "user": user}}, "current-context": current}
}
