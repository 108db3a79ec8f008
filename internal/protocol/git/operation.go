package git

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/spool"
)

// exchange is one request on its way. It belongs to one goroutine.
type exchange struct {
	h  *Handler
	r  *http.Request
	by protocol.Caller
	route
	version int
	// header is the client's as it is forwarded.
	header http.Header
	body   *spool.Body
	scope  *mask.Scope
	// op is the whole request as one operation; a push has one for each ref instead, as soon as these are known.
	op *access.Operation
	// exact is op.Git with nothing hidden.
	exact *access.Git
	push  *push
}

func (h *Handler) newExchange(r *http.Request, by protocol.Caller) *exchange {
	x := &exchange{h: h, r: r, by: by, body: &spool.Body{}, scope: h.o.Masks.Scope(by.Session), exact: &access.Git{}}
	x.op = x.operation()
	x.op.Verb, x.op.Git = strings.ToLower(r.Method), x.exact
	x.op.Command = x.hidden("curl -X " + r.Method + " " + r.URL.RequestURI())
	return x
}

// operation begins one.
func (x *exchange) operation() *access.Operation {
	now := x.h.o.Now()
	return &access.Operation{ID: access.OperationID(access.NewID(now)), Session: x.by.Session, Time: now, Principal: x.by.Principal, Target: x.h.o.Target,
		Client: access.Client{Address: x.by.Address, UserAgent: x.r.UserAgent(), Trace: x.by.Trace, Reason: x.hidden(x.r.Header.Get("Gatebook-Reason"))}}
}

// read reads the request as far as it can be read. With a refusal x.op still names it, so that it can be recorded.
func (x *exchange) read(w http.ResponseWriter) (why *access.Refusal) {
	x.route, why = readRoute(x.r)
	x.exact.Repository, x.exact.Service = x.repository, x.service
	x.say(x.op, x.exact)
	if why != nil {
		return why
	}
	if x.version, why = version(x.r.Header); why != nil {
		return why
	}
	if x.header, why = upstreamHeader(x.r.Header, x.version); why != nil {
		return why
	}
	limit, name := x.h.o.Limits.RequestBodyBytes, "limits.requestBodyBytes"
	if x.kind == receive || x.kind == lfsObject {
		limit, name = x.h.o.Limits.PushBytes, "limits.gitPushBytes"
	}
	if x.body, why = x.h.readBody(w, x.r, limit, name); why != nil {
		return why
	}
	if why := x.decode(); why != nil {
		return why
	}
	if x.push != nil {
		return nil
	}
	x.say(x.op, x.exact)
	if x.op.Digest, why = x.digest(x.r.Method, x.r.URL.EscapedPath(), x.r.URL.RawQuery, x.body.Reader()); why != nil {
		return why
	}
	return nil
}

// decode reads what the request asks for.
func (x *exchange) decode() *access.Refusal {
	if (x.kind == advertise || x.kind == dumb || x.r.Method == http.MethodGet) && x.body.Size() > 0 {
		return malformed("the request has a body where git sends none")
	}
	command := ""
	switch x.kind {
	case advertise:
		x.op.Verb, command = "list", "git ls-remote "+quote(x.repository)
		if x.service == receivePack {
			command = "git push --dry-run " + quote(x.repository)
		}
	case dumb:
		x.op.Verb, command = "get", "git fetch "+quote(x.repository)+" # "+x.file
	case upload:
		return x.readUpload()
	case receive:
		return x.readPush()
	case lfsBatch:
		return x.readBatch()
	case lfsObject:
		return x.readObject()
	}
	x.op.Command = x.hidden(command)
	return nil
}

// isChange reports whether the operation is more than a read.
func isChange(op *access.Operation) bool {
	return !slices.Contains([]string{"list", "fetch", "get", "probe", "download"}, op.Verb)
}

// say puts into an operation what people see, with known secrets hidden, and what policy decides on.
func (x *exchange) say(op *access.Operation, exact *access.Git) {
	shown := *exact
	for _, s := range []*string{&shown.Repository, &shown.Ref, &shown.Filter} {
		*s = x.hidden(*s)
	}
	for _, list := range []*[]string{&shown.Paths, &shown.Options, &shown.Refs} {
		*list = slices.Clone(*list)
		for i, s := range *list {
			(*list)[i] = x.hidden(s)
		}
	}
	shown.Commits = slices.Clone(shown.Commits)
	for i := range shown.Commits {
		c := &shown.Commits[i]
		c.Author, c.Committer, c.Message = x.hidden(c.Author), x.hidden(c.Committer), x.hidden(c.Message)
	}
	op.Git, op.ExactGit = &shown, exact
}

// hidden is s without the values that are known to be secret and what has the form of a credential, and as UTF-8.
func (x *exchange) hidden(s string) string {
	if s == "" {
		return ""
	}
	var out strings.Builder
	t := x.scope.Claimed().Text(&out)
	if _, err := io.WriteString(t, s); err != nil { // a strings.Builder takes everything
		return "(cannot be masked)"
	}
	if err := t.Close(); err != nil {
		return "(cannot be masked)"
	}
	return strings.ToValidUTF8(out.String(), "\uFFFD")
}

// digest binds an approval to what is asked: the given fields, every header that is forwarded, and what content holds.
func (x *exchange) digest(fields ...any) (access.Digest, *access.Refusal) {
	var d hash.Hash = sha256.New()
	if len(x.h.o.DigestKey) > 0 {
		d = hmac.New(sha256.New, x.h.o.DigestKey)
	}
	field := func(s string) {
		d.Write(append(binary.BigEndian.AppendUint64(nil, uint64(len(s))), s...))
	}
	field("gatebook git request 1")
	for _, name := range slices.Sorted(maps.Keys(x.header)) {
		field(name)
		field(x.header.Get(name))
	}
	field("")
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			field(f)
		case *io.SectionReader:
			d.Write(binary.BigEndian.AppendUint64(nil, uint64(f.Size())))
			if _, err := io.Copy(d, f); err != nil {
				return access.Digest{}, access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
			}
		default:
			return access.Digest{}, access.Refuse(access.CodeInternal, fmt.Errorf("digest of a %T", f), "the request cannot be bound to an approval")
		}
	}
	return access.Digest(d.Sum(nil)), nil
}

// quote writes a word as a shell reads it.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:=+@,", c)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
