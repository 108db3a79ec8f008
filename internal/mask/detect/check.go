package detect

// luhn reports whether the digits of b have the check digit of a payment card's number (ISO/IEC 7812-1, annex B).
func luhn(b []byte) bool {
	sum, n := 0, 0
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < '0' || b[i] > '9' {
			continue
		}
		d := int(b[i] - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	return n >= 12 && sum%10 == 0
}

// iban reports whether b has the check digits of an account's number (ISO 13616-1, ISO/IEC 7064 MOD 97-10), spaces apart.
func iban(b []byte) bool {
	var text [34]byte
	n := 0
	for _, c := range b {
		if c == ' ' {
			continue
		}
		if n == len(text) {
			return false
		}
		text[n] = c &^ 0x20
		if c <= '9' {
			text[n] = c
		}
		n++
	}
	if n < 15 {
		return false
	}
	rest := 0
	for i := range n {
		switch c := text[(i+4)%n]; {
		case c >= '0' && c <= '9':
			rest = (rest*10 + int(c-'0')) % 97
		case c >= 'A' && c <= 'Z':
			rest = (rest*100 + int(c-'A') + 10) % 97
		default:
			return false
		}
	}
	return rest == 1
}
