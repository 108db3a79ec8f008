package mask

import "encoding/base64"

const (
	base64Std = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	base64Bad = 0xff
)

// base64Values maps both alphabets to sextets. base64Quads are the same shifted to their places in a quad of the
// standard alphabet, with badQuad set for anything else.
var (
	base64Values = newBase64Values()
	base64Quads  = newBase64Quads()
)

const badQuad = 1 << 24

func newBase64Values() (t [256]byte) {
	for i := range t {
		t[i] = base64Bad
	}
	for i := range base64Std {
		t[base64Std[i]] = byte(i)
	}
	t['-'], t['_'] = 62, 63
	return t
}

func newBase64Quads() (t [4][256]uint32) {
	for i := range t {
		for c := range t[i] {
			t[i][c] = badQuad
		}
		for v := range base64Std {
			t[i][base64Std[v]] = uint32(v) << (18 - 6*i)
		}
	}
	return t
}

// base64Value is the sextet of c in either alphabet, or base64Bad.
func base64Value(c byte) byte { return base64Values[c] }

// decodeBase64Run appends what src, standard base64, stands for, up to the first eight characters that are not all of
// the alphabet, and gives how many characters that was.
func decodeBase64Run(dst, src []byte) ([]byte, int) {
	n := len(dst)
	if need := n + len(src)/4*3 + 8; cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	out := dst[n:cap(dst)]
	in := src
	for len(in) >= 8 && len(out) >= 8 {
		a := base64Quads[0][in[0]] | base64Quads[1][in[1]] | base64Quads[2][in[2]] | base64Quads[3][in[3]]
		b := base64Quads[0][in[4]] | base64Quads[1][in[5]] | base64Quads[2][in[6]] | base64Quads[3][in[7]]
		if (a|b)&badQuad != 0 {
			break
		}
		putBig(out, uint64(a)<<40|uint64(b)<<16)
		in, out = in[8:], out[6:]
	}
	read := len(src) - len(in)
	return dst[:n+read/4*3], read
}

// decodeBase64 appends what src, standard base64 with padding, stands for, and reports whether it was that. It takes
// what encoding/base64 and so the API server take: line ends, and loose last bits.
func decodeBase64(dst, src []byte) ([]byte, bool) {
	n := len(dst)
	dst, read := decodeBase64Run(dst, src)
	dst, ok := decodeBase64Slow(dst, src[read:])
	if !ok && read > 0 { // a line end within a quad, perhaps
		return decodeBase64Slow(dst[:n], src)
	}
	return dst, ok
}

func putBig(b []byte, w uint64) {
	_ = b[7]
	b[0], b[1], b[2], b[3] = byte(w>>56), byte(w>>48), byte(w>>40), byte(w>>32)
	b[4], b[5], b[6], b[7] = byte(w>>24), byte(w>>16), byte(w>>8), byte(w)
}

func decodeBase64Slow(dst, src []byte) ([]byte, bool) {
	if len(src) == 0 {
		return dst, true
	}
	n := len(dst)
	need := n + base64.StdEncoding.DecodedLen(len(src))
	if cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	m, err := base64.StdEncoding.Decode(dst[n:need], src)
	return dst[:n+m], err == nil
}

// decodeBase64Loose appends what the alphabet characters of src, all of them in either alphabet, stand for, without
// regard to padding; left-over bits are dropped.
func decodeBase64Loose(dst, src []byte) []byte {
	acc, bits := uint32(0), 0
	for _, c := range src {
		acc = acc<<6 | uint32(base64Value(c)&63)
		if bits += 6; bits >= 8 {
			bits -= 8
			dst = append(dst, byte(acc>>bits))
		}
	}
	return dst
}
