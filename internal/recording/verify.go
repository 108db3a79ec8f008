package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/ledger"
)

// Book is a recording at rest, as an auditor has it: perhaps a copy, on another machine, with no gateway running.
type Book struct {
	Archive Archive
	// Ledger is the ledger's folder, and Verifier its public key.
	Ledger   string
	Verifier note.Verifier
	// Journal is the journal's folder; empty where there is none. The gateway may be writing to it.
	Journal string
	// Known are checkpoints that were kept elsewhere: only these show that the end was cut off, or all rewritten.
	Known [][]byte
	// Identities open recordings. Without any, the ledger and the files are checked, but not what is in them.
	Identities []age.Identity
}

// Findings are of these kinds.
const (
	FoundLedger  = "ledger"  // the ledger itself is not what was signed
	FoundMissing = "missing" // the ledger has it, and it is not there
	FoundAltered = "altered" // it is not what the ledger says
	FoundAdded   = "added"   // it is there, and the ledger does not have it
	FoundOrder   = "order"   // frames are not in their order
	FoundKey     = "key"     // the ledger's public key cannot be read
)

// Finding is one thing that is not as it was recorded. Name is a file's, where it is one; Entry is the ledger's, -1
// where there is none.
type Finding struct {
	Kind      string             `json:"kind"`
	Entry     int64              `json:"entry"`
	Name      string             `json:"name,omitempty"`
	Session   access.SessionID   `json:"session,omitempty"`
	Operation access.OperationID `json:"operation,omitempty"`
	Detail    string             `json:"detail"`
}

func (f Finding) String() string {
	s := f.Kind + ": "
	if f.Operation != "" {
		s += "operation " + string(f.Operation) + ", "
	}
	if f.Name != "" {
		s += f.Name + ", "
	}
	if f.Entry >= 0 {
		s += fmt.Sprintf("ledger entry %d, ", f.Entry)
	}
	return s + f.Detail
}

// Verification is what Verify checked and found. What it covers is whole if Findings is empty.
type Verification struct {
	Ledger *ledger.Report `json:"ledger,omitempty"`
	// How many the ledger has of each.
	Operations int `json:"operations"`
	Notes      int `json:"notes"`
	Keys       int `json:"keys"`
	Segments   int `json:"segments"`
	// Compared counts the operations and notes whose frames were read and compared with their leaf.
	Compared int `json:"compared"`
	// Unopened are the sessions that none of the identities opens.
	Unopened []access.SessionID `json:"unopened,omitempty"`
	// Open counts operations that had no end when the last segment was sealed.
	Open int `json:"open"`
	// Unsealed is what only the journal has; nil where no journal was given, or the ledger is not whole.
	Unsealed *Unsealed `json:"unsealed,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
	// Whole: what is covered is as it was recorded. NotCovered says, in sentences, what is not; Complete, that it is whole and that nothing of the book itself is left out.
	Whole      bool     `json:"whole"`
	Complete   bool     `json:"complete"`
	NotCovered []string `json:"notCovered,omitempty"`
}

// Verify checks the whole book offline. An error means that it could not be checked; what is wrong with the book itself
// is in the findings.
func (b *Book) Verify() (*Verification, error) {
	v := &verifier{b: b, out: &Verification{}, files: map[string]int64{}, sessions: map[access.SessionID]*sessionLeaves{}}
	if err := v.all(); err != nil {
		return v.out, err
	}
	v.out.Whole = len(v.out.Findings) == 0
	v.coverage()
	return v.out, nil
}

func (v *verifier) all() error {
	whole, err := v.ledger()
	if v.stopped = !whole; err != nil || v.stopped {
		return err
	}
	if err := eachEntry(v.b.Ledger, v.out.Ledger.Size, v.entry); err != nil {
		return err
	}
	if err := v.journal(); err != nil {
		return err
	}
	if err := v.unknownFiles(); err != nil {
		return err
	}
	if len(v.b.Identities) == 0 {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(v.sessions)) {
		if err := v.session(id, v.sessions[id]); err != nil {
			return err
		}
	}
	return nil
}

type verifier struct {
	b   *Book
	out *Verification
	// files are those that the ledger has, by name, with their entry.
	files    map[string]int64
	sessions map[access.SessionID]*sessionLeaves
	// stopped says that only the ledger was checked, because it is not whole.
	stopped bool
}

// sessionLeaves is what the ledger has of one session.
type sessionLeaves struct {
	operations map[access.OperationID]summary
	notes      map[access.Digest]int64
	segments   []summary
	// damaged says that a segment of it is missing or altered: then what it held cannot be compared.
	damaged bool
}

// summary is what is kept of a leaf: its entry, and what its frames must hash to.
type summary struct {
	entry       int64
	name        string
	digest      access.Digest
	frames      uint64
	first, last uint64
}

func (v *verifier) find(f Finding) { v.out.Findings = append(v.out.Findings, f) }

// ledger reports whether the ledger is whole. Where it is not, its entries mean nothing.
func (v *verifier) ledger() (whole bool, err error) {
	report, err := ledger.Verify(v.b.Ledger, v.b.Verifier, v.b.Known...)
	v.out.Ledger = report
	var damage *ledger.Damage
	if !errors.As(err, &damage) {
		return err == nil, err
	}
	f := Finding{Kind: FoundLedger, Entry: int64(damage.First), Name: damage.Path, Detail: damage.Error()}
	if damage.End == damage.First+1 { // name the record, as far as what stands there now can be read
		err := eachEntry(v.b.Ledger, damage.First+1, func(i uint64, entry []byte) error {
			if l, err := ParseLeaf(entry); err == nil && i == damage.First {
				f.Session, f.Operation = l.Session, l.Operation
			}
			return nil
		})
		if err != nil {
			f.Detail += "; " + err.Error()
		}
	}
	v.find(f)
	return false, nil
}

// entry takes one leaf of the ledger, and checks the file that it is of.
func (v *verifier) entry(i uint64, entry []byte) error {
	l, err := ParseLeaf(entry)
	if err != nil {
		v.find(Finding{Kind: FoundLedger, Entry: int64(i), Detail: err.Error()})
		return nil
	}
	s := v.sessions[l.Session]
	if s == nil {
		s = &sessionLeaves{operations: map[access.OperationID]summary{}, notes: map[access.Digest]int64{}}
		v.sessions[l.Session] = s
	}
	at := summary{entry: int64(i), name: l.Name, digest: l.Digest, frames: l.Frames, first: l.First, last: l.Last}
	switch l.Type {
	case LeafOperation:
		v.out.Operations++
		if old, ok := s.operations[l.Operation]; ok {
			v.find(Finding{Kind: FoundLedger, Entry: int64(i), Session: l.Session, Operation: l.Operation, Detail: fmt.Sprintf("entry %d is of the same operation", old.entry)})
		}
		s.operations[l.Operation] = at
	case LeafNote:
		v.out.Notes++
		s.notes[l.Digest] = int64(i)
	case LeafKey, LeafSegment:
		return v.file(s, &l, at)
	default:
		v.find(Finding{Kind: FoundLedger, Entry: int64(i), Detail: fmt.Sprintf("an entry of unknown type %q", l.Type)})
	}
	return nil
}

func (v *verifier) file(s *sessionLeaves, l *Leaf, at summary) error {
	v.files[l.Name] = at.entry
	if l.Type == LeafKey {
		v.out.Keys++
	} else {
		v.out.Segments++
	}
	f := Finding{Entry: at.entry, Name: l.Name, Session: l.Session}
	r, err := v.b.Archive.Open(l.Name)
	if errors.Is(err, fs.ErrNotExist) {
		f.Kind, f.Detail = FoundMissing, "it is not in the archive"
	} else if err != nil {
		return err
	} else {
		size, sum, err := digestOf(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("reading %s: %w", l.Name, err)
		}
		if size != l.Size || sum != l.SHA256 {
			f.Kind, f.Detail = FoundAltered, fmt.Sprintf("it has %d bytes and SHA-256 %s; recorded were %d and %s", size, sum, l.Size, l.SHA256)
		}
	}
	switch {
	case f.Kind != "":
		v.find(f)
		s.damaged = true
	case l.Type == LeafSegment:
		s.segments = append(s.segments, at)
	}
	return nil
}

// unknownFiles finds what the ledger does not have.
func (v *verifier) unknownFiles() error {
	list, err := v.b.Archive.List("")
	if err != nil {
		return err
	}
	for _, i := range list {
		if _, ok := v.files[i.Name]; ok {
			continue
		}
		id, _, _, _, _ := archive.ParseName(i.Name)
		v.find(Finding{Kind: FoundAdded, Entry: -1, Name: i.Name, Session: access.SessionID(id),
			Detail: "the ledger does not have it (while a gateway is sealing, that is so for a moment)"})
	}
	return nil
}
