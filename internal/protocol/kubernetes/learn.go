package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
)

// A value is recognised only once it is known. What comes out of a pod may hold any Secret that the pod uses, and the
// answer to a changed Secret may hold what was stored where no structure tells: so these are read first, for the masker
// alone.

const (
	// maxPodSecrets bounds what is read for one operation; no pod that people write has as many.
	maxPodSecrets = 64
	// learnedFor is how long a Secret that was read for a pod is not read for it again.
	learnedFor = 30 * time.Second
	maxLearned = 4096
)

// learnBefore makes known what the answer to a permitted operation may hold. Nothing of it goes upstream before.
func (x *exchange) learnBefore(p gate.Permit) *access.Refusal {
	if !access.HidesKnown(p.Decision().Masks) {
		return nil
	}
	var err error
	if ns, pod := podOf(x.k); pod != "" {
		err = x.learnPod(p.Context(), ns, pod)
	} else if x.k.isResource && x.k.Resource == "secrets" && x.k.Name != "" && (x.k.Verb == "update" || x.k.Verb == "patch") {
		err = x.learnStored(p.Context())
	}
	if err == nil {
		return nil
	}
	return protocol.Cause(p, err)
}

// refusePermitted answers a client whose permitted operation does not go on, and ends the permit.
func (x *exchange) refusePermitted(w http.ResponseWriter, p gate.Permit, why *access.Refusal) {
	named := *why
	x.hideRefusal(&named)
	named.Operation, named.Session = x.op.ID, x.op.Session
	x.h.o.Log.Warn("a permitted operation failed", "operation", x.op.ID, "code", why.Code, "message", named.Message, "cause", named.Cause)
	out := access.Outcome{ExitCode: -1, Code: int(refusalStatus(&named).Code), Message: named.Message}
	if err := p.End(out); err != nil {
		x.h.o.Log.Error("ending the record of an operation", "operation", x.op.ID, "error", err)
	}
	x.h.Refuse(w, x.r, &named)
}

// learnStored reads the Secret that is about to be changed. A patch can copy a value to where no structure says that it
// is one, so that it is refused where the Secret cannot be read.
func (x *exchange) learnStored(ctx context.Context) error {
	_, err := x.see(ctx, &x.k.Kubernetes, x.shape)
	var why *access.Refusal
	if err == nil || errors.As(err, &why) {
		return err
	}
	if x.k.Verb == "patch" {
		return access.Refuse(access.CodeUnmaskable, err, "what is stored cannot be read, so that the patched Secret cannot be masked with certainty: %v", err)
	}
	x.h.o.Log.Warn("a Secret could not be read before it is changed", "operation", x.op.ID, "error", err)
	return nil
}

// podOf is the pod whose output an operation gives: of exec, attach, port-forward and logs, of a proxy to a pod, and of the
// kubelet's own paths for these. Empty: none that the request names.
func podOf(k *reading) (namespace, name string) {
	switch {
	case k.is("", "pods") && (k.isStream || k.Subresource == "log"):
		return k.Namespace, k.Name
	case k.is("", "pods") && k.isProxy: // [scheme:]name[:port]
		parts := strings.Split(k.Name, ":")
		if len(parts) == 3 {
			parts = parts[1:]
		}
		return k.Namespace, parts[0]
	case k.is("", "nodes") && k.isProxy:
		parts := strings.Split(strings.TrimPrefix(k.ProxyPath, "/"), "/")
		if len(parts) > 2 && slices.Contains([]string{"exec", "attach", "run", "portForward", "containerLogs"}, parts[0]) {
			return parts[1], parts[2]
		}
	}
	return "", ""
}

// learnPod reads the Secrets that a pod uses. One that nobody may read stays unknown: policy decides whether a pod's output is
// given at all.
func (x *exchange) learnPod(ctx context.Context, namespace, name string) error {
	warn := func(err error, secret string) {
		x.h.o.Log.Warn("what a pod uses could not be read, and is masked only where it is known already", "operation", x.op.ID,
			"namespace", namespace, "pod", name, "secret", secret, "error", err)
	}
	var why *access.Refusal
	data, err := x.see(ctx, &access.Kubernetes{Version: "v1", Resource: "pods", Namespace: namespace, Name: name}, nil)
	if errors.As(err, &why) {
		return why
	}
	if err != nil {
		warn(err, "")
		return nil
	}
	if data == nil {
		return nil
	}
	pod, err := decodeObject(data)
	if err != nil {
		return err
	}
	names := secretsOf(pod["spec"])
	if len(names) > maxPodSecrets {
		return access.Refuse(access.CodeUnmaskable, nil, "pod %s uses %d Secrets; what it gives is masked with certainty for at most %d", name, len(names), maxPodSecrets)
	}
	meta, _ := pod["metadata"].(map[string]any)
	for _, secret := range names {
		// A pod that changes, as when a container starts again, may have read a Secret anew.
		key := fmt.Sprint(namespace, "/", meta["uid"], "/", meta["resourceVersion"], "/", secret)
		if x.h.learned.has(key, x.h.o.Now()) {
			continue
		}
		data, err := x.see(ctx, &access.Kubernetes{Version: "v1", Resource: "secrets", Namespace: namespace, Name: secret}, x.h.shapes["secrets"])
		switch {
		case errors.As(err, &why):
			return why
		case err != nil:
			warn(err, secret)
		case data != nil: // one that is optional, and not there, may be there soon
			x.h.learned.add(key, x.h.o.Now())
		}
	}
	return nil
}

// see reads an object as the principal, and where that fails as the gateway, which takes nothing from anybody: what it reads
// is known to the masker and recorded masked. A refusal says that the operation cannot go on.
func (x *exchange) see(ctx context.Context, k *access.Kubernetes, shape *mask.Shape) ([]byte, error) {
	permits := []func(context.Context, *access.Operation, *access.Operation) (gate.Permit, error){x.h.o.Gate.Lookup}
	if k.Group == "" { // what another server calls a Secret is its own
		permits = append(permits, x.h.o.Gate.LookupAsGateway)
	}
	var failed error
	for _, permit := range permits {
		data, err := x.look(ctx, wanted{k: k, shape: shape, permit: permit})
		if err == nil {
			return data, nil
		}
		var why *access.Refusal
		if errors.As(err, &why) {
			return nil, why
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// secretsOf names the Secrets that a pod's specification refers to, in any of its volumes, environments and credentials.
func secretsOf(spec any) []string {
	var names []string
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(key, e)
			}
		case map[string]any:
			var fields []string
			switch key {
			case "secret": // of a volume, or projected into one
				fields = []string{"secretName", "name"}
			case "secretKeyRef", "secretRef", "nodePublishSecretRef", "imagePullSecrets":
				fields = []string{"name"}
			case "azureFile":
				fields = []string{"secretName"}
			}
			for _, f := range fields {
				if s, _ := v[f].(string); s != "" {
					names = append(names, s)
				}
			}
			for k, e := range v {
				walk(k, e)
			}
		}
	}
	walk("", spec)
	slices.Sort(names)
	return slices.Compact(names)
}

// learned remembers for a while what was read, so that a client which asks in a loop does not multiply requests. Its zero
// value is ready; it is safe for concurrent use.
type learned struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (l *learned) has(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.at[key]
	return ok && now.Sub(at) < learnedFor
}

func (l *learned) add(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil || len(l.at) >= maxLearned { // what is forgotten is read again
		l.at = map[string]time.Time{}
	}
	l.at[key] = now
}
