package access

import (
	"slices"
	"time"
)

// Target is one upstream: a cluster, a database, a host, a repository server, a model API.
type Target struct {
	Name     string            `json:"name"`
	Protocol string            `json:"protocol"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// Operation is one decided unit: an API request, an exec, later a SQL statement, an HTTP request, a ref update.
// It is immutable once it has been handed to the gate.
type Operation struct {
	ID      OperationID `json:"id"`
	Session SessionID   `json:"session"`
	// Parent is set on an operation that the gateway itself makes on behalf of another, such as
	// reading the stored object to show a diff.
	Parent    OperationID `json:"parent,omitempty"`
	Time      time.Time   `json:"time"`
	Principal Principal   `json:"principal"`
	Target    Target      `json:"target"`
	Client    Client      `json:"client"`
	// Verb in the protocol's own words, such as get, create, deletecollection.
	Verb string `json:"verb"`
	// Command is the exact operation in the words of the protocol's usual client, such as
	// "kubectl delete namespace team-a". It is whole: never shortened, never a summary.
	Command string `json:"command"`
	// Digest binds an approval to this operation: SHA-256 over the raw path, every forwarded header,
	// the body and bound parameters, as the client sent them.
	Digest Digest `json:"digest"`
	// Uninspectable lists fields of the policy schema (such as "kubernetes.object") that could not be read,
	// each with why. For policy these are unknown, never empty.
	Uninspectable []Uninspectable `json:"uninspectable,omitempty"`
	// Fetched lists the late fields (see Late) that were read, or that cannot be: these are in Uninspectable, too; and others
	// that are read again when a person was asked.
	Fetched []string `json:"fetched,omitempty"`
	// Unfetched lists late fields of Git that its pack does not tell, and that were not asked of the upstream yet.
	Unfetched []string `json:"-"`
	// Cause is the tool call behind it, as far as that was known when it was decided; nil where nothing was asked.
	Cause *Cause `json:"cause,omitempty"`
	// One of these is set, by Target.Protocol: kubernetes, model, git, postgres, web.
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"`
	Model      *Model      `json:"model,omitempty"`
	Git        *Git        `json:"git,omitempty"`
	SQL        *SQL        `json:"sql,omitempty"`
	Web        *Web        `json:"web,omitempty"`
	// Exact is Kubernetes with nothing hidden, as the API server will read it: what policy decides on, so that nobody
	// escapes a rule by having a word masked that the rule looks for. It is never recorded, shown or kept. Nil: the
	// same as Kubernetes.
	Exact *Kubernetes `json:"-"`
	// ExactGit and ExactModel are the same for Git and for Model.
	ExactGit   *Git   `json:"-"`
	ExactModel *Model `json:"-"`
}

// Fields of the policy schema that are read only when a decision depends on them.
const (
	FieldKubernetesObject = "kubernetes.object"
	FieldKubernetesStored = "kubernetes.stored"
	FieldGitChange        = "git.change"
	FieldGitCommits       = "git.commits"
	FieldGitPaths         = "git.paths"
)

// LateFields are all of them.
func LateFields() []string {
	return []string{FieldKubernetesObject, FieldKubernetesStored, FieldGitChange, FieldGitCommits, FieldGitPaths}
}

// Late lists the policy fields that can still be fetched: what is stored, and for a patch the object that it would
// make of that. Until then policy has the patch itself as kubernetes.object, or, for a JSON patch, an unknown. For a ref's
// update of git they are those in Unfetched.
func (o *Operation) Late() []string {
	if o.Git != nil {
		return slices.DeleteFunc(slices.Clone(o.Unfetched), func(f string) bool { return slices.Contains(o.Fetched, f) })
	}
	k := o.Kubernetes
	if k == nil || k.Resource == "" || k.Name == "" {
		return nil
	}
	var out []string
	if k.PatchType != "" {
		out = append(out, FieldKubernetesObject)
	}
	if k.Verb != "list" && k.Verb != "watch" && k.Stored == nil {
		out = append(out, FieldKubernetesStored)
	}
	return slices.DeleteFunc(out, func(f string) bool { return slices.Contains(o.Fetched, f) })
}

// Uninspectable names a policy field that could not be read, and why.
type Uninspectable struct {
	Field string `json:"field"`
	Why   string `json:"why"`
}

// Client is what is known of the connection and what the client says of itself. The latter is the client's word.
type Client struct {
	// Address is the peer's host:port as the gateway saw it.
	Address string `json:"address"`
	// UserAgent is the client's word.
	UserAgent string `json:"userAgent,omitempty"`
	// Invocation groups requests of one command (kubectl's Kubectl-Session). The client's word.
	Invocation string `json:"invocation,omitempty"`
	// InvokedAs is the command that the client says it runs (Kubectl-Command). The client's word.
	InvokedAs string `json:"invokedAs,omitempty"`
	// Reason is why the agent says it does this. The client's word.
	Reason string `json:"reason,omitempty"`
	// Trace is the W3C traceparent that the client sent. The client's word.
	Trace string `json:"trace,omitempty"`
	// Call is the tool call that the client says it is of, as Claude Code says in messages of MCP. The client's word.
	Call string `json:"call,omitempty"`
}

// Kubernetes describes one request to a Kubernetes API server, as the API server itself would read it.
type Kubernetes struct {
	// Verb is get, list, watch, create, update, patch, delete, deletecollection, or for paths that are not
	// resources the lower-case HTTP method. exec, attach and portforward are create; proxying is proxy.
	Verb        string `json:"verb"`
	Group       string `json:"group"`
	Version     string `json:"version"`
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	// Kind is the decoded object's kind, where there is an object.
	Kind string `json:"kind,omitempty"`
	// Path is the URL's path for requests that are not for a resource, such as "/version".
	Path string `json:"path,omitempty"`
	// DryRun, FieldManager, FieldSelector, LabelSelector and PatchType come from the query and headers.
	DryRun        bool   `json:"dryRun,omitempty"`
	FieldManager  string `json:"fieldManager,omitempty"`
	FieldSelector string `json:"fieldSelector,omitempty"`
	LabelSelector string `json:"labelSelector,omitempty"`
	// PatchType is json, merge, strategic, apply or empty.
	PatchType string `json:"patchType,omitempty"`
	// Object is the decoded request body, secrets replaced by placeholders. Of a patch it is the patch until what is
	// stored was fetched (see Operation.Late), then the object that the patch would make of that.
	Object map[string]any `json:"object,omitempty"`
	// Stored is the object as it is in the cluster, secrets replaced by placeholders; read only when a
	// rule or an approver needs it. Nil: not read. Empty: read, and there is none. For a subresource, the object
	// that it belongs to.
	Stored map[string]any `json:"stored,omitempty"`
	// Exec is set for exec, attach and a request proxied to a kubelet that runs a command.
	Exec *Exec `json:"exec,omitempty"`
	// Ports are those of a port-forward.
	Ports []int64 `json:"ports,omitempty"`
	// ProxyPath is the path behind pods/proxy, services/proxy and nodes/proxy.
	ProxyPath string `json:"proxyPath,omitempty"`
}

// Exec is a command in a container, or attaching to its main process (then Command is empty).
type Exec struct {
	Container string   `json:"container,omitempty"`
	Command   []string `json:"command,omitempty"`
	Stdin     bool     `json:"stdin,omitempty"`
	Stdout    bool     `json:"stdout,omitempty"`
	Stderr    bool     `json:"stderr,omitempty"`
	TTY       bool     `json:"tty,omitempty"`
}

// Outcome is how an operation ended.
type Outcome struct {
	// Code is the protocol's own status: for Kubernetes the HTTP status. 0 where nothing was answered.
	Code int `json:"code"`
	// Message is the error as delivered to the client, masked; empty on success.
	Message string `json:"message,omitempty"`
	// ExitCode is a command's exit status; -1 where there is none.
	ExitCode int `json:"exitCode"`
	// RequestBytes and ResponseBytes count payload bytes as delivered.
	RequestBytes  int64 `json:"requestBytes"`
	ResponseBytes int64 `json:"responseBytes"`
	// Masked counts the values hidden from the client.
	Masked int64 `json:"masked,omitempty"`
	// Truncated says that the operation did not end by itself: a crash, a revocation, a lost client.
	Truncated string        `json:"truncated,omitempty"`
	Duration  time.Duration `json:"durationNs"`
	// Rows counts the rows of a SQL statement that were delivered or, where none were, changed.
	Rows int64 `json:"rows,omitempty"`
	// Answer is what a model answered.
	Answer *ModelAnswer `json:"answer,omitempty"`
}
