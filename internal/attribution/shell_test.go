package attribution

import (
	"strings"
	"testing"

	"gatebook/internal/access"
)

// text writes a script's commands down: what is not known ends in a question mark.
func (s script) text() string {
	var out []string
	for _, c := range s.commands {
		var ws []string
		for _, w := range c.words {
			if !w.known {
				w.text += "?"
			}
			ws = append(ws, w.text)
		}
		if c.stdin.text != "" {
			ws = append(ws, "<", c.stdin.text)
		}
		out = append(out, strings.Join(ws, " "))
	}
	if s.opaque {
		out = append(out, "...")
	}
	return strings.Join(out, "; ")
}

func TestParseScript(t *testing.T) {
	for in, want := range map[string]string{
		`kubectl get pods`: "kubectl get pods",
		`NS=team-a; kubectl delete pod "x y" -n $NS && echo ok`:    "kubectl delete pod x y -n team-a; echo ok",
		`kubectl get pods | grep -v 'a b' > out.txt`:               "kubectl get pods; grep -v a b",
		`(cd repo; git push origin main) &`:                        "cd repo; git push origin main",
		`bash -c 'kubectl get ns; git status'`:                     "kubectl get ns; git status",
		`bash -lc "sh -c 'psql -c \"select 1\"'"`:                  "psql -c select 1",
		`sudo -u bob env A=1 timeout -k 5 10 nohup kubectl get po`: "kubectl get po",
		`for p in a b; do kubectl delete pod $p; done`:             "kubectl delete pod a; kubectl delete pod b",
		`X=$(kubectl get pod -o name); kubectl logs $X`:            "kubectl get pod -o name; kubectl logs ?",
		`kubectl get po -o name | xargs -n 1 kubectl delete`:       "kubectl get po -o name; kubectl delete ?",
		`./deploy.sh`:                                "./deploy.sh",
		`bash deploy.sh`:                             "...",
		`source env.sh; kubectl get po`:              "kubectl get po; ...",
		`$CMD get pods`:                              "...",
		`eval "kubectl get $X"`:                      "...",
		`eval kubectl get po`:                        "kubectl get po",
		`find . -name x -exec git push \;`:           "git push",
		"psql <<EOF\nselect 1;\nEOF":                 "psql < select 1;\n",
		"bash <<'EOF'\ngit push\nEOF":                "git push",
		`psql <<< 'select 2'`:                        "psql < select 2\n",
		`gatebook connect db -- psql -c 'select 3'`:  "psql -c select 3",
		`if true; then git push; else git fetch; fi`: "true; git push; git fetch",
		`f() { kubectl delete ns a; }; f`:            "kubectl delete ns a",
		`echo "unterminated`:                         "...",
		`kubectl delete pod a*`:                      "kubectl delete pod a*?",
		`export T=x; kubectl get $T`:                 "kubectl get x",
		`kubectl get ${T:-pods}`:                     "kubectl get ?",
		`/usr/local/bin/kubectl get po`:              "/usr/local/bin/kubectl get po",
		`cat f | bash`:                               "cat f; ...",
		`kubectl exec p -- sh -c 'cat /etc/passwd'`:  "kubectl exec p -- sh -c cat /etc/passwd",
		`git commit -m "it's $(date)"`:               "git commit -m it's ?; date",
		`A=1 B=2 git push`:                           "git push",
	} {
		got := parseScript(in, nil).text()
		if sorted(got) != sorted(want) {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func sorted(s string) string {
	parts := strings.Split(s, "; ")
	for i := range parts {
		for j := i + 1; j < len(parts); j++ {
			if parts[j] < parts[i] {
				parts[i], parts[j] = parts[j], parts[i]
			}
		}
	}
	return strings.Join(parts, "; ")
}

// What a call's text can make attribution do is bounded, whatever it is.
func TestParseScriptIsBounded(t *testing.T) {
	for name, text := range map[string]string{
		"doubling":  "A=xxxxxxxx\n" + strings.Repeat("A=$A$A\n", 60) + "kubectl get $A",
		"braces":    "kubectl get {1..1000000000}{1..1000000000}",
		"functions": "f() { f; f; f; }; f",
		"loops":     strings.Repeat("for a in 1 2 3 4 5 6 7 8 9; do ", 12) + "kubectl get $a" + strings.Repeat("; done", 12),
		"long":      strings.Repeat("ls; ", 1<<20),
		"deep":      strings.Repeat("$(", 9000) + strings.Repeat(")", 9000),
		"evals":     "A='eval \"$A\"; eval \"$A\"'; eval \"$A\"",
		"subst":     "A=x; " + strings.Repeat("A=$(echo $A $A); ", 40) + "kubectl get $A",
	} {
		if s := parseScript(text, nil); len(s.commands) > maxCommands+1 {
			t.Errorf("%s: %d commands", name, len(s.commands))
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add("for i in {a,b}; do f() { local x=$1; psql <<E | xargs -I{} git -c alias.x='!ls' x {}\n$x\nE\n}; f $i; done")
	f.Add("kubectl apply -f - <<'E'\n- [{kind: a}]\n---\nE")
	f.Add("curl -sXPOST -d @- 'https://a/b?c=d' ; wget --post-data=x b; http :1/x a=b")
	f.Add("bash -c 'sudo -u x env A=b xargs -I'")
	f.Add("timeout")
	f.Add("env -u")
	ops := []*access.Operation{kube("list", "pods", "a", ""), push("refs/heads/x"), statement("select 1; select 'x"), get("shop.example", "/a")}
	f.Fuzz(func(t *testing.T, s string) {
		parsed := parseScript(s, files{"/x.sh": {s, "c"}})
		in := intent{commands: parsed.commands, opaque: parsed.opaque}
		for _, op := range ops {
			_, by := in.holds(&subject{op: op})
			if by != nil {
				_ = by.show()
			}
		}
	})
}
