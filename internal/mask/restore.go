package mask

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// PlaceholderError is a placeholder that came back where it does not belong: it was moved, changed, put into other
// text, comes from another session, or its original is not there any more. Writing it would destroy what is stored.
type PlaceholderError struct {
	// Path leads to it, segments separated by dots as in a Rule, indices as numbers.
	Path string
}

func (e *PlaceholderError) Error() string {
	return fmt.Sprintf("restoring %s: a masked value came back that does not belong there", cutText(e.Path))
}

// Restore gives doc with each placeholder replaced by its original, and how many that were. doc is what a client wants
// written: an object, a part of one as in a merge patch, or a JSON Patch; stored is the object as it is now, unmasked,
// or empty where there is none. A placeholder is replaced only where masking what stored has at the same place, by
// shape or as a known value, gives exactly what doc has there; within a list, the same place is the element of the same name, or
// without names of the same index; within a string of JSON it is the same place in stored's string, or else in stored itself. Anything
// else that looks like a placeholder is a *PlaceholderError. doc without placeholders is returned as it is; otherwise
// the result is new, and bytes outside of placeholders are unchanged. Neither doc nor stored is retained. What is not
// JSON is a *SyntaxError.
func (s *Scope) Restore(doc []byte, shape *Shape, stored []byte) ([]byte, int, error) {
	if !s.HasPlaceholder(doc) && !bytes.Contains(doc, []byte(numberPrefix)) {
		return doc, 0, nil
	}
	n, err := s.e.plant(doc)
	if err != nil {
		return nil, 0, fmt.Errorf("restoring masked values: %w", err)
	}
	var originals []place
	if len(bytes.TrimSpace(stored)) > 0 {
		o, err := s.e.plant(stored)
		if err != nil {
			return nil, 0, fmt.Errorf("restoring masked values from what is stored: %w", err)
		}
		originals = []place{{stored, o}}
	}
	r := &restorer{s: s, p: s.newParser(nil, true), root: originals}
	defer r.p.free()
	var list []splice
	if isJSONPatch(doc, n) {
		list, err = r.patch(doc, n, shape)
	} else {
		list, err = r.walk(nil, doc, n, shape.start(), originals, "")
	}
	if err != nil {
		return nil, 0, err
	}
	if len(list) == 0 {
		return doc, 0, nil
	}
	return spliceDocument(doc, list), r.count, nil
}

func (s *Shape) start() *state {
	if s == nil {
		return nil
	}
	return s.root
}

// place is a value in a document that holds originals.
type place struct {
	doc []byte
	n   *item
}

type restorer struct {
	s     *Scope
	p     *parser
	root  []place
	count int
}

// walk restores the value n of doc. originals are where its original may be.
func (r *restorer) walk(list []splice, doc []byte, n *item, at *state, originals []place, path string) ([]splice, error) {
	var err error
	switch n.kind {
	case '{':
		for i, key := range n.keys {
			if r.s.HasPlaceholder([]byte(key)) {
				return nil, &PlaceholderError{Path: join(path, key)}
			}
			if list, err = r.walk(list, doc, n.kids[i], at.child([]byte(key)), members(originals, key), join(path, key)); err != nil {
				return nil, err
			}
		}
	case '[':
		for i, kid := range n.kids {
			if list, err = r.walk(list, doc, kid, at.element(), elements(originals, doc, kid, i), join(path, strconv.Itoa(i))); err != nil {
				return nil, err
			}
		}
	case '0':
		return r.number(list, doc, n, originals, path)
	case '"':
		return r.text(list, doc, n, at, originals, path)
	}
	return list, nil
}

func join(path, key string) string {
	if path == "" {
		return Key(key)
	}
	return path + "." + Key(key)
}

func members(originals []place, key string) (out []place) {
	for _, o := range originals {
		if m := o.n.member(key); m != nil {
			out = append(out, place{o.doc, m})
		}
	}
	return out
}

// elements are the elements of originals that stand for element i of a list.
func elements(originals []place, doc []byte, n *item, i int) (out []place) {
	name := n.member("name").textIn(doc)
	for _, o := range originals {
		if o.n.kind != '[' {
			continue
		}
		if name == "" {
			if i < len(o.n.kids) {
				out = append(out, place{o.doc, o.n.kids[i]})
			}
			continue
		}
		for _, kid := range o.n.kids {
			if kid.member("name").textIn(o.doc) == name {
				out = append(out, place{o.doc, kid})
			}
		}
	}
	return out
}

// number restores a number that looks like a placeholder of one.
func (r *restorer) number(list []splice, doc []byte, n *item, originals []place, path string) ([]splice, error) {
	text := doc[n.start:n.end]
	if len(text) != len(numberPrefix)+numberDigits || !bytes.HasPrefix(text, []byte(numberPrefix)) {
		return list, nil
	}
	for _, o := range originals {
		original := o.doc[o.n.start:o.n.end]
		if o.n.kind == '0' && bytes.Equal(r.s.numberOf(&r.p.face, r.p.digest(original)), text) {
			return r.put(list, n.start, n.end, original), nil
		}
		if bytes.Equal(original, text) {
			return list, nil // it stands there: no placeholder at all
		}
	}
	return nil, &PlaceholderError{Path: path}
}

func (r *restorer) put(list []splice, start, end int, with []byte) []splice {
	r.count++
	return append(list, splice{start, end, bytes.Clone(with)})
}

// text restores a string.
func (r *restorer) text(list []splice, doc []byte, n *item, at *state, originals []place, path string) ([]splice, error) {
	raw := doc[n.start+1 : n.end-1]
	text := unescape(nil, raw)
	if !r.s.HasPlaceholder(text) {
		return list, nil
	}
	a := at.action()
	for _, o := range originals {
		if r.masked(o, a, text) {
			return r.put(list, n.start, n.end, o.doc[o.n.start:o.n.end]), nil
		}
	}
	if a != nil && a.encoding == JSON {
		return r.inside(list, n, raw, text, a.nested, originals, path)
	}
	return nil, &PlaceholderError{Path: path}
}

// masked reports whether text is what the client was shown for o.
func (r *restorer) masked(o place, a *action, text []byte) bool {
	token := o.doc[o.n.start:o.n.end]
	switch {
	case o.n.kind == 't' || o.n.kind == 'f':
		return a != nil && bytes.Equal(r.s.textOf(&r.p.face, r.p.digest(token)), text)
	case o.n.kind != '"':
		return false
	}
	raw := token[1 : len(token)-1]
	if a != nil {
		shown, n := r.p.cover(raw, bytes.IndexByte(raw, '\\') >= 0, a)
		if n > 0 && bytes.Equal(unescape(nil, shown), text) {
			return true
		}
	}
	if shown, found := r.p.lookUp(raw, nil, true); found && bytes.Equal(unescape(nil, shown), text) {
		return true
	}
	return bytes.Equal(unescape(nil, raw), text) // it stands there: no placeholder at all
}

// inside restores a string that holds a document.
func (r *restorer) inside(list []splice, n *item, raw, text []byte, shape *Shape, originals []place, path string) ([]splice, error) {
	document, err := r.s.e.plant(text)
	if err != nil {
		return nil, &PlaceholderError{Path: path}
	}
	var inner []place
	for _, o := range originals {
		b := []byte(o.n.textIn(o.doc))
		if m, err := r.s.e.plant(b); err == nil {
			inner = append(inner, place{b, m})
		}
	}
	parts, err := r.walk(nil, text, document, shape.start(), append(inner, r.root...), path)
	if err != nil {
		return nil, err
	}
	return append(list, splice{n.start + 1, n.end - 1, spliceString(nil, raw, parts)}), nil
}

// isJSONPatch reports whether a document is a JSON Patch (RFC 6902): a list of objects that each have an op.
func isJSONPatch(doc []byte, n *item) bool {
	if n.kind != '[' || len(n.kids) == 0 {
		return false
	}
	for _, kid := range n.kids {
		if kid.member("op").textIn(doc) == "" {
			return false
		}
	}
	return true
}

// patch restores the values of a JSON Patch.
func (r *restorer) patch(doc []byte, n *item, shape *Shape) (list []splice, err error) {
	for i, op := range n.kids {
		pointer := op.member("path").textIn(doc)
		for k, key := range op.keys {
			path := join(strconv.Itoa(i), key)
			at, originals := (*state)(nil), []place(nil)
			if key == "value" {
				at, originals, path = r.follow(pointer, shape.start())
			}
			if list, err = r.walk(list, doc, op.kids[k], at, originals, path); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

var pointerEscapes = strings.NewReplacer("~1", "/", "~0", "~")

// follow goes where a JSON Pointer (RFC 6901) leads.
func (r *restorer) follow(pointer string, at *state) (*state, []place, string) {
	originals, path := r.root, ""
	if pointer == "" {
		return at, originals, path
	}
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		token = pointerEscapes.Replace(token)
		path = join(path, token)
		var next []place
		list := false
		for _, o := range originals {
			if o.n.kind == '[' {
				list = true
				if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(o.n.kids) {
					next = append(next, place{o.doc, o.n.kids[i]})
				}
			} else if m := o.n.member(token); m != nil {
				next = append(next, place{o.doc, m})
			}
		}
		if list {
			at = at.element()
		} else {
			at = at.child([]byte(token))
		}
		originals = next
	}
	return at, originals, path
}
