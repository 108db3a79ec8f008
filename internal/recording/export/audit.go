package export

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/recording"
)

// Audit writes Kubernetes operations as audit.k8s.io/v1 events of stage ResponseComplete, one line of JSON each, as the
// API server's own log backend does. Other operations are passed over.
// https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
type Audit struct {
	Out io.Writer

	open map[access.OperationID]begun
}

type begun struct {
	opening recording.Opening
	at      time.Time
}

type auditEvent struct {
	Kind            string            `json:"kind"`
	APIVersion      string            `json:"apiVersion"`
	Level           string            `json:"level"`
	AuditID         string            `json:"auditID"`
	Stage           string            `json:"stage"`
	RequestURI      string            `json:"requestURI"`
	Verb            string            `json:"verb"`
	User            auditUser         `json:"user"`
	SourceIPs       []string          `json:"sourceIPs,omitempty"`
	UserAgent       string            `json:"userAgent,omitempty"`
	ObjectRef       *auditObject      `json:"objectRef,omitempty"`
	ResponseStatus  *auditStatus      `json:"responseStatus,omitempty"`
	RequestObject   map[string]any    `json:"requestObject,omitempty"`
	RequestReceived microTime         `json:"requestReceivedTimestamp"`
	StageTimestamp  microTime         `json:"stageTimestamp"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

type auditUser struct {
	Username string              `json:"username"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

type auditObject struct {
	Resource    string `json:"resource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	APIGroup    string `json:"apiGroup,omitempty"`
	APIVersion  string `json:"apiVersion,omitempty"`
	Subresource string `json:"subresource,omitempty"`
}

type auditStatus struct {
	Metadata struct{} `json:"metadata"`
	Status   string   `json:"status,omitempty"`
	Message  string   `json:"message,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Code     int      `json:"code,omitempty"`
}

// microTime is written as metav1.MicroTime is.
type microTime time.Time

func (t microTime) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format("2006-01-02T15:04:05.000000Z")), nil
}

// Event takes the session's next event.
func (a *Audit) Event(e recording.Event) error {
	switch e.Kind {
	case recording.KindBegin:
		b := begun{at: e.At}
		if err := json.Unmarshal(e.Data, &b.opening); err != nil {
			return fmt.Errorf("reading operation %s: %w", e.Operation, err)
		}
		if b.opening.Operation.Kubernetes == nil {
			return nil
		}
		if a.open == nil {
			a.open = map[access.OperationID]begun{}
		}
		a.open[e.Operation] = b
	case recording.KindEnd:
		b, ok := a.open[e.Operation]
		if !ok {
			return nil
		}
		delete(a.open, e.Operation)
		var c recording.Closing
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return fmt.Errorf("reading the end of operation %s: %w", e.Operation, err)
		}
		return writeLine(a.Out, auditOf(&b, &c, e.At))
	}
	return nil
}

func auditOf(b *begun, c *recording.Closing, ended time.Time) auditEvent {
	op := &b.opening.Operation
	k := op.Kubernetes
	event := auditEvent{
		Kind: "Event", APIVersion: "audit.k8s.io/v1", Level: "Metadata", AuditID: string(op.ID), Stage: "ResponseComplete",
		RequestURI: requestPath(k), Verb: k.Verb, UserAgent: op.Client.UserAgent, SourceIPs: sourceIPs(op.Client.Address),
		User:            auditUser{Username: op.Principal.Name, UID: op.Principal.Subject, Groups: op.Principal.Groups, Extra: extra(op.Principal.Workload)},
		RequestReceived: microTime(op.Time), StageTimestamp: microTime(ended), Annotations: annotations(&b.opening, c),
		ResponseStatus: status(&b.opening, c),
	}
	if k.Resource != "" {
		event.ObjectRef = &auditObject{Resource: k.Resource, Namespace: k.Namespace, Name: k.Name, APIGroup: k.Group, APIVersion: k.Version, Subresource: k.Subresource}
	}
	if k.Object != nil {
		event.Level, event.RequestObject = "Request", k.Object
	}
	return event
}

func status(o *recording.Opening, c *recording.Closing) *auditStatus {
	s := &auditStatus{Code: c.Outcome.Code, Message: c.Outcome.Message}
	if o.Refused != nil {
		s.Reason, s.Status = string(o.Refused.Code), "Failure"
	}
	if s.Code >= 400 {
		s.Status = "Failure"
	}
	return s
}

// annotations say what an API server does not know: how Gatebook decided.
func annotations(o *recording.Opening, c *recording.Closing) map[string]string {
	decision := "allow"
	if o.Refused != nil {
		decision = "forbid"
	}
	m := map[string]string{
		"authorization.k8s.io/decision": decision,
		"authorization.k8s.io/reason":   o.Decision.Reason,
		"gatebook/session":              string(o.Operation.Session),
		"gatebook/target":               o.Operation.Target.Name,
		"gatebook/effect":               o.Decision.Effect.String(),
		"gatebook/risk":                 o.Decision.Risk.String(),
		"gatebook/policy":               o.Decision.Policy.String(),
	}
	if o.Approval != nil {
		m["gatebook/approval"] = string(o.Approval.ID)
	}
	if c.Outcome.Truncated != "" {
		m["gatebook/truncated"] = c.Outcome.Truncated
	}
	return m
}

func extra(w access.Workload) map[string][]string {
	if w.Pod == "" {
		return nil
	}
	m := map[string][]string{
		"authentication.kubernetes.io/pod-name": {w.Pod},
		"authentication.kubernetes.io/pod-uid":  {w.PodUID},
	}
	if w.Node != "" {
		m["authentication.kubernetes.io/node-name"] = []string{w.Node}
		m["authentication.kubernetes.io/node-uid"] = []string{w.NodeUID}
	}
	return m
}

func sourceIPs(address string) []string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	return []string{host}
}

// requestPath is the request's path, made again from what was decoded of it; the query is not recorded as such.
func requestPath(k *access.Kubernetes) string {
	if k.Resource == "" {
		return k.Path
	}
	path := "/api/" + k.Version
	if k.Group != "" {
		path = "/apis/" + k.Group + "/" + k.Version
	}
	if k.Namespace != "" && k.Resource != "namespaces" {
		path += "/namespaces/" + k.Namespace
	}
	for _, part := range []string{k.Resource, k.Name, k.Subresource} {
		if part != "" {
			path += "/" + part
		}
	}
	return path
}
