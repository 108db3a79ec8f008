package policy

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// Every mistake is named with file, line, column and remedy.
func TestLoadNamesMistakes(t *testing.T) {
	const head = "rules:\n  - id: a\n    protocol: kubernetes\n    effect: allow\n"
	for name, c := range map[string]struct{ yaml, want string }{
		"misspelt field":         {head + "    when: kubernetes.namespce == \"a\"\n", `p.yaml:5:21: rule "a": kubernetes has no field "namespce"; did you mean "namespace"?`},
		"misspelt nested field":  {head + "    when: |\n      true &&\n        principal.workload.serviceAcount == \"a\"\n", `p.yaml:7:27: rule "a": principal.workload has no field "serviceAcount"; did you mean "serviceAccount"?`},
		"misspelt field in has":  {head + "    when: has(kubernetes.exe)\n", `kubernetes has no field "exe"; did you mean "exec"?`},
		"folded text":            {head + "    when: >-\n      true\n      && kubernetes.nam == \"\"\n", `p.yaml:7:20: rule "a": kubernetes has no field "nam"`},
		"misspelt variable":      {head + "    when: kubernets.name == \"\"\n", `nothing is called "kubernets"; did you mean "kubernetes"?`},
		"misspelt function":      {head + "    when: podSecret(kubernetes.object) == []\n", `nothing is called "podSecret"; did you mean "podSecrets"?`},
		"protocol left out":      {"rules:\n  - {id: a, effect: allow, when: 'kubernetes.name == \"\"'}\n", "known only to rules of protocol kubernetes; add protocol: kubernetes"},
		"misspelt protocol":      {"rules:\n  - {id: a, effect: allow, protocol: kuberntes}\n", `p.yaml:2:5: rule "a": protocol "kuberntes" is not known; did you mean "kubernetes"?`},
		"wrong type":             {head + "    when: kubernetes.name == 5\n", "p.yaml:5:27: rule \"a\": found no matching overload"},
		"no bool":                {head + "    when: kubernetes.name\n", "when must say true or false, and is of type string"},
		"dyn is no bool":         {head + "    when: kubernetes.object.spec.hostNetwork\n", "of type dyn; compare it with something"},
		"syntax":                 {head + "    when: kubernetes.name ==\n", "p.yaml:5:"},
		"empty condition":        {head + "    when: \"\"\n", "p.yaml:5:11: rule \"a\": when is empty"},
		"unknown key":            {head + "    efect: deny\n", `p.yaml:5:5: unknown key "efect" in a rule; did you mean "effect"?`},
		"unknown key at the top": {"rule: []\n", `p.yaml:1:1: unknown key "rule" in a policy file; did you mean "rules"?`},
		"key twice":              {head + "    effect: deny\n", `p.yaml:5:5: key "effect" is already given in line 4`},
		"unknown effect":         {"rules: [{id: a, effect: ask}]\n", `effect "ask": want one of`},
		"unknown risk":           {head + "    risk: huge\n", `p.yaml:5:11: risk "huge": want one of`},
		"id twice":               {head + "  - {id: a, protocol: kubernetes, effect: allow}\n", `p.yaml:5:5: rule id "a" is already used in p.yaml:2`},
		"no id":                  {"rules:\n  - {effect: deny, reason: no}\n", "p.yaml:2:5: a rule needs an id"},
		"no reason":              {"rules:\n  - {id: a, effect: deny}\n", `rule "a" needs a reason`},
		"no effect":              {"rules:\n  - {id: a, when: 'true'}\n", `rule "a" has no effect`},
		"empty verbs":            {head + "    verbs: []\n", "p.yaml:5:12: verbs is empty; leave the key out to mean any"},
		"resources, no protocol": {"rules:\n  - {id: a, effect: allow, resources: [pods]}\n", "add protocol: kubernetes"},
		"bad resource":           {head + "    resources: [Pods]\n", `p.yaml:5:17: resource "Pods"`},
		"allow all by accident":  {"rules:\n  - {id: a, effect: allow}\n", `allows everything to everybody; if you mean it, write when: "true"`},
		"approvers of an allow":  {head + "    approvers: {count: 2}\n", "its effect is not approve"},
		"bad duration":           {"rules:\n  - id: a\n    effect: approve\n    reason: r\n    approvers: {expires: soon}\n", `p.yaml:5:26: "soon" is not a duration`},
		"bad count":              {"rules:\n  - id: a\n    effect: approve\n    reason: r\n    approvers: {count: 0}\n", `"0" is not a whole number of at least 1`},
		"unknown mask":           {head + "    masks: [secret]\n", `mask "secret" is not defined; did you mean "secrets"?`},
		"mask without paths":     {"masks: [{name: m}]\n" + head, `mask "m" needs paths`},
		"unknown detector":       {"masks:\n  - name: m\n    detectors: [personal, git-hub-token]\n" + head, `p.yaml:3:27: detector "git-hub-token" is not known; did you mean "github-token"?`},
		"no detector at all":     {"masks: [{name: m, detectors: [xyzzyxyzzyxyzzy]}]\n" + head, `detector "xyzzyxyzzyxyzzy" is not known; docs/reference/detectors.md lists them; their groups are credentials, assigned, generic, personal`},
		"credentials redefined":  {"masks: [{name: credentials, paths: [a]}]\n" + head, `mask "credentials" is built in`},
		"mask redefined":         {"masks: [{name: known, paths: [a]}]\n" + head, `mask "known" is built in`},
		"mask path":              {"masks: [{name: m, paths: [a..b]}]\n" + head, `has an empty part`},
		"unknown masking":        {"masking: [all]\n" + head, `mask "all" is not defined`},
		"unknown mode":           {"mode: audit\n" + head, `p.yaml:1:7: mode "audit" is not known`},
		"alias":                  {"rules:\n  - &a {id: a, protocol: kubernetes, effect: allow}\n  - *a\n", "p.yaml:3:5: a rule is a mapping, not an alias"},
		"not YAML":               {"rules:\n\t- x\n", "p.yaml:2:1: not valid YAML"},
		"a list":                 {"- a\n", "a policy file is a mapping, not a list"},
		"no rules":               {"mode: enforce\n", "the policy has no rules"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Load(map[string][]byte{"p.yaml": []byte(c.yaml)})
			if err == nil || s != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestLoadNamesAllMistakesInOrder(t *testing.T) {
	_, err := Load(map[string][]byte{
		"b.yaml": []byte("rules:\n  - {id: x, effect: deny}\n"),
		"a.yaml": []byte("rules:\n  - {id: y, effect: deny}\n  - {id: Z, effect: deny, reason: r}\n"),
	})
	var at []string
	for _, line := range strings.Split(err.Error(), "\n") {
		at = append(at, line[:len("a.yaml:2:5")])
	}
	if want := []string{"a.yaml:2:5", "a.yaml:3:5", "b.yaml:2:5"}; !slices.Equal(at, want) {
		t.Errorf("got %v, want %v", at, want)
	}
	var p *Problem
	if !errors.As(err, &p) || p.Line != 2 {
		t.Errorf("no *Problem to be had from %v", err)
	}
}

// The digest is that of the meaning: order, comments and files do not count, every word of a rule does.
func TestDigest(t *testing.T) {
	digest := func(files ...string) string {
		m := map[string][]byte{}
		for i, f := range files {
			m[string(rune('a'+i))+".yaml"] = []byte(f)
		}
		s, err := Load(m)
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest().String()
	}
	a, b := "{id: a, effect: deny, reason: r, when: 'true', protocol: kubernetes, verbs: [get, list]}", "{id: b, effect: allow, when: 'true'}"
	one := digest("rules:\n  - " + a + "\n  - " + b + "\n")
	for name, same := range map[string]string{
		"order":    digest("# c\nrules:\n  - " + b + "\n  - " + strings.Replace(a, "get, list", "list, get", 1) + " # c\n"),
		"files":    digest("rules: ["+b+"]", "rules: ["+a+"]"),
		"YAML":     digest("rules: [" + a + "]\n---\nrules: [" + b + "]"),
		"defaults": digest("mode: enforce\nmasking: [known, credentials, secrets]\nrules: [" + a + ", " + b + "]"),
	} {
		if same != one {
			t.Errorf("%s changes the digest", name)
		}
	}
	for _, from := range []string{"deny", "r,", "true", "get, list", "id: a"} {
		if digest("rules: ["+strings.Replace(a, from, map[string]string{"deny": "approve", "r,": "s,", "true": "false", "get, list": "get", "id: a": "id: c"}[from], 1)+", "+b+"]") == one {
			t.Errorf("changing %q does not change the digest", from)
		}
	}
	if digest("masking: []\nrules: ["+a+", "+b+"]") == one || digest("mode: observe\nrules: ["+a+", "+b+"]") == one {
		t.Error("masking or mode do not change the digest")
	}
}

// Whatever the file holds, loading ends with a set or an error.
func FuzzLoad(f *testing.F) {
	for _, b := range Default() {
		f.Add(b[:min(len(b), 2000)])
	}
	f.Add([]byte("rules:\n  - id: a\n    protocol: kubernetes\n    effect: deny\n    reason: r\n    when: >-\n      kubernetes.nme\n        == \"\\u00e4\"\n"))
	f.Add([]byte("rules: [{id: a, when: \"\\x00\xff kubernetes.\\n\"}]\n"))
	c, err := newCompiler()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := c.load(map[string][]byte{"p.yaml": bytes.Clone(b)})
		if (s == nil) == (err == nil) {
			t.Errorf("set %v, error %v", s != nil, err)
		}
	})
}
