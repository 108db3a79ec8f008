package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"gatebook/internal/mask/detect"
)

// made puts together what detectors find, so that this file holds none.
func made(n int) string { return strings.Repeat("aB3dE5gH7jK9", n/12+1)[:n] }

var (
	pat      = "gh" + "p_" + made(36)
	anthro   = "sk-" + "ant-oat01-" + made(60)
	awsKey   = "wJalr" + made(35)
	pemLong  = "-----BEGIN RSA PRIVATE " + "KEY-----\n" + strings.Repeat(made(64)+"\n", 20) + "-----END RSA PRIVATE " + "KEY-----"
	adafruit = "f7d" + made(29)
	dsn      = "postgres://app:" + "S3cr3t-pass!@db.example:5432/app"
)

func detecting(t testing.TB, names ...string) *Scope {
	t.Helper()
	e, err := New(Options{Key: bytes.Repeat([]byte{3}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Scope("s").Detecting(names)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plainText is a stream with one of each, and what of it must not be seen.
func plainText() (text string, secrets []string) {
	text = "starting\ntoken " + pat + "\nexport AWS_SECRET_ACCESS_KEY=" + awsKey + "\n" + pemLong + "\ndialling " + dsn + " now\n{\"key\":\"" + anthro + "\"}\nadafruit_io_key = '" + made(32) + "'\ndone: " + made(70) + "\n"
	return text, []string{pat, awsKey, pemLong[40:200], "S3cr3t-pass!", anthro, "'" + made(32) + "'"}
}

func through(t testing.TB, s *Scope, text string, cuts []int, flush bool) string {
	t.Helper()
	var out bytes.Buffer
	w := s.Text(&out)
	at := 0
	for _, c := range append(cuts, len(text)) {
		if _, err := io.WriteString(w, text[at:c]); err != nil {
			t.Fatal(err)
		}
		if at = c; flush {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDetectorsInText(t *testing.T) {
	text, secrets := plainText()
	s := detecting(t, detect.Credentials, detect.Assigned).Quiet()
	want := through(t, s, text, nil, false)
	for _, secret := range secrets {
		if strings.Contains(want, secret) || !strings.Contains(text, secret) {
			t.Errorf("%s… is in %q", secret[:8], want)
		}
	}
	for _, kept := range []string{"starting\ntoken gbm-", "\nexport AWS_SECRET_ACCESS_KEY=gbm-", "dialling postgres://app:gbm-", "@db.example:5432/app now", "adafruit_io_key = 'gbm-", "\ndone: " + made(70) + "\n"} {
		if !strings.Contains(want, kept) {
			t.Errorf("no %q in %q", kept, want)
		}
	}
	for cut := range text {
		if got := through(t, s, text, []int{cut}, false); got != want {
			t.Fatalf("cut at %d: %q, want %q", cut, got, want)
		}
		if got := through(t, s, text, []int{cut}, true); hasAny(got, secrets) {
			t.Fatalf("with a pause at %d: %q", cut, got)
		}
	}
	var each []int
	for i := 1; i < len(text); i++ {
		each = append(each, i)
	}
	if got := through(t, s, text, each, false); got != want {
		t.Errorf("byte by byte: %q, want %q", got, want)
	}
	// The defence is what does it: without detectors all of it is seen.
	if got := through(t, detecting(t), text, nil, false); got != text {
		t.Errorf("without detectors: %q", got)
	}
}

func hasAny(s string, list []string) bool {
	for _, x := range list {
		if strings.Contains(s, x) {
			return true
		}
	}
	return false
}

func TestDetectorsInJSON(t *testing.T) {
	pem := strings.ReplaceAll(pemLong, "\n", `\n`)
	compact := `{"a":"see ` + pat + `.","adafruit_key":"` + made(32) + `","env":[{"name":"AWS_SECRET_ACCESS_KEY","value":"` + awsKey + `"}],"pem":"` + pem + `","n":1,"` + anthro + `":true,"url":"` + dsn + `","last":{"nested":"{\"k\":\"` + pat + `\"}"}}`
	pretty := strings.NewReplacer(`":"`, `": "`, `,"`, ",\n    \"", `{"`, "{\n  \"").Replace(compact)
	secrets := []string{pat, made(32), awsKey, pem[60:200], anthro, "S3cr3t-pass!"}
	for name, doc := range map[string]string{"compact": compact, "pretty": pretty} {
		for _, objects := range []bool{false, true} {
			s := detecting(t, detect.Credentials, detect.Assigned).Quiet()
			shape := compile(t, Rule{Path: "last.nested", Encoding: JSON})
			write := func(cuts ...int) string {
				var out bytes.Buffer
				w := s.JSON(&out, shape, true)
				if objects {
					w = s.Objects(&out, shape)
				}
				at := 0
				for _, c := range append(cuts, len(doc)) {
					if _, err := io.WriteString(w, doc[at:c]); err != nil {
						t.Fatal(err)
					}
					at = c
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				return out.String()
			}
			want := write()
			if hasAny(want, secrets) {
				t.Errorf("%s: %s", name, want)
			}
			if n := strings.Count(want, Prefix); n != 7 {
				t.Errorf("%s: %d placeholders in %s", name, n, want)
			}
			for cut := range doc {
				if got := write(cut); got != want {
					t.Fatalf("%s (objects: %v) cut at %d:\n%s\nwant\n%s", name, objects, cut, got, want)
				}
			}
		}
	}
}

// What is masked inside of documents inside of strings leaves all of these documents as they were.
func TestDetectorsInNestedJSON(t *testing.T) {
	b64url := base64.RawURLEncoding.EncodeToString
	jwt := b64url([]byte(`{"alg":"RS256","kid":"abcdef"}`)) + "." + b64url([]byte(`{"iss":"kubernetes/serviceaccount","sub":"system"}`)) + "." + made(86)
	padded := "eyJ" + made(40) + ".ey" + made(40) + "." + made(43)
	for name, secret := range map[string]string{"jwt": jwt, "padded": padded, "pem": pemLong[:300], "github": pat, "aws": "AWS_SECRET_ACCESS_KEY=" + awsKey, "anthropic": anthro, "url": dsn,
		"netlify": "nfp_" + made(36), "line": "fp_" + made(36), "adafruit": "adafruit_key=" + made(32), "brackets": jwt + "<" + jwt + ">&" + padded} {
		s := detecting(t, detect.Credentials, detect.Assigned)
		for _, around := range []string{"%s", "%s\n", "\n%s", "x: %s\r\ny", "\\%s\\", "\"%s\"", "<%s>", "\U0001f600%s\U0001f600", "\x01%s\x01"} {
			value := fmt.Sprintf(around, secret)
			for depth := range 3 {
				doc := value
				for range depth + 1 {
					b, err := json.Marshal(map[string]any{"a": []string{doc}, "z": 1})
					if err != nil {
						t.Fatal(err)
					}
					doc = string(b)
				}
				for _, objects := range []bool{false, true} {
					var out bytes.Buffer
					w := s.JSON(&out, nil, true)
					if objects {
						w = s.Objects(&out, nil)
					}
					if _, err := io.WriteString(w, doc); err != nil {
						t.Fatal(err)
					}
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
					in := out.String()
					for level := range depth + 1 {
						var o struct{ A []string }
						if err := json.Unmarshal([]byte(in), &o); err != nil || len(o.A) != 1 {
							t.Fatalf("%s in %q, at %d of %d: %v in %s", name, around, level, depth, err, in)
						}
						in = o.A[0]
					}
				}
			}
		}
	}
}

// A long string is searched as it passes, with the name before it.
func TestDetectorsInLongString(t *testing.T) {
	s := detecting(t, detect.Credentials).Quiet()
	doc := `{"x":"` + strings.Repeat("lorem ipsum ", 10000) + `","aws_secret_access_key":"` + awsKey + `","y":"` + strings.Repeat("dolor sit ", 10000) + pat + strings.Repeat(" amet", 10000) + `"}`
	for _, piece := range []int{1000, 4096, 40000, len(doc)} {
		var out bytes.Buffer
		w := s.JSON(&out, nil, true)
		for at := 0; at < len(doc); at += piece {
			if _, err := io.WriteString(w, doc[at:min(len(doc), at+piece)]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); hasAny(got, []string{awsKey, pat}) || strings.Count(got, Prefix) != 2 {
			t.Errorf("in pieces of %d: %d placeholders", piece, strings.Count(got, Prefix))
		}
	}
}

// What was found once is known: in other encodings, without detectors, and until it is forgotten. It is put back.
func TestDetectedIsKnown(t *testing.T) {
	s := detecting(t, detect.Credentials, detect.Assigned)
	name := "adafruit_key=" + adafruit
	first := through(t, s, name, nil, false)
	if first != "adafruit_key="+s.Placeholder([]byte(adafruit)) {
		t.Fatal(first)
	}
	other := s.e.Scope("s")
	encoded := base64.StdEncoding.EncodeToString([]byte("x" + adafruit))
	if got := through(t, other, adafruit+" "+encoded, nil, false); strings.Contains(got, adafruit) || strings.Contains(got, encoded[8:30]) {
		t.Errorf("not known: %q", got)
	}
	stored := `{"data":{"a":"token ` + pat + ` here","adafruit_key":"` + adafruit + `"}}`
	shown, err := maskJSON(t, s, nil, true, stored)
	if err != nil || hasAny(shown, []string{pat, adafruit}) {
		t.Fatalf("%s %v", shown, err)
	}
	back, n, err := s.Restore([]byte(shown), nil, []byte(stored))
	if err != nil || n != 2 || string(back) != stored {
		t.Errorf("restored %d: %s %v", n, back, err)
	}
	if _, _, err := s.Restore([]byte(strings.Replace(shown, "token ", "", 1)), nil, []byte(stored)); !errors.As(err, new(*PlaceholderError)) {
		t.Errorf("a placeholder in other text: %v", err)
	}
	s.e.Forget([]byte(pat))
	if got := through(t, s, pat, nil, false); got != pat {
		t.Errorf("forgotten, and masked: %q", got)
	}
}

// Nothing is learned of what is only claimed.
func TestDetectorsQuiet(t *testing.T) {
	s := detecting(t, detect.Credentials)
	if got := through(t, s.Quiet(), pat, nil, false); got == pat {
		t.Error("not masked")
	}
	if n := s.e.Stats().Patterns; n != 0 {
		t.Errorf("%d patterns were learned", n)
	}
}

// What clusters, repositories and images are full of is nobody's secret.
func TestDetectorsLeaveAlone(t *testing.T) {
	image := make([]byte, 6000)
	rng := rand.New(rand.NewPCG(1, 9))
	for i := range image {
		image[i] = byte(rng.IntN(256))
	}
	for _, text := range []string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-6d4cf56db6-x7x2p","uid":"6f1e2c34-8d1b-4a57-9a57-0d8e6a2f4c11","resourceVersion":"123456","labels":{"pod-template-hash":"6d4cf56db6"}},"spec":{"containers":[{"image":"registry.example/team/app@sha256:` + strings.Repeat("9f86d081884c7d65", 4) + `","env":[{"name":"TOKEN_URL","value":"https://issuer.example/token"},{"name":"API_KEY","valueFrom":{"secretKeyRef":{"name":"app","key":"api-key"}}}],"volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access-7x9kq"}]}]},"status":{"containerStatuses":[{"containerID":"containerd://` + strings.Repeat("0a1b2c3d4e5f6071", 4) + `","imageID":"docker.io/library/nginx@sha256:` + strings.Repeat("ab12cd34ef56ab78", 4) + `"}]}}`,
		`kubernetes.io/service-account.uid: 0d8e6a2f-4c11-4a57-9a57-6f1e2c348d1b` + "\ncaBundle: " + base64.StdEncoding.EncodeToString(image[:1200]),
		`{"image":"data:image/png;base64,` + base64.StdEncoding.EncodeToString(image) + `"}`,
		"commit e829c17f3a0b5d6c7e8f90123456789abcdef012\nAuthor: Ada <ada@example.com>\ntree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n",
		"2026-11-30T10:00:00Z INFO GET https://api.example.com:8443/v1/users?page=2 trace=4bf92f3577b34da6a3ce929d0e0e4736 span=00f067aa0ba902b7",
		"-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(image[:900]) + "\n-----END CERTIFICATE-----\n",
		"ssh-rsa " + base64.StdEncoding.EncodeToString(image[:279]) + " ada@laptop\nSHA256:" + base64.RawStdEncoding.EncodeToString(image[:32]),
		`jws-kubeconfig-abcdef: eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..` + made(43),
		"https://user:$PASSWORD@host/ http://[::1]:8080/x@y mailto:ada@example.com git@github.com:team/app.git",
		"password: gbm-" + strings.Repeat("a", 26) + "\nAuthorization: Bearer gbm-" + strings.Repeat("b", 26),
	} {
		s := detecting(t, detect.Credentials)
		if got := through(t, s, text, nil, false); got != text {
			t.Errorf("%.60q…: became %q", text, got)
		}
	}
}

func FuzzDetectorsSplit(f *testing.F) {
	text, _ := plainText()
	f.Add([]byte(text[:600]), uint64(1))
	for i, r := range detect.Rules() {
		if i%20 > 0 {
			continue
		}
		f.Add([]byte(r.ID+"_key = "+made(40)+" "+pat[:20]+"\n"), uint64(len(r.ID)))
	}
	s := detecting(f, detect.Names()...).Quiet()
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		if len(b) > 1024 {
			return
		}
		want := through(t, s, string(b), nil, false)
		rng := rand.New(rand.NewPCG(seed, 1))
		var cuts []int
		for at := 0; at < len(b); at += 1 + rng.IntN(1+int(seed%97)) {
			cuts = append(cuts, at)
		}
		if got := through(t, s, string(b), cuts, false); got != want {
			t.Errorf("%q cut at %v:\n%q\nwant\n%q", b, cuts, got, want)
		}
	})
}

func BenchmarkDetectors(b *testing.B) {
	var text strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&text, "2026-11-30T10:%02d:%02d.%03dZ INFO  request completed method=GET path=/api/v1/orders/%d status=200 duration=%dms\n", i/60%60, i%60, i%1000, i*7, i%500)
	}
	doc := []byte(text.String())
	for _, names := range [][]string{nil, {detect.Credentials}} {
		b.Run(fmt.Sprintf("log/%v", names), func(b *testing.B) {
			s := detecting(b, names...)
			w := s.Text(io.Discard)
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Write(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
