package kubernetes

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"
)

// transcoder writes masked JSON anew for a client that takes no JSON. It keeps an answer, or one event of a watch, in
// memory, up to limit bytes.
type transcoder struct {
	scheme *runtime.Scheme
	answer string
	watch  bool
	limit  int64
	dst    io.Writer
	buf    bytes.Buffer
}

// contentType is that of what is written.
func (t *transcoder) contentType() string {
	if t.watch {
		return t.answer + ";stream=watch"
	}
	return t.answer
}

// Write takes JSON. Events of a watch are a line each, as the API server writes them.
func (t *transcoder) Write(b []byte) (int, error) {
	n := len(b)
	for t.watch {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		t.buf.Write(b[:i])
		b = b[i+1:]
		if err := t.event(); err != nil {
			return 0, err
		}
	}
	if int64(t.buf.Len()+len(b)) > t.limit {
		return 0, fmt.Errorf("writing the answer as %s: it is longer than limits.transcodeBytes, %d bytes", t.answer, t.limit)
	}
	t.buf.Write(b)
	return n, nil
}

// Close writes what is left.
func (t *transcoder) Close() error {
	if t.watch {
		return t.event()
	}
	if t.answer == typeYAML {
		out, err := yaml.JSONToYAML(t.buf.Bytes())
		if err != nil {
			return fmt.Errorf("writing the answer as YAML: %w", err)
		}
		return t.write(out)
	}
	if t.answer == typeSchemaV2 || t.answer == typeSchemaV3 {
		out, err := encodeSchema(t.answer, t.buf.Bytes())
		if err != nil {
			return err
		}
		return t.write(out)
	}
	obj, err := t.decode(t.buf.Bytes())
	if err != nil {
		return err
	}
	out, err := t.encode(obj)
	if err != nil {
		return err
	}
	return t.write(out)
}

// event writes one event of a watch: a WatchEvent in Protobuf with the object inside in its own envelope, preceded by
// its length in four bytes (k8s.io/apimachinery/pkg/util/framer).
func (t *transcoder) event() error {
	line := bytes.TrimSpace(t.buf.Bytes())
	defer t.buf.Reset()
	if len(line) == 0 {
		return nil
	}
	var in struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return fmt.Errorf("reading an event of a watch: %w", err)
	}
	obj, err := t.decode(in.Object)
	if err != nil {
		return err
	}
	raw, err := t.encode(obj)
	if err != nil {
		return err
	}
	var frame bytes.Buffer
	frame.Write(make([]byte, 4))
	event := &metav1.WatchEvent{Type: in.Type, Object: runtime.RawExtension{Raw: raw}}
	if err := protobuf.NewRawSerializer(t.scheme, t.scheme).Encode(event, &frame); err != nil {
		return fmt.Errorf("writing an event of a watch as Protobuf: %w", err)
	}
	binary.BigEndian.PutUint32(frame.Bytes(), uint32(frame.Len()-4))
	return t.write(frame.Bytes())
}

func (t *transcoder) decode(data []byte) (runtime.Object, error) {
	s := kjsonserializer.NewSerializerWithOptions(kjsonserializer.DefaultMetaFactory, t.scheme, t.scheme, kjsonserializer.SerializerOptions{Strict: true})
	obj, gvk, err := s.Decode(data, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("writing the answer as Protobuf: %w", err)
	}
	obj.GetObjectKind().SetGroupVersionKind(*gvk)
	return obj, nil
}

func (t *transcoder) encode(obj runtime.Object) ([]byte, error) {
	var out bytes.Buffer
	if err := protobuf.NewSerializer(t.scheme, t.scheme).Encode(obj, &out); err != nil {
		return nil, fmt.Errorf("writing the answer as Protobuf: %w", err)
	}
	return out.Bytes(), nil
}

func (t *transcoder) write(b []byte) error {
	_, err := t.dst.Write(b)
	return err
}
