package attack

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// serving makes a pod of one container c that mounts Secret db at /s and serves, on each of the ports, what its command
// writes. It has the values in its environment as V and W as well.
func (s *scene) serving(commands map[int]string) {
	s.t.Helper()
	env := func(name, key string) map[string]any {
		return map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]string{"name": "db", "key": key}}}
	}
	environment, script := []any{env("V", "v"), env("W", "w")}, "echo started; "
	for port, command := range commands {
		environment = append(environment, map[string]any{"name": fmt.Sprint("P", port), "value": command})
		script += fmt.Sprintf(`(while true; do nc -l -p %d -e sh -c "$P%[1]d"; done) & `, port)
	}
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "box"}, "spec": map[string]any{"terminationGracePeriodSeconds": 0,
		"volumes": []any{map[string]any{"name": "s", "secret": map[string]string{"secretName": "db"}}},
		"containers": []any{map[string]any{"name": "c", "image": "lab.local/busybox:1", "imagePullPolicy": "Never", "command": []string{"sh", "-c", script + "while sleep 1; do cat /s/v; echo; done"},
			"env": environment, "volumeMounts": []any{map[string]any{"name": "s", "mountPath": "/s"}}}}}}))
	must(s.t, admin(s.t, "", "-n", s.ns, "wait", "--for=condition=Ready", "pod/box", "--timeout=180s"))
}

// M42: a mounted Secret, copied, attached to and served; one that the gateway has seen, and one that only the pod's own
// reference tells of, which the agent may not read. Each way is the first that the unseen one is met.
func TestM42CopyAttachServe(t *testing.T) {
	copied := func(ws string) func(s *scene) string {
		return func(s *scene) string {
			dir := t.TempDir()
			s.kubectlEnv([]string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + ws}, "", "cp", "--retries=0", "box:/s", filepath.Join(dir, "s"))
			out := s.files(dir)
			tar := s.kubectlEnv([]string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + ws}, "", "exec", "box", "--", "tar", "cf", "-", "-C", "/s/..data", ".")
			return out + tar.Stdout
		}
	}
	served := func(ws string, port int) func(s *scene) string {
		return func(s *scene) string {
			out := throughForwardTo(s.t, s.g.Kubeconfig(s.agent), s.ns, ws, port, "\n")
			s.give("port-forward", []byte(out))
			return out
		}
	}
	ways := map[string]func(s *scene) string{
		"cp": copied("true"), "cp-spdy": copied("false"), "attach": func(s *scene) string { return s.attached("box") },
		"forward": served("true", 8000), "forward-spdy": served("false", 8000), "forward-encoded": served("true", 8001),
		"environment": func(s *scene) string {
			return s.kubectl("", "exec", "box", "--", "sh", "-c", `env; cat /proc/1/environ; echo; env | base64; tr '\0' '\n' </proc/1/environ | xxd -p`).Stdout
		},
		"grep": func(s *scene) string {
			return s.kubectl("", "exec", "box", "--", "sh", "-c", `cd /s; head -v v w; sed = v; awk '{print NR": "$0}' v; diff v w; ls -la; cat $(ls)`).Stdout
		},
	}
	for _, seen := range []string{"seen", "unseen"} {
		for name, way := range ways {
			t.Run(seen+"-"+name, func(t *testing.T) {
				s := newScene(t)
				s.secret("db", "v="+s.canary("first", "/+ \"q\""), "w="+s.canary("second", ""), "long="+strings.Repeat(s.canary("long", "-"), 40))
				s.serving(map[int]string{8000: "cat /s/v /s/w", 8001: "base64 /s/v; xxd -p /s/w; (printf x; cat /s/w) | base64 -w 0; base64 /s/long"})
				if seen == "seen" {
					must(t, s.kubectl("", "get", "secret", "db", "-o", "yaml"))
				} else {
					s.unread("get")
				}
				if got := way(s); !strings.Contains(got, "gbm-") && !strings.Contains(got, "Z2JtL") {
					t.Errorf("nothing is masked, so that nothing was read: %q", got)
				}
				s.check()
			})
		}
	}
}

// files gives all that is in a folder, and keeps it as given to the agent.
func (s *scene) files(dir string) string {
	s.t.Helper()
	var out bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		out.Write(b)
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	s.give("copied files", out.Bytes())
	return out.String()
}

// cuts is a shell command that writes each of the values in two pieces, cut at every offset, one after the other.
func cuts(values ...string) string {
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, `X='%s'; i=0; while [ $i -le %d ]; do printf %%s "${X:0:$i}"; sleep 0.02; printf '%%s\n' "${X:$i}"; i=$((i+1)); done; `, v, len(v))
	}
	return b.String() + "echo done"
}

// M43: a value written in two pieces, cut at every offset, raw and encoded, through exec with a terminal and without, over
// both protocols, through a log that is followed, and through a port-forward.
func TestM43StreamsCutEverywhere(t *testing.T) {
	s := newScene(t)
	v := s.canary("cut", "/\"+")
	s.secret("db", "v="+v, "w=w")
	script := cuts(v, b64(v), b64("x"+v), fmt.Sprintf("%x", v), strings.ReplaceAll(toJSON(v), "'", ""))
	must(t, s.kubectl("", "get", "secret", "db", "-o", "yaml"))
	s.serving(map[int]string{8000: script})
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "log"}, "spec": map[string]any{"restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
		"containers": []any{map[string]any{"name": "c", "image": "lab.local/busybox:1", "imagePullPolicy": "Never", "command": []string{"sh", "-c", "sleep 2; " + script}}}}}))
	must(t, admin(t, "", "-n", s.ns, "wait", "--for=condition=Ready", "pod/log", "--timeout=180s"))
	masked := func(what, got string) {
		t.Helper()
		if n := strings.Count(got, "gbm-") + strings.Count(got, "Z2JtL"); !strings.Contains(got, "done") || n < 100 {
			t.Errorf("%s: %d placeholders: %q", what, n, got)
		}
	}
	var all sync.WaitGroup // each takes as long as the script does
	all.Go(func() { masked("a log that is followed", s.kubectl("", "logs", "-f", "log").Stdout) })
	for _, ws := range []string{"true", "false"} {
		for _, flag := range []string{"-i", "-it"} {
			all.Go(func() {
				masked("exec "+flag, s.kubectlEnv([]string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + ws}, "", "exec", flag, "box", "--", "sh", "-c", script).Stdout)
			})
		}
	}
	all.Go(func() {
		for _, ws := range []string{"true", "false"} { // the pod serves one at a time
			got := throughForwardTo(t, s.g.Kubeconfig(s.agent), s.ns, ws, 8000, "")
			s.give("port-forward", []byte(got))
			masked("port-forward", got)
		}
	})
	all.Wait()
	s.check()
}

// M43: so by the pieces of both streams of a command at once, and between what a command writes and what its log says.
func TestM43StreamsBeside(t *testing.T) {
	s := newScene(t)
	v := s.canary("cut", "")
	s.secret("db", "v="+v, "w=w")
	must(t, s.kubectl("", "get", "secret", "db", "-o", "yaml"))
	s.serving(nil)
	script := fmt.Sprintf(`i=1; while [ $i -lt %d ]; do printf %%s "${V:0:$i}"; printf %%s "${V:0:$i}" >&2; sleep 0.02; printf '%%s ' "${V:$i}"; printf '%%s ' "${V:$i}" >&2; i=$((i+1)); done`, len(v))
	began := time.Now()
	r := must(t, s.kubectl("", "exec", "box", "--", "sh", "-c", script))
	if n := len(v) - 1; strings.Count(r.Stdout, "gbm-") != n || strings.Count(r.Stderr, "gbm-") < n {
		t.Errorf("%d and %d of %d are masked, after %v", strings.Count(r.Stdout, "gbm-"), strings.Count(r.Stderr, "gbm-"), n, time.Since(began))
	}
	s.check()
}
