package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"gatebook/internal/api/client"
)

// envNames are all files that an environment can have.
var envNames = []string{"env.sh", "ca.crt", "bundle.crt", "kubeconfig", "gitconfig", "pg_service.conf", "claude.json", "mcp.json", "config.toml"}

// files gives the environment's files.
func (e *environment) files() []envFile {
	out := []envFile{{"env.sh", e.shell(), "what a shell needs; to be read before each command, since tokens and traces change"}}
	add := func(when bool, name, what string, text func() string) {
		if when {
			out = append(out, envFile{name, text(), what})
		}
	}
	own := e.ca != nil
	add(own, "ca.crt", "the CA of the gateway", func() string { return string(e.ca) })
	add(own, "bundle.crt", "the same among the CAs of this system", func() string { return systemCAs() + string(e.ca) })
	add(len(e.of("kubernetes")) > 0, "kubeconfig", "a context for each cluster", e.kubeconfig)
	add(len(e.of("git")) > 0, "gitconfig", "git, by the addresses that it knows", e.gitconfig)
	add(len(e.of("postgres")) > 0, "pg_service.conf", "a service for each database: psql service=NAME", e.services)
	add(e.claude != "", "claude.json", "settings for Claude Code", e.claudeSettings)
	add(e.claude != "" && len(e.mcpServers()) > 0, "mcp.json", "the servers of MCP, for Claude Code", func() string { return indented(map[string]any{"mcpServers": e.mcpServers()}) })
	add(e.codex != "", "config.toml", "settings for Codex", e.codexConfig)
	return out
}

// shell is what a shell reads: at its start, and again before each command of an agent.
func (e *environment) shell() string {
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "export %s=%s\n", name, shellQuote(value)) }
	b.WriteString("# Written by gatebook env, for any POSIX shell; made anew by the next run. Holds no secret.\n")
	set("GATEBOOK_URL", e.gateway)
	if e.tokenFile != "" {
		set("GATEBOOK_TOKEN_FILE", e.tokenFile)
	}
	if e.ca != nil {
		set("GATEBOOK_CA", e.path("ca.crt"))
		set("NODE_EXTRA_CA_CERTS", e.path("ca.crt"))
		for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"} {
			set(name, e.path("bundle.crt"))
		}
	}
	if len(e.of("kubernetes")) > 0 {
		set("KUBECONFIG", e.path("kubeconfig"))
	}
	if len(e.of("git")) > 0 {
		e.shellGit(&b)
	}
	if e.claude != "" {
		set("ANTHROPIC_BASE_URL", e.url(e.claude))
		b.WriteString("unset ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN # another key would be refused\n")
	}
	if databases := e.of("postgres"); len(databases) > 0 {
		set("PGSERVICEFILE", e.path("pg_service.conf"))
		for _, kv := range e.service(databases[0]) {
			set(kv.env, kv.value)
		}
	}
	e.shellToken(&b)
	return b.String()
}

// shellGit includes the gitconfig beside the user's own, once in a line of processes.
func (e *environment) shellGit(b *strings.Builder) {
	fmt.Fprintf(b, `if [ "${GATEBOOK_ENV:-}" != %[1]s ]; then
	export GATEBOOK_ENV=%[1]s
	export "GIT_CONFIG_KEY_${GIT_CONFIG_COUNT:-0}=include.path" "GIT_CONFIG_VALUE_${GIT_CONFIG_COUNT:-0}="%[2]s
	export GIT_CONFIG_COUNT=$((${GIT_CONFIG_COUNT:-0} + 1))
fi
`, shellQuote(e.dir), shellQuote(e.path("gitconfig")))
}

// shellToken is for the programs that take a token from the environment alone. It is asked for before each command.
func (e *environment) shellToken(b *strings.Builder) {
	if len(e.of("postgres")) == 0 && !e.proxy {
		return
	}
	fmt.Fprintf(b, "gatebook_token=$(%s)\n", e.tokenCommand("plain"))
	if len(e.of("postgres")) > 0 {
		b.WriteString("export PGPASSWORD=\"$gatebook_token\"\n")
	}
	if e.proxy {
		u, err := url.Parse(e.gateway)
		if err != nil {
			panic(err) // a request went there
		}
		fmt.Fprintf(b, `if [ -n "${GATEBOOK_PROXY:-}" ]; then # of gatebook connect --proxy, which adds the token
	export HTTPS_PROXY="http://${TRACEPARENT:-gatebook}:$GATEBOOK_PROXY"
	export HTTP_PROXY="$HTTPS_PROXY" http_proxy="$HTTPS_PROXY"
else
	export HTTPS_PROXY="https://gatebook:$gatebook_token@"%s
fi
`, shellQuote(u.Host))
		fmt.Fprintf(b, "export https_proxy=\"$HTTPS_PROXY\" NO_PROXY=%[1]s no_proxy=%[1]s NODE_USE_ENV_PROXY=1\n", shellQuote("localhost,127.0.0.1,"+u.Hostname()))
		if e.ca != nil {
			fmt.Fprintf(b, "export GIT_PROXY_SSL_CAINFO=%s\n", shellQuote(e.path("bundle.crt")))
		}
	}
	b.WriteString("unset gatebook_token\n")
}

func (e *environment) kubeconfig() string {
	user := map[string]any{"exec": map[string]any{"apiVersion": "client.authentication.k8s.io/v1", "command": e.program,
		"args": e.tokenArgs("exec"), "interactiveMode": "Never"}}
	cluster := map[string]any{}
	if e.ca != nil {
		cluster["certificate-authority"] = e.path("ca.crt")
	}
	return indented(kubeconfig(e.targets, "", cluster, user))
}

// gitconfig sends git to the gateway wherever it knows a repository by.
func (e *environment) gitconfig() string {
	var b strings.Builder
	b.WriteString("# Written by gatebook env; made anew by the next run.\n")
	for _, t := range e.of("git") {
		u, err := url.Parse(t.URL)
		if err != nil || u.Host == "" {
			continue
		}
		fmt.Fprintf(&b, "[credential %s]\n\thelper =\n\thelper = %s\n", gitQuote(u.Scheme+"://"+u.Host), gitQuote("!"+e.tokenCommand("git")))
		if e.ca != nil {
			fmt.Fprintf(&b, "[http %s]\n\tsslCAInfo = %s\n", gitQuote(u.Scheme+"://"+u.Host+"/"), gitQuote(e.path("ca.crt")))
		}
		fmt.Fprintf(&b, "[url %s]\n", gitQuote(strings.TrimSuffix(t.URL, "/")+"/"))
		for _, known := range gitAddresses(t) {
			fmt.Fprintf(&b, "\tinsteadOf = %s\n", gitQuote(known))
		}
	}
	return b.String()
}

// gitAddresses are the beginnings of the addresses of a git server's repositories: by HTTP, and by ssh in both forms.
func gitAddresses(t client.Target) []string {
	u, err := url.Parse(t.Upstream)
	if err != nil || u.Host == "" {
		return nil
	}
	path := strings.Trim(u.EscapedPath(), "/")
	if path != "" {
		path += "/"
	}
	return []string{u.Scheme + "://" + u.Host + "/" + path, "ssh://git@" + u.Hostname() + "/" + path, "git@" + u.Hostname() + ":" + path}
}

// gitQuote writes a value or a subsection as git-config(1) reads it.
func gitQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// setting is one of libpq's: its name in a service file, and as a variable.
type setting struct{ name, env, value string }

// service gives how libpq reaches a database.
func (e *environment) service(t client.Target) []setting {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil
	}
	root := e.path("ca.crt")
	if e.ca == nil {
		root = "system" // libpq 16 and later
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return nil
	}
	return []setting{{"host", "PGHOST", host}, {"port", "PGPORT", port}, {"dbname", "PGDATABASE", t.Name}, {"user", "PGUSER", "gatebook"},
		{"sslmode", "PGSSLMODE", "verify-full"}, {"sslrootcert", "PGSSLROOTCERT", root}}
}

func (e *environment) services() string {
	b := &strings.Builder{}
	b.WriteString("# Written by gatebook env; made anew by the next run.\n")
	for _, t := range e.of("postgres") {
		fmt.Fprintf(b, "[%s]\n", t.Name)
		for _, s := range e.service(t) {
			fmt.Fprintf(b, "%s=%s\n", s.name, s.value)
		}
	}
	return b.String()
}

// claudeSettings are complete: with them alone Claude Code reaches its model, trusts the gateway, reads env.sh before each
// command, and says by telemetry which tool call each span is of.
func (e *environment) claudeSettings() string {
	env := map[string]string{
		"ANTHROPIC_BASE_URL": e.url(e.claude), "CLAUDE_ENV_FILE": e.path("env.sh"),
		"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": "", // another key would be sent beside the helper's, and refused
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", // it would go elsewhere
		"CLAUDE_CODE_ENABLE_TELEMETRY":             "1", "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1", "CLAUDE_CODE_PROPAGATE_TRACEPARENT": "1",
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_EXPORT_INTERVAL": "1000",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_ENDPOINT": e.gateway + client.Prefix + "otlp",
		"CLAUDE_CODE_OTEL_HEADERS_HELPER_DEBOUNCE_MS": "60000", // by default half an hour, in which a token ends
	}
	if e.ca != nil {
		env["NODE_EXTRA_CA_CERTS"] = e.path("ca.crt")
	}
	return indented(map[string]any{"apiKeyHelper": e.tokenCommand("plain"), "otelHeadersHelper": e.tokenCommand("headers"), "env": env})
}

// mcpServers are Claude Code's settings for the targets that serve tools.
func (e *environment) mcpServers() map[string]any {
	out := map[string]any{}
	for _, t := range e.targets {
		if t.MCP != "" {
			out[t.Name] = map[string]any{"type": "http", "url": t.MCP, "headersHelper": e.tokenCommand("headers")}
		}
	}
	return out
}

func (e *environment) codexConfig() string {
	args := e.tokenArgs("plain")
	for i := range args {
		args[i] = tomlQuote(args[i])
	}
	return fmt.Sprintf(`# Written by gatebook env; made anew by the next run.
model_provider = "gatebook"
# The provider would run it, and a person be asked each time: see serverTools in the policy.
web_search = "disabled"

[model_providers.gatebook]
name = "gatebook"
base_url = %s
wire_api = "responses"

[model_providers.gatebook.auth]
command = %s
args = [%s]
refresh_interval_ms = 60000
`, tomlQuote(e.url(e.codex)+"/v1"), tomlQuote(e.program), strings.Join(args, ", "))
}

// tomlQuote writes a basic string: what JSON writes is one (TOML 1.0).
func tomlQuote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always can
	}
	return string(b)
}

func indented(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(err) // strings and maps always can
	}
	return b.String()
}

// systemCAs are the certificates that programs here trust, from where Linux distributions and others keep them in one file.
func systemCAs() string {
	for _, path := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if b, err := os.ReadFile(path); err == nil {
			return string(b)
		}
	}
	return ""
}
