package kubernetes

import (
	"bytes"
	"strings"
	"testing"

	"gatebook/internal/mask"
)

// A Secret whose value is what every answer is made of hides nothing from anybody.
func TestVocabulary(t *testing.T) {
	words, err := Vocabulary()
	must(t, err)
	e, err := mask.New(mask.Options{Key: bytes.Repeat([]byte{7}, 32), Vocabulary: words})
	must(t, err)
	answer := `{"kind":"PodList","apiVersion":"apps/v1","metadata":{"name":"kube-system","namespace":"kube-public","labels":{"app.kubernetes.io/managed-by":"Helm","kubernetes.io/metadata.name":"kube-node-lease"},
"managedFields":[{"manager":"kube-controller-manager","fieldsType":"FieldsV1"}],"creationTimestamp":"x","ownerReferences":[{"kind":"ReplicaSet","blockOwnerDeletion":true}]},"spec":{"serviceAccountName":"default",
"terminationGracePeriodSeconds":30,"containers":[{"imagePullPolicy":"IfNotPresent","terminationMessagePath":"/dev/termination-log"}]},"status":{"phase":"Running","reason":"CrashLoopBackOff"},
"user":"system:serviceaccount:kube-system","type":"ClusterIP","media":"application/json;charset=utf-8","patch":"application/strategic-merge-patch+json","groups":"rbac.authorization.k8s.io/v1","x":"deployments"}`
	for _, value := range strings.FieldsFunc(answer, func(r rune) bool { return strings.ContainsRune("\"{}[],\n", r) }) {
		e.Learn([]byte(value))
	}
	var out strings.Builder
	w := e.Scope("s").JSON(&out, nil, true)
	_, err = w.Write([]byte(answer))
	must(t, err)
	must(t, w.Close())
	if w.Masked() > 0 {
		t.Errorf("%d values hidden in %s", w.Masked(), out.String())
	}
	for _, secret := range []string{"correct-horse-battery", "hunter2hunter2", "postgresql-x7Kq9", "kubernetes-hunter2", "eyJhbGciOi.Kubernetes.abc"} {
		before := e.Stats().Patterns
		if e.Learn([]byte(secret)); e.Stats().Patterns == before {
			t.Errorf("%q is not learned", secret)
		}
	}
}
