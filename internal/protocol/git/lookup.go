package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

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
	have    []gitpack.ID // their history is left out
	filter  string
	shallow bool // these commits alone, without their history
}

// maxWants and maxTips bound what is asked for at once, and the branches and tags that a host may have for it.
const (
	maxWants = 1000
	maxTips  = 20_000
)

var errLookupTooLarge = errors.New("it is longer than the gateway reads by itself for one push")

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

func (x *exchange) fetchOnce(ctx context.Context, parent *access.Operation, p *push, f fetchOf) (*gitpack.Pack, error) {
	exact := &access.Git{Repository: x.repository, Service: uploadPack, Filter: f.filter}
	for _, id := range f.want {
		exact.Refs = append(exact.Refs, string(id))
	}
	if f.shallow {
		exact.Depth = 1
	}
	body, err := f.request(p.hashBytes)
	if err != nil {
		return nil, err
	}
	var pack *gitpack.Pack
	err = x.ask(ctx, parent, &p.history, &uploadRequest{exact: exact, verb: "fetch"}, body, func(src io.Reader) error {
		pack, err = readFetched(src, p.hashBytes, gitpack.Limits{Objects: maxObjects, Inflated: 64 * x.h.o.Limits.LookupBytes, Kept: p.history.left.kept})
		if err != nil {
			return err
		}
		p.history.left.kept -= pack.Kept
		if pack.Dropped || pack.Unresolved > 0 {
			return errLookupTooLarge
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return pack, nil
}

// listTips asks for what the host's branches and tags are set to.
func (x *exchange) listTips(ctx context.Context, parent *access.Operation, p *push) ([]gitpack.ID, error) {
	prefixes := []string{"refs/heads/", "refs/tags/"}
	arguments := []string{"peel"}
	for _, prefix := range prefixes {
		arguments = append(arguments, "ref-prefix "+prefix)
	}
	body, err := command("ls-refs", p.hashBytes, arguments)
	if err != nil {
		return nil, err
	}
	var tips []gitpack.ID
	exact := &access.Git{Repository: x.repository, Service: uploadPack, Refs: prefixes}
	err = x.ask(ctx, parent, &p.history, &uploadRequest{exact: exact, verb: "list"}, body, func(src io.Reader) error {
		tips, err = readTips(src)
		return err
	})
	return tips, err
}

// ask sends one request of version 2 and has the answer read, on the record, within what the push may still take.
func (x *exchange) ask(ctx context.Context, parent *access.Operation, h *history, u *uploadRequest, body string, read func(io.Reader) error) error {
	left := &h.left
	if left.asks--; left.asks < 0 || left.read <= 0 || left.kept <= 0 || left.waiting <= 0 {
		return fmt.Errorf("the push needs more of the host's history than is asked for: %w", errLookupTooLarge)
	}
	op := x.operation()
	op.Verb, op.Command = u.verb, x.hidden(u.command())
	x.say(op, u.exact)
	began := time.Now()
	defer func() { left.waiting -= time.Since(began) }()
	ctx, cancel := context.WithTimeout(ctx, left.waiting)
	defer cancel()
	permit, err := x.h.o.Gate.Lookup(ctx, parent, op)
	if err != nil {
		return err
	}
	out := access.Outcome{ExitCode: -1, RequestBytes: int64(len(body))}
	defer func() {
		out.Duration = time.Since(began)
		x.end(permit, out)
	}()
	limited := &io.LimitedReader{N: left.read}
	err = x.askPermitted(permit, body, limited, &out, read)
	out.ResponseBytes = left.read - limited.N
	left.read = limited.N
	if err != nil && limited.N <= 0 {
		err = errLookupTooLarge
	}
	if err != nil {
		out.Message = err.Error()
		return fmt.Errorf("asking target %q for history: %w", x.op.Target.Name, err)
	}
	return nil
}

func (x *exchange) askPermitted(permit gate.Permit, body string, limited *io.LimitedReader, out *access.Outcome, read func(io.Reader) error) error {
	path := strings.TrimSuffix(x.r.URL.EscapedPath(), "receive-pack") + uploadPack
	plain := strings.TrimSuffix(x.r.URL.Path, "receive-pack") + uploadPack
	req := (&http.Request{Method: http.MethodPost, URL: &url.URL{Path: plain, RawPath: path}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
		Header: http.Header{"Content-Type": {"application/x-git-upload-pack-request"}, "Accept": {"application/x-git-upload-pack-result"},
			"Git-Protocol": {"version=2"}, "User-Agent": {"git/2 (gatebook)"}, "Accept-Encoding": {"identity"}}}).WithContext(permit.Context())
	resp, err := x.h.o.Upstream.RoundTrip(permit, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out.Code = resp.StatusCode; resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	limited.R = &recorded{resp.Body, permit}
	return read(limited)
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
	arguments := []string{"no-progress", "ofs-delta"}
	for _, id := range f.want {
		arguments = append(arguments, "want "+string(id))
	}
	for _, id := range f.have {
		arguments = append(arguments, "have "+string(id))
	}
	if f.shallow {
		arguments = append(arguments, "deepen 1")
	}
	if f.filter != "" {
		arguments = append(arguments, "filter "+f.filter)
	}
	return command("fetch", hashBytes, append(arguments, "done"))
}

// command writes one of version 2.
func command(name string, hashBytes int, arguments []string) (string, error) {
	var b strings.Builder
	w := pktline.NewWriter(&b)
	lines := []string{"command=" + name}
	if hashBytes == 32 {
		lines = append(lines, "object-format=sha256")
	}
	var errs []error
	for _, l := range lines {
		errs = append(errs, w.Data([]byte(l+"\n")))
	}
	errs = append(errs, w.End(pktline.Delim))
	for _, l := range arguments {
		errs = append(errs, w.Data([]byte(l+"\n")))
	}
	errs = append(errs, w.End(pktline.Flush))
	return b.String(), errors.Join(errs...)
}

// readFetched reads the answer's section packfile; those before it are passed over.
func readFetched(src io.Reader, hashBytes int, l gitpack.Limits) (*gitpack.Pack, error) {
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
			return gitpack.Read(&bandReader{in: in}, hashBytes, l)
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
