package recording

import (
	"encoding/json"
	"fmt"
	"time"

	"gatebook/internal/access"
)

// The types of ledger entries. Each entry is one JSON object whose "type" is one of these.
const (
	LeafOperation = "operation"
	LeafNote      = "note"
	LeafKey       = "key"
	LeafSegment   = "segment"
)

// Leaf is the ledger's entry for one operation, note, session key or sealed segment. Which fields are set depends on
// Type.
type Leaf struct {
	Type    string           `json:"type"`
	Session access.SessionID `json:"session"`

	// Of an operation: who did what, how it was decided and how it ended.
	Operation access.OperationID `json:"operation,omitempty"`
	Principal string             `json:"principal,omitempty"` // access.Principal.Key
	Target    string             `json:"target,omitempty"`
	Verb      string             `json:"verb,omitempty"`
	// Command is the SHA-256 of the operation's Command, and Request its Digest.
	Command  access.Digest     `json:"command,omitzero"`
	Request  access.Digest     `json:"request,omitzero"`
	Effect   string            `json:"effect,omitempty"`
	Policy   access.Digest     `json:"policy,omitzero"`
	Approval access.ApprovalID `json:"approval,omitempty"`
	Refused  access.Code       `json:"refused,omitempty"`
	// Code is the outcome's status, and Truncated why the operation did not end by itself.
	Code      int    `json:"code,omitempty"`
	Truncated string `json:"truncated,omitempty"`
	// FromClient and ToClient count the bytes recorded in each direction, the payload included.
	FromClient uint64    `json:"fromClient,omitempty"`
	ToClient   uint64    `json:"toClient,omitempty"`
	Start      time.Time `json:"start,omitzero"`
	End        time.Time `json:"end,omitzero"`

	// Kind and Time are a note's.
	Kind string    `json:"kind,omitempty"`
	Time time.Time `json:"time,omitzero"`

	// Name, Size (bytes) and SHA256 are those of a file in the archive: a key or a segment, as it is stored.
	Name   string        `json:"name,omitempty"`
	Size   int64         `json:"size,omitempty"`
	SHA256 access.Digest `json:"sha256,omitzero"`
	// Recipient is a key's public half.
	Recipient string `json:"recipient,omitempty"`
	// First and Last are the numbers of a segment's first and last frame.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`

	// Frames counts an operation's or a segment's frames; Digest is the SHA-256 over an operation's frames, begin to
	// end, or a note's one frame, each behind its length in four bytes.
	Frames uint64        `json:"frames,omitempty"`
	Digest access.Digest `json:"digest,omitzero"`
}

// ParseLeaf reads a ledger entry.
func ParseLeaf(entry []byte) (Leaf, error) {
	var l Leaf
	if err := json.Unmarshal(entry, &l); err != nil {
		return Leaf{}, fmt.Errorf("reading a ledger entry: %w", err)
	}
	return l, nil
}
