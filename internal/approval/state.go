package approval

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"gatebook/internal/access"
)

// Bind gives what an answer is bound to: SHA-256 over the operation's digest, the key of its principal, the name of
// its target, the digest of the policy and, for a workload, the UID of its service account, each preceded by its length
// as 64 bits, big endian. The UID tells an account from one that was made again under its name.
func Bind(op *access.Operation, d access.Decision) access.Digest {
	h := sha256.New()
	for _, part := range [][]byte{op.Digest[:], []byte(op.Principal.Key()), []byte(op.Target.Name), d.Policy[:],
		[]byte(op.Principal.Workload.ServiceAccountUID)} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return access.Digest(h.Sum(nil))
}

// step is one move of an approval: from what it was to what it is, and what to tell once that is on disk.
type step struct {
	was, now access.Approval
	use      access.OperationID // the operation that runs by it
	events   []Event
	err      error // for the caller, once the move is on disk
}

// lapsed reports whether nobody answered, or nobody came to use the answer, in time.
func lapsed(a access.Approval, now time.Time) bool {
	switch a.State {
	case access.ApprovalPending:
		return !now.Before(a.Expires)
	case access.ApprovalGranted:
		return !now.Before(a.ValidUntil)
	}
	return false
}

// expire is the move of an approval that has lapsed.
func expire(a access.Approval, now time.Time, err error) step {
	s := step{was: a, now: a, err: err}
	s.now.State = access.ApprovalExpired
	s.events = []Event{{Kind: Expired, Approval: s.now, Time: now}}
	return s
}

// use is the move of an approval by which op runs.
func use(a access.Approval, op *access.Operation, d access.Decision, now time.Time) (step, error) {
	switch {
	case op.ID == "" || Bind(op, d) != a.Binding || Bind(&a.Operation, a.Decision) != a.Binding:
		return step{}, ErrBinding
	case d.Effect != access.Approve || !sameTerms(a.Decision.Approval, d.Approval):
		return step{}, ErrTerms
	case a.Scope == access.ScopeSession && op.Session != a.Operation.Session:
		return step{}, ErrBinding
	case slices.ContainsFunc(a.Answers, func(ans access.Answer) bool { return ans.Approver.SamePerson(op.Principal) }):
		return step{}, ErrRequester // by a name that the credential did not carry when the question was asked
	}
	switch a.State {
	case access.ApprovalGranted:
	case access.ApprovalPending:
		return step{}, ErrPending
	case access.ApprovalUsed:
		return step{}, ErrUsed
	case access.ApprovalDenied:
		return step{}, ErrDenied
	case access.ApprovalEnded:
		return step{}, ErrEnded
	default:
		return step{}, ErrExpired
	}
	if lapsed(a, now) {
		return expire(a, now, ErrExpired), nil
	}
	s := step{was: a, now: a, use: op.ID}
	switch a.Scope {
	case access.ScopeSession, access.ScopeTime:
	default: // also what is unknown: once
		s.now.State, s.now.UsedBy = access.ApprovalUsed, op.ID
	}
	s.events = []Event{{Kind: Used, Approval: s.now, Operation: op.ID, Time: now}}
	return s, nil
}

// slot names what an open approval stands for: no second one is opened beside it. What is closed stands for nothing.
func slot(a access.Approval) (string, error) {
	switch a.State {
	case access.ApprovalPending, access.ApprovalGranted:
	default:
		return "", nil
	}
	terms, err := json.Marshal(a.Decision.Approval)
	if err != nil {
		return "", fmt.Errorf("naming approval: %w", err)
	}
	name := fmt.Sprintf("%s %x", a.Binding, sha256.Sum256(terms))
	if a.State == access.ApprovalGranted && a.Scope == access.ScopeSession {
		name += " " + string(a.Operation.Session) // other sessions must ask for themselves
	}
	return name, nil
}

// sameTerms: the policy may ask for other approvers though it has not changed, since it looks at what is stored, too.
func sameTerms(a, b *access.ApprovalTerms) bool {
	if a == nil || b == nil {
		return false
	}
	x, y := complete(*a), complete(*b)
	if len(x.Groups)+len(y.Groups) == 0 { // an empty list and none are the same
		x.Groups, y.Groups = nil, nil
	}
	if len(x.Users)+len(y.Users) == 0 {
		x.Users, y.Users = nil, nil
	}
	return reflect.DeepEqual(x, y)
}
