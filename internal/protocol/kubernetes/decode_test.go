package kubernetes

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"k8s.io/client-go/applyconfigurations"
	kjson "sigs.k8s.io/json"

	"gatebook/internal/access"
)

func testScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testSecret() *corev1.Secret {
	return &corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "a", Labels: map[string]string{"x": "1", "y": "2"}},
		Data: map[string][]byte{"password": []byte("hunter2hunter2"), "user": []byte("root")}}
}

func asProtobuf(t testing.TB, obj runtime.Object) []byte {
	t.Helper()
	var out bytes.Buffer
	s := testScheme(t)
	if err := protobuf.NewSerializer(s, s).Encode(obj, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestDecodeDocument(t *testing.T) {
	h := &Handler{scheme: testScheme(t)}
	cbor, err := direct.Marshal(map[string]any{"kind": "Secret", "n": int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	secret := map[string]any{"kind": "Secret", "apiVersion": "v1", "metadata": map[string]any{"name": "db", "namespace": "a", "labels": map[string]any{"x": "1", "y": "2"}},
		"data": map[string]any{"password": "aHVudGVyMmh1bnRlcjI=", "user": "cm9vdA=="}}
	for _, c := range []struct {
		name, contentType string
		body              []byte
		want              any // nil: not certain
	}{
		{"json", "application/json; charset=utf-8", []byte(`{"a":1,"b":[1.5,"\u0061"]}`), map[string]any{"a": int64(1), "b": []any{1.5, "a"}}},
		{"no type is json", "", []byte(`{"a":1}`), map[string]any{"a": int64(1)}},
		{"json patch", typeJSONPatch, []byte(`[{"op":"remove","path":"/a"}]`), []any{map[string]any{"op": "remove", "path": "/a"}}},
		{"a key twice", typeJSON, []byte(`{"a":1,"a":2}`), nil},
		{"a key twice, spelt differently", typeJSON, []byte(`{"kind":1,"k\u0069nd":2}`), nil},
		{"a key twice, deep", typeMerge, []byte(`{"a":[{"b":1,"b":1}]}`), nil},
		{"something after", typeJSON, []byte(`{"a":1}{"a":2}`), nil},
		{"cut", typeJSON, []byte(`{"a":1`), nil},
		{"unknown type", "application/xml", []byte(`{"a":1}`), nil},
		{"broken type", "application/json;;", []byte(`{"a":1}`), nil},
		{"yaml", typeYAML, []byte("a: 1\nb: [x]\n"), map[string]any{"a": int64(1), "b": []any{"x"}}},
		{"apply as json", typeApply, []byte(` {"a":1}`), map[string]any{"a": int64(1)}},
		{"apply as json, a key twice", typeApply, []byte(`{"a":1,"a":2}`), nil},
		{"yaml, a key twice", typeApply, []byte("a: 1\na: 2\n"), nil},
		{"yaml, two documents", typeYAML, []byte("a: 1\n---\na: 2\n"), nil},
		{"cbor", typeCBOR, cbor, map[string]any{"kind": "Secret", "n": int64(1)}},
		{"cbor, something after", typeCBOR, append(bytes.Clone(cbor), cbor...), nil},
		{"cbor, a key twice", typeCBOR, []byte("\xa2\x41a\x01\x41a\x02"), nil},
		{"protobuf", typeProtobuf, asProtobuf(t, testSecret()), secret},
		{"protobuf, cut", typeProtobuf, asProtobuf(t, testSecret())[:30], nil},
		{"protobuf, a field that is not known", typeProtobuf, append(asProtobuf(t, testSecret()), 0xa2, 0x06, 1, 'x'), nil},
		{"protobuf, not an envelope", typeProtobuf, []byte("abc"), nil},
	} {
		d, err := h.decodeDocument(c.contentType, c.body)
		if (err == nil) != (c.want != nil) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
			continue
		}
		if err == nil {
			if d := cmp.Diff(c.want, d.value); d != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, d)
			}
		}
	}
}

// Whatever is decoded with certainty is what the API server's own decoder reads from the same bytes.
func FuzzDecodeJSONAsTheAPIServer(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[1.5,"\u0061",null,true,1e3,-0]}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte("{\"a\":\"\xff\"}"))
	h := &Handler{}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := h.decodeDocument(typeJSON, data)
		if err != nil {
			return
		}
		var theirs any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &theirs); err != nil {
			t.Fatalf("the API server refuses what was decoded: %v", err)
		}
		if diff := cmp.Diff(theirs, d.value); diff != "" {
			t.Fatal(diff)
		}
		var last any // the standard decoder takes the last of keys that are there twice
		if err := json.Unmarshal(data, &last); err != nil {
			t.Fatalf("encoding/json refuses what was decoded: %v", err)
		}
	})
}

func FuzzDecodeNeverPanics(f *testing.F) {
	h := &Handler{scheme: testScheme(f)}
	types := []string{typeJSON, typeYAML, typeProtobuf, typeCBOR, typeJSONPatch, typeApplyCBOR}
	f.Add(2, asProtobuf(f, testSecret()))
	f.Add(1, []byte("a: &x [1]\nb: *x\n"))
	f.Add(3, []byte("\xd9\xd9\xf7\xa1\x41a\x01"))
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		d, err := h.decodeDocument(types[(which%len(types)+len(types))%len(types)], data)
		if err == nil && !json.Valid(d.json) {
			t.Fatalf("decoded to %q, which is not JSON", d.json)
		}
	})
}

func TestPatched(t *testing.T) {
	h := &Handler{scheme: testScheme(t), types: applyconfigurations.NewTypeConverter(testScheme(t))}
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"a","image":"x"},{"name":"b","image":"y"}]}}`
	for _, c := range []struct{ kind, patch, stored, want string }{
		{"merge", `{"spec":{"containers":[{"name":"a"}]}}`, pod, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"a"}]}}`},
		{"strategic", `{"spec":{"containers":[{"name":"b","securityContext":{"privileged":true}}]}}`, pod,
			`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"image":"x","name":"a"},{"image":"y","name":"b","securityContext":{"privileged":true}}]}}`},
		{"json", `[{"op":"replace","path":"/spec/containers/1/image","value":"z"}]`, pod, strings.Replace(pod, `"y"`, `"z"`, 1)},
		{"json", `[{"op":"remove","path":"/nowhere"}]`, pod, ""},
		{"json", `[` + strings.Repeat(`{"op":"copy","from":"/spec","path":"/spec/x"},`, 5) + `{"op":"test","path":"/kind","value":"Pod"}]`, pod, ""},
		{"strategic", `{}`, `{"apiVersion":"example.com/v1","kind":"Custom"}`, ""},
		{"apply", pod, `{"apiVersion":"example.com/v1","kind":"Custom"}`, ""},
		{"apply", pod, "", pod},
		{"merge", `{}`, "", ""},
	} {
		var stored []byte
		if c.stored != "" {
			stored = []byte(c.stored)
		}
		got, err := h.patched(&access.Kubernetes{PatchType: c.kind, FieldManager: "m"}, []byte(c.patch), stored)
		if (err == nil) != (c.want != "") {
			t.Errorf("%s %s: error %v", c.kind, c.patch, err)
			continue
		}
		if err != nil {
			continue
		}
		a, _ := decodeObject(got)
		b, _ := decodeObject([]byte(c.want))
		if d := cmp.Diff(b, a); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.kind, c.patch, d)
		}
	}
}

// A client that takes only Protobuf reads what was written anew as it would read the API server's own.
func TestTranscode(t *testing.T) {
	scheme := testScheme(t)
	secret := testSecret()
	data, err := marshalObject(secret)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	tr := &transcoder{scheme: scheme, answer: typeProtobuf, limit: 1 << 20, dst: &out}
	for _, b := range data {
		if _, err := tr.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	s := protobuf.NewSerializer(scheme, scheme)
	obj, gvk, err := s.Decode(out.Bytes(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	obj.GetObjectKind().SetGroupVersionKind(*gvk)
	if d := cmp.Diff(runtime.Object(secret), obj); d != "" {
		t.Error(d)
	}

	out.Reset()
	w := &transcoder{scheme: scheme, answer: typeProtobuf, watch: true, limit: 1 << 20, dst: &out}
	event := `{"type":"ADDED","object":` + string(data) + "}\n"
	for _, part := range []string{event[:10], event[10:] + event[:40], event[40:]} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	frames := protobuf.LengthDelimitedFramer.NewFrameReader(readCloser{&out})
	raw := protobuf.NewRawSerializer(scheme, scheme)
	for i := range 2 {
		buf := make([]byte, 1<<16)
		n, err := frames.Read(buf)
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		var got metav1.WatchEvent
		if _, _, err := raw.Decode(buf[:n], &schema.GroupVersionKind{Version: "v1", Kind: "WatchEvent"}, &got); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		obj, gvk, err := s.Decode(got.Object.Raw, nil, nil)
		if err != nil || got.Type != "ADDED" {
			t.Fatalf("event %d: %q, %v", i, got.Type, err)
		}
		obj.GetObjectKind().SetGroupVersionKind(*gvk)
		if d := cmp.Diff(runtime.Object(secret), obj); d != "" {
			t.Error(d)
		}
	}
	small := &transcoder{scheme: scheme, answer: typeProtobuf, limit: 10, dst: &out}
	if _, err := small.Write(data); err == nil {
		t.Error("an answer beyond the limit is kept in memory")
	}
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }

func TestNegotiateResource(t *testing.T) {
	for _, c := range []struct {
		accept  string
		noTable bool
		want    negotiated
	}{
		{accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
			want: negotiated{accept: "application/json; as=Table; g=meta.k8s.io; v=v1,application/json; as=Table; g=meta.k8s.io; v=v1beta1,application/json"}},
		{accept: "application/vnd.kubernetes.protobuf, */*", want: negotiated{accept: "application/json"}},
		{accept: "application/vnd.kubernetes.protobuf,application/json;q=0.5", want: negotiated{accept: "application/json; q=0.5"}},
		{accept: "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
			want: negotiated{accept: "application/json; as=PartialObjectMetadata; g=meta.k8s.io; v=v1", answer: typeProtobuf}},
		{accept: "application/yaml", want: negotiated{accept: "application/json", answer: typeYAML}},
		{accept: "application/cbor", want: negotiated{}},
		{accept: "application/cbor, application/json", want: negotiated{accept: "application/json"}},
		{accept: "image/png", want: negotiated{}},
		{accept: "application/json;as=Table;g=meta.k8s.io;v=v1,application/json", noTable: true, want: negotiated{accept: "application/json"}},
		{accept: "application/json;as=Table;g=meta.k8s.io;v=v1", noTable: true, want: negotiated{accept: "application/json"}},
	} {
		got, why := negotiateResource(c.accept, c.noTable)
		if (why == nil) != (c.want.accept != "") || got != c.want {
			t.Errorf("%s: got %+v (%v), want %+v", c.accept, got, why, c.want)
		}
	}
}

// M36: an error about a Secret that echoes it gives nothing away.
func TestStrike(t *testing.T) {
	x := &exchange{doc: &document{value: map[string]any{"data": map[string]any{"a": "aHVudGVyMg=="}, "stringData": map[string]any{"b": "swordfish"}}}}
	for _, c := range []struct{ in, want string }{
		{`secrets "x" not found`, `secrets "x" not found`},
		{` "" is invalid: patch: Invalid value: "{\"data\":{\"a\":\"czNjcjN0\"}}": illegal base64 data`, ` "" is invalid: patch: Invalid value: "(masked)": illegal base64 data`},
		{`x is invalid: data[b]: Invalid value: czNjcjN0 and more`, `x is invalid: data[b]: Invalid value: "(masked)"`},
		{`type: Unsupported value: "a\"czNjcjN0": supported values: "Opaque"; data: Invalid value: "s3cr3t"`, `type: Unsupported value: "(masked)": supported values: "Opaque"; data: Invalid value: "(masked)"`},
		{`admission webhook "w" denied the request: hunter2 is weak, as is swordfish`, `admission webhook "w" denied the request: (masked) is weak, as is (masked)`},
		{`denied: {"data":"s3cr3t"}`, `denied: (masked)`},
		{`Invalid value: "s3cr3t`, `Invalid value: "(masked)"`},
	} {
		if got := x.strike(c.in, nil); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}
