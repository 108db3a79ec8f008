package recording

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatebook/internal/access"
)

// sealState is what sealing has to know after a crash. It is one small file, replaced atomically before each step that
// cannot be told from its result alone.
type sealState struct {
	// Unit is the one being sealed; Outputs is what it gives, and LedgerAt the ledger's size before its first leaf.
	Unit     string   `json:"unit,omitempty"`
	LedgerAt uint64   `json:"ledgerAt,omitempty"`
	Outputs  []output `json:"outputs,omitempty"`
	// Sealed are the units that are in the archive and the ledger and only wait to be removed from the journal.
	Sealed []string `json:"sealed,omitempty"`
	// RemoveBelow: journal segments below it are sealed and indexed; some may be removed already.
	RemoveBelow uint64 `json:"removeBelow,omitempty"`
	// Last is the newest unit id given out and acted upon.
	Last string `json:"last,omitempty"`
	// Keys are the keys of the sessions that were active lately.
	Keys map[access.SessionID]sessionKey `json:"keys,omitempty"`
}

// sessionKey is the public half of a session's key. It is kept here and never read from the archive, where somebody
// could have put a key of their own.
type sessionKey struct {
	Recipient string    `json:"recipient"`
	Unit      string    `json:"unit"` // the one it was made for
	Used      time.Time `json:"used"`
}

// output is one file on its way to the archive.
type output struct {
	Leaf Leaf `json:"leaf"`
	// spooled is the file's path while this process has it.
	spooled string
}

// sortOutputs puts keys before segments: a segment whose key is not in the archive could never be read.
func sortOutputs(all []output) {
	slices.SortFunc(all, func(a, b output) int {
		return cmp.Or(strings.Compare(a.Leaf.Type, b.Leaf.Type), strings.Compare(a.Leaf.Name, b.Leaf.Name))
	})
}

// keyIdle is how long a session's key is remembered after its last use. A later part gets another key.
const keyIdle = 7 * 24 * time.Hour

func (s *sealState) forgetKeys(now time.Time) {
	for id, k := range s.Keys {
		if now.Sub(k.Used) > keyIdle {
			delete(s.Keys, id)
		}
	}
}

const stateFile = "sealing.json"

func loadState(dir string) (*sealState, error) {
	s := &sealState{Keys: map[access.SessionID]sessionKey{}}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of sealing: %w", err)
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("reading the state of sealing, %s: %w", filepath.Join(dir, stateFile), err)
	}
	if s.Keys == nil {
		s.Keys = map[access.SessionID]sessionKey{}
	}
	return s, nil
}

// save has the state on disk when it returns.
func (s *sealState) save(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keeping the state of sealing: %w", err)
	}
	if err := replaceFile(dir, stateFile, b); err != nil {
		return fmt.Errorf("keeping the state of sealing: %w", err)
	}
	return nil
}

func replaceFile(dir, name string, b []byte) error {
	tmp := filepath.Join(dir, name+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
