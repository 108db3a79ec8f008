package git

import (
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/wire/pktline"
)

// objectName is an object's: SHA-1 or SHA-256.
var objectName = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// readUpload reads a request to git-upload-pack (gitprotocol-v2; gitprotocol-pack for versions 0 and 1).
func (x *exchange) readUpload() *access.Refusal {
	if x.header.Get("Content-Type") != "application/x-git-upload-pack-request" {
		return malformed("Content-Type %q is not that of a fetch", x.header.Get("Content-Type"))
	}
	in := pktline.NewReader(x.body.Reader())
	u := &uploadRequest{exact: x.exact}
	var why *access.Refusal
	if x.version == 2 {
		why = u.readV2(in)
	} else {
		why = u.readV0(in)
	}
	x.op.Verb = u.verb
	if x.op.Verb == "" {
		x.op.Verb = "fetch"
	}
	x.op.Command = x.hidden(u.command())
	return why
}

type uploadRequest struct {
	exact *access.Git
	verb  string
	extra []string
}

// readV2 reads one command: its name, capabilities, and behind a delimiter its arguments.
func (u *uploadRequest) readV2(in *pktline.Reader) *access.Refusal {
	p, err := in.Next()
	if err != nil {
		return unreadable(err)
	}
	name, ok := strings.CutPrefix(string(p.Text()), "command=")
	if p.Kind != pktline.Data || !ok {
		return malformed("the request of version 2 does not begin with its command")
	}
	switch name {
	case "ls-refs", "object-info":
		u.verb = "list"
	case "fetch":
		u.verb = "fetch"
	default: // bundle-uri would lead to other servers
		return malformed("command %q of git's protocol is not passed on", name)
	}
	arguments := false
	for {
		p, err := in.Next()
		switch {
		case err != nil:
			return unreadable(err)
		case p.Kind == pktline.Flush:
			return ended(in)
		case p.Kind == pktline.Delim && !arguments:
			arguments = true
		case p.Kind != pktline.Data:
			return malformed("the request has a mark where none belongs")
		case arguments:
			if why := u.argument(string(p.Text())); why != nil {
				return why
			}
		case strings.HasPrefix(string(p.Text()), "server-option="):
			u.extra = append(u.extra, "--"+quote(string(p.Text())))
		}
	}
}

// readV0 reads wants and haves, until the body ends.
func (u *uploadRequest) readV0(in *pktline.Reader) *access.Refusal {
	u.verb = "probe" // unless something is wanted
	for {
		p, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return unreadable(err)
		case p.Kind == pktline.Flush:
			continue
		case p.Kind != pktline.Data:
			return malformed("the request has a mark where none belongs")
		}
		line, _, _ := strings.Cut(string(p.Text()), "\x00")
		if strings.HasPrefix(line, "want ") {
			u.verb = "fetch"
			if words := strings.SplitN(line, " ", 3); len(words) == 3 { // the first one's capabilities
				line = words[0] + " " + words[1]
			}
		}
		if why := u.argument(line); why != nil {
			return why
		}
	}
}

// argument reads one line. What is known and says nothing of what is asked for is passed over; what is not known is refused.
func (u *uploadRequest) argument(line string) *access.Refusal {
	key, value, _ := strings.Cut(line, " ")
	switch key {
	case "want", "oid":
		if !objectName.MatchString(value) {
			return malformed("%q is no object's name", value)
		}
		u.exact.Refs = append(u.exact.Refs, value)
	case "want-ref", "ref-prefix":
		u.exact.Refs = append(u.exact.Refs, value)
	case "deepen":
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 0 {
			return malformed("%q is no depth", value)
		}
		u.exact.Depth = n
	case "filter":
		if u.exact.Filter != "" {
			return malformed("the request has two filters")
		}
		u.exact.Filter = value
	case "deepen-since", "deepen-not":
		u.extra = append(u.extra, "--shallow-"+map[string]string{"deepen-since": "since", "deepen-not": "exclude"}[key]+"="+quote(value))
	case "have", "shallow", "deepen-relative", "done", "thin-pack", "no-progress", "include-tag", "ofs-delta", "wait-for-done", "peel", "symrefs", "unborn", "size":
	default:
		return malformed("%q in a fetch is not passed on", line)
	}
	return nil
}

// command is the request as git's own command.
func (u *uploadRequest) command() string {
	words := []string{"git", "fetch"}
	if u.verb == "list" {
		words[1] = "ls-remote"
	}
	if u.exact.Depth > 0 {
		words = append(words, "--depth="+strconv.FormatInt(u.exact.Depth, 10))
	}
	if u.exact.Filter != "" {
		words = append(words, "--filter="+quote(u.exact.Filter))
	}
	words = append(append(words, u.extra...), quote(u.exact.Repository))
	for _, r := range u.exact.Refs {
		words = append(words, quote(r))
	}
	return strings.Join(words, " ")
}

// ended makes sure that nothing follows.
func ended(in *pktline.Reader) *access.Refusal {
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		return malformed("something follows the request's end")
	}
	return nil
}

func unreadable(err error) *access.Refusal {
	return access.Refuse(access.CodeMalformed, err, "the request is not made of git's pkt-lines")
}
