package kubernetes

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Vocabulary are the words that the Kubernetes API itself is written in: groups, kinds, resources and fields of the built-in types,
// and what these are set to. Who may create a Secret must not be able to have them hidden from everybody.
func Vocabulary() ([]string, error) {
	s, err := newScheme()
	if err != nil {
		return nil, fmt.Errorf("collecting the words of the Kubernetes API: %w", err)
	}
	out := map[string]bool{}
	seen := map[reflect.Type]bool{}
	for k, t := range s.AllKnownTypes() {
		out[k.Kind], out[k.Kind+"s"], out[strings.TrimSuffix(k.Kind, "y")+"ies"] = true, true, true
		for _, part := range strings.FieldsFunc(k.Group, func(r rune) bool { return r == '.' || r == '-' }) {
			out[part] = true
		}
		fieldsOf(t, seen, out)
	}
	for _, w := range strings.Fields(values) {
		out[w] = true
	}
	return slices.Collect(maps.Keys(out)), nil
}

// fieldsOf adds the names that t's fields have in JSON, and those of what they hold.
func fieldsOf(t reflect.Type, seen map[reflect.Type]bool, out map[string]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		fieldsOf(t.Elem(), seen, out)
	case reflect.Map:
		fieldsOf(t.Elem(), seen, out)
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if out[name] = true; f.IsExported() {
				fieldsOf(f.Type, seen, out)
			}
		}
	}
	delete(out, "")
}

// values are what fields of the built-in types are set to, and what stands in names, labels, users and media types of
// every cluster. Their constants cannot be listed by a program.
const values = `
true false null none default unknown kube kubelet kubectl kubernetes k8s io app apps application component instance version part managed by release
system node nodes public lease masters authenticated unauthenticated anonymous serviceaccount serviceaccounts users groups cluster admin edit view
controller manager scheduler apiserver proxy etcd coredns dns ca crt root json yaml protobuf merge patch strategic apply stream charset utf http https tcp udp sctp
alpha beta stable v local svc com arch amd arm os linux windows hostname zone region topology control plane worker master helm chart
Running Pending Succeeded Failed Completed Terminating Terminated Waiting Active Bound Released Available Progressing Complete Suspended Ready NotReady
Initialized ContainersReady PodScheduled PodReadyToStartContainers DisruptionTarget Scheduled Pulling Pulled Created Started Killing BackOff Unhealthy
CrashLoopBackOff ImagePullBackOff ErrImagePull ErrImageNeverPull ContainerCreating PodInitializing CreateContainerConfigError OOMKilled Evicted Error FailedScheduling FailedMount
FailedCreate SuccessfulCreate SuccessfulDelete ScalingReplicaSet NewReplicaSetAvailable ReplicaSetUpdated MinimumReplicasAvailable MinimumReplicasUnavailable
MemoryPressure DiskPressure PIDPressure NetworkUnavailable KubeletReady KubeletHasSufficientMemory KubeletHasNoDiskPressure KubeletHasSufficientPID
ClusterIP NodePort LoadBalancer ExternalName SingleStack DualStack PreferDualStack RequireDualStack IPv4 IPv6 ClientIP
Always IfNotPresent Never OnFailure ClusterFirst ClusterFirstWithHostNet File FallbackToLogsOnError RollingUpdate Recreate OnDelete OrderedReady Parallel
ReadWriteOnce ReadOnlyMany ReadWriteMany ReadWriteOncePod Filesystem Block Retain Delete Recycle Immediate WaitForFirstConsumer
NoSchedule PreferNoSchedule NoExecute Exists DoesNotExist In NotIn Equal BestEffort Burstable Guaranteed PreemptLowerPriority RuntimeDefault Unconfined Localhost
Foreground Background Orphan Opaque Normal Warning ADDED MODIFIED DELETED BOOKMARK Success Failure NotFound AlreadyExists Conflict Forbidden Unauthorized Invalid
BadRequest MethodNotAllowed NotAcceptable UnsupportedMediaType TooManyRequests InternalError ServiceUnavailable Timeout Expired
FieldsV1 Update Apply Status Ingress Egress Prefix Exact ImplementationSpecific create update patch delete deletecollection get list watch exec attach portforward impersonate escalate bind
dev termination log rbac authorization authentication autoscaling admissionregistration apiextensions flowcontrol
password username token secret secrets credentials config configuration production staging development database localhost
`
