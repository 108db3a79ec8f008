package kubernetes

import (
	"fmt"
	"net/url"

	"k8s.io/apimachinery/pkg/runtime"

	"gatebook/internal/access"
)

// streamOptions reads the options of exec and attach as the API server does: by the conversion that turns its query into
// a PodExecOptions (Convert_url_Values_To_v1_PodExecOptions in k8s.io/kubernetes, made of the functions used here). The
// first of repeated values counts, but every command; only "0", and "false" in any case, are false.
func streamOptions(q url.Values) (access.Exec, error) {
	var e access.Exec
	for name, to := range map[string]*bool{"stdin": &e.Stdin, "stdout": &e.Stdout, "stderr": &e.Stderr, "tty": &e.TTY} {
		if vs := q[name]; len(vs) > 0 {
			if err := runtime.Convert_Slice_string_To_bool(&vs, to, nil); err != nil {
				return access.Exec{}, fmt.Errorf("reading %s: %w", name, err)
			}
		}
	}
	if vs := q["container"]; len(vs) > 0 {
		if err := runtime.Convert_Slice_string_To_string(&vs, &e.Container, nil); err != nil {
			return access.Exec{}, fmt.Errorf("reading container: %w", err)
		}
	}
	e.Command = append(e.Command, q["command"]...)
	return e, nil
}

// encodeOptions is the inverse of streamOptions.
func encodeOptions(e *access.Exec) url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{"stdin": e.Stdin, "stdout": e.Stdout, "stderr": e.Stderr, "tty": e.TTY} {
		if on {
			q.Set(name, "true")
		}
	}
	if e.Container != "" {
		q.Set("container", e.Container)
	}
	if len(e.Command) > 0 {
		q["command"] = e.Command
	}
	return q
}
