package mask

import (
	"bytes"
	"encoding/base64"
)

// A JSON Web Token is a secret by its form, whoever issued it: the gateway need not have seen it before.
//
//	base64url(header) . base64url(payload) . base64url(signature)      RFC 7515, section 3.1; RFC 7519
//	base64url(header) . key . nonce . base64url(ciphertext) . tag      RFC 7516, section 3.1: the header has "enc"
//
// The header is a JSON object with "alg". A signature may be missing; one whose payload is (RFC 7515, appendix F) is no
// credential, and stands in public places.
const (
	// jwtStart is {" and a letter in base64url.
	jwtStart                    = "eyJ"
	signedParts, encryptedParts = 3, 5
	// headerDepth is how deep a header may nest ("jwk" does). With a bound, what begins in many places as a header does
	// is soon seen to be none.
	headerDepth = 8
	// looseEnd is how far from the end of what was read of a header an error may be due to that end.
	looseEnd = 12
)

// headerNames may come first in a header (those that IANA has registered, and some more): by these the filter knows the
// start of a token also in hexadecimal and base64. A token as it is is found whatever the name.
var headerNames = [...]string{"alg", "typ", "kid", "enc", "cty", "zip", "jku", "jwk", "x5u", "x5c", "x5t", "crit", "b64", "epk", "apu",
	"apv", "p2s", "p2c", "iv", "tag", "url", "nonce", "ppt", "svt", "iss", "sub", "aud", "ver"}

// noticeTokens lets the filter see how tokens begin.
func (x *index) noticeTokens() {
	for _, name := range headerNames {
		start := base64.RawURLEncoding.EncodeToString([]byte(`{"` + name + `":"`))
		r := x.keys.newRecord([]byte(start[:windowBytes]), false, digest{})
		x.notice(&r)
	}
}

// nextToken gives the first place from i on at which a token may begin; len(b) where none is. It looks for the one of the
// three letters that is rare in text.
func nextToken(b []byte, i int) int {
	for at := i + 2; at < len(b); at++ {
		at = next(b, at, jwtStart[2])
		if at < len(b) && b[at-1] == jwtStart[1] && b[at-2] == jwtStart[0] {
			return at - 2
		}
	}
	return len(b)
}

// token reads on in what begins as a token does, the first eight bytes of which are in m.keyed, and gives where it ends.
// Then m.text holds it, behind room for a key.
func (m *matcher) token(begun *decoder, last bool) (best span, result verdict) {
	start, d := *begun, *begun
	defer func() { begun.met |= d.met }()
	m.text = append(m.text[:0], m.keyed[:keyBytes+windowBytes]...)
	if bytes.ContainsFunc(m.text[keyBytes:], notBase64URL) {
		return span{}, no
	}
	dots, most, size := 0, 0, 0
	for {
		c, ok := d.byte()
		if !ok {
			result = m.cut(&d, last)
			break
		}
		if c == '.' {
			if dots == 0 {
				most = partsAfter(m.text[keyBytes:])
			}
			detached := dots == 1 && most == signedParts && size == 0
			if dots++; most == 0 || detached {
				return span{}, no
			}
		} else if notBase64URL(rune(c)) {
			break
		}
		if dots > 0 && dots == most {
			break
		}
		m.text = append(m.text, c)
		if dots > 0 && c != '.' { // a dot behind it may end a sentence
			size, best.end = len(m.text), d.pos
		}
		if n := len(m.text) - keyBytes; dots == 0 && n&(n-1) == 0 && !mayBeHeader(m.text[keyBytes:]) {
			return span{}, no
		}
	}
	if size == 0 {
		if dots == 0 && !mayBeHeader(m.text[keyBytes:]) {
			return span{}, no
		}
		return span{}, result
	}
	m.text = m.text[:size]
	best.sum, best.token = m.x.keys.digestOf(m.text), true
	if start.coding >= base64At0 {
		start.closeAfter(&best)
		result = max(result, m.cut(&start, last))
	}
	return best, result
}

func notBase64URL(r rune) bool {
	return r > 'z' || r == '+' || r == '/' || base64Value(byte(r)) == base64Bad
}

// readHeader reads what text stands for in base64url.
func readHeader(text []byte) (n *item, t tree) {
	t = tree{b: decodeBase64Loose(nil, text), maxDepth: headerDepth}
	n = t.value()
	t.space()
	return n, t
}

// partsAfter gives how many parts a token with this header has at most; 0 where it is none.
func partsAfter(text []byte) int {
	n, t := readHeader(text)
	if len(text)%4 == 1 || t.why != fine || t.i < len(t.b) || n.member("alg") == nil {
		return 0
	}
	if n.member("enc") != nil {
		return encryptedParts
	}
	return signedParts
}

// mayBeHeader reports whether text can go on so that it is a header.
func mayBeHeader(text []byte) bool {
	_, t := readHeader(text)
	switch t.why {
	case fine:
		return t.i == len(t.b)
	case endsEarly:
		return true
	}
	return t.i+looseEnd >= len(t.b)
}

// admit reports whether a token that was found by its form is to be masked: not if somebody had it forgotten. It is made
// known, so that a piece of it is recognised. Whoever can have something printed may make up any number of tokens; so these
// take at most half of the room.
func (s *stream) admit(f *span) bool {
	e, text := s.s.e, s.match.text
	if (*e.forgotten.Load())[f.sum] {
		return false
	}
	if s.s.quiet || len(text) <= keyBytes || e.keys.digestOf(text) != f.sum {
		return true
	}
	if n := e.Stats(); 2*n.Patterns < n.MaxPatterns {
		e.Learn(text[keyBytes:])
	}
	return true
}
