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
	Operation OperationID `json:"operation"`
	Time      time.Time   `json:"time"`
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
