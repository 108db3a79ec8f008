package webhook

import (
	"encoding/json"
	"strings"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/approval"
)

// maxShown bounds the command and the card in a message, in bytes. Larger ones are left out whole, and said to be.
const maxShown = 256 << 10

// message is the body: Standard Webhooks' type, timestamp and data.
type message struct {
	Type      string    `json:"type"` // approval.asked, approval.answered …
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	ID    access.ApprovalID    `json:"id"`
	State access.ApprovalState `json:"state"`
	// URL is where people look at it and answer, after logging in.
	URL       string             `json:"url"`
	Session   access.SessionID   `json:"session"`
	Requester person             `json:"requester"`
	Target    string             `json:"target"`
	Command   string             `json:"command,omitempty"`
	Says      string             `json:"requesterSays,omitempty"` // the agent's word for why
	Risk      access.Risk        `json:"risk"`
	Reason    string             `json:"reason"` // policy's
	Rules     []string           `json:"rules"`
	Digest    access.Digest      `json:"digest"`
	Created   time.Time          `json:"created"`
	Expires   time.Time          `json:"expires"`
	Approvers int                `json:"approvers"` // how many are needed
	Card      *access.Card       `json:"card,omitempty"`
	LeftOut   string             `json:"leftOut,omitempty"` // what, and why
	Answer    *answer            `json:"answer,omitempty"`
	Operation access.OperationID `json:"operation,omitempty"` // that ran by it
}

type person struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	Name    string `json:"name"`
	Pod     string `json:"pod,omitempty"`
}

type answer struct {
	Approver   person       `json:"approver"`
	Yes        bool         `json:"yes"`
	Reason     string       `json:"reason,omitempty"`
	Scope      access.Scope `json:"scope,omitempty"`
	BreakGlass bool         `json:"breakGlass,omitempty"`
}

// Message makes the function that an approval.Desk takes to say what is sent. people is the address that the
// approval's identifier is added to, as a further segment of its path, to make the one where people answer.
func Message(people string) func(approval.Event) []byte {
	people = strings.TrimSuffix(people, "/") + "/"
	return func(e approval.Event) []byte {
		body, err := json.Marshal(message{Type: "approval." + string(e.Kind), Timestamp: e.Time, Data: describe(e, people)})
		if err != nil {
			// Strings, numbers and times of our own always encode; a year beyond 9999 does not, and is not sent.
			return nil
		}
		return body
	}
}

func describe(e approval.Event, people string) data {
	a := e.Approval
	d := data{
		ID: a.ID, State: a.State, URL: people + string(a.ID), Session: a.Operation.Session, Requester: who(a.Operation.Principal),
		Target: a.Operation.Target.Name, Command: a.Operation.Command, Says: a.Operation.Client.Reason,
		Risk: a.Decision.Risk, Reason: a.Decision.Reason, Digest: a.Operation.Digest,
		Created: a.Created, Expires: a.Expires, Operation: e.Operation,
	}
	for _, r := range a.Decision.Rules {
		d.Rules = append(d.Rules, r.ID)
	}
	if a.Decision.Approval != nil {
		d.Approvers = a.Decision.Approval.Count
	}
	if e.Kind == approval.Asked {
		d.Card = &a.Card
	}
	if shown(a) > maxShown {
		d.Command, d.Card, d.LeftOut = "", nil, "command and card are too large for a message; see them whole at the address"
	}
	if !e.Answer.Approver.IsZero() {
		d.Answer = &answer{who(e.Answer.Approver), e.Answer.Yes, e.Answer.Reason, e.Answer.Scope, e.Answer.BreakGlass}
	}
	return d
}

// shown is the size of what is shown of an approval.
func shown(a access.Approval) int {
	size := len(a.Operation.Command) + len(a.Card.Object) + len(a.Card.Diff)
	for _, u := range a.Card.Uninspectable {
		size += len(u.Field) + len(u.Why)
	}
	return size
}

// who leaves out what identifies the credential.
func who(p access.Principal) person {
	return person{Issuer: p.Issuer, Subject: p.Subject, Name: p.Name, Pod: p.Workload.Pod}
}
