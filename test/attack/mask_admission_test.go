package attack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gatebook/test/lab"
)

// M36: an admission policy whose message repeats the object, in an error, and in a warning of an answer that succeeds.
// The stored value was never read through the gateway.
func TestM36AdmissionMessages(t *testing.T) {
	s := newScene(t)
	rule := func(name, action, operations, message string) {
		t.Helper()
		name = s.ns + "-" + name
		must(t, admin(t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [%[3]s], resources: [secrets]}]}
  validations: [{expression: "false", messageExpression: %[4]q}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec:
  policyName: %[1]s
  validationActions: [%[5]s]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[2]s}}, objectSelector: {matchLabels: {rule: %[6]s}}}
`, name, s.ns, operations, message, action, strings.TrimPrefix(name, s.ns+"-")), "apply", "-f", "-"))
		t.Cleanup(func() {
			admin(t, "", "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name, "--wait=false")
		})
	}
	say := `'the password ' + string(object.data.v) + ' value: ' + string(object.data.v) + ' of ' + object.metadata.name`
	label := func(rule string) map[string]any { return map[string]any{"rule": rule} }
	object := func(name, rule, v string) string {
		return toJSON(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": s.ns, "labels": label(rule)}, "data": map[string]string{"v": b64(v)}})
	}
	for _, r := range []string{"deny", "warn", "delete"} {
		s.object(object("stored-"+r, r, s.canary("stored "+r, "")))
	}
	rule("deny", "Deny", "CREATE, UPDATE", say)
	rule("warn", "Warn, Audit", "CREATE, UPDATE", say)
	rule("delete", "Deny", "DELETE", strings.ReplaceAll(say, "object", "oldObject"))
	until := func(what string, request func() answer, inForce func(answer) bool) answer {
		t.Helper()
		for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			if a := request(); inForce(a) {
				return a
			}
		}
		t.Fatalf("the policy %q is not in force", what)
		return answer{}
	}
	a := until("deny", func() answer {
		return s.send("PATCH", s.secretsPath("stored-deny"), merge, `{"metadata":{"annotations":{"a":"b"}}}`)
	}, func(a answer) bool { return a.code != 200 })
	if !strings.Contains(string(a.body), "denied request") {
		t.Errorf("the agent is not told what is wrong: %s", a.body)
	}
	until("warn", func() answer {
		return s.send("PATCH", s.secretsPath("stored-warn"), merge, `{"metadata":{"annotations":{"a":"b"}}}`)
	}, func(a answer) bool { return len(a.header["Warning"]) > 0 })
	until("delete", func() answer {
		return s.send("DELETE", s.secretsPath("stored-delete")+"?dryRun=All", mediaJSON, "")
	}, func(a answer) bool { return a.code != 200 })
	s.send("DELETE", s.secretsPath(), mediaJSON, "")
	for _, r := range []string{"deny", "warn"} {
		s.send("POST", s.secretsPath(), mediaJSON, object("new-"+r, r, s.canary("new "+r, "")))
		s.kubectl(object("new2-"+r, r, s.canary("new2 "+r, "")), "apply", "--server-side", "-f", "-")
		s.kubectl("", "-v=10", "annotate", "secret", "stored-"+r, "by=kubectl")
	}
	s.check()
}
