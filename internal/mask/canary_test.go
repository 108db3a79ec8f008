package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// visible reports in which of the promised encodings canary can be read from b. It is written apart from the
// masker and shares nothing with it: it undoes encodings wholesale and searches the result.
func visible(b []byte, canary string) string {
	seen := map[string]bool{}
	var look func(b []byte, way string, depth int) string
	look = func(b []byte, way string, depth int) string {
		if bytes.Contains(b, []byte(canary)) {
			return way
		}
		if depth == 0 || seen[string(b)] {
			return ""
		}
		seen[string(b)] = true
		if s := strings.ReplaceAll(string(b), `\/`, `/`); strings.Contains(s, `\`) {
			un := escapes.ReplaceAllStringFunc(s, func(e string) string {
				var out string
				if json.Unmarshal([]byte(`"`+e+`"`), &out) != nil {
					return e
				}
				return out
			})
			if un != string(b) {
				if w := look([]byte(un), way+" json", depth-1); w != "" {
					return w
				}
			}
		}
		un := percents.ReplaceAllFunc(b, func(e []byte) []byte {
			out, _ := hex.DecodeString(string(e[1:]))
			return out
		})
		if !bytes.Equal(un, b) {
			if w := look(un, way+" percent", depth-1); w != "" {
				return w
			}
		}
		joined := wraps.ReplaceAll(b, []byte("$1"))
		for _, run := range hexRuns.FindAll(joined, -1) {
			for o := range 2 {
				part := run[o:]
				out, err := hex.DecodeString(string(part[:len(part)/2*2]))
				if err == nil && bytes.Contains(out, []byte(canary)) {
					return way + " hex"
				}
			}
		}
		for _, run := range base64Runs.FindAll(joined, -1) {
			std := strings.NewReplacer("-", "+", "_", "/").Replace(string(run))
			for o := range min(4, len(std)) {
				part := std[o:]
				out, err := base64.RawStdEncoding.DecodeString(part[:len(part)/4*4])
				if rest := part[len(part)/4*4:]; err == nil && len(rest) > 1 {
					more, _ := base64.RawStdEncoding.DecodeString(rest)
					out = append(out, more...)
				}
				if bytes.Contains(out, []byte(canary)) {
					return way + " base64"
				}
			}
		}
		return ""
	}
	return look(b, "raw", 3)
}

var (
	escapes    = regexp.MustCompile(`(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])`)
	percents   = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	wraps      = regexp.MustCompile(`([A-Za-z0-9+/_-])\r?\n[ \t]*`)
	hexRuns    = regexp.MustCompile(`[0-9a-fA-F]{16,}`)
	base64Runs = regexp.MustCompile(`[A-Za-z0-9+/_-]{10,}`)
)

func TestVisibleSees(t *testing.T) {
	for name, enc := range encoders {
		if visible([]byte("some text "+enc(canarySample)+" more"), canarySample) == "" {
			t.Errorf("the detector does not see %s: %q", name, enc(canarySample))
		}
	}
}

const canarySample = "c4n4ry/\"Pa$$\\w0rd\" +ü!"

func jsonText(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

func wrapped76(s string) string {
	var out strings.Builder
	for len(s) > 76 {
		out.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return out.String() + s
}

var encoders = map[string]func(string) string{
	"raw":            func(s string) string { return s },
	"hex":            func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":            func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"base64":         b64,
	"base64 1":       func(s string) string { return b64("x" + s) },
	"base64 2":       func(s string) string { return b64("xy" + s + "z") },
	"base64 in more": func(s string) string { return b64("password=" + s + "\nuser=me\n") },
	"base64url":      func(s string) string { return base64.URLEncoding.EncodeToString([]byte("?" + s)) },
	"base64 raw":     func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"base64 wrapped": func(s string) string { return wrapped76(b64(strings.Repeat("q", 40) + s + strings.Repeat("r", 60))) },
	"base64 indented": func(s string) string {
		return strings.ReplaceAll(wrapped76(b64(strings.Repeat("q", 40)+s+strings.Repeat("r", 60))), "\n", "\n    ")
	},
	"base64 folded": func(s string) string {
		return regexp.MustCompile(`(.{20})`).ReplaceAllString(b64(strings.Repeat("q", 12)+s), "$1\n")
	},
	"hex wrapped": func(s string) string {
		return wrapped76(hex.EncodeToString([]byte(strings.Repeat("q", 30) + s)))
	},
	"json":         jsonText,
	"json json":    func(s string) string { return jsonText(jsonText(s)) },
	"json x3":      func(s string) string { return jsonText(jsonText(jsonText(s))) },
	"json base64":  func(s string) string { return strings.ReplaceAll(b64(s), "/", `\/`) },
	"json wrapped": func(s string) string { return jsonText(wrapped76(b64(strings.Repeat("q", 51) + s))) },
	"unicode": func(s string) string {
		var out strings.Builder
		for _, c := range s {
			if c < 0x10000 {
				fmt.Fprintf(&out, `\u%04X`, c)
			} else {
				out.WriteRune(c)
			}
		}
		return out.String()
	},
	"path":           url.PathEscape,
	"percent all":    func(s string) string { return percentAll(s, "%%%02x") },
	"PERCENT ALL":    func(s string) string { return percentAll(s, "%%%02X") },
	"percent base64": func(s string) string { return url.QueryEscape(b64("xy" + s)) },
	"percent twice":  func(s string) string { return url.PathEscape(url.PathEscape(s)) },
	"json percent":   func(s string) string { return url.PathEscape(jsonText(s)) },
}

func percentAll(s, format string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&out, format, c)
	}
	return out.String()
}

func encoderNames() []string {
	var out []string
	for name := range encoders {
		out = append(out, name)
	}
	return out
}

// secrets are drawn so that encodings differ: with quotes, spaces, non-ASCII, and binary ones.
func drawSecret(t *rapid.T) string {
	s := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z0-9]{8,40}`),
		rapid.StringMatching(`[!-~]{8,60}`),
		rapid.StringMatching(`[!-~é€😀 "\\/%+]{6}[!-~é€😀]{8,700}`),
	).Draw(t, "secret")
	return strings.TrimSpace(s)
}

// TestCanaryText: a known value does not come out in any promised encoding, whatever stands around it and however the
// stream is cut and flushed; all else comes out as it went in.
func TestCanaryText(t *testing.T) {
	names := encoderNames()
	rapid.Check(t, func(t *rapid.T) {
		e, err := New(Options{Key: testKey})
		if err != nil {
			t.Fatal(err)
		}
		s := e.Scope("s1")
		secret := drawSecret(t)
		if len(secret) < 8 || filler([]byte(secret[:8])) || e.words.weak([]byte(secret)) {
			t.Skip()
		}
		e.Learn([]byte(secret + rapid.SampledFrom([]string{"", "\n", " "}).Draw(t, "end")))
		var in strings.Builder
		around := rapid.StringMatching(`[ a-z"\\%\n=:{}]{0,30}`)
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			in.WriteString(around.Draw(t, "before") + " ")
			in.WriteString(encoders[rapid.SampledFrom(names).Draw(t, "encoding")](secret))
			in.WriteString(" " + around.Draw(t, "after"))
		}
		var whole, out bytes.Buffer
		w := s.Text(&whole)
		write(t, w, in.String())
		closeIt(t, w)
		w = s.Text(&out)
		for rest := in.String(); rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			write(t, w, rest[:n])
			rest = rest[n:]
		}
		closeIt(t, w)
		if out.String() != whole.String() {
			t.Fatalf("%q cut gives %q, whole %q", in.String(), out.String(), whole.String())
		}
		if way := visible(out.Bytes(), secret); way != "" {
			t.Fatalf("%q came out as %s in %q of %q", secret, way, out.String(), in.String())
		}
		if w.Masked() == 0 {
			t.Fatalf("nothing masked in %q", in.String())
		}
	})
}

func write(t *rapid.T, w interface{ Write([]byte) (int, error) }, s string) {
	if n, err := w.Write([]byte(s)); err != nil || n != len(s) {
		t.Fatalf("wrote %d of %d: %v", n, len(s), err)
	}
}

func closeIt(t *rapid.T, w interface{ Close() error }) {
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCanaryJSON: the same inside documents, in keys, strings and numbers; and the documents stay documents.
func TestCanaryJSON(t *testing.T) {
	names := encoderNames()
	rapid.Check(t, func(t *rapid.T) {
		e, err := New(Options{Key: testKey})
		if err != nil {
			t.Fatal(err)
		}
		s := e.Scope("s1")
		secret := drawSecret(t)
		if len(secret) < 8 || filler([]byte(secret[:8])) || e.words.weak([]byte(secret)) {
			t.Skip()
		}
		e.Learn([]byte(secret))
		enc := encoders[rapid.SampledFrom(names).Draw(t, "encoding")](secret)
		around := rapid.StringMatching(`[ a-z"\\%\n=:{}]{0,30}`).Draw(t, "around")
		doc, err := json.Marshal(map[string]any{around + " " + enc: 1, "env": []any{around + " " + enc + " " + around, enc}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := s.JSON(&out, nil, true)
		for rest := string(doc); rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			write(t, w, rest[:n])
			rest = rest[n:]
		}
		closeIt(t, w)
		if !json.Valid(out.Bytes()) {
			t.Fatalf("%s became %s", doc, out.Bytes())
		}
		if way := visible(out.Bytes(), secret); way != "" {
			t.Fatalf("%q came out as %s in %s of %s", secret, way, out.Bytes(), doc)
		}
	})
}

// TestFlush: someone who makes the stream stop after every byte gets three characters of a value, and no more.
func TestFlush(t *testing.T) {
	for name, enc := range encoders {
		s := newScope(t)
		secret := "k9#fQ/\"v2 x\\Lw8"
		s.e.Learn([]byte(secret))
		text := enc(secret)
		var out bytes.Buffer
		w := s.Text(&out)
		for _, c := range []byte("$ " + text + "\n$ ") {
			if _, err := w.Write([]byte{c}); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		flushed := out.Len()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if flushed != out.Len() {
			t.Errorf("%s: a prompt was held: %q of %q", name, out.Bytes()[:flushed], out.Bytes())
		}
		for n := shortBytes + 1; n <= len(secret); n++ {
			if way := visible(out.Bytes(), secret[:n]); way != "" && !strings.Contains(name, "base64") {
				t.Errorf("%s: %q came out as %s: %q", name, secret[:n], way, out.Bytes())
			}
		}
		for i := range len(secret) - 5 {
			if way := visible(out.Bytes(), secret[i:i+5]); way != "" {
				t.Errorf("%s: %q came out as %s: %q", name, secret[i:i+5], way, out.Bytes())
			}
		}
		if w.Masked() == 0 {
			t.Errorf("%s: not masked: %q", name, out.Bytes())
		}
	}
}

// What a writer holds is the end of what it was given, whatever went before and however it was cut.
func TestHeld(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	s := newScope(t)
	s.e.Learn([]byte(secret))
	text := "say " + secret + " and " + b64(secret) + strings.Repeat(" more of it", 20) + " corr"
	for split := range len(text) {
		var out, rest bytes.Buffer
		w := s.Text(&out)
		for _, part := range []string{text[:split], text[split:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		held := w.Held()
		sent := out.Len()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		rest.Write(out.Bytes()[sent:])
		inside := max(0, split-len(text)+len("corr")) // of "corr", too little to be noticed went out before the cut
		if want := text[len(text)-held:]; held != len("corr")-inside || rest.String() != want {
			t.Errorf("split at %d: holds %d bytes, and then gave %q, want %q", split, held, rest.String(), want)
		}
		if w.Held() != 0 {
			t.Errorf("split at %d: holds %d bytes after its end", split, w.Held())
		}
	}
}
