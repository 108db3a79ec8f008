package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func raw64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// kubeletToken is as a kubelet puts it into a pod.
var kubeletToken = raw64(`{"alg":"RS256","kid":"c1Hz0aFvXmQ"}`) + "." +
	raw64(`{"aud":["https://kubernetes.default.svc.cluster.local"],"exp":1795000000,"iat":1763000000,"iss":"https://kubernetes.default.svc.cluster.local","jti":"4f0b2c9e","kubernetes.io":{"namespace":"team","serviceaccount":{"name":"app"}},"sub":"system:serviceaccount:team:app"}`) +
	"." + base64.RawURLEncoding.EncodeToString(random(5, 256))

// tokens of all forms.
var tokens = map[string]string{
	"signed":       kubeletToken,
	"short":        raw64(`{"typ":"JWT","alg":"HS256"}`) + "." + raw64(`{}`) + "." + raw64("signature"),
	"unsigned":     raw64(`{"alg":"none"}`) + "." + raw64(`{"sub":"admin"}`),
	"encrypted":    raw64(`{"enc":"A256GCM","alg":"RSA-OAEP"}`) + "." + raw64("the key") + "." + raw64("nonce") + "." + raw64("what is encrypted") + "." + raw64("tag"),
	"direct":       raw64(`{"alg":"dir","enc":"A128GCM"}`) + ".." + raw64("nonce") + "." + raw64("what is encrypted") + "." + raw64("tag"),
	"with a key":   raw64(`{"jwk":{"kty":"EC","crv":"P-256","x":"AAAA","y":"é\\ud83d\\ude00"},"alg":"ES256"}`) + "." + raw64(`{}`) + "." + raw64("signature"),
	"unusual name": raw64(`{"my own":true,"list":[1,-2.5e3,null],"alg":"HS256"}`) + "." + raw64(`{}`) + "." + raw64("signature"),
}

// notTokens look like some.
var notTokens = map[string]string{
	"JSON in base64":   raw64(`{"apiVersion":"v1","kind":"Pod","alg":"x"}`) + " . and",
	"no alg":           raw64(`{"typ":"JWT"}`) + "." + raw64(`{}`) + "." + raw64("signature"),
	"header alone":     raw64(`{"alg":"RS256"}`) + ". And so on.",
	"detached":         raw64(`{"alg":"HS256","kid":"abcdef"}`) + ".." + raw64("signature"), // as in the ConfigMap cluster-info
	"array":            raw64(`[{"alg":"RS256"}]`) + ".e30.c2ln",
	"something behind": raw64(`{"alg":"RS256"}{}`) + ".e30.c2ln",
	"a key":            `{"keys":[{"use":"sig","kty":"RSA","kid":"eyJ","alg":"RS256","n":"eyJhbGciOiJSUzI1NiJ9","e":"AQAB"}]}`,
	"standard base64":  raw64(`{"alg":"RS256"}`) + "+." + raw64(`{}`),
	"too deep":         raw64(`{"alg":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`}`) + ".e30.c2ln",
}

// A token is masked though nobody made it known, in each encoding, however the stream is cut; what only looks like one is not.
func TestTokens(t *testing.T) {
	s := newScope(t).Quiet()
	for name, token := range tokens {
		for _, around := range [][2]string{{"", ""}, {"Authorization: Bearer ", "\r\n"}, {"token=", ". And more"}, {strings.Repeat(`a\"b %41 `, 20), "z@h"}, {`{"a":"`, `"}`}} {
			in := around[0] + token + around[1]
			rest := strings.TrimPrefix(around[1], "z") // which nothing keeps apart from the token
			expect := around[0] + s.Placeholder([]byte(strings.TrimSuffix(in[len(around[0]):], rest))) + rest
			for i := range len(in) + 1 {
				if got := maskText(t, s, in, i); got != expect {
					t.Fatalf("%s, split at %d: %q, want %q", name, i, got, expect)
				}
			}
		}
	}
	for name, text := range notTokens {
		for i := range len(text) + 1 {
			if got := maskText(t, s, text, i); got != text {
				t.Errorf("%s, split at %d: %q became %q", name, i, text, got)
			}
		}
	}
}

// In other encodings it is recognised where its header begins with a registered name; once it was seen, so is a piece of it.
func TestTokensEncoded(t *testing.T) {
	quiet := newScope(t).Quiet()
	for name, token := range tokens {
		if name == "unusual name" {
			continue
		}
		for way, enc := range encoders {
			text := "some text " + enc(token) + " more"
			whole := maskText(t, quiet, text)
			if seen := visible([]byte(whole), token[len(token)/2:len(token)/2+10]); seen != "" {
				t.Errorf("%s in %s came out as %s: %q", name, way, seen, whole)
			}
			for i := 1; i < len(text); i += 7 {
				if got := maskText(t, quiet, text, i); got != whole {
					t.Fatalf("%s in %s, split at %d: %q, whole %q", name, way, i, got, whole)
				}
			}
			doc, err := json.Marshal(map[string]any{"a": text, text: []string{enc(token)}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := maskJSON(t, quiet, nil, true, string(doc), len(doc)/3, len(doc)/2)
			if seen := visible([]byte(got), token[len(token)/2:len(token)/2+10]); seen != "" || err != nil || !json.Valid([]byte(got)) {
				t.Errorf("%s in %s in JSON came out as %s: %q %v", name, way, seen, got, err)
			}
		}
	}
	s := newScope(t)
	piece := kubeletToken[pieceBytes:]
	if before := maskText(t, s, piece); before != piece {
		t.Errorf("a piece of what is not known became %q", before)
	}
	maskText(t, s, kubeletToken)
	for _, text := range []string{piece, hex.EncodeToString([]byte(piece)), b64("x" + piece), tokens["unusual name"]} {
		maskText(t, s, tokens["unusual name"])
		if after := maskText(t, s, text); after == text {
			t.Errorf("a known token came out: %q", after)
		}
	}
	if out := maskText(t, s, b64("x"+tokens["unusual name"])); visible([]byte(out), raw64("signature")) != "" {
		t.Errorf("a known token came out: %q", out)
	}
}

// slowTokens finds tokens the obvious way, from the text of the specifications.
func slowTokens(s *Scope, text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var out strings.Builder
	from, covered := 0, 0
	for i := range len(text) {
		if !strings.HasPrefix(text[i:], "eyJ") {
			continue
		}
		run := text[i : i+len(text[i:])-len(strings.TrimLeft(text[i:], alphabet+"."))]
		parts := strings.Split(run, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		var o map[string]json.RawMessage
		if err != nil || !utf8.Valid(header) || json.Unmarshal(header, &o) != nil || o["alg"] == nil {
			continue
		}
		most := 3
		if o["enc"] != nil {
			most = 5
		}
		token := strings.TrimRight(strings.Join(parts[:min(most, len(parts))], "."), ".")
		if token == parts[0] || o["enc"] == nil && parts[1] == "" {
			continue
		}
		if i >= covered {
			out.WriteString(text[from:i] + s.Placeholder([]byte(token)))
		}
		covered = max(covered, i+len(token))
		from = covered
	}
	return out.String() + text[from:]
}

// checkTokens needs a quiet s: what is learned on the way is not the subject.
func checkTokens(t *testing.T, s *Scope, text string, cut uint16) {
	want := slowTokens(s, text)
	c := int(cut) % (len(text) + 1)
	for _, cuts := range [][]int{nil, {c}, {c, c + (len(text)-c)/3}} {
		if got := maskText(t, s, text, cuts...); got != want {
			t.Fatalf("%q, cut at %v: %q, want %q", text, cuts, got, want)
		}
	}
	doc, err := json.Marshal([]string{text})
	if err != nil || !utf8.ValidString(text) {
		return
	}
	var got []string
	masked, err := maskJSON(t, s, nil, true, string(doc), c)
	if err == nil {
		err = json.Unmarshal([]byte(masked), &got)
	}
	if err != nil || got[0] != want {
		t.Fatalf("%q in JSON: %q, want %q: %v", text, got, want, err)
	}
}

// TestTokensAgainstSlow: in any mixture of what tokens are made of, the same are found as in the obvious way.
func TestTokensAgainstSlow(t *testing.T) {
	bits := []string{raw64(`{"alg":"RS256"}`), raw64(`{"alg":"dir","enc":"x"}`), raw64(`{"x":"`), raw64(`{"typ":"JWT"}`), raw64(`{"alg":1} `), "eyJ", "ey", "J", "e30", "sig_-A", ".", ".", ".", ".", "..", " ", "\n", "+", "=", "/", "é", "a"}
	r := rand.New(rand.NewPCG(1, 7))
	s := newScope(t).Quiet()
	for range 5000 {
		var text strings.Builder
		for range 1 + r.IntN(12) {
			text.WriteString(bits[r.IntN(len(bits))])
		}
		checkTokens(t, s, text.String(), uint16(r.UintN(1<<16)))
	}
}

// FuzzTokens is the same of anything.
func FuzzTokens(f *testing.F) {
	for _, list := range []map[string]string{tokens, notTokens} {
		for _, token := range list {
			if strings.Contains(token, raw64("[[[")) {
				continue // that there is a bound is no part of the form
			}
			f.Add("Bearer "+token+"\r\n", uint16(31))
		}
	}
	f.Fuzz(func(t *testing.T, text string, cut uint16) {
		if len(text) > 1<<12 || strings.ContainsAny(text, `\%`) { // with escapes more is found
			return
		}
		checkTokens(t, newScope(t).Quiet(), text, cut)
	})
}

// TestTokensHeld: a token that has not ended is held, however often the stream stops; then what waits for an answer goes out.
func TestTokensHeld(t *testing.T) {
	s := newScope(t)
	var out bytes.Buffer
	w := s.Text(&out)
	for i, c := range []byte("$ " + kubeletToken) {
		if _, err := w.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if shown := min(i+1, len("$ ey")); out.Len() != shown || w.Held() != i+1-shown {
			t.Fatalf("after %d bytes %q came out, and %d are held", i+1, out.Bytes(), w.Held())
		}
	}
	if _, err := w.Write([]byte("\n$ ")); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := "$ ey" + s.Placeholder([]byte(kubeletToken)) + "\n$ "; out.String() != want || w.Held() != 0 {
		t.Errorf("%q, want %q", out.Bytes(), want)
	}
	closeText(t, w)
	out.Reset()
	w = s.Text(&out)
	if _, err := w.Write([]byte("$ eyJ it is?")); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil || out.String() != "$ eyJ it is?" {
		t.Errorf("what is no token is held: %q %v", out.Bytes(), err)
	}
	closeText(t, w)
}

func closeText(t *testing.T, w *TextWriter) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTokensBounded: of a token that is too long its beginning is masked, and no more is held than of anything else. What
// begins as one again and again takes no longer than other text.
func TestTokensBounded(t *testing.T) {
	long := raw64(`{"alg":"RS256"}`) + "." + strings.Repeat("payload_", 4<<10)
	s := newScope(t)
	out := maskText(t, s, long, every(len(long), 100)...)
	if !strings.HasPrefix(out, Prefix) || len(out) > len(long)-maxPattern*maxEscape+placeholderBytes {
		t.Errorf("%d bytes came out of %d: %.80q", len(out), len(long), out)
	}
	for name, piece := range map[string]string{"start": "eyJ", "header": "eyJhbGciOi", "nested": raw64(`{"algo":`), "headers": raw64(`{"alg":"x"}`) + ".", "strings": raw64(`{"]`), "blob": raw64(`{"a":"bc"}, `)} {
		text := strings.Repeat(piece, 1<<18/len(piece))
		w := newScope(t).Text(&bytes.Buffer{})
		for i := 0; i < len(text); i += 4 << 10 {
			if _, err := w.Write([]byte(text[i:min(i+4<<10, len(text))])); err != nil {
				t.Fatal(err)
			}
			if w.Held() > 17<<10 {
				t.Fatalf("%s: %d bytes held", name, w.Held())
			}
		}
		closeText(t, w)
	}
}

// TestTokensKnown: a token is learned from what is shown, not from what is only claimed; never so that there is no room for
// more; and no longer masked once it was forgotten.
func TestTokensKnown(t *testing.T) {
	s := newScope(t)
	maskText(t, s.Quiet(), kubeletToken)
	if n := s.e.Stats().Patterns; n != 0 {
		t.Errorf("%d patterns learned of a claim", n)
	}
	maskText(t, s, kubeletToken)
	if s.e.Stats().Patterns == 0 {
		t.Error("nothing was learned")
	}
	s.e.Forget([]byte(kubeletToken + "\n"))
	if out := maskText(t, s, "x "+kubeletToken+" y"); out != "x "+kubeletToken+" y" {
		t.Errorf("forgotten, and masked: %q", out)
	}
	e, err := New(Options{Key: testKey, MaxValues: 100})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		maskText(t, e.Scope("s"), raw64(`{"alg":"HS256"}`)+"."+raw64(fmt.Sprint(i, "some claims"))+".signature")
	}
	if n := e.Stats(); n.Patterns != 50 || n.Refused != 0 {
		t.Errorf("%+v", n)
	}
}

// TestTokensRestored: a token that was shown masked can be written back where it stood, and nowhere else.
func TestTokensRestored(t *testing.T) {
	s := newScope(t)
	stored := `{"data":{"env":"TOKEN=` + kubeletToken + `\n","other":"x"}}`
	shown, err := maskJSON(t, s, nil, true, stored)
	if err != nil || strings.Contains(shown, kubeletToken[:20]) {
		t.Fatalf("%s %v", shown, err)
	}
	if got, n, err := s.Restore([]byte(shown), nil, []byte(stored)); err != nil || n != 1 || string(got) != stored {
		t.Errorf("%s %d %v", got, n, err)
	}
	if _, _, err := s.Restore([]byte(strings.Replace(shown, "env", "other", 1)), nil, []byte(stored)); err == nil {
		t.Error("restored in another place")
	}
}
