package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"gatebook/internal/config"
	"gatebook/internal/identity/issuer"
)

// operatorName is the person at the terminal of `gatebook up`.
const operatorName = "operator"

func addUp(parent *cobra.Command) {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Serve the current kubeconfig's cluster at once, with defaults for everything",
		Long: "Serves the cluster of the current kubeconfig context: the default policy, recordings in a local folder, a\n" +
			"certificate of its own, and a login for you by a code shown here. Agents use a service-account token of the\n" +
			"cluster with audience gatebook, and act under their own RBAC; you act as your kubeconfig does.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.context, "context", "", "the kubeconfig's context (default: the current one)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8443", "address that clients connect to")
	f.StringVar(&o.admin, "admin", "127.0.0.1:9090", "address for health and metrics")
	f.StringVar(&o.url, "url", "", "URL under which clients reach the gateway (default: https://localhost with the port)")
	f.StringSliceVar(&o.names, "name", nil, "further names and addresses for its certificate")
	f.StringVar(&o.data, "data", filepath.Join(dataHome(), "up"), "folder for everything that is kept")
	f.StringVar(&o.policy, "policy", "", "policy folder (default: the embedded policy)")
	f.StringVar(&o.level, "log-level", "warn", "debug, info, warn or error")
	parent.AddCommand(c)
}

// dataHome is where Gatebook keeps a user's things.
func dataHome() string {
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "gatebook")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	return filepath.Join(home, ".local", "share", "gatebook")
}

type upOptions struct {
	context, listen, admin, url, data, policy, level string
	names                                            []string
}

func (o upOptions) run(ctx context.Context, out io.Writer) error {
	log, err := newLog(o.level)
	if err != nil {
		return err
	}
	cfg, err := o.config(ctx)
	if err != nil {
		return err
	}
	operator := &issuer.Operator{Name: operatorName, Show: func(code string) {
		fmt.Fprintf(out, "\n  Somebody wants to log in. If that is you, the code is: %s\n\n", code)
	}}
	return runGateway(ctx, cfg, log, operator, func(string) { o.explain(out, cfg) })
}

// config is the configuration that up stands for; it asks the cluster for the issuer of its tokens.
func (o upOptions) config(ctx context.Context) (*config.Config, error) {
	raw, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil {
		return nil, usageError{fmt.Errorf("reading the kubeconfig: %w", err)}
	}
	name := o.context
	if name == "" {
		name = raw.CurrentContext
	}
	if raw.Contexts[name] == nil {
		return nil, usageError{fmt.Errorf("the kubeconfig has no context %q; set KUBECONFIG, or give --context", name)}
	}
	target := config.Target{Name: targetName(name), Kubeconfig: config.CurrentKubeconfig, Context: name,
		Direct: config.Members{Users: []string{localPrefix + operatorName}}}
	everything := config.Members{Users: []string{localPrefix + operatorName}}
	cfg := &config.Config{
		Listen: o.listen, Admin: o.admin, URL: o.url, Data: o.data, Policy: o.policy,
		TLS:            config.TLS{Names: o.names},
		EmbeddedIssuer: config.EmbeddedIssuer{Enabled: true},
		Roles:          config.Roles{Approvers: everything, Auditors: everything, Admins: everything, BreakGlass: everything, Restorers: everything},
		Targets:        []config.Target{target},
	}
	if err := cfg.Complete(); err != nil {
		return nil, usageError{err}
	}
	iss, err := clusterIssuer(ctx, cfg.Targets[0])
	if err != nil {
		return nil, fmt.Errorf("asking the cluster of context %q: %w", name, err)
	}
	cfg.Issuers = []config.Issuer{{Name: target.Name, URL: iss, Audiences: []string{"gatebook"}, Kubernetes: true, Cluster: target.Name, TokenReview: true}}
	return cfg, cfg.Complete()
}

var unnamely = regexp.MustCompile(`[^a-z0-9]+`)

// targetName makes a target's name of a context's.
func targetName(context string) string {
	n := strings.Trim(unnamely.ReplaceAllString(strings.ToLower(context), "-"), "-")
	if n == "" {
		return "cluster"
	}
	return strings.Trim(n[:min(len(n), 63)], "-")
}

// clusterIssuer asks a cluster what the iss claim of its service-account tokens is.
func clusterIssuer(ctx context.Context, t config.Target) (string, error) {
	u, err := newUpstream(t, &config.Config{}, func([]byte) {})
	if err != nil {
		return "", err
	}
	defer u.Close()
	var doc struct{ Issuer string }
	err = getJSON(ctx, u.ForIdentity(), u.Base()+"/.well-known/openid-configuration", &doc)
	if err == nil && doc.Issuer == "" {
		err = fmt.Errorf("its openid-configuration names no issuer")
	}
	return doc.Issuer, err
}

// explain prints how to go on.
func (o upOptions) explain(out io.Writer, cfg *config.Config) {
	t := cfg.Targets[0]
	_, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		port = cfg.Listen
	}
	ca := filepath.Join(cfg.Data, "ca.crt")
	fmt.Fprintf(out, `Gatebook serves context %q. Stop it with Ctrl-C.

  You:      gatebook login --gateway %s --ca %s
            gatebook kubeconfig > gatebook.kubeconfig
            kubectl --kubeconfig gatebook.kubeconfig get pods

  An agent: a projected service-account token with audience "gatebook", and
            gatebook kubeconfig --agent > agent.kubeconfig

  Watch:    gatebook approvals · gatebook sessions · gatebook tail
  Prove:    gatebook verify --data %s

  Everything is in %s (port %s). The key that opens recordings is auditor.key there; keep a copy elsewhere.
`, t.Context, cfg.URL, ca, cfg.Data, cfg.Data, port)
}
