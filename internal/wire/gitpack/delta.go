package gitpack

import "errors"

var errDelta = errors.New("a delta cannot be applied")

// patch applies a delta (gitformat-pack, «Deltified representation») to its base. The result may have at most limit bytes.
func patch(base, delta []byte, limit int64) ([]byte, error) {
	from, delta, ok := number(delta)
	size, delta, ok2 := number(delta)
	switch {
	case !ok || !ok2 || from != int64(len(base)):
		return nil, errDelta
	case size > limit:
		return nil, ErrTooLarge
	}
	out := make([]byte, 0, size)
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		var piece []byte
		switch {
		case op == 0:
			return nil, errDelta
		case op&0x80 == 0: // the next op bytes
			if len(delta) < int(op) {
				return nil, errDelta
			}
			piece, delta = delta[:op], delta[op:]
		default:
			var at, n int
			if at, n, delta, ok = reference(op, delta); !ok || at+n > len(base) {
				return nil, errDelta
			}
			piece = base[at : at+n]
		}
		if int64(len(out)+len(piece)) > size {
			return nil, errDelta
		}
		out = append(out, piece...)
	}
	if int64(len(out)) != size {
		return nil, errDelta
	}
	return out, nil
}

// reference reads which piece of the base is copied: the lower bits of op say which bytes of offset and length are there.
func reference(op byte, b []byte) (at, n int, rest []byte, ok bool) {
	for i := range 7 {
		if op>>i&1 == 0 {
			continue
		}
		if len(b) == 0 {
			return 0, 0, nil, false
		}
		if i < 4 {
			at |= int(b[0]) << (8 * i)
		} else {
			n |= int(b[0]) << (8 * (i - 4))
		}
		b = b[1:]
	}
	if n == 0 {
		n = 0x10000
	}
	return at, n, b, true
}

// number reads a size, 7 bits a byte, the lowest first.
func number(b []byte) (n int64, rest []byte, ok bool) {
	for shift := 0; shift <= 56; shift += 7 {
		if len(b) == 0 {
			return 0, nil, false
		}
		c := b[0]
		b = b[1:]
		n |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			return n, b, true
		}
	}
	return 0, nil, false
}
