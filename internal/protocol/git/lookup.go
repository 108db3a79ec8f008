package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/recording"
	"gatebook/internal/wire/gitpack"
	"gatebook/internal/wire/pktline"
)

// fetchOf is what the gateway itself asks of the repository that is pushed to: commits, with or without trees, never files
// where the host can leave them out.
type fetchOf struct {
	want    []gitpack.ID
	have    string // its history is left out
	filter  string
	shallow bool // these commits alone, without their history
}

// maxWants bounds what is asked for at once.
const maxWants = 64

// fetch reads objects from the upstream, on the record, for parent. A host that knows no filters is asked for all.
func (x *exchange) fetch(ctx context.Context, parent *access.Operation, p *push, f fetchOf) (*gitpack.Pack, error) {
	if len(f.want) > maxWants {
		return nil, fmt.Errorf("the push stands on %d commits that it does not bring; more than %d are not asked for", len(f.want), maxWants)
	}
	pack, err := x.fetchOnce(ctx, parent, p, f)
	if err == nil || ctx.Err() != nil || errors.Is(err, errLookupTooLarge) {
		return pack, err
	}
	f.filter = ""
	return x.fetchOnce(ctx, parent, p, f)
}

var errLookupTooLarge = errors.New("it is longer than the gateway reads by itself")

func (x *exchange) fetchOnce(ctx context.Context, parent *access.Operation, p *push, f fetchOf) (*gitpack.Pack, error) {
	op := x.operation()
	exact := &access.Git{Repository: x.repository, Service: uploadPack, Filter: f.filter}
	for _, id := range f.want {
		exact.Refs = append(exact.Refs, string(id))
	}
	if f.shallow {
		exact.Depth = 1
	}
	op.Verb, op.Command = "fetch", x.hidden((&uploadRequest{exact: exact}).command())
	x.say(op, exact)
	ask, err := f.request(p.hashBytes)
	if err != nil {
		return nil, err
	}
	permit, err := x.h.o.Gate.Lookup(ctx, parent, op)
	if err != nil {
		return nil, err
	}
	began, out := x.h.o.Now(), access.Outcome{ExitCode: -1, RequestBytes: int64(len(ask))}
	defer func() {
		out.Duration = x.h.o.Now().Sub(began)
		x.end(permit, out)
	}()
	path := strings.TrimSuffix(x.r.URL.EscapedPath(), "receive-pack") + uploadPack
	plain := strings.TrimSuffix(x.r.URL.Path, "receive-pack") + uploadPack
	req := (&http.Request{Method: http.MethodPost, URL: &url.URL{Path: plain, RawPath: path}, ContentLength: int64(len(ask)), Body: io.NopCloser(strings.NewReader(ask)),
		Header: http.Header{"Content-Type": {"application/x-git-upload-pack-request"}, "Accept": {"application/x-git-upload-pack-result"},
			"Git-Protocol": {"version=2"}, "User-Agent": {"git/2 (gatebook)"}, "Accept-Encoding": {"identity"}}}).WithContext(permit.Context())
	resp, err := x.h.o.Upstream.RoundTrip(permit, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if out.Code = resp.StatusCode; resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("target %q answered with status %d", x.op.Target.Name, resp.StatusCode)
	}
	limited := &io.LimitedReader{R: &recorded{resp.Body, permit}, N: x.h.o.Limits.LookupBytes}
	pack, err := readFetched(limited, p.hashBytes, x.h.o.Limits)
	out.ResponseBytes = x.h.o.Limits.LookupBytes - limited.N
	switch {
	case limited.N <= 0:
		err = errLookupTooLarge
	case err == nil && (pack.Dropped || pack.Unresolved > 0):
		err = errLookupTooLarge
	}
	if err != nil {
		out.Message = err.Error()
		return nil, fmt.Errorf("asking target %q for history: %w", x.op.Target.Name, err)
	}
	return pack, nil
}

// recorded puts what is read into the record before it is used.
type recorded struct {
	r io.Reader
	p gate.Permit
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if n > 0 {
		if err := r.p.Record(recording.Body, recording.ToClient, b[:n]); err != nil {
			return 0, err
		}
	}
	return n, err
}

// request is the command of version 2 (gitprotocol-v2, «fetch»).
func (f *fetchOf) request(hashBytes int) (string, error) {
	var b strings.Builder
	w := pktline.NewWriter(&b)
	lines := []string{"command=fetch"}
	if hashBytes == 32 {
		lines = append(lines, "object-format=sha256")
	}
	arguments := []string{"no-progress", "ofs-delta"}
	for _, id := range f.want {
		arguments = append(arguments, "want "+string(id))
	}
	if f.have != "" {
		arguments = append(arguments, "have "+f.have)
	}
	if f.shallow {
		arguments = append(arguments, "deepen 1")
	}
	if f.filter != "" {
		arguments = append(arguments, "filter "+f.filter)
	}
	var errs []error
	for _, l := range lines {
		errs = append(errs, w.Data([]byte(l+"\n")))
	}
	errs = append(errs, w.End(pktline.Delim))
	for _, l := range append(arguments, "done") {
		errs = append(errs, w.Data([]byte(l+"\n")))
	}
	errs = append(errs, w.End(pktline.Flush))
	return b.String(), errors.Join(errs...)
}

// readFetched reads the answer's section packfile; those before it are passed over.
func readFetched(src io.Reader, hashBytes int, l Limits) (*gitpack.Pack, error) {
	in := pktline.NewReader(src)
	for {
		p, err := in.Next()
		if err != nil {
			return nil, err
		}
		if why, failed := p.Failure(); failed {
			return nil, fmt.Errorf("it says %q", oneLine(string(why)))
		}
		if p.Kind == pktline.Data && string(p.Text()) == "packfile" {
			return gitpack.Read(&bandReader{in: in}, hashBytes, gitpack.Limits{Objects: maxObjects, Inflated: 64 * l.LookupBytes, Kept: l.HistoryBytes})
		}
	}
}

// bandReader is what comes in band 1, up to the flush.
type bandReader struct {
	in    *pktline.Reader
	ahead []byte
}

func (b *bandReader) Read(to []byte) (int, error) {
	for len(b.ahead) == 0 {
		p, err := b.in.Next()
		if err != nil {
			return 0, err
		}
		if p.Kind != pktline.Data {
			return 0, io.EOF
		}
		band, data, err := p.Band()
		switch {
		case err != nil:
			return 0, err
		case band == pktline.Fatal:
			return 0, fmt.Errorf("it gives up: %q", oneLine(string(data)))
		case band == pktline.PackData:
			b.ahead = data
		}
	}
	n := copy(to, b.ahead)
	b.ahead = b.ahead[n:]
	return n, nil
}
