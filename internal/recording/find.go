package recording

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/archive"
)

// findUnitsAhead is how many units FindOperation looks into: an operation's identifier is made when its request comes, and
// it begins later where a person was asked first.
const findUnitsAhead = 64

// FindOperation looks into the archive for an operation that no index knows any more, near the time that its identifier
// tells, and gives its session; empty where it is not there. ids are an auditor's. It reads the segments of every session
// that were sealed then.
func FindOperation(a Archive, op access.OperationID, ids ...age.Identity) (access.SessionID, error) {
	if !access.ValidID(string(op)) {
		return "", nil
	}
	files, err := a.List("")
	if err != nil {
		return "", err
	}
	for _, name := range near(files, op) {
		session, _, _, _, _ := archive.ParseName(name)
		found, err := segmentHas(a, name, access.SessionID(session), op, ids)
		if err != nil {
			return "", fmt.Errorf("looking for operation %s in %s: %w", op, name, err)
		}
		if found {
			return access.SessionID(session), nil
		}
	}
	return "", nil
}

// near gives the segments of the unit in which op's request came, and of those after it, in the order of time.
func near(files []archive.Info, op access.OperationID) []string {
	byUnit := map[string][]string{}
	for _, f := range files {
		if _, unit, segment, _, ok := archive.ParseName(f.Name); ok && segment {
			byUnit[unit] = append(byUnit[unit], f.Name)
		}
	}
	units := make([]string, 0, len(byUnit))
	for u := range byUnit {
		units = append(units, u)
	}
	slices.Sort(units)
	first, exact := slices.BinarySearchFunc(units, string(op), strings.Compare)
	if !exact {
		first = max(0, first-1)
	}
	var out []string
	for _, u := range units[first:min(len(units), first+findUnitsAhead)] {
		out = append(out, byUnit[u]...)
	}
	return out
}

func segmentHas(a Archive, name string, session access.SessionID, op access.OperationID, ids []age.Identity) (bool, error) {
	keys, err := SessionKeys(a, session, ids...)
	if err != nil {
		return false, err
	}
	err = readSegment(a, name, keys, func(e Event) error {
		if e.Operation == op {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return true, nil
	}
	return false, err
}
