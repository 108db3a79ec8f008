package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/mask"
	"gatebook/internal/recording"
)

// complete fetches what policy asks for and was not given. A field that cannot be read is named as uninspectable.
func (x *exchange) complete(ctx context.Context, fields []string) error {
	if !slices.Contains(fields, access.FieldKubernetesStored) && !slices.Contains(fields, access.FieldKubernetesObject) {
		return fmt.Errorf("%v: not a field that can be fetched", fields)
	}
	x.op.Kubernetes.Stored, x.op.Exact.Stored = nil, nil // it may have been read before, and have changed since
	late := x.op.Late()
	stored, err := x.stored(ctx)
	if ended := context.Cause(ctx); ended != nil {
		return ended
	}
	if err == nil {
		err = x.giveStored(stored)
	}
	for _, f := range late {
		why := err
		if why == nil && f == access.FieldKubernetesObject {
			why = x.givePatched(stored)
		}
		x.inspectable(f)
		if why != nil {
			x.uninspectable(f, why.Error())
		}
		x.op.Fetched = append(x.op.Fetched, f)
	}
	return nil
}

func (x *exchange) giveStored(stored []byte) error {
	if stored == nil {
		x.op.Kubernetes.Stored, x.op.Exact.Stored = map[string]any{}, map[string]any{}
		return nil
	}
	exact, err := decodeObject(stored)
	if err != nil {
		return err
	}
	o, err := x.maskedObject(x.scope.Recorded(), stored)
	if err != nil {
		return err
	}
	x.op.Kubernetes.Stored, x.op.Exact.Stored = o, exact
	return nil
}

// givePatched puts what the patch would make of the stored object into the operation.
func (x *exchange) givePatched(stored []byte) error {
	if x.doc == nil {
		return errors.New("there is no patch")
	}
	patch, err := x.restore(stored)
	if err != nil {
		return err
	}
	result, err := x.h.patched(&x.k.Kubernetes, patch, stored)
	switch {
	case err != nil && x.shape != nil: // the libraries repeat values
		return errors.New("what the patch makes of the stored object cannot be computed; why is not said, since that may repeat a secret")
	case err != nil:
		return err
	}
	exact, err := decodeObject(result)
	if err != nil {
		return err
	}
	o, err := x.maskedObject(x.scope.Claimed(), result)
	if err != nil {
		return err
	}
	x.withoutRepeated(exact, o)
	x.op.Kubernetes.Object, x.op.Exact.Object = o, exact
	x.op.Exact.Kind, _ = exact["kind"].(string)
	x.op.Kubernetes.Kind = x.hidden(x.op.Exact.Kind)
	return nil
}

// stored reads the object that the request names, as the principal. It is nil where there is none.
func (x *exchange) stored(ctx context.Context) ([]byte, error) {
	return x.look(ctx, wanted{k: &x.k.Kubernetes, shape: x.shape, permit: x.h.o.Gate.Lookup})
}

// wanted is what the gateway reads for an operation.
type wanted struct {
	// k names the object.
	k     *access.Kubernetes
	shape *mask.Shape
	// permit is the gate's way of permitting it: as the principal, or as the gateway.
	permit func(ctx context.Context, parent, op *access.Operation) (gate.Permit, error)
}

// look reads one object, and records what it read.
func (x *exchange) look(ctx context.Context, what wanted) ([]byte, error) {
	u := storedURL(what.k)
	now := x.h.o.Now()
	op := &access.Operation{ID: access.OperationID(access.NewID(now)), Time: now, Verb: "get", Client: x.op.Client,
		Command: words{"kubectl", "get", "--raw", u.EscapedPath()}.String(),
		Kubernetes: &access.Kubernetes{Verb: "get", Group: what.k.Group, Version: what.k.Version, Resource: what.k.Resource,
			Namespace: what.k.Namespace, Name: what.k.Name}}
	r := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{
		"Accept": {typeJSON}, "Accept-Encoding": {"identity"}, "User-Agent": {"gatebook"}, "Audit-Id": {string(op.ID)}}}).WithContext(ctx)
	p, err := what.permit(ctx, x.op, op)
	if err != nil {
		return nil, err
	}
	out := access.Outcome{ExitCode: -1}
	defer func() {
		out.Duration = x.h.o.Now().Sub(now)
		if err := p.End(out); err != nil {
			x.h.o.Log.Error("ending the record of a lookup", "operation", op.ID, "error", err)
		}
	}()
	data, err := x.lookup(p, r, what.shape, &out)
	if err != nil {
		out.Message = err.Error()
	}
	return data, err
}

// lookup sends a lookup, and records its answer masked before it is used.
func (x *exchange) lookup(p gate.Permit, r *http.Request, shape *mask.Shape, out *access.Outcome) ([]byte, error) {
	resp, err := x.h.o.Upstream.RoundTrip(p, r)
	if err != nil {
		return nil, fmt.Errorf("reading what is stored: %w", err)
	}
	defer resp.Body.Close()
	out.Code = resp.StatusCode
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("reading what is stored: the API server answered %d to %s", resp.StatusCode, reader(p))
	}
	limit := x.h.o.Limits.StoredBytes
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading what is stored: %w", err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("reading what is stored: it is longer than limits.storedBytes, %d bytes", limit)
	}
	masked, err := maskBytes(x.scope.Recorded(), data, shape)
	if err != nil {
		return nil, fmt.Errorf("masking what is stored: %w", err)
	}
	out.ResponseBytes = int64(len(masked))
	if err := p.Record(recording.Body, recording.ToClient, masked); err != nil {
		return nil, err
	}
	return data, nil
}

// reader is as whom a lookup asks.
func reader(p gate.Permit) string {
	if p.AsGateway() {
		return "the gateway's own credential"
	}
	return p.Operation().Principal.Name
}

// storedURL is where the object itself is read. Of the subresources only scale is an object of its own kind.
func storedURL(k *access.Kubernetes) *url.URL {
	parts := []string{"", "api", k.Version}
	if k.Group != "" {
		parts = []string{"", "apis", k.Group, k.Version}
	}
	if k.Namespace != "" && k.Resource != "namespaces" {
		parts = append(parts, "namespaces", k.Namespace)
	}
	parts = append(parts, k.Resource, k.Name)
	if k.Subresource == "scale" && k.Verb != "get" {
		parts = append(parts, "scale")
	}
	raw := make([]string, len(parts))
	for i, s := range parts {
		raw[i] = url.PathEscape(s)
	}
	return &url.URL{Path: strings.Join(parts, "/"), RawPath: strings.Join(raw, "/")}
}
