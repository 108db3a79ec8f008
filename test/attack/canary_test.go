package attack

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pieceBytes is how much of a canary counts as the canary: a masker that leaves the half of a secret has leaked it.
const pieceBytes = 12

// canary is a secret that must not be seen. It is searched for by undoing encodings wholesale: the search shares nothing
// with the masker.
type canary struct{ value []byte }

// newCanary gives a value that stands nowhere else: the name's own digest, with what is awkward to write behind it.
// Without that, it can be a label's value, which begins and ends with a letter.
func newCanary(name, awkward string) canary {
	sum := sha256.Sum256([]byte("canary" + name))
	return canary{[]byte("Zq" + base64.RawURLEncoding.EncodeToString(sum[:15]) + "z" + awkward)}
}

// seen names the ways in which the canary, or a good piece of it, can be read from b; none where it cannot.
func (c canary) seen(b []byte) []string {
	s := newSearch()
	s.hide("it", c)
	return s.in(b)["it"]
}

// search looks for many canaries at once, and through the same bytes only once.
type search struct {
	pieces map[string]string // each piece of a canary, and whose it is
	starts [1 << 16]bool     // the first two bytes of each
	met    map[[32]byte]bool // clean
	found  map[string][]string
}

func newSearch() *search { return &search{pieces: map[string]string{}, met: map[[32]byte]bool{}} }

func (s *search) hide(name string, c canary) {
	for i := 0; i+pieceBytes <= len(c.value); i++ {
		piece := c.value[i : i+pieceBytes]
		s.pieces[string(piece)] = name
		s.starts[int(piece[0])<<8|int(piece[1])] = true
	}
	clear(s.met)
}

// in gives the canaries that can be read from b, and how.
func (s *search) in(b []byte) map[string][]string {
	s.found = map[string][]string{}
	s.look(b, "raw", 6)
	return s.found
}

func (s *search) look(b []byte, way string, depth int) {
	if len(b) < pieceBytes {
		return
	}
	sum := sha256.Sum256(b)
	if s.met[sum] || s.holds(b, way) || depth == 0 {
		return
	}
	for _, u := range []struct {
		name  string
		undo  func([]byte) []byte
		needs byte
	}{{"json", undoJSON, '\\'}, {"percent", undoPercent, '%'}, {"unwrapped", undoWraps, '\n'}} {
		if bytes.IndexByte(b, u.needs) >= 0 {
			if plain := u.undo(b); !bytes.Equal(plain, b) {
				s.look(plain, way+" "+u.name, depth-1)
			}
		}
	}
	for run := range stretches(b, &hexDigits, 2*pieceBytes) {
		for o := range 2 {
			if out, err := hex.DecodeString(string(run[o : o+(len(run)-o)/2*2])); err == nil {
				s.look(out, way+" hex", depth-1)
			}
		}
	}
	for run := range stretches(b, &base64Digits, 16) {
		for o := range 4 {
			s.look(undoBase64(run[o:]), way+" base64", depth-1)
		}
	}
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], []byte{0x1f, 0x8b, 8})
		if i < 0 {
			break
		}
		at += i
		s.look(undoGzip(b[at:]), way+" gzip", depth-1)
	}
	if len(s.found) == 0 {
		s.met[sum] = true
	}
}

// holds reports whether any piece of a canary stands in b.
func (s *search) holds(b []byte, way string) bool {
	found := false
	for i := 0; i+pieceBytes <= len(b); i++ {
		if !s.starts[int(b[i])<<8|int(b[i+1])] {
			continue
		}
		if name, ok := s.pieces[string(b[i:i+pieceBytes])]; ok {
			found = true
			if !slices.Contains(s.found[name], way) {
				s.found[name] = append(s.found[name], way)
			}
		}
	}
	return found
}

// stretches are the longest stretches of b that are made of digits alone, from size bytes on.
func stretches(b []byte, digits *[256]bool, size int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		from := 0
		for i := 0; i <= len(b); i++ {
			if i < len(b) && digits[b[i]] {
				continue
			}
			if i-from >= size && !yield(b[from:i]) {
				return
			}
			from = i + 1
		}
	}
}

func digitsOf(s string) (t [256]bool) {
	for _, c := range []byte(s) {
		t[c] = true
	}
	return t
}

var (
	escapeOf = regexp.MustCompile(`^(?:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])`)

	hexDigits    = digitsOf("0123456789abcdefABCDEF")
	base64Digits = digitsOf("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
)

// undoEach replaces what begins with a byte: undo gives what stands for it at the beginning of what it is given, and how long it is;
// 0: it is none.
func undoEach(b []byte, begin byte, undo func([]byte) (string, int)) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, begin)
		if i < 0 {
			return append(out, b...)
		}
		out, b = append(out, b[:i]...), b[i:]
		plain, n := undo(b)
		if n == 0 {
			plain, n = string(begin), 1
		}
		out, b = append(out, plain...), b[n:]
	}
}

func undoJSON(b []byte) []byte {
	return undoEach(b, '\\', func(b []byte) (out string, n int) {
		e := escapeOf.Find(b[:min(len(b), len(`\ud83d\ude00`))])
		if json.Unmarshal([]byte(`"`+string(e)+`"`), &out) != nil {
			return "", 0
		}
		return out, len(e)
	})
}

func undoPercent(b []byte) []byte {
	return undoEach(b, '%', func(b []byte) (string, int) {
		var out [1]byte
		if len(b) < 3 {
			return "", 0
		}
		if _, err := hex.Decode(out[:], b[1:3]); err != nil {
			return "", 0
		}
		return string(out[:]), 3
	})
}

// undoWraps joins lines that were one, between two digits of base64.
func undoWraps(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return append(out, b...)
		}
		line, rest := bytes.TrimSuffix(b[:i], []byte("\r")), bytes.TrimLeft(b[i+1:], " \t")
		if len(line) > 0 && base64Digits[line[len(line)-1]] && len(rest) > 0 && base64Digits[rest[0]] {
			out, b = append(out, line...), rest
		} else {
			out, b = append(out, b[:i+1]...), b[i+1:]
		}
	}
}

// undoBase64 decodes either alphabet, without regard to padding.
func undoBase64(run []byte) []byte {
	if len(run)%4 == 1 {
		run = run[:len(run)-1]
	}
	std := bytes.ReplaceAll(bytes.ReplaceAll(run, []byte("-"), []byte("+")), []byte("_"), []byte("/"))
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(std)))
	n, err := base64.RawStdEncoding.Decode(out, std)
	if err != nil {
		return nil
	}
	return out[:n]
}

// undoGzip gives as much as can be read of a gzip stream, up to a bound.
func undoGzip(b []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	_, err = io.Copy(&out, io.LimitReader(z, 8<<20))
	if err != nil && out.Len() == 0 {
		return nil
	}
	return out.Bytes() // of a stream that is cut: what came
}

// The detector sees every encoding that it is to see, and nothing where nothing is: without that, all else proves nothing.
func TestCanaryDetector(t *testing.T) {
	c := newCanary(t.Name(), "/\"Pa$$\\w0rd\" +ü!\x00")
	v := string(c.value)
	gz := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		fmt.Fprint(w, s)
		w.Close()
		return b.String()
	}
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	unicode := func(s string) (out string) {
		for _, r := range s {
			out += fmt.Sprintf("\\u%04X", r)
		}
		return out
	}
	std, b64url := base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	for name, s := range map[string]string{
		"raw": v, "half": v[8 : 8+pieceBytes], "hex": hex.EncodeToString([]byte(v)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(v))),
		"base64": std([]byte(v)), "base64 at 1": std([]byte("x" + v)), "base64 at 2": std([]byte("xy" + v)), "unpadded": b64url([]byte("p" + v)),
		"base64 after its alphabet": "path" + std([]byte(v)), "twice": std([]byte(std([]byte("k=" + v)))),
		"JSON": quote(v), "JSON in JSON": quote(quote(v)), "unicode": unicode(v), "URL": url.QueryEscape(v), "path": url.PathEscape(v),
		"gzip": gz("a" + v), "Helm": std([]byte(std([]byte(gz(quote(v)))))), "wrapped": wrapped(std([]byte(strings.Repeat("z", 40)+v)), 64),
		"base64 in JSON": quote(`{"a":` + quote(std([]byte(v))) + `}`), "hex in base64": std([]byte(hex.EncodeToString([]byte(v)))),
	} {
		if len(c.seen([]byte("before "+s+" after"))) == 0 {
			t.Errorf("the detector does not see %s: %q", name, s)
		}
	}
	if ways := c.seen([]byte("nothing here " + string(newCanary("another", "").value) + " " + v[:pieceBytes-1])); len(ways) > 0 {
		t.Errorf("the detector sees %v where nothing is", ways)
	}
}

func wrapped(s string, width int) string {
	var out strings.Builder
	for len(s) > width {
		out.WriteString(s[:width] + "\n")
		s = s[width:]
	}
	return out.String() + s
}
