package policy

import (
	"errors"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// function is a CEL function of ours. All take one object, such as kubernetes.object, and are pure.
type function struct {
	name   string
	doc    string
	result *cel.Type
	call   func(object map[string]any) (any, error)
}

func functions() []function {
	texts := cel.ListType(cel.StringType)
	return []function{
		{"podSpecs", "Every pod spec in the object, wherever it stands: a Pod's, the template's of a workload of any kind, " +
			"a custom resource's that has the same shape.",
			cel.ListType(cel.DynType), podSpecs},
		{"podPrivileges", "What in the object reaches beyond the pod, in words, such as \"hostNetwork\", \"hostPath /var/run\", " +
			"\"privileged\", \"capability NET_ADMIN\". Empty for an ordinary workload. Looks at the whole object, whatever its kind.",
			texts, textsOf(podPrivileges)},
		{"podSecrets", "Names of the Secrets that the object mounts (also projected, by a CSI driver or another volume) or " +
			"takes into environment variables.",
			texts, textsOf(podSecrets)},
		{"podServiceAccounts", "Names of the service accounts under which the object's pods would run, where it names any.",
			texts, textsOf(podServiceAccounts)},
	}
}

func textsOf(fn func(map[string]any) ([]string, error)) func(map[string]any) (any, error) {
	return func(o map[string]any) (any, error) { return fn(o) }
}

func functionNames() []string {
	var out []string
	for _, f := range functions() {
		out = append(out, f.name)
	}
	return out
}

// functionOptions joins the functions to the adapter that turns their results into values.
func functionOptions(a types.Adapter) []cel.EnvOption {
	var out []cel.EnvOption
	for _, f := range functions() {
		out = append(out, cel.Function(f.name,
			cel.Overload(f.name+"_object", []*cel.Type{cel.DynType}, f.result, cel.UnaryBinding(func(arg ref.Val) ref.Val {
				return callWithObject(a, f, arg)
			}))))
	}
	return out
}

var errNotAnObject = errors.New("the argument is not an object such as kubernetes.object")

func callWithObject(a types.Adapter, f function, arg ref.Val) ref.Val {
	o, ok := arg.Value().(map[string]any)
	if !ok {
		return types.WrapErr(errNotAnObject)
	}
	out, err := f.call(o)
	if err != nil {
		return types.WrapErr(err)
	}
	return a.NativeToValue(out)
}

// functionCosts is what a call of one of our functions counts for where cost is counted: it may look at a whole object.
type functionCosts struct{}

const functionCost = 5_000

// CallCost implements interpreter.ActualCostEstimator. Functions that are not ours have no estimate here.
func (functionCosts) CallCost(name, _ string, _ []ref.Val, _ ref.Val) *uint64 {
	if !slices.Contains(ours, name) {
		return nil
	}
	cost := uint64(functionCost)
	return &cost
}

var ours = functionNames()
