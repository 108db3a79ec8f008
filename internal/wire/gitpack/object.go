package gitpack

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ID is an object's name, in hexadecimal: 40 digits of SHA-1, or 64 of SHA-256.
type ID string

// Commit is a commit as it is written. What is not UTF-8 is as it came.
type Commit struct {
	ID        ID
	Tree      ID
	Parents   []ID
	Author    string
	Committer string
	Message   string
	// Time is the committer's clock; zero where it cannot be read.
	Time time.Time
}

// Tag is an annotated tag.
type Tag struct {
	ID      ID
	Object  ID
	Tagger  string
	Message string
}

// Entry is one name in a tree.
type Entry struct {
	Name string
	// Mode as git reads it (cache.h, canon_mode), whatever is written: 100644, 100755, 120000, 160000, or 40000.
	Mode string
	ID   ID
}

// IsTree says that the entry is a folder.
func (e Entry) IsTree() bool { return e.Mode == "40000" }

// parseCommit reads a commit as git does (commit.c, parse_commit_buffer): its lines count only where they belong.
func parseCommit(id ID, b []byte) (*Commit, error) {
	head, message, _ := bytes.Cut(b, []byte("\n\n"))
	c := &Commit{ID: id, Message: string(message)}
	h := header(string(head))
	tree, ok := h.next("tree")
	if !ok {
		return nil, fmt.Errorf("commit %s does not begin with its tree", id)
	}
	c.Tree = ID(tree)
	for parent, ok := h.next("parent"); ok; parent, ok = h.next("parent") {
		c.Parents = append(c.Parents, ID(parent))
	}
	author, _ := h.next("author")
	c.Author, _ = person(author)
	committer, _ := h.next("committer")
	c.Committer, c.Time = person(committer)
	return c, nil
}

func parseTag(id ID, b []byte) (*Tag, error) {
	head, message, _ := bytes.Cut(b, []byte("\n\n"))
	t := &Tag{ID: id, Message: string(message)}
	h := header(string(head))
	object, ok := h.next("object")
	if !ok {
		return nil, fmt.Errorf("tag %s does not begin with what it names", id)
	}
	t.Object = ID(object)
	h.next("type")
	h.next("tag")
	tagger, _ := h.next("tagger")
	t.Tagger, _ = person(tagger)
	return t, nil
}

// header are an object's lines that are not read yet.
type header string

// next takes the next line where it has that key.
func (h *header) next(key string) (string, bool) {
	line, rest, _ := strings.Cut(string(*h), "\n")
	value, ok := strings.CutPrefix(line, key+" ")
	if ok {
		*h = header(rest)
	}
	return value, ok
}

// person parts «name <address> seconds zone».
func person(s string) (string, time.Time) {
	i := strings.LastIndexByte(s, '>')
	if i < 0 {
		return s, time.Time{}
	}
	seconds, _, _ := strings.Cut(strings.TrimSpace(s[i+1:]), " ")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return s[:i+1], time.Time{}
	}
	return s[:i+1], time.Unix(n, 0)
}

// canonical is a mode as git takes it: whatever is marked as a folder is one, and is to be looked into.
func canonical(mode string) (string, bool) {
	n, err := strconv.ParseUint(mode, 8, 16)
	if err != nil {
		return "", false
	}
	switch n & 0o170000 {
	case 0o100000:
		if n&0o100 != 0 {
			return "100755", true
		}
		return "100644", true
	case 0o120000:
		return "120000", true
	case 0o040000:
		return "40000", true
	case 0o160000:
		return "160000", true
	}
	return "", false
}

// ParseTree reads a tree: mode, space, name, NUL, raw name of the object; again and again. A name that is there twice, or
// that is no name of a file, is an error.
func ParseTree(b []byte, hashBytes int) ([]Entry, error) {
	var out []Entry
	seen := map[string]bool{}
	for len(b) > 0 {
		head, rest, ok := bytes.Cut(b, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		if !ok || !spaced || name == "" || len(rest) < hashBytes {
			return nil, fmt.Errorf("a tree ends amid its entry %d", len(out))
		}
		if seen[name] || name == "." || name == ".." || strings.Contains(name, "/") {
			return nil, fmt.Errorf("a tree has the entry %q, which can be read in two ways", name)
		}
		seen[name] = true
		if mode, ok = canonical(mode); !ok {
			return nil, fmt.Errorf("a tree has the entry %q of a mode that is none", name)
		}
		out = append(out, Entry{Name: name, Mode: mode, ID: ID(hex.EncodeToString(rest[:hashBytes]))})
		b = rest[hashBytes:]
	}
	return out, nil
}
