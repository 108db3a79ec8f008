package config

import (
	"strings"
	"testing"
	"time"
)

const good = `
issuers:
  - name: lab
    url: https://issuer.example
    audiences: [gatebook]
    kubernetes: true
    cluster: lab
targets:
  - name: lab
    url: https://127.0.0.1:6443
    token: {file: /run/token}
`

func TestDefaultsAreFilledIn(t *testing.T) {
	c, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != "https://localhost:8443" || c.Approvals.Hold != 10*time.Minute || !*c.Targets[0].Impersonate ||
		c.Issuers[0].ClockSkew != 30*time.Second || len(c.Issuers[0].AliasClaims) != 2 || c.Recording.Origin != "localhost/gatebook" {
		t.Errorf("%+v", c)
	}
}

// Requests are matched with lower-case names, and paths are put behind the URL.
func TestNamesAsTheyAreUsed(t *testing.T) {
	c, err := Parse([]byte(good + "    hosts: [K8s.Example]\nurl: https://gw.example/\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Targets[0].Hosts[0] != "k8s.example" || c.URL != "https://gw.example" {
		t.Errorf("hosts %v, URL %q", c.Targets[0].Hosts, c.URL)
	}
}

func TestFalseIsKept(t *testing.T) {
	c, err := Parse([]byte(good + "    impersonate: false\n"))
	if err != nil {
		t.Fatal(err)
	}
	if *c.Targets[0].Impersonate {
		t.Error("impersonate: false was overridden by its default")
	}
}

func TestProblemsNameTheirPlace(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"unknown key", good + "recordnig: {}\n", `line 12: unknown key "recordnig"; did you mean "recording"?`},
		{"unknown nested key", good + "limits: {requestBodySize: 3}\n", `unknown key "requestBodySize"; did you mean "requestBodyBytes"?`},
		{"unknown without likeness", good + "qqqqqqqqqqqqqqqqqqqqqqqqq: 1\n", "known here: listen, url"},
		{"wrong type", good + "drain: soon\n", "line 12"},
		{"second document", good + "---\nlisten: x\n", "second document"},
		{"no audience", strings.Replace(good, "    audiences: [gatebook]\n", "", 1), "audiences: missing"},
		{"two credentials", good + "    certificateFile: a\n    keyFile: b\n", "set one credential"},
		{"no credential", strings.Replace(good, "    token: {file: /run/token}\n", "", 1), "set one credential"},
		{"algorithm none", strings.Replace(good, "kubernetes: true", "algorithms: [none]", 1), "not an asymmetric"},
		{"algorithm HS256", strings.Replace(good, "kubernetes: true", "algorithms: [HS256]", 1), "not an asymmetric"},
		{"durability", good + "recording: {durability: never}\n", "not crash, power or paranoid"},
		{"plain URL", good + "url: http://gw\n", "must be https"},
		{"webhook unsigned", good + "approvals: {webhook: {url: 'https://x/y'}}\n", "secret: missing"},
		{"empty", "", "issuers: there is none"},
		{"not YAML", "\t:", "not valid YAML"},
		{"same target twice", good + "  - {name: lab, url: 'https://x', token: {env: T}}\n", "not used twice"},
		{"negative duration", good + "approvals: {hold: -5m}\n", "approvals.hold: -5m0s is less than nothing"},
		{"negative number", good + "limits: {streams: -1}\n", "limits.streams: -1"},
		{"negative in a list", strings.Replace(good, "kubernetes: true", "clockSkew: -1s", 1), "issuers[0].clockSkew: -1s"},
		{"URL with a path", good + "url: 'https://gw/x'\n", "must be https"},
		{"URL with a query", good + "url: 'https://gw?x=1'\n", "must be https"},
		{"host with port", good + "    hosts: ['k8s.example:443']\n", "without scheme and port"},
		{"host twice", good + "    hosts: [k8s.example, K8s.Example]\n", "used twice"},
		{"accounts of no cluster", strings.Replace(good, "    cluster: lab\n", "", 1), `line 3: issuers[0] (lab).cluster: missing, so no target takes its service accounts`},
		{"line of a key", good + "recording: {durability: never}\n", "line 12: recording.durability"},
		{"line of a key in a list", strings.Replace(good, "https://127.0.0.1:6443", "''", 1), "line 10: targets[0] (lab).url: missing"},
		{"line of what misses a key", strings.Replace(good, "    url: https://127.0.0.1:6443\n", "", 1), "line 9: targets[0] (lab).url: missing"},
		{"review without cluster", strings.Replace(good, "cluster: lab", "tokenReview: true", 1), "needs cluster"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.config))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

// Service accounts that some target takes, be it by another name, are good.
func TestAccountsThatActSomewhere(t *testing.T) {
	for name, change := range map[string][2]string{
		"prefix":    {"cluster: lab", "usernamePrefix: 'lab:'"},
		"accounts":  {"    cluster: lab\ntargets:\n  - name: lab", "targets:\n  - name: lab\n    accounts: [lab]"},
		"as itself": {"    cluster: lab\ntargets:\n  - name: lab", "targets:\n  - name: lab\n    impersonate: false"},
		"direct":    {"    cluster: lab\ntargets:\n  - name: lab", "targets:\n  - name: lab\n    direct: {users: ['system:serviceaccount:a:b']}"},
	} {
		if _, err := Parse([]byte(strings.Replace(good, change[0], change[1], 1))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("issuers: [{}]\ntargets: [{}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err == nil && (len(c.Targets) == 0 || c.URL == "" || len(c.Issuers) == 0 && !c.EmbeddedIssuer.Enabled) {
			t.Errorf("accepted without targets, issuers or URL: %q", b)
		}
	})
}
