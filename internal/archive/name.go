package archive

import (
	"fmt"
	"strings"
)

const (
	maxName      = 1024
	maxComponent = 200

	sessions      = "sessions/"
	segmentSuffix = ".gbr.age"
	keySuffix     = ".key.age"
)

// CheckName reports why name cannot be used: names are components of letters, digits, '.', '_' and '-', not beginning
// with a dot, separated by single slashes. So a name means the same in a folder, in a bucket, and on every file system.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("archive name of %d characters: want 1 to %d", len(name), maxName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if err := checkComponent(part); err != nil {
			return fmt.Errorf("archive name %q: %w", name, err)
		}
	}
	return nil
}

func checkComponent(part string) error {
	switch {
	case part == "":
		return fmt.Errorf("an empty component")
	case len(part) > maxComponent:
		return fmt.Errorf("a component of %d characters: want at most %d", len(part), maxComponent)
	case part[0] == '.':
		return fmt.Errorf("a component that begins with a dot")
	}
	for i := range len(part) {
		if !nameByte(part[i]) {
			return fmt.Errorf("character %q", part[i])
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// CheckSession reports why id cannot name a session: it is one component of a name.
func CheckSession(id string) error {
	if err := checkComponent(id); err != nil {
		return fmt.Errorf("session id %q: %w", id, err)
	}
	return nil
}

// SessionPrefix is what the names of all files of a session begin with.
func SessionPrefix(session string) string { return sessions + session + "/" }

// SegmentName names a sealed segment of a session. Units sort by time, and so do the names.
func SegmentName(session, unit string) string { return SessionPrefix(session) + unit + segmentSuffix }

// KeyName names a key of a session: the one that was made for unit and is used from then on.
func KeyName(session, unit string) string { return SessionPrefix(session) + unit + keySuffix }

// ParseName takes a name apart. Exactly one of segment and key is true where ok is.
func ParseName(name string) (session, unit string, segment, key, ok bool) {
	rest, found := strings.CutPrefix(name, sessions)
	if !found || CheckName(name) != nil {
		return "", "", false, false, false
	}
	session, file, found := strings.Cut(rest, "/")
	if !found || strings.Contains(file, "/") {
		return "", "", false, false, false
	}
	if unit, segment = strings.CutSuffix(file, segmentSuffix); segment {
		return session, unit, true, false, true
	}
	if unit, key = strings.CutSuffix(file, keySuffix); key {
		return session, unit, false, true, true
	}
	return "", "", false, false, false
}
