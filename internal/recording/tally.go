package recording

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"time"
	"unicode/utf8"

	"gatebook/internal/access"
)

// tally is what an operation's leaf will say: kept while it runs, carried over from unit to unit in resume frames, and
// made again from the frames by recovery and by Verify. It is for one goroutine at a time.
type tally struct {
	leaf   Leaf
	sum    hash.Hash
	prefix [4]byte
	// delta is that of the last frame.
	delta time.Duration
}

func newTally(o *Opening, began time.Time) *tally {
	op, d := &o.Operation, &o.Decision
	t := &tally{sum: sha256.New(), leaf: Leaf{
		Type: LeafOperation, Session: op.Session, Operation: op.ID, Principal: op.Principal.Key(), Target: op.Target.Name,
		Verb: op.Verb, Command: CommandDigest(op.Command), Request: op.Digest, Effect: d.Effect.String(),
		Policy: d.Policy, Start: began.Round(0).UTC(),
	}}
	if o.Approval != nil {
		t.leaf.Approval = o.Approval.ID
	}
	if o.Refused != nil {
		t.leaf.Refused, t.leaf.Approval = o.Refused.Code, o.Refused.Approval
	}
	return t
}

// CommandDigest is what an operation's leaf says of its Command: the SHA-256 of it as the recording holds it, where a
// byte that is not UTF-8 is U+FFFD.
func CommandDigest(command string) access.Digest {
	if !utf8.ValidString(command) {
		command = string([]rune(command))
	}
	return sha256.Sum256([]byte(command))
}

// add counts one frame as it is journaled. data is how many payload bytes it carries, in direction d.
func (t *tally) add(frame []byte, delta time.Duration, data int, d Direction) {
	t.hash(t.sum, frame)
	t.leaf.Frames++
	t.delta = max(t.delta, delta)
	if d == FromClient {
		t.leaf.FromClient += uint64(data)
	} else {
		t.leaf.ToClient += uint64(data)
	}
}

// addDecoded is add for a frame that is read back.
func (t *tally) addDecoded(raw []byte, f *Frame) {
	n := 0
	if f.Kind == KindPayload || f.Kind == KindStream {
		n = len(f.Data)
	}
	t.add(raw, f.Delta, n, f.Direction)
}

func (t *tally) hash(h hash.Hash, frame []byte) {
	binary.BigEndian.PutUint32(t.prefix[:], uint32(len(frame)))
	h.Write(t.prefix[:])
	h.Write(frame)
}

// close adds the last frame, the end, and gives the leaf. As the end may yet fail to reach the journal, it is a clone that is closed.
func (t *tally) close(end []byte, delta time.Duration, c *Closing) *Leaf {
	t.hash(t.sum, end)
	l := &t.leaf
	l.Frames++
	l.Code, l.Truncated, l.End = c.Outcome.Code, c.Outcome.Truncated, l.Start.Add(delta)
	l.Digest = t.digest()
	return l
}

// clone gives a tally that goes on by itself.
func (t *tally) clone() (*tally, error) {
	own := *t
	h, err := cloneHash(t.sum)
	own.sum = h
	return &own, err
}

func cloneHash(h hash.Hash) (hash.Hash, error) {
	cloner, ok := h.(hash.Cloner)
	if !ok {
		return nil, errors.New("ending an operation: this SHA-256 cannot be cloned")
	}
	out, err := cloner.Clone()
	if err != nil {
		return nil, fmt.Errorf("ending an operation: %w", err)
	}
	return out, nil
}

// digest is that of the frames added so far.
func (t *tally) digest() (d access.Digest) {
	t.sum.Sum(d[:0])
	return d
}

// resume makes the frame from which resumeTally makes the same tally again.
func (t *tally) resume(op uint64) (*Frame, error) {
	m, ok := t.sum.(encoding.BinaryMarshaler)
	if !ok {
		return nil, errors.New("carrying over an operation: this SHA-256 cannot be marshalled")
	}
	state, err := m.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("carrying over operation %s: %w", t.leaf.Operation, err)
	}
	l := &t.leaf
	return &Frame{
		Kind: KindResume, Op: op, Session: l.Session, ID: string(l.Operation), Time: l.Start, Delta: t.delta,
		Frames: l.Frames, FromClient: l.FromClient, ToClient: l.ToClient, State: state, Data: t.leaf.append(nil),
	}, nil
}

func resumeTally(f *Frame) (*tally, error) {
	t := &tally{sum: sha256.New(), delta: f.Delta}
	if err := json.Unmarshal(f.Data, &t.leaf); err != nil {
		return nil, fmt.Errorf("carrying over operation %s: %w", f.ID, err)
	}
	u, ok := t.sum.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errors.New("carrying over an operation: this SHA-256 cannot be unmarshalled")
	}
	if err := u.UnmarshalBinary(f.State); err != nil {
		return nil, fmt.Errorf("carrying over operation %s: %w", f.ID, err)
	}
	return t, nil
}
