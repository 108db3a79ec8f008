package access

import "time"

// Rung is how well an operation is linked to the tool call behind it. The zero value claims nothing.
type Rung uint8

const (
	Unattributed Rung = iota // no open call: a background job, or a way round the gateway
	Ambiguous                // several calls could have caused it
	Windowed                 // the only open call that could
	Matched                  // the only open call whose parsed command fits
	Bound                    // a trace that ties it to one call, from the same session
)

var rungNames = [...]string{"unattributed", "ambiguous", "windowed", "matched", "bound"}

func (r Rung) String() string {
	if int(r) < len(rungNames) {
		return rungNames[r]
	}
	return "unattributed"
}

func (r Rung) MarshalText() ([]byte, error)  { return []byte(r.String()), nil }
func (r *Rung) UnmarshalText(b []byte) error { return parseName(b, rungNames[:], (*uint8)(r), "rung") }

// Cause links an operation to the tool call, and through it to the prompt, that caused it. It is what was known at
// Time; later evidence is a Cause of its own, on record, and never changes an earlier one.
type Cause struct {
	// Operation and Time are empty in an operation's own Cause where no call was open: there they are the operation's.
	Operation OperationID `json:"operation,omitempty"`
	Time      time.Time   `json:"time,omitzero"`
	Rung      Rung        `json:"rung"`
	// Method says how the link was made, and Evidence on what: each a sentence. Seen marks what the gateway saw itself;
	// everything else is somebody's word.
	Method   string     `json:"method"`
	Evidence []Evidence `json:"evidence,omitempty"`
	// Calls are the call that caused it, or where the rung is ambiguous the candidates.
	Calls []CallRef `json:"calls,omitempty"`
	// Flags name claims that contradict what the gateway saw, such as a trace that belongs to another session.
	Flags []string `json:"flags,omitempty"`
}

// Evidence is one thing that a link rests on.
type Evidence struct {
	What string `json:"what"`
	// Seen says that the gateway saw it itself; false: it is the client's word.
	Seen bool `json:"seen"`
}

// CallRef names a tool call and where it came from.
type CallRef struct {
	// Call is the tool call's identifier and Tool its name.
	Call string `json:"call"`
	Tool string `json:"tool,omitempty"`
	// Turn is the model operation whose answer emitted it.
	Turn OperationID `json:"turn"`
}

// Chain is the way from a prompt to an effect, from the effect's side.
type Chain struct {
	// Record is the operation, with its decision and outcome.
	Record Record `json:"record"`
	// Cause is the best that is known of what caused it, and Earlier what else was said, in order. Nil: nothing was asked.
	Cause   *Cause  `json:"cause,omitempty"`
	Earlier []Cause `json:"earlier,omitempty"`
	// Links are the calls that Cause names, each with what led to it.
	Links []Link `json:"links,omitempty"`
	// Approval is the one that it ran under, or waited for.
	Approval *Approval `json:"approval,omitempty"`
}

// Link is one tool call with the turn that emitted it.
type Link struct {
	Call Call `json:"call"`
	// Turn is the model's operation; its Operation.Model.Prompt is the prompt. Nil: the index no longer has it.
	Turn *Record `json:"turn,omitempty"`
	// Agent says, of a turn of a sub-agent, how that is linked to the call which gave it the prompt, and Parent is that call,
	// where Agent names just one. At the end of the way is a person's prompt.
	Agent  *Cause `json:"agent,omitempty"`
	Parent *Link  `json:"parent,omitempty"`
}

// Moment is one thing on a session's timeline: exactly one of Prompt, Call and Record is set. What it is nested below is the
// last before it of one less Depth.
type Moment struct {
	Time time.Time `json:"time"`
	// Depth is how far it is nested: sub-agents below the agent that started them, calls below prompts, operations below calls.
	Depth int `json:"depth"`
	// Conversation is the client's name for the one that it belongs to, and Agent the sub-agent; empty: the conversation's own.
	Conversation string  `json:"conversation,omitempty"`
	Agent        string  `json:"agent,omitempty"`
	Prompt       string  `json:"prompt,omitempty"`
	Call         *Call   `json:"call,omitempty"`
	Record       *Record `json:"record,omitempty"`
	// Cause is that of Record or, of a sub-agent's Prompt, how the agent is linked to what it stands below.
	Cause *Cause `json:"cause,omitempty"`
}
