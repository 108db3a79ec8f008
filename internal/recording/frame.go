package recording

import (
	"fmt"
	"time"

	"gatebook/internal/access"
)

// Stream names one of an operation's streams of bytes. At most 64 bytes.
type Stream string

const (
	Body Stream = "body" // an HTTP payload
	// Header is what an answer's headers hold beyond those of every answer, as lines of HTTP.
	Header Stream = "header"
	Stdin  Stream = "stdin"
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
	// Status is the error stream of exec and attach, which carries the exit status.
	Status Stream = "error"
)

// PortStream is one connection of a port-forward to one port.
func PortStream(port int64, connection uint64) Stream {
	return Stream(fmt.Sprintf("port:%d#%d", port, connection))
}

// Ahead is where the book has, before they are sent on, the place, number and keyed digest of bytes of s of which it is not
// clear yet whether they begin a known secret. What they were is in s itself as soon as it is clear.
func (s Stream) Ahead() Stream { return s + ".ahead" }

// Direction says who sent the bytes.
type Direction uint8

const (
	FromClient Direction = iota // on its way to the upstream
	ToClient
)

func (d Direction) String() string {
	if d == FromClient {
		return "from-client"
	}
	return "to-client"
}

// MarshalText writes "from-client" or "to-client".
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Kind is a frame's first byte.
type Kind uint8

const (
	KindUnit    Kind = 1  // a unit of the journal begins
	KindResume  Kind = 2  // an operation that was open when the unit began
	KindBegin   Kind = 3  // an operation, its decision and approval
	KindPayload Kind = 4  // part of its request payload
	KindReady   Kind = 5  // its payload is whole; only now may it be acted on
	KindStream  Kind = 6  // bytes of a stream
	KindResize  Kind = 7  // the terminal's new size
	KindEnd     Kind = 8  // the operation's outcome
	KindNote    Kind = 9  // something that belongs to a session but to no operation
	KindLeaf    Kind = 10 // the ledger entry for the operation or note before it
)

var kindNames = [...]string{
	KindUnit: "unit", KindResume: "resume", KindBegin: "begin", KindPayload: "payload", KindReady: "ready",
	KindStream: "stream", KindResize: "resize", KindEnd: "end", KindNote: "note", KindLeaf: "leaf",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Frame is one decoded frame. Which fields are set depends on Kind. Data and State share the bytes that were decoded.
type Frame struct {
	Kind Kind
	// Op is the number by which a unit's frames name their operation (all kinds but unit, note and leaf).
	Op uint64
	// Session is set in resume, begin, note and leaf.
	Session access.SessionID
	// ID is the operation's in resume and begin, and the unit's in unit.
	ID string
	// Time is when the operation began (resume, begin), or the note or unit was written.
	Time time.Time
	// Delta is the time since the operation began, to the microsecond.
	Delta time.Duration
	// Name is a note's kind.
	Name      string
	Stream    Stream
	Direction Direction
	Cols      uint16
	Rows      uint16
	// Data is a payload's or stream's bytes, or the JSON of begin, end, note, leaf and resume.
	Data []byte
	// Frames, FromClient and ToClient count what an operation has so far (resume); NextOp and NextFrame are a unit's
	// first numbers (unit).
	Frames     uint64
	FromClient uint64
	ToClient   uint64
	NextOp     uint64
	NextFrame  uint64
	// State is the running digest of an operation's frames, as crypto/sha256 marshals it (resume).
	State []byte
}

// Opening is the JSON of a begin frame.
type Opening struct {
	Operation access.Operation `json:"operation"`
	Decision  access.Decision  `json:"decision"`
	Approval  *access.Approval `json:"approval,omitempty"`
	Change    bool             `json:"change,omitempty"`
	// Refused is set where the operation did not run; its end follows at once.
	Refused *access.Refused `json:"refused,omitempty"`
}

// Closing is the JSON of an end frame.
type Closing struct {
	Outcome access.Outcome `json:"outcome"`
}
