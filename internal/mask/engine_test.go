package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	return b
}

// TestLargeValues: a value longer than anything that is held is masked, learned and recognised, in whole and in part.
func TestLargeValues(t *testing.T) {
	for _, n := range []int{400, 512, 513, 700, 1100, 48 << 10, 49153, 64 << 10, 65537, 1 << 20} {
		value := random(uint64(n), n)
		text := base64.StdEncoding.EncodeToString(value)
		doc := `{"data":{"a":"` + text + `"},"x":1}`
		shape := compile(t, secretRules()...)
		s := newScope(t)
		want := `{"data":{"a":"` + b64(s.Placeholder(value)) + `"},"x":1}`
		for _, cuts := range [][]int{nil, {20}, {100, 200, len(doc) - 12}, every(len(doc), 4093)} {
			s := newScope(t)
			got, err := maskJSON(t, s, shape, false, doc, cuts...)
			if err != nil || got != want {
				t.Fatalf("%d bytes, cuts %v: %v, %d bytes out: %.200s", n, cuts, err, len(got), got)
			}
			if len(cuts) != 1 {
				continue
			}
			for name, form := range map[string]string{
				"raw": string(value), "base64": text, "base64 1": base64.URLEncoding.EncodeToString(append([]byte("x"), value...)),
				"hex": hex.EncodeToString(value), "wrapped": wrapped76(text),
			} {
				out := maskText(t, s, "<< "+form+" >>")
				if !strings.HasPrefix(out, "<< ") || !strings.HasSuffix(out, " >>") || len(out) > 60+n/8 {
					t.Errorf("%d bytes as %s: %d bytes came out: %.200q", n, name, len(out), out)
				}
			}
			if n > 1000 {
				if out := maskText(t, s, string(value[256:768])); len(out) > 64 {
					t.Errorf("%d bytes, a part: %d bytes came out", n, len(out))
				}
			}
		}
	}
}

func every(n, step int) (cuts []int) {
	for i := step; i < n; i += step {
		cuts = append(cuts, i)
	}
	return cuts
}

// TestLargeStrangers: strings at a Base64 path that are not base64, or are so with line ends, give the same in any split.
func TestLargeStrangers(t *testing.T) {
	long := strings.Repeat("QUJD", 20000)
	for name, content := range map[string]string{
		"text": strings.Repeat("not base64. ", 9000), "late": long + "!", "padding inside": long + "QQ==" + long, "unpadded": long + "QQ",
		"line ends": strings.ReplaceAll(wrapped76(long), "\n", `\n`), "escaped": strings.Repeat(`\u0041BCD`, 20000),
	} {
		doc := `{"data":{"a":"` + content + `"}}`
		shape := compile(t, secretRules()...)
		want, err := maskJSON(t, newScope(t), shape, false, doc)
		if err != nil || len(want) > 100 {
			t.Fatalf("%s: %v %.200s", name, err, want)
		}
		for _, step := range []int{13, 1000, 32768} {
			if got, err := maskJSON(t, newScope(t), shape, false, doc, every(len(doc), step)...); err != nil || got != want {
				t.Errorf("%s in steps of %d: %v %.200s, whole %.200s", name, step, err, got, want)
			}
		}
	}
}

// TestSteps: where a large Write is cut inside makes no difference.
func TestSteps(t *testing.T) {
	s := newScope(t)
	shape := compile(t, secretRules()...)
	doc := string(secretList(3 * step))
	want, err := maskJSON(t, s, shape, true, doc, every(len(doc), 100)...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		space := strings.Repeat(" ", i*7)
		if got, err := maskJSON(t, s, shape, true, space+doc); err != nil || got != space+want {
			t.Fatalf("after %d spaces: %v", len(space), err)
		}
	}
}

func TestInvalidJSON(t *testing.T) {
	valid := []string{`{}`, `[]`, `""`, `0`, `-0.1e+5`, `[[],{}]`, "\t1 2\n3", `{"a":{"b":[1,"x",null,true,false]}}`, `"\u00e9\ud83d\ude00é"`, `{"":""}`}
	invalid := []string{`{`, `[1,]`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1,}`, `[`, `]`, `}`, `tru`, `truE`, `nul`, `-`, `01`, `1.`, `1e`, `+1`, `.5`, `"`, `"\x"`, `"\u12g4"`, `"\ud800"`, `"\udc00"`, `"\ud800\u0041"`,
		"\"\x00\"", "\"\n\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\ufeff1", `{"a" "b"}`, `[1 2]`, `'a'`, `NaN`, `{"a":1]`, `[1}`, `,`, `:`, strings.Repeat("[", 513)}
	s, shape := newScope(t), compile(t, secretRules()...)
	for _, doc := range valid {
		if got, err := maskJSON(t, s, shape, true, doc); err != nil || got != doc {
			t.Errorf("%q: %q, %v", doc, got, err)
		}
	}
	for _, doc := range invalid {
		for i := 0; i <= len(doc); i++ {
			got, err := maskJSON(t, s, shape, true, doc, i)
			var se *SyntaxError
			if !errors.As(err, &se) {
				t.Errorf("%q split at %d: %q, %v", doc, i, got, err)
			}
			if !strings.HasPrefix(doc, got) || got == doc && !strings.HasPrefix(doc, "[[") && len(doc) > 1 {
				t.Errorf("%q split at %d: %q came out", doc, i, got)
			}
		}
	}
}

func TestDoubtfulBytesStay(t *testing.T) {
	s, shape := newScope(t), compile(t, secretRules()...)
	var out bytes.Buffer
	w := s.JSON(&out, shape, false)
	_, err := w.Write([]byte(`{"data":{"a":"` + b64("hunter2hunter2") + `"}} {"data":{"b":"` + b64("hunter2hunter2") + "\x01"))
	var se *SyntaxError
	if !errors.As(err, &se) {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), b64("hunter2")[:8]) {
		t.Errorf("came out: %s", out.String())
	}
	if _, again := w.Write([]byte(`{}`)); again == nil {
		t.Error("went on after an error")
	}
	if err := w.Close(); err == nil {
		t.Error("closed without the error")
	}
}

func TestLimits(t *testing.T) {
	e, err := New(Options{Key: testKey, MaxTokenBytes: 100, MaxDepth: 3, MaxNestedBytes: 50, MaxValues: 3})
	if err != nil {
		t.Fatal(err)
	}
	s := e.Scope("a")
	for doc, limit := range map[string]string{
		`{"` + strings.Repeat("k", 40000) + `":1}`: "MaxTokenBytes", `[` + strings.Repeat("1", 40000) + `]`: "MaxTokenBytes", `[[[[]]]]`: "MaxDepth",
	} {
		if _, err := maskJSON(t, s, nil, false, doc, every(len(doc), 1+len(doc)/100)...); err == nil || !strings.Contains(err.Error(), limit) {
			t.Errorf("%.20s: %v, want %s", doc, err, limit)
		}
	}
	shape := compile(t, Rule{Path: "a", Encoding: JSON, Nested: []Rule{{Path: "x", Encoding: Text}}})
	long := `{\"y\":\"` + strings.Repeat("z", 60) + `\"}`
	for _, cuts := range [][]int{nil, {20}} {
		if got, err := maskJSON(t, s, shape, false, `{"a":"`+long+`"}`, cuts...); err != nil || strings.Contains(got, "zz") {
			t.Errorf("a nested document beyond the limit: %s, %v", got, err)
		}
	}
	for i := range 5 {
		e.Learn(random(uint64(i), 20))
	}
	if st := e.Stats(); st.Patterns != 3 || st.Refused == 0 || st.MaxPatterns != 3 {
		t.Errorf("%+v", st)
	}
	for _, o := range []Options{{}, {Key: testKey[:31]}, {Key: testKey, MinValueBytes: 7}, {Key: testKey, MaxDepth: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// TestStructured: what a value holds is known too.
func TestStructured(t *testing.T) {
	pem := "-----BEGIN RSA PRIVATE KEY-----\n" + wrapped76(b64(string(random(1, 600)))) + "\n-----END RSA PRIVATE KEY-----\n"
	account, err := json.Marshal(map[string]string{"type": "service_account", "project_id": "some-project", "private_key": pem})
	if err != nil {
		t.Fatal(err)
	}
	docker := `{"auths":{"registry.example.com":{"username":"robot","password":"pull-me-softly","auth":"` + b64("robot:pull-me-softly") + `"}}}`
	for name, c := range map[string]struct{ value, shown, gone string }{
		"indented key":       {pem, "  " + strings.ReplaceAll(pem, "\n", "\n  "), strings.Split(pem, "\n")[3]},
		"armour stays":       {pem, "-----BEGIN RSA PRIVATE KEY-----", ""},
		"service account":    {string(account), pem, strings.Split(pem, "\n")[2]},
		"registry password":  {docker, "docker login -p pull-me-softly", "pull-me-softly"},
		"registry auth":      {docker, "Authorization: Basic " + b64("robot:pull-me-softly"), b64("robot:pull-me-softly")[8:20]},
		"connection string":  {"host=db user=app password=correct-horse sslmode=disable", "PGPASSWORD=correct-horse", "correct-horse"},
		"url":                {"postgres://app:correct%20horse@db:5432/app", "it is correct horse", "correct horse"},
		"env file":           {"REGION=eu-central-1\nAPI_TOKEN='correct-horse'\n", "eu-central-1 correct-horse", "correct-horse"},
		"yaml":               {"namespace: kube-system\npassword: correct-horse\n", "correct-horse", "correct-horse"},
		"trailing line end":  {"correct-horse\n", "correct-horse", "correct-horse"},
		"what is not secret": {"REGION=eu-central-1\nAPI_TOKEN=x\n", "eu-central-1", ""},
	} {
		s := newScope(t)
		s.e.Learn([]byte(c.value))
		out := maskText(t, s, c.shown)
		if c.gone == "" && out != c.shown || c.gone != "" && strings.Contains(out, c.gone) {
			t.Errorf("%s: %q", name, out)
		}
	}
}

func TestExportImport(t *testing.T) {
	a := newScope(t)
	for i := range 3000 {
		a.e.Learn(fmt.Appendf(nil, "value number %d of them", i))
	}
	sealed, err := a.e.Export()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("value nu")) {
		t.Error("clear text in the export")
	}
	b := newScope(t)
	if err := b.e.Import(sealed); err != nil {
		t.Fatal(err)
	}
	if a.e.Stats() != b.e.Stats() {
		t.Errorf("%+v became %+v", a.e.Stats(), b.e.Stats())
	}
	text := "x " + b64("..value number 2999 of them") + " y"
	if got, want := maskText(t, b, text), maskText(t, a, text); got != want || got == text {
		t.Errorf("%q, want %q", got, want)
	}
	other, err := New(Options{Key: bytes.Repeat([]byte{8}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)/2] ^= 1
	if other.Import(sealed) == nil || b.e.Import(flipped) == nil || b.e.Import(sealed[:5]) == nil || b.e.Import(nil) == nil {
		t.Error("imported what is not its own export")
	}
}

// TestScopes: placeholders are equal within a session and useless outside.
func TestScopes(t *testing.T) {
	s := newScope(t)
	if s.Placeholder([]byte("a value")) != s.e.Scope("s1").Placeholder([]byte("a value")) || s.Placeholder([]byte("a value")) == s.e.Scope("s2").Placeholder([]byte("a value")) ||
		s.Placeholder([]byte("a value")) == s.Placeholder([]byte("another")) {
		t.Error("placeholders are not what they should be")
	}
	if p := s.Placeholder([]byte("a value")); len(p) != 30 || !isPlaceholder([]byte(p)) {
		t.Errorf("%q", p)
	}
}

func TestHasPlaceholder(t *testing.T) {
	s := newScope(t)
	p := s.Placeholder([]byte("a value"))
	for _, yes := range []string{p, "x" + p + "y", p[:20], b64(p), b64("x" + p), b64("xy" + p), `\u0067bm-` + p[4:], `"\\u0067bm\\u002d` + p[4:] + `"`, hex.EncodeToString([]byte(p)),
		base64.URLEncoding.EncodeToString([]byte("??" + p)), b64("xyz?" + p)[3:], strings.ToUpper(hex.EncodeToString([]byte(p)))} {
		if !s.HasPlaceholder([]byte(yes)) {
			t.Errorf("not seen: %q", yes)
		}
	}
	for _, no := range []string{"", "gbm-", "gbm-service", "Z2JtL", "some dibS text nYm0t", `a\nb\"c`, b64("gbm-service"), p[:10]} {
		if s.HasPlaceholder([]byte(no)) {
			t.Errorf("seen: %q", no)
		}
	}
}

// TestConcurrent: values are learned while streams run.
func TestConcurrent(t *testing.T) {
	s := newScope(t)
	shape := compile(t, secretRules()...)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 1500 {
				value := fmt.Appendf(nil, "goroutine %d value %d", g, i)
				var out bytes.Buffer
				w := s.JSON(&out, shape, true)
				if _, err := w.Write([]byte(`{"data":{"a":"` + base64.StdEncoding.EncodeToString(value) + `"}}`)); err != nil {
					t.Error(err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				var text bytes.Buffer
				tw := s.Text(&text)
				if _, err := fmt.Fprintf(tw, "log: %s", value); err != nil {
					t.Error(err)
				}
				if err := tw.Close(); err != nil {
					t.Error(err)
				}
				if bytes.Contains(text.Bytes(), value) {
					t.Errorf("learned, and not recognised: %s", value)
				}
			}
		})
	}
	wg.Wait()
}

// TestBounded: neither stream holds more than it says, whatever passes.
func TestBounded(t *testing.T) {
	s := newScope(t)
	s.e.Learn([]byte("aaaaaaaaaaaaaaaa")) // is not learned
	s.e.Learn([]byte("abcabcabcabcabcabc"))
	s.e.Learn([]byte(strings.Repeat(`\\`, 50) + "abcdef"))
	tw := s.Text(io.Discard)
	for _, piece := range []string{"a", `\`, `%61`, "\n", `\u0061`, "QUFB", "aGVs\n", "61", "abc"} {
		chunk := []byte(strings.Repeat(piece, 10000))
		for range 20 {
			if _, err := tw.Write(chunk); err != nil {
				t.Fatal(err)
			}
			if n := len(tw.t.buf) - tw.t.out; n > 17<<10 {
				t.Fatalf("%q: %d bytes held", piece, n)
			}
			if n := cap(tw.t.buf); n > 256<<10 {
				t.Fatalf("%q: %d bytes of buffer", piece, n)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	w := s.JSON(io.Discard, compile(t, secretRules()...), true)
	if _, err := w.Write([]byte(`{"data":{"a":"`)); err != nil {
		t.Fatal(err)
	}
	chunk := []byte(strings.Repeat("QUFB", 10000))
	for range 100 {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	held := cap(w.carry) + cap(w.p.out) + cap(w.p.keyed) + cap(w.p.plain) + cap(w.p.scratch) + cap(w.p.secret.raw) + cap(w.p.secret.rest) + cap(w.p.secret.text.piece) + cap(w.p.secret.data.piece)
	if held > 256<<10 {
		t.Errorf("%d bytes held", held)
	}
	if _, err := w.Write([]byte(`"}}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWatch: a document is delivered with its last byte.
func TestWatch(t *testing.T) {
	s := newScope(t)
	var out bytes.Buffer
	w := s.JSON(&out, compile(t, secretRules()...), true)
	event := `{"type":"ADDED","object":{"data":{"a":"` + b64("hunter2hunter2") + `"}}}`
	for range 3 {
		out.Reset()
		for i := range event {
			if _, err := w.Write([]byte{event[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if !json.Valid(out.Bytes()) || strings.Contains(out.String(), b64("hunter2hunter2")) {
			t.Errorf("delivered %q", out.String())
		}
		if _, err := w.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Masked() != 3 {
		t.Errorf("masked %d", w.Masked())
	}
}

// TestKnownKeepsJSON: a known value that looks like part of an escape does not break the string that it is in.
func TestKnownKeepsJSON(t *testing.T) {
	for _, secret := range []string{"nhunter2hunter2", "u0041hunter2", "0041hunter2", "hunter2hunter\\", "1234567890123", "hunter2\"hunter", "83d\\ude00xyz"} {
		s := newScope(t)
		s.e.Learn([]byte(secret))
		for _, doc := range []string{`{"a":"\nhunter2hunter2 \u0041hunter2 x hunter2hunter\\n","b":1234567890123,"1234567890123":[-1234567890123.5,"\ud83d\ude00xyz","hunter2hunter\" x"]}`} {
			for i := range doc {
				got, err := maskJSON(t, s, nil, true, doc, i)
				if err != nil || !json.Valid([]byte(got)) {
					t.Fatalf("%q split at %d: %v %s", secret, i, err, got)
				}
			}
		}
	}
}

func TestCompile(t *testing.T) {
	for _, bad := range []Rule{{Path: ""}, {Path: "a"}, {Path: "a..b", Encoding: Text}, {Path: `a\`, Encoding: Text}, {Path: "a", Encoding: Text, Nested: []Rule{{}}}, {Path: "a", Encoding: JSON, Nested: []Rule{{Path: ".", Encoding: Text}}}, {Path: "a", Encoding: 9}} {
		if _, err := Compile([]Rule{bad}); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
	s := newScope(t)
	p := s.Placeholder([]byte("v"))
	shape := compile(t, Rule{Path: "a.*.c", Encoding: Text}, Rule{Path: "a.b.d", Encoding: Text}, Rule{Path: "*.x", Encoding: Base64}, Rule{Path: "a.x", Encoding: Text}, Rule{Path: `\*.` + Key("k.*"), Encoding: Text})
	for doc, want := range map[string]string{
		`{"a":{"b":{"c":"v","d":"v","e":"v"},"z":{"c":"v","d":"v"},"x":"v"}}`: `{"a":{"b":{"c":"P","d":"P","e":"v"},"z":{"c":"P","d":"v"},"x":"P"}}`,
		`{"q":{"x":"dg=="},"*":{"k.*":"v","k.y":"v"},"a":[{"c":"v"}]}`:        `{"q":{"x":"B"},"*":{"k.*":"P","k.y":"v"},"a":[{"c":"P"}]}`,
	} {
		want = strings.NewReplacer("P", p, "B", b64(p)).Replace(want)
		if got, err := maskJSON(t, s, shape, false, doc); err != nil || got != want {
			t.Errorf("%s: %v\n got %s\nwant %s", doc, err, got, want)
		}
	}
}

// TestSeen: one string in two places with different encodings is two values, and both are known after.
func TestSeen(t *testing.T) {
	s := newScope(t)
	shape := compile(t, secretRules()...)
	text := b64("hunter2hunter2")
	doc := `{"data":{"a":"` + text + `"},"stringData":{"a":"` + text + `"}}`
	want := `{"data":{"a":"` + b64(s.Placeholder([]byte("hunter2hunter2"))) + `"},"stringData":{"a":"` + s.Placeholder([]byte(text)) + `"}}`
	for range 2 {
		if got, err := maskJSON(t, s, shape, false, doc); err != nil || got != want {
			t.Errorf("%v\n got %s\nwant %s", err, got, want)
		}
	}
	if out := maskText(t, s, "hunter2hunter2"); strings.Contains(out, "hunter2") {
		t.Error(out)
	}
}
