package kubernetes

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"gatebook/internal/access"
)

// After a hold policy sees what is stored then: what it was before is gone, and so is what could not be read before.
func TestStoredIsReadAgainAfterAHold(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after http.HandlerFunc
		want          func(op *access.Operation) bool
	}{
		{"changed", reply(200, typeJSON, configMap("one")), reply(200, typeJSON, configMap("two")), func(op *access.Operation) bool {
			return label(op.Kubernetes.Stored) == "two" && label(op.Kubernetes.Object) == "two" && len(op.Uninspectable) == 0
		}},
		{"readable", reply(403, typeJSON, `{}`), reply(200, typeJSON, configMap("two")), func(op *access.Operation) bool {
			return label(op.Kubernetes.Stored) == "two" && label(op.Kubernetes.Object) == "two" && len(op.Uninspectable) == 0
		}},
		{"unreadable", reply(200, typeJSON, configMap("one")), reply(403, typeJSON, `{}`), func(op *access.Operation) bool {
			return op.Kubernetes.Stored == nil && len(op.Uninspectable) == 2
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var reads atomic.Int64
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method != http.MethodGet:
					reply(200, typeJSON, configMap("two"))(rw, r)
				case reads.Add(1) == 1:
					c.before(rw, r)
				default:
					c.after(rw, r)
				}
			})
			w.desk.yes = true
			w.decide = func(op *access.Operation) (access.Decision, []string) {
				return access.Decision{Effect: access.Approve, Masks: allMasks, Approval: &access.ApprovalTerms{Count: 1}}, op.Late()
			}
			w.do("PATCH", "/api/v1/namespaces/a/configmaps/c", `[{"op":"add","path":"/data","value":{}}]`, "Content-Type", typeJSONPatch)
			rows := w.rows()
			i := slices.IndexFunc(rows, func(r access.Record) bool { return r.Operation.Parent == "" })
			if op := &rows[i].Operation; reads.Load() != 2 || rows[i].Refused != nil || !c.want(op) || len(op.Late()) != 0 {
				t.Errorf("after %d reads: stored %v, object %v, uninspectable %v, refused %+v", reads.Load(), op.Kubernetes.Stored, op.Kubernetes.Object, op.Uninspectable, rows[i].Refused)
			}
		})
	}
}

func configMap(label string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"a","labels":{"l":"` + label + `"}}}`
}

func label(o map[string]any) any {
	meta, _ := o["metadata"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	return labels["l"]
}
