package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// gateway is the built binary with a configuration of its own.
type gateway struct {
	*process
	binary, dir, name string
	listen, admin     string
	postgres          string
	sign              func(subject string, groups ...string) (string, error)
}

// URL of the gateway, and of the upstream behind it.
func (g *gateway) URL() string    { return "https://" + g.listen }
func (g *gateway) target() string { return g.URL() + "/t/bench" }

// allowAll is the least policy there is: with it the rules cost next to nothing.
const allowAll = "masking: [secrets, known]\nrules:\n  - {id: all, protocol: kubernetes, effect: allow, reason: everything}\n"

// newGateway starts the gateway in front of an upstream, with everything on: tokens, policy (empty: the default pack),
// masks, recording, TLS on both sides. target is YAML of the one target.
func newGateway(binary, dir, name, policy, target string) (*gateway, error) {
	g := &gateway{binary: binary, name: name, dir: filepath.Join(dir, name)}
	if err := os.Mkdir(g.dir, 0o700); err != nil {
		return nil, err
	}
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	g.listen, g.admin, g.postgres = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1]), fmt.Sprintf("127.0.0.1:%d", ports[2])
	var err error
	if g.sign, err = makeIssuer(filepath.Join(g.dir, "issuer.jwks")); err != nil {
		return nil, err
	}
	rules := ""
	if policy != "" {
		if err := os.Mkdir(filepath.Join(g.dir, "policy"), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(g.dir, "policy", "policy.yaml"), []byte(policy), 0o644); err != nil {
			return nil, err
		}
		rules = "policy: " + filepath.Join(g.dir, "policy") + "\n"
	}
	if strings.Contains(target, "protocol: postgres") { // sealed soon, so that a round can wait for all that follows from it
		rules += "listenPostgres: " + g.postgres + "\nrecording: {sealAge: 5s}\n"
	}
	config := fmt.Sprintf("listen: %s\nadmin: %s\ndata: %s\n%sissuers:\n  - {name: bench, url: '%s', audiences: [gatebook], jwksFile: %s}\ntargets:\n%s\nroles:\n  auditors: {groups: [auditors]}\ndrain: 2s\n",
		g.listen, g.admin, filepath.Join(g.dir, "data"), rules, issuer, filepath.Join(g.dir, "issuer.jwks"), target)
	if err := os.WriteFile(filepath.Join(g.dir, "config.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return g, g.begin()
}

// toUpstream is the target of the upstream that bench serves.
func toUpstream(dir, address string) (string, error) {
	token := filepath.Join(dir, "upstream-token")
	if err := os.WriteFile(token, []byte("upstream-token"), 0o600); err != nil {
		return "", err
	}
	return fmt.Sprintf("  - {name: bench, url: 'https://%s', caFile: %s, token: {file: %s}}", address, certPoolFile(dir), token), nil
}

// begin starts the process, also after its death, and waits until it is ready.
func (g *gateway) begin() error {
	p, err := start(g.dir, "gateway", g.binary, "serve", "--config", filepath.Join(g.dir, "config.yaml"), "--log-level", "warn")
	if err != nil {
		return err
	}
	g.process = p
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		select {
		case <-p.done:
			return fmt.Errorf("the gateway ended at once:\n%s", p.output())
		default:
		}
		resp, err := http.Get("http://" + g.admin + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the gateway does not become ready:\n%s", p.output())
}

func (g *gateway) contestant(name string) (contestant, error) {
	token, err := g.sign("agent")
	return contestant{name: name, process: g.process, base: g.target(), token: token}, err
}
