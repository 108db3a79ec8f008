package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// LoadFile reads, completes and checks the configuration at path.
func LoadFile(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads, completes and checks a configuration. All problems are reported at once.
func Parse(b []byte) (*Config, error) {
	c := &Config{}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, explain(err)
	}
	if err := dec.Decode(new(yaml.Node)); err == nil {
		return nil, errors.New("there is a second document; put everything into one")
	}
	found, err := c.complete()
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return nil, found.withLines(b)
	}
	return c, nil
}

// Complete fills in defaults and checks the whole.
func (c *Config) Complete() error {
	found, err := c.complete()
	if err != nil {
		return err
	}
	return errors.Join(found...)
}

func (c *Config) complete() (problems, error) {
	if err := fill(reflect.ValueOf(c).Elem()); err != nil {
		return nil, err
	}
	return c.check(), nil
}

// fill gives every zero field its default tag's value, down the tree.
func fill(v reflect.Value) error {
	for i := range v.NumField() {
		f, sf := v.Field(i), v.Type().Field(i)
		if err := fillField(f, sf.Tag.Get("default")); err != nil {
			return fmt.Errorf("default of %s: %w", sf.Name, err)
		}
		switch {
		case f.Kind() == reflect.Struct:
			if err := fill(f); err != nil {
				return err
			}
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			for j := range f.Len() {
				if err := fill(f.Index(j)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func fillField(f reflect.Value, def string) error {
	if def == "" || !f.IsZero() {
		return nil
	}
	switch f.Interface().(type) {
	case string:
		f.SetString(def)
	case time.Duration:
		d, err := time.ParseDuration(def)
		f.SetInt(int64(d))
		return err
	case int, int64:
		n, err := strconv.ParseInt(def, 10, 64)
		f.SetInt(n)
		return err
	case []string:
		f.Set(reflect.ValueOf(strings.Split(def, ",")))
	case *bool:
		b, err := strconv.ParseBool(def)
		f.Set(reflect.ValueOf(&b))
		return err
	default:
		return fmt.Errorf("no default for %s", f.Type())
	}
	return nil
}

var unknownField = regexp.MustCompile(`line (\d+): field (\S+) not found in type config\.(\S+)`)

// explain turns the decoder's words into ours: an unknown key is named with the nearest one that exists.
func explain(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return fmt.Errorf("not valid YAML: %w", err)
	}
	out := make([]error, 0, len(te.Errors))
	for _, e := range te.Errors {
		if m := unknownField.FindStringSubmatch(e); m != nil {
			keys := keysOf(reflect.TypeFor[Config](), m[3])
			e = fmt.Sprintf("line %s: unknown key %q; %s", m[1], m[2], suggest(m[2], keys))
		}
		out = append(out, errors.New(e))
	}
	return errors.Join(out...)
}

// keysOf lists the keys of the struct type with the given name, anywhere in the tree below t.
func keysOf(t reflect.Type, name string) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		if t.Name() == name {
			keys = append(keys, t.Field(i).Tag.Get("yaml"))
		} else if k := keysOf(t.Field(i).Type, name); k != nil {
			return k
		}
	}
	return keys
}

func suggest(key string, keys []string) string {
	best, dist := "", len(key)/2+1
	for _, k := range keys {
		if d := distance(strings.ToLower(key), strings.ToLower(k)); d < dist {
			best, dist = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known here: " + strings.Join(keys, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost = 1 + min(prev, row[j], row[j+1])
			}
			prev, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// CurrentKubeconfig as Target.Kubeconfig stands for the one that kubectl would take.
const CurrentKubeconfig = "$KUBECONFIG"

// Has reports whether somebody of that name and those groups is one of the members.
func (m Members) Has(name string, groups []string) bool {
	return slices.Contains(m.Users, name) || slices.ContainsFunc(m.Groups, func(g string) bool { return slices.Contains(groups, g) })
}
