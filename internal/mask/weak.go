package mask

import (
	"bytes"
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
		v[strings.ToLower(w)] = struct{}{}
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
	if _, ok := v[string(bytes.ToLower(value))]; ok {
		return true
	}
	known, foreign := 0, 0
	for rest := value; len(rest) > 0; {
		n := word(rest)
		if n == 0 {
			if rest[0] >= 0x80 {
				return false
			}
			rest = rest[1:]
			continue
		}
		if _, ok := v[string(bytes.ToLower(rest[:n]))]; ok {
			known += n
		} else {
			foreign += n
		}
		rest = rest[n:]
	}
	return known >= windowBytes/2 && foreign <= foreignBytes
}

// word gives the length of the run of letters, or of digits, that b begins with.
func word(b []byte) (n int) {
	for n < len(b) && isLetter(b[n]) {
		n++
	}
	for n == 0 || digit(b[n-1]) {
		if n == len(b) || !digit(b[n]) {
			break
		}
		n++
	}
	return n
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
