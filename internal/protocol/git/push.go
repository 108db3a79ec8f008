package git

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/wire/gitpack"
	"gatebook/internal/wire/pktline"
)

// push is a request to git-receive-pack (gitprotocol-pack, «Pushing Data To a Server»):
//
//	shallow lines | old new ref NUL capabilities | old new ref … | flush | push options | flush | pack
type push struct {
	updates      []*update
	shallow      []string
	capabilities []string
	options      []string
	hashBytes    int
	// packAt is where the pack begins; -1: there is none.
	packAt int64
	pack   *gitpack.Pack
	// incomplete says what of the pack's history could not be read; empty: all of it was.
	incomplete string
	mu         sync.Mutex // of history, while operations are decided
	history    history
	// strays: see there; nil: they were not asked for.
	strays *gitpack.Pack
}

// update is one ref's.
type update struct {
	old, new, ref string // object names; empty: none
	op            *access.Operation
	exact         *access.Git
	permit        gate.Permit
	refused       *access.Refusal
	// news are the commits of which the pack does not tell whether they are new to the ref, and extra those that are.
	news  []gitpack.ID
	extra *gitpack.Pack
	// asked are the late fields that the upstream was asked for.
	asked []string
	// outcome is what the upstream said of it: "ok", or why not; empty: nothing.
	outcome string
}

// Capabilities that matter here.
const (
	sideBand      = "side-band-64k"
	reportStatus  = "report-status"
	reportStatus2 = "report-status-v2"
)

func (p *push) can(capability string) bool { return slices.Contains(p.capabilities, capability) }

func (p *push) reports() bool { return p.can(reportStatus) || p.can(reportStatus2) }

// value of a capability.
func (p *push) value(name string) string {
	for _, c := range p.capabilities {
		if v, ok := strings.CutPrefix(c, name+"="); ok {
			return v
		}
	}
	return ""
}

// readPush reads commands, options and history of a push.
func (x *exchange) readPush() *access.Refusal {
	x.op.Verb, x.op.Command = "push", x.hidden("git push "+quote(x.repository))
	if t := x.header.Get("Content-Type"); t != "application/x-git-receive-pack-request" {
		return malformed("Content-Type %q is not that of a push", t)
	}
	p := &push{packAt: -1, hashBytes: 20}
	l := x.h.o.Limits
	why := p.read(pktline.NewReader(x.body.Reader()), x.body.Size(), l.Refs, l.RequestBodyBytes)
	if why != nil {
		return why
	}
	if len(p.updates) == 0 { // git asks whether it may push at all before it sends much (remote-curl.c, probe_rpc)
		x.op.Verb = "probe"
		if p.packAt >= 0 {
			return malformed("something follows a push without commands")
		}
		return nil
	}
	if why := p.check(l.ToldBytes); why != nil {
		return why
	}
	if why := x.readHistory(p); why != nil {
		return why
	}
	if why := x.operations(p); why != nil {
		return why
	}
	x.push = p
	return nil
}

// read reads up to the pack: at most so many refs, and so many bytes, which are kept.
func (p *push) read(in *pktline.Reader, size int64, most int, mostBytes int64) *access.Refusal {
	end, why := p.section(in, mostBytes, func(line string) *access.Refusal { return p.command(line, most) })
	if why != nil {
		return why
	}
	if p.can("push-options") && len(p.updates) > 0 {
		if end, why = p.section(in, mostBytes, func(line string) *access.Refusal {
			if !utf8.ValidString(line) || strings.ContainsAny(line, "\x00\r\n") { // git's own server reads up to a NUL
				return malformed("the push option %q can be read in two ways", line)
			}
			p.options = append(p.options, line)
			return nil
		}); why != nil {
			return why
		}
	}
	if end < size {
		p.packAt = end
	}
	return nil
}

// section reads lines up to a flush, and gives where that ends.
func (p *push) section(in *pktline.Reader, mostBytes int64, line func(string) *access.Refusal) (int64, *access.Refusal) {
	for {
		k, err := in.Next()
		switch {
		case err != nil:
			return 0, unreadable(err)
		case k.Offset > mostBytes:
			return 0, access.Refuse(access.CodeTooLarge, nil, "the push's commands and options are longer than limits.requestBodyBytes, %d bytes", mostBytes)
		case k.Kind == pktline.Flush:
			return k.Offset + int64(len(k.Raw)), nil
		case k.Kind != pktline.Data:
			return 0, malformed("the push has a mark where none belongs")
		}
		if why := line(string(k.Text())); why != nil {
			return 0, why
		}
	}
}

func (p *push) command(line string, most int) *access.Refusal {
	if name, ok := strings.CutPrefix(line, "shallow "); ok && len(p.updates) == 0 && objectName.MatchString(name) {
		p.shallow = append(p.shallow, name)
		return nil
	}
	line, caps, hasCaps := strings.Cut(line, "\x00")
	if strings.HasPrefix(line, "push-cert") || strings.HasPrefix(caps, "push-cert") {
		why := malformed("a signed push is not passed on: its certificate is not decoded")
		why.Advice = "Push without --signed. Signed commits and tags are passed on."
		return why
	}
	if hasCaps {
		if len(p.updates) > 0 {
			return malformed("the push names capabilities twice")
		}
		if why := p.readCapabilities(caps); why != nil {
			return why
		}
	}
	words := strings.SplitN(line, " ", 3)
	if len(words) != 3 || !objectName.MatchString(words[0]) || !objectName.MatchString(words[1]) || len(words[0]) != len(words[1]) {
		return malformed("%q is no command of a push", line)
	}
	if len(p.updates) == most {
		return access.Refuse(access.CodeTooLarge, nil, "the push updates more than %d refs", most)
	}
	p.hashBytes = len(words[0]) / 2
	p.updates = append(p.updates, &update{old: nonZero(words[0]), new: nonZero(words[1]), ref: words[2]})
	return nil
}

// plainCapability is one that all who read it part from the others in the same way.
var plainCapability = regexp.MustCompile(`^[!-~]+$`)

func (p *push) readCapabilities(caps string) *access.Refusal {
	seen := map[string]bool{}
	for _, c := range strings.Split(strings.TrimSuffix(caps, "\n"), " ") {
		name, _, hasValue := strings.Cut(c, "=")
		switch {
		case c == "":
			continue
		case !plainCapability.MatchString(c) || seen[name]:
			return malformed("the push's capabilities %q can be read in two ways", caps)
		case hasValue && slices.Contains(switches, name), !hasValue && slices.Contains(valued, name): // git takes the former for the same
			return malformed("the push's capability %q is none of git's", c)
		}
		seen[name] = true
		p.capabilities = append(p.capabilities, c)
	}
	return nil
}

// switches are the capabilities of a push without a value, and valued those with one (gitprotocol-capabilities).
var (
	switches = []string{sideBand, reportStatus, reportStatus2, "quiet", "atomic", "ofs-delta", "delete-refs", "push-options"}
	valued   = []string{"agent", "object-format", "session-id"}
)

func nonZero(name string) string {
	if strings.Trim(name, "0") == "" {
		return ""
	}
	return name
}

// check refuses a push that could be read in two ways, or whose options, which the record of each ref has, are longer in all than
// mostTold.
func (p *push) check(mostTold int64) *access.Refusal {
	told := 0
	for _, s := range slices.Concat(p.options, p.shallow) {
		told += len(s)
	}
	if int64(told)*int64(len(p.updates)) > mostTold {
		return access.Refuse(access.CodeTooLarge, nil, "the push has options and shallow commits of %d bytes for %d refs; in the record of each, they would be too long", told, len(p.updates))
	}
	seen, deletes := map[string]bool{}, 0
	for _, u := range p.updates {
		for _, name := range []string{u.old, u.new} {
			if name != "" && len(name) != 2*p.hashBytes {
				return malformed("the push names objects by two hashes")
			}
		}
		switch {
		case !goodRef(u.ref):
			return malformed("%.*q is no ref's name, or one of more than %d bytes", maxRefBytes, u.ref, maxRefBytes)
		case seen[u.ref]:
			return malformed("the push updates %q twice", u.ref)
		case u.old == "" && u.new == "":
			return malformed("the push neither makes %q nor deletes it", u.ref)
		}
		seen[u.ref] = true
		if u.new == "" {
			deletes++
		}
	}
	want := map[int]string{20: "", 32: "sha256"}[p.hashBytes]
	if f := p.value("object-format"); f != want && !(f == "sha1" && want == "") {
		return malformed("the push says that objects are named by %q", f)
	}
	if onlyDeletes := deletes == len(p.updates); onlyDeletes != (p.packAt < 0) {
		return malformed("the push has a pack where none belongs, or none where one does")
	}
	return nil
}

// badRef is what no ref's name holds (git-check-ref-format).
var badRef = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|/$|\.$`)

// maxRefBytes bounds a ref's name.
const maxRefBytes = 1024

func goodRef(ref string) bool {
	return len(ref) <= maxRefBytes && utf8.ValidString(ref) && strings.HasPrefix(ref, "refs/") && strings.Count(ref, "/") >= 2 && !badRef.MatchString(ref)
}

// readHistory reads the pack's commits and trees.
func (x *exchange) readHistory(p *push) *access.Refusal {
	p.pack = &gitpack.Pack{}
	l := x.h.o.Limits
	if p.packAt >= 0 {
		var err error
		p.pack, err = gitpack.Read(x.body.From(p.packAt), p.hashBytes, gitpack.Limits{Objects: maxObjects, Inflated: 16 * l.PushBytes, Kept: l.HistoryBytes})
		switch {
		case errors.Is(err, gitpack.ErrTooLarge):
			return access.Refuse(access.CodeTooLarge, err, "the push's pack has more than %d objects, or more than 16 times limits.gitPushBytes in them", maxObjects)
		case err != nil:
			return access.Refuse(access.CodeMalformed, err, "the push's pack cannot be read")
		}
	}
	switch {
	case p.pack.Dropped:
		p.incomplete = "the push's commits and trees are longer than is decoded"
	case p.pack.Unresolved > 0:
		p.incomplete = "objects of the push are deltas whose base is not in it (a thin pack)"
	}
	p.history = history{packs: []*gitpack.Pack{p.pack}, hashBytes: p.hashBytes,
		left: bounds{steps: l.Steps, told: l.ToldBytes, kept: l.HistoryBytes - p.pack.Kept, read: l.LookupBytes, asks: l.Lookups, waiting: l.LookupTime}}
	if stray := p.stray(); p.incomplete == "" && stray != "" {
		return malformed("the push's pack holds %s, to which none of its refs leads", stray)
	}
	return nil
}

// stray is a commit or a tag of the pack that no ref of the push leads to. git sends none; a host would keep it all the same,
// and a later push could make something of it that nobody has judged.
func (p *push) stray() gitpack.ID {
	reached := map[gitpack.ID]bool{}
	var next []gitpack.ID
	for _, u := range p.updates {
		next = append(next, gitpack.ID(u.new))
	}
	for len(next) > 0 {
		id := next[len(next)-1]
		next = next[:len(next)-1]
		if reached[id] {
			continue
		}
		reached[id] = true
		if t := p.pack.Tags[id]; t != nil {
			next = append(next, t.Object)
		}
		if c := p.pack.Commits[id]; c != nil {
			next = append(next, c.Parents...)
		}
	}
	for id := range p.pack.Commits {
		if !reached[id] {
			return id
		}
	}
	for id := range p.pack.Tags {
		if !reached[id] {
			return id
		}
	}
	return ""
}

// maxObjects bounds a pack.
const maxObjects = 8_000_000

// operations makes the operation of each ref.
func (x *exchange) operations(p *push) *access.Refusal {
	for i, u := range p.updates {
		u.op = x.op // the first has the request's own: a push that cannot be read is known by that
		if i > 0 {
			u.op = x.operation()
		}
		u.op.Verb = "push"
		u.exact = &access.Git{Repository: x.repository, Service: receivePack, Change: u.change(), Push: p.updates[0].op.ID, Ref: u.ref, Old: u.old, New: u.new, Options: p.options}
		if u.op.Client.Trace == "" {
			u.op.Client.Trace = x.by.Trace
		}
		x.tell(p, u)
		u.op.Command = x.hidden(p.written(u))
		var why *access.Refusal
		if u.op.Digest, why = x.digestOf(p, u); why != nil {
			return why
		}
	}
	return nil
}

// change is what can be said of an update without its history.
func (u *update) change() string {
	switch {
	case u.old == "":
		return "create"
	case u.new == "":
		return "delete"
	case u.old == u.new:
		return "update"
	}
	return "force" // unless history says otherwise
}

// digestOf binds an approval to one ref's update. Objects' names are hashes of all that they hold, commits those of all
// their history: nothing else of the pack can make another update of it, and the pack itself, whose bytes differ from run to
// run, need not be in it. What the client says of itself is not, either.
func (x *exchange) digestOf(p *push, u *update) (access.Digest, *access.Refusal) {
	fields := []any{"push", x.r.URL.EscapedPath(), u.ref, u.old, u.new}
	for _, list := range [][]string{p.options, p.shallow, p.meant()} {
		fields = append(fields, strconv.Itoa(len(list)))
		for _, s := range list {
			fields = append(fields, s)
		}
	}
	return x.digest(fields...)
}

// meant are the capabilities that change what a push does.
func (p *push) meant() []string {
	out := slices.DeleteFunc(slices.Clone(p.capabilities), func(c string) bool {
		name, _, _ := strings.Cut(c, "=")
		return slices.Contains([]string{"agent", "session-id", "quiet", sideBand, reportStatus, reportStatus2, "ofs-delta", "delete-refs", "push-options"}, name)
	})
	slices.Sort(out)
	return out
}

// written is the update as git's own command, with what else of the push means something.
func (p *push) written(u *update) string {
	words := []string{"git", "push"}
	if p.can("atomic") {
		words = append(words, "--atomic")
	}
	for _, o := range u.exact.Options {
		words = append(words, "-o", quote(o))
	}
	if u.old != "" {
		words = append(words, "--force-with-lease="+quote(u.ref+":"+u.old)) // the server compares it, too
	}
	out := strings.Join(append(words, quote(u.exact.Repository), quote(u.new+":"+u.ref)), " ")
	for _, s := range p.shallow {
		out += " # shallow " + s
	}
	for _, c := range p.meant() {
		if c != "atomic" && c != "object-format=sha1" { // what git says of every push
			out += " # " + c
		}
	}
	return out
}
