// Package client is Gatebook's own API as its callers see it: the values that travel, and a client that sends them. It
// guarantees that a refusal of the server comes back as an *Error with the server's words, and that a token is read
// anew for every request, so that it can expire and be renewed in between.
package client

import (
	"net/url"
	"strconv"
	"time"

	"gatebook/internal/access"
)

// Prefix is the path below which the API lives.
const Prefix = "/gatebook/v1/"

// WhoAmI answers who the caller is.
type WhoAmI struct {
	Principal access.Principal `json:"principal"`
	Session   access.SessionID `json:"session"`
	Roles     []string         `json:"roles"`
	Targets   []Target         `json:"targets"`
}

// Target is what can be reached through the gateway.
type Target struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	// URL is where clients point to: below the gateway's own URL, or postgres://HOST:PORT/NAME.
	URL string `json:"url"`
	// Upstream is the URL that clients of a git target know it by.
	Upstream string `json:"upstream,omitempty"`
	// MCP is the URL of the endpoint of a server of the Model Context Protocol, where a web target is one.
	MCP string `json:"mcp,omitempty"`
}

// Page is a page of a list, and the cursor of the next; empty on the last one.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Why is what is known of how something came about, the latest first.
type Why struct {
	Chains []access.Chain `json:"chains"`
	// More says that there are more than are given.
	More bool `json:"more,omitempty"`
}

// Approval is one as it is shown to who may answer: with the tool calls and prompts that may be behind it.
type Approval struct {
	access.Approval
	Links []access.Link `json:"links,omitempty"`
}

// Timeline is what happened in a session, in order.
type Timeline struct {
	Moments []access.Moment `json:"moments"`
	// More says that the session has older operations, which are left out.
	More bool `json:"more,omitempty"`
}

// Query selects operations or sessions; a zero field selects all. For sessions only Principal, Session, Target, Risk,
// Since, Until, Limit and Cursor count.
type Query struct {
	Text, Principal, Namespace, Verb, Resource, Target string

	Session  access.SessionID
	Approval access.ApprovalID
	// Risk selects this risk and higher.
	Risk access.Risk
	// Effect is deny, approve or allow.
	Effect string
	// Refused is "true" or "false".
	Refused      string
	Since, Until time.Time
	Limit        int
	Cursor       string
}

// Values writes the query for a URL.
func (q Query) Values() url.Values {
	v := url.Values{}
	set := func(k, s string) {
		if s != "" {
			v.Set(k, s)
		}
	}
	set("text", q.Text)
	set("principal", q.Principal)
	set("namespace", q.Namespace)
	set("verb", q.Verb)
	set("resource", q.Resource)
	set("target", q.Target)
	set("session", string(q.Session))
	set("approval", string(q.Approval))
	set("effect", q.Effect)
	set("refused", q.Refused)
	set("cursor", q.Cursor)
	if q.Risk > 0 {
		set("risk", q.Risk.String())
	}
	if q.Limit > 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	if !q.Since.IsZero() {
		set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		set("until", q.Until.UTC().Format(time.RFC3339Nano))
	}
	return v
}

// Answer is what an approver says.
type Answer struct {
	Yes        bool          `json:"yes"`
	Reason     string        `json:"reason,omitempty"`
	Scope      access.Scope  `json:"scope,omitempty"`
	For        time.Duration `json:"forNs,omitempty"`
	BreakGlass bool          `json:"breakGlass,omitempty"`
}

// Ending is why something is taken back: a yes, or a revocation.
type Ending struct {
	Reason string `json:"reason"`
}

// Forget asks that a value which was taken for a secret is shown again where no structure says that it is one.
type Forget struct {
	Value  string `json:"value"`
	Reason string `json:"reason"`
}

// Forgotten says what was forgotten, by its keyed digest, and by whom.
type Forgotten struct {
	Digest string    `json:"digest"`
	Reason string    `json:"reason"`
	By     string    `json:"by"` // a Principal.Key
	Time   time.Time `json:"time"`
	// Patterns is how many were known until then.
	Patterns int `json:"patterns"`
}

// Error is a refusal of the API.
type Error struct {
	Status  int         `json:"-"`
	Code    access.Code `json:"code"`
	Message string      `json:"message"`
	Advice  string      `json:"advice,omitempty"`
}

func (e *Error) Error() string {
	if e.Advice != "" {
		return e.Message + ". " + e.Advice
	}
	return e.Message
}
