package policy

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/access"
)

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestPodFunctions(t *testing.T) {
	for _, c := range []struct {
		fn   func(map[string]any) ([]string, error)
		text string
		want []string
	}{
		{podPrivileges, `{}`, []string{}},
		{podPrivileges, `{"spec":{"containers":[{"securityContext":{"privileged":false,"capabilities":{"drop":["ALL"]},"seccompProfile":{"type":"RuntimeDefault"}},"ports":[{"containerPort":80,"hostPort":0}]}],"hostNetwork":false}}`, []string{}},
		{podPrivileges, `{"spec":{"hostNetwork":true,"hostPID":true,"hostIPC":true}}`, []string{"hostIPC", "hostNetwork", "hostPID"}},
		{podPrivileges, `{"a":[[{"b":{"securityContext":{"privileged":true}}}]]}`, []string{"privileged"}},
		{podPrivileges, `{"volumes":[{"hostPath":{"path":"/etc"}},{"hostPath":{"path":"/etc"}},{"hostPath":{}}]}`, []string{"hostPath /etc", "hostPath <nil>"}},
		{podPrivileges, `{"spec":{"local":{"path":"/mnt"}}}`, []string{"local volume /mnt"}},
		{podPrivileges, `{"capabilities":{"add":["NET_ADMIN","SYS_PTRACE"]}}`, []string{"capability NET_ADMIN", "capability SYS_PTRACE"}},
		{podPrivileges, `{"ports":[{"hostPort":80}]}`, []string{"hostPort 80"}},
		{podPrivileges, `{"procMount":"Unmasked"}`, []string{"procMount Unmasked"}},
		{podPrivileges, `{"securityContext":{"seccompProfile":{"type":"Unconfined"},"appArmorProfile":{"type":"Unconfined"}}}`, []string{"AppArmor Unconfined", "seccomp Unconfined"}},
		{podPrivileges, `{"metadata":{"annotations":{"container.apparmor.security.beta.kubernetes.io/c":"unconfined"}}}`, []string{"AppArmor Unconfined"}},
		{podPrivileges, `{"securityContext":{"sysctls":[{"name":"kernel.msgmax","value":"1"}]}}`, []string{"sysctl kernel.msgmax"}},
		{podPrivileges, `{"windowsOptions":{"hostProcess":true}}`, []string{"hostProcess"}},
		{podSecrets, `{"spec":{"volumes":[{"configMap":{"name":"c"}}],"imagePullSecrets":[{"name":"pull"}]}}`, []string{}},
		{podSecrets, `{"volumes":[{"secret":{"secretName":"a"}},{"projected":{"sources":[{"secret":{"name":"b"}}]}}]}`, []string{"a", "b"}},
		{podSecrets, `{"env":[{"valueFrom":{"secretKeyRef":{"name":"a"}}},{"valueFrom":{"configMapKeyRef":{"name":"b"}}}],"envFrom":[{"secretRef":{"name":"c"}}]}`, []string{"a", "c"}},
		{podSecrets, `{"csi":{"nodePublishSecretRef":{"name":"a"}},"azureFile":{"secretName":"b"},"iscsi":{"secretRef":{"name":"c"}}}`, []string{"a", "b", "c"}},
		{podSecrets, `{"secret":{"secretName":{"odd":1}}}`, []string{"?"}},
		{podServiceAccounts, `{"spec":{"template":{"spec":{"serviceAccountName":"a","serviceAccount":"b"}}}}`, []string{"a", "b"}},
		{podServiceAccounts, `{"spec":{"serviceAccountName":"","serviceAccount":{"name":"x"}}}`, []string{}},
	} {
		got, err := c.fn(parse(t, c.text))
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", c.text, err, diff)
		}
	}
}

func TestPodSpecs(t *testing.T) {
	got, err := podSpecs(parse(t, `{"a":{"initContainers":[{"name":"1"}]},"b":[{"ephemeralContainers":[{"name":"2"}],"containers":[{"name":"3"}]}],"c":{"containers":["text"]}}`))
	if err != nil || len(got.([]any)) != 2 {
		t.Errorf("%v %v", got, err)
	}
}

// An object that is too large or too deep to be looked through is not taken for harmless.
func TestPodFunctionsAreBounded(t *testing.T) {
	wide := make([]any, maxNodes)
	deep := map[string]any{}
	for range maxNesting + 1 {
		deep = map[string]any{"x": deep}
	}
	for name, o := range map[string]map[string]any{"wide": {"l": wide}, "deep": deep} {
		if _, err := podPrivileges(o); err == nil {
			t.Errorf("%s: no error", name)
		}
		d, _ := defaultSet(t).Decide(operation(access.Kubernetes{Verb: "create", Resource: "configmaps", Namespace: "a", Object: o}))
		if d.Risk != access.RiskCritical || d.Rules[0].ID != "privileged-workload" || d.Rules[0].Error == "" {
			t.Errorf("%s: %+v", name, d.Rules)
		}
	}
}
