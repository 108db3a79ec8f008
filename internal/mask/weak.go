package mask

import (
	"strings"
)

const (
	// weakKinds is how many different bytes a value needs to be learned, and weakDigits how many digits one that has
	// nothing else. So many resource versions, dates and ports stand everywhere.
	weakKinds  = 5
	weakDigits = 10
	// weakBytes is up to which length a value is judged by its words: no text of the API's own is much longer.
	weakBytes = 128
	// foreignBytes is how many letters and digits that are no word of the vocabulary may stand beside those that are.
	foreignBytes = 3
)

// vocabulary are words that stand everywhere, in lower case.
type vocabulary map[string]struct{}

func newVocabulary(words []string) vocabulary {
	v := make(vocabulary, len(words))
	for _, w := range words {
		if w != "" {
			v[strings.ToLower(w)] = struct{}{}
		}
	}
	return v
}

// weak reports whether value would be found where nobody meant it. Who may create a Secret may give it any value: what
// every answer is made of must not become secret for everybody by that.
func (v vocabulary) weak(value []byte) bool {
	if len(value) > weakBytes {
		return false
	}
	var kinds [256]bool
	different, digits := 0, 0
	for _, c := range value {
		if !kinds[c] {
			kinds[c] = true
			different++
		}
		if digit(c) {
			digits++
		}
	}
	return different < weakKinds || digits == len(value) && digits < weakDigits || v.says(value)
}

// says reports whether value is made of words of the vocabulary, but for a letter or digit here and there:
// app.kubernetes.io/name, system:serviceaccount, ReplicaSet, v1beta1.
func (v vocabulary) says(value []byte) bool {
	if v.has(value) {
		return true
	}
	known, foreign := 0, 0
	for rest := value; len(rest) > 0 && foreign <= foreignBytes; {
		n := run(rest, func(c byte) bool { return isLetter(c) || digit(c) }) // k8s
		if !v.has(rest[:n]) {
			n = max(run(rest, isLetter), run(rest, digit))
		}
		switch {
		case n == 0 && rest[0] >= 0x80:
			return false
		case n == 0:
			n = 1
		case v.has(rest[:n]):
			known += n
		default:
			foreign += n
		}
		rest = rest[n:]
	}
	return known >= windowBytes/2 && foreign <= foreignBytes
}

// has does not allocate: it is asked for each value that is learned.
func (v vocabulary) has(word []byte) bool {
	var lower [weakBytes]byte
	for i, c := range word {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	_, ok := v[string(lower[:len(word)])]
	return ok
}

// run gives how many bytes b begins with that are of a kind.
func run(b []byte, is func(byte) bool) (n int) {
	for n < len(b) && is(b[n]) {
		n++
	}
	return n
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
