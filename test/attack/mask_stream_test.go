package attack

import (
	"fmt"
	"strings"
	"testing"
)

// M42: a mounted Secret that the gateway knows, read by exec in the common encodings, with a terminal and without.
func TestM42ExecReadsAMountedSecret(t *testing.T) {
	s := newScene(t)
	s.secret("db", "v="+s.canary("mounted", "/+ \"q\""), "w="+s.canary("second", ""))
	pod(t, s.ns, "box", `    volumeMounts: [{name: s, mountPath: /s}]
  volumes: [{name: s, secret: {secretName: db}}]
`)
	must(t, s.kubectl("", "get", "secret", "db", "-o", "yaml"))
	for _, script := range []string{"cat /s/v", "cat /s/v /s/w", "base64 /s/v", "base64 -w 0 /s/v", "(printf x; cat /s/v) | base64", "xxd -p /s/v", "xxd -p -u -c 200 /s/v",
		`printf '%s' "$(cat /s/w)"`, "cat /s/v >&2", "cat /s/w | dd bs=1 2>/dev/null", "head -c 5 /s/w; sleep 1; tail -c +6 /s/w", "$(cat /s/w)", "grep -r . /s"} {
		for _, flag := range []string{"-i", "-it"} {
			for _, ws := range []string{"true", "false"} {
				r := s.kubectlEnv([]string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + ws}, "", "exec", flag, "box", "--", "sh", "-c", script+"; echo; echo done")
				if !strings.Contains(r.Stdout, "done") {
					t.Errorf("%s %s: %s", flag, script, r.Out())
				}
			}
		}
	}
	s.check()
}

// M41, M43: logs of a secret that is written in two pieces, cut at every offset.
func TestM43LogsSplitEverywhere(t *testing.T) {
	s := newScene(t)
	v := s.canary("logged", "")
	s.secret("db", "v="+v)
	script := fmt.Sprintf(`i=0; while [ $i -le %d ]; do printf %%s "x ${V:0:$i}"; sleep 0.02; echo "${V:$i} y"; i=$((i+1)); done; echo done`, len(v))
	must(t, s.kubectl("", "get", "secret", "db", "-o", "yaml"))
	s.object(toJSON(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "log"}, "spec": map[string]any{"restartPolicy": "Never", "containers": []any{
		map[string]any{"name": "c", "image": "lab.local/busybox:1", "imagePullPolicy": "Never", "command": []string{"sh", "-c", script},
			"env": []any{map[string]any{"name": "V", "valueFrom": map[string]any{"secretKeyRef": map[string]string{"name": "db", "key": "v"}}}}}}}}))
	must(t, admin(t, "", "-n", s.ns, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/log", "--timeout=180s"))
	for _, args := range [][]string{{"logs", "log"}, {"logs", "-f", "log"}, {"logs", "--timestamps", "log"}, {"logs", "--tail=5", "log"}} {
		if r := must(t, s.kubectl("", args...)); !strings.Contains(r.Stdout, "gbm-") {
			t.Errorf("kubectl %v: nothing is masked: %s", args, r.Stdout)
		}
	}
	s.check()
}
