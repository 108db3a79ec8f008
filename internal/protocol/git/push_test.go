package git

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"gatebook/internal/access"
	"gatebook/internal/gate"
	"gatebook/internal/protocol/protocoltest"
	"gatebook/internal/spool"
	"gatebook/internal/wire/gitpack"
	"gatebook/internal/wire/pktline"
)

// asGit reads the commands of a push as git's own server does (builtin/receive-pack.c, read_head_info and read_push_options):
// lines end at a NUL, capabilities stand behind it, a capability may have a value.
func asGit(b []byte) (updates, options []string, atomic, sideband bool) {
	in := pktline.NewReader(bytes.NewReader(b))
	features := ""
	has := func(name string) bool { // connect.c, parse_feature_value
		for at := 0; ; {
			i := strings.Index(features[at:], name)
			if i < 0 {
				return false
			}
			i += at
			end := i + len(name)
			if (i == 0 || strings.ContainsRune(" \t\n\r", rune(features[i-1]))) && (end == len(features) || strings.ContainsRune(" \t\n\r=", rune(features[end]))) {
				return true
			}
			at = i + 1
		}
	}
	cString := func(s string) string {
		s, _, _ = strings.Cut(s, "\x00")
		return s
	}
	for {
		k, err := in.Next()
		if err != nil || k.Kind != pktline.Data {
			break
		}
		line, rest, hasRest := strings.Cut(string(k.Text()), "\x00")
		if strings.HasPrefix(line, "shallow ") {
			continue
		}
		if hasRest {
			features = cString(rest)
			sideband = sideband || has("side-band-64k")
			atomic = atomic || has("atomic")
		}
		updates = append(updates, line)
	}
	if has("push-options") {
		for {
			k, err := in.Next()
			if err != nil || k.Kind != pktline.Data {
				break
			}
			options = append(options, cString(string(k.Text())))
		}
	}
	return updates, options, atomic, sideband
}

// What is taken for a push is read as git's own server reads it, however it arrives.
func FuzzPush(f *testing.F) {
	id := strings.Repeat("ab", 20)
	one := zeros + " " + id + " refs/heads/main"
	for _, b := range []string{commands(report, one), commands(" report-status side-band-64k atomic object-format=sha1 agent=git/2", one, id+" "+zeros+" refs/tags/x"), packet("shallow "+id) + commands("", one),
		commands(" push-options", one) + packet("ci.skip\n") + packet("a=b") + "0000", commands(" push-options", one) + packet("ci.skip\x00x") + "0000", commands("atomic=1 push-options\tx", one), commands("atomic\x00x side-band-64k\xa0quiet", one),
		commands(report, zeros+" "+strings.Repeat("ab", 32)+" refs/heads/\u00e9"), packet("push-cert\x00"), "0000", ""} {
		f.Add([]byte(b + "PACK"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &push{packAt: -1, hashBytes: 20}
		why := p.read(pktline.NewReader(bytes.NewReader(b)), int64(len(b)), 100, 1<<20)
		again := &push{packAt: -1, hashBytes: 20}
		why2 := again.read(pktline.NewReader(iotest.OneByteReader(bytes.NewReader(b))), int64(len(b)), 100, 1<<20)
		if (why == nil) != (why2 == nil) || fmt.Sprint(p.options, p.capabilities, p.shallow, p.packAt, len(p.updates)) != fmt.Sprint(again.options, again.capabilities, again.shallow, again.packAt, len(again.updates)) {
			t.Fatalf("%+v %v; byte by byte %+v %v", p, why, again, why2)
		}
		if why != nil || len(p.updates) == 0 || p.check(16<<20) != nil {
			return
		}
		updates, options, atomic, sideband := asGit(b)
		var ours []string
		for _, u := range p.updates {
			old, new := u.old, u.new
			if old == "" {
				old = strings.Repeat("0", 2*p.hashBytes)
			}
			if new == "" {
				new = strings.Repeat("0", 2*p.hashBytes)
			}
			ours = append(ours, old+" "+new+" "+u.ref)
		}
		if !slices.Equal(ours, updates) || !slices.Equal(p.options, options) || p.can("atomic") != atomic || p.can(sideBand) != sideband {
			t.Fatalf("read %q %q %v %v; git reads %q %q %v %v", ours, p.options, p.can("atomic"), p.can(sideBand), updates, options, atomic, sideband)
		}
	})
}

// What is no push, and is not taken for one.
func TestNoPush(t *testing.T) {
	id := strings.Repeat("ab", 20)
	one := zeros + " " + id + " refs/heads/main"
	for name, b := range map[string]string{
		"an option that ends twice":      commands(" push-options", one) + packet("ci.skip\x00 really") + "0000",
		"an option of two lines":         commands(" push-options", one) + packet("a\nb") + "0000",
		"an option that is no text":      commands(" push-options", one) + packet("\xff") + "0000",
		"a capability behind a NUL":      commands("atomic\x00 side-band-64k", one),
		"capabilities behind a tab":      commands("atomic\tside-band-64k", one),
		"capabilities behind no space":   commands("atomic\u00a0side-band-64k", one),
		"a switch with a value":          commands("atomic=1", one),
		"a value that is missing":        commands("object-format", one),
		"the hash twice":                 commands("object-format=sha1 object-format=sha256", one),
		"a ref that is no text":          commands("", zeros+" "+id+" refs/heads/\xff"),
		"a ref below none":               commands("", zeros+" "+id+" refs/main"),
		"HEAD":                           commands("", zeros+" "+id+" HEAD"),
		"a ref that is locked":           commands("", zeros+" "+id+" refs/heads/x.lock"),
		"a ref that is a time":           commands("", zeros+" "+id+" refs/heads/x@{1}"),
		"a ref with a hidden component":  commands("", zeros+" "+id+" refs/heads/.x"),
		"a shallow line behind commands": packet(one+"\x00") + packet("shallow "+id) + "0000",
	} {
		p := &push{packAt: -1, hashBytes: 20}
		b += "PACK" // it is not for want of one
		why := p.read(pktline.NewReader(strings.NewReader(b)), int64(len(b)), 100, 1<<20)
		if why == nil {
			why = p.check(16 << 20)
		}
		if why == nil || why.Code != access.CodeMalformed {
			t.Errorf("%s: %v", name, why)
		}
	}
}

// A yes is for all that a push means: its options one by one, its capabilities, where its history is cut.
func TestDigestOfAPush(t *testing.T) {
	w := newWorld(t)
	id := strings.Repeat("ab", 20)
	seen := map[access.Digest]string{}
	commandsOf := map[string]string{}
	for name, p := range map[string]*push{
		"plain": {}, "an empty option": {options: []string{""}}, "two": {options: []string{"a", "b"}}, "one": {options: []string{"ab"}}, "atomic": {capabilities: []string{"atomic"}},
		"shallow": {shallow: []string{id}}, "the option shallow": {options: []string{id}}, "unknown": {capabilities: []string{"x-odd"}},
	} {
		r, err := http.NewRequest(http.MethodPost, "/team/app.git/git-receive-pack", nil)
		must(t, err)
		x := w.h.newExchange(r, protocoltest.Caller)
		p.pack, p.packAt = &gitpack.Pack{}, -1
		p.updates = []*update{{new: id, ref: "refs/heads/main"}}
		if why := x.operations(p); why != nil {
			t.Fatal(why)
		}
		op := p.updates[0].op
		if other, twice := seen[op.Digest]; twice {
			t.Errorf("%s has the digest of %s", name, other)
		}
		if other, twice := commandsOf[op.Command]; twice {
			t.Errorf("%s is shown as %s is: %s", name, other, op.Command)
		}
		seen[op.Digest], commandsOf[op.Command] = name, name
	}
}

// relayed is what a relay makes of an upstream's answer that comes as src gives it.
func (w *world) relayed(t testing.TB, p *push, src io.Reader) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/team/app.git/git-receive-pack", nil)
	must(t, err)
	x := w.h.newExchange(r, protocoltest.Caller)
	x.kind, x.push = receive, p
	x.body = &spool.Body{}
	permit, err := w.Gate.Admit(t.Context(), gate.Request{Operation: x.op})
	must(t, err)
	defer x.end(permit, access.Outcome{})
	out := &recorder{header: http.Header{}}
	err = x.relayReport(&sink{w: out, p: permit, status: http.StatusOK}, src, true, &access.Outcome{})
	return out.String(), err
}

// recorder is a client.
type recorder struct {
	bytes.Buffer
	header http.Header
}

func (r *recorder) Header() http.Header { return r.header }
func (*recorder) WriteHeader(int)       {}

// A push's answer is relayed the same however it is cut: the report whole, with each ref's outcome kept, and messages with what
// is known to be secret hidden, wherever the cut is.
func TestReportCutAnywhere(t *testing.T) {
	w := newWorld(t)
	const secret = "hunter2-correct-horse-battery"
	w.Masks.Learn([]byte(secret))
	band := func(n byte, s string) string { return packet(string(n) + s) }
	lines := packet("unpack ok\n") + packet("ok refs/heads/a\n") + packet("ng refs/heads/b no: "+secret+"\n") + "0000"
	var reference string
	for cut := range len(lines) {
		for at := 1; at < len(secret); at += 5 {
			answer := band(2, "hook says "+secret[:at]) + band(2, secret[at:]+" and on\n") + band(1, lines[:cut]) + band(1, lines[cut:]) + "0000"
			p := &push{capabilities: []string{sideBand, reportStatus}, updates: []*update{{ref: "refs/heads/a"}, {ref: "refs/heads/b"}, {ref: "refs/heads/c"}}}
			got, err := w.relayed(t, p, iotest.OneByteReader(strings.NewReader(answer)))
			if err != nil || strings.Contains(got, secret) || p.updates[0].outcome != "ok" || !strings.HasPrefix(p.updates[1].outcome, "ng refs/heads/b no: gbm-") || p.updates[2].outcome != "" {
				t.Fatalf("cut at %d, %d: %q %v %+v", cut, at, got, err, p.updates)
			}
			if got = said(t, got); reference == "" {
				reference = got
			}
			if got != reference {
				t.Fatalf("cut at %d, %d: report %q, else %q", cut, at, got, reference)
			}
		}
	}
}

// said joins what came in band 1.
func said(t testing.TB, answer string) string {
	t.Helper()
	out := ""
	in := pktline.NewReader(strings.NewReader(answer))
	for {
		k, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		if k.Kind != pktline.Data {
			continue
		}
		b, data, err := k.Band()
		must(t, err)
		if b == pktline.PackData {
			out += string(data)
		}
	}
}

// A relay neither panics nor says what the upstream did not, whatever comes, and whole or byte by byte it is the same.
func FuzzReport(f *testing.F) {
	w := newWorld(f)
	f.Add([]byte(packet("\x01"+packet("unpack ok\n")+"0000") + packet("\x02hello") + "0000"))
	f.Add([]byte(packet("\x03no") + "0000"))
	f.Add([]byte("0004" + packet("\x01") + "0001"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got [2]string
		var errs [2]bool
		for i, src := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b))} {
			out, err := w.relayed(t, &push{capabilities: []string{sideBand, reportStatus}, updates: []*update{{ref: "refs/heads/a"}}}, src)
			got[i], errs[i] = out, err != nil
		}
		if errs[0] != errs[1] || !errs[0] && got[0] != got[1] && said2(got[0]) != said2(got[1]) {
			t.Fatalf("%q %v; byte by byte %q %v", got[0], errs[0], got[1], errs[1])
		}
	})
}

// said2 is said, of what need not be bands.
func said2(answer string) string {
	var out strings.Builder
	in := pktline.NewReader(strings.NewReader(answer))
	last := byte(0)
	for {
		k, err := in.Next()
		if err != nil {
			return out.String()
		}
		if k.Kind == pktline.Data && len(k.Payload) > 0 && k.Payload[0] <= 3 {
			if k.Payload[0] != last {
				fmt.Fprintf(&out, "|%d:", k.Payload[0])
			}
			last = k.Payload[0]
			out.Write(k.Payload[1:])
			continue
		}
		last = 0
		fmt.Fprintf(&out, "|%q", k.Raw)
	}
}

// FuzzUpload: a fetch is read the same whole and byte by byte, and never panics.
func FuzzUpload(f *testing.F) {
	id := strings.Repeat("ab", 20)
	f.Add([]byte(packet("command=fetch")+"0001"+packet("want "+id+"\n")+packet("filter blob:none")+packet("deepen 1")+packet("done")+"0000"), true)
	f.Add([]byte(packet("want "+id+" side-band-64k\n")+"0000"+packet("have "+id)+packet("done")), false)
	f.Fuzz(func(t *testing.T, b []byte, v2 bool) {
		var got [2]string
		for i, src := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b))} {
			u := &uploadRequest{exact: &access.Git{}}
			read := u.readV0
			if v2 {
				read = u.readV2
			}
			why := read(pktline.NewReader(src))
			got[i] = fmt.Sprint(why == nil, u.verb, u.extra, *u.exact)
		}
		if got[0] != got[1] {
			t.Fatalf("%s; byte by byte %s", got[0], got[1])
		}
	})
}

// FuzzTips: what ls-refs answers.
func FuzzTips(f *testing.F) {
	id := strings.Repeat("ab", 20)
	f.Add([]byte(packet(id+" refs/tags/v peeled:"+id+"\n") + "0000"))
	f.Add([]byte(packet("ERR no") + "0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tips, err := readTips(bytes.NewReader(b))
		again, err2 := readTips(iotest.OneByteReader(bytes.NewReader(b)))
		if (err == nil) != (err2 == nil) || !slices.Equal(tips, again) {
			t.Fatalf("%q %v; byte by byte %q %v", tips, err, again, err2)
		}
	})
}

// H76b: a ref that the host has as another name of a second one is not updated by that name, however it is pushed: policy would have
// judged the wrong one.
func TestSymbolicRefs(t *testing.T) {
	w := newWorld(t)
	first := w.commit("first", map[string]string{"a": "1"})
	w.seed(first, "refs/heads/main")
	w.git(w.repo, "symbolic-ref", "refs/heads/trunk", "refs/heads/main")
	second := w.commit("second", map[string]string{"a": "2"})
	for name, body := range map[string]string{
		"update":                commands(report, first+" "+second+" refs/heads/trunk") + string(w.pack(second, "^"+first)),
		"in company":            commands(report, zeros+" "+second+" refs/heads/other", first+" "+second+" refs/heads/trunk") + string(w.pack(second, "^"+first)),
		"deletion":              commands(report, first+" "+zeros+" refs/heads/trunk"),
		"without a report":      commands("", first+" "+second+" refs/heads/trunk") + string(w.pack(second, "^"+first)),
		"the alias and its own": commands(report, first+" "+second+" refs/heads/main", first+" "+second+" refs/heads/trunk") + string(w.pack(second, "^"+first)),
	} {
		a := w.push(body)
		if !strings.Contains(a.body, "refs/heads/trunk is another name of refs/heads/main") {
			t.Errorf("%s: %d %q", name, a.code, a.body)
		}
		if got := w.git(w.repo, "rev-parse", "refs/heads/main"); got != first {
			t.Fatalf("%s: main is at %s", name, got)
		}
	}
	if a := w.push(commands(report, first+" "+second+" refs/heads/main") + string(w.pack(second, "^"+first))); !strings.Contains(a.body, "ok refs/heads/main") {
		t.Errorf("by its own name: %d %q", a.code, a.body)
	}
	// A host that says a part of it, or that may say it another time, has not said it.
	for name, say := range map[string]func(http.ResponseWriter){
		"broken off":       func(rw http.ResponseWriter) { io.WriteString(rw, packet(first+" refs/heads/fresh\n")) },
		"in mid-packet":    func(rw http.ResponseWriter) { io.WriteString(rw, packet(first + " refs/heads/fresh\n")[:20]) },
		"no connection":    func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"given up":         func(rw http.ResponseWriter) { io.WriteString(rw, packet(first+" refs/heads/fresh\n")+packet("ERR no")) },
		"overloaded":       func(rw http.ResponseWriter) { http.Error(rw, "later", http.StatusServiceUnavailable) },
		"broken":           func(rw http.ResponseWriter) { http.Error(rw, "sorry", http.StatusInternalServerError) },
		"too many at once": func(rw http.ResponseWriter) { http.Error(rw, "later", http.StatusTooManyRequests) },
	} {
		w.before = func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, uploadPack) {
				say(rw)
				return true
			}
			return false
		}
		a := w.push(commands(report, zeros+" "+first+" refs/heads/fresh") + string(w.pack(first, "^"+first)))
		if strings.Contains(a.body, "ok refs/heads/fresh") || !strings.Contains(a.body, "ng refs/heads/fresh") {
			t.Errorf("%s: %d %q", name, a.code, a.body)
		}
	}
	// A host that does not speak version 2 does not say.
	w.before = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, uploadPack) {
			http.Error(rw, "no", http.StatusForbidden)
			return true
		}
		return false
	}
	if a := w.push(commands(report, zeros+" "+second+" refs/heads/more") + string(w.pack(second, "^"+second))); !strings.Contains(a.body, "ok refs/heads/more") {
		t.Errorf("where it does not say: %d %q", a.code, a.body)
	}
	for _, r := range w.Records() {
		if r.Refused == nil && r.Outcome == nil {
			t.Errorf("%s has no end", r.Operation.Command)
		}
	}
}

// A credential that nobody knew stands in no record of a push: not in its options, nor in commits' messages and paths; policy and the
// host have it as it is.
func TestCredentialsInPushesAreNotRecorded(t *testing.T) {
	w := newWorld(t)
	w.git(w.repo, "config", "receive.advertisePushOptions", "true")
	key := "gh" + "p_" + strings.Repeat("Aa9xQz", 6)
	id := w.commit("use "+key+" for now", map[string]string{key: "1"})
	a := w.push(commands(report+" push-options", zeros+" "+id+" refs/heads/main") + packet("token="+key) + "0000" + string(w.pack(id)))
	if !strings.Contains(a.body, "ok refs/heads/main") {
		t.Fatalf("%d %q", a.code, a.body)
	}
	op := w.decided()["refs/heads/main"]
	if exact := op.ExactGit; exact.Options[0] != "token="+key || !strings.Contains(exact.Commits[0].Message, key) || exact.Paths[0] != key {
		t.Errorf("policy saw %+v", exact)
	}
	if b := w.Recorded(); strings.Contains(string(b), key) || !strings.Contains(string(b), access.PlaceholderPrefix) {
		t.Error("the record holds it")
	}
	for _, r := range w.Records() {
		if b, err := json.Marshal(r); err != nil || strings.Contains(string(b), key) {
			t.Errorf("the index has %s", b)
		}
	}
}

// What stands before a push's pack is kept, for each of its refs: it is bounded, and so is what cards say of other refs.
func TestPushesWithoutEnd(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.RequestBodyBytes, o.Limits.ToldBytes = 64<<10, 32<<10 })
	id := w.commit("first", map[string]string{"a": "1"})
	pack := string(w.pack(id))
	create := func(n, bytes int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("%s %s refs/heads/%0*d", zeros, id, bytes, i))
		}
		return all
	}
	options := packet("o="+strings.Repeat("x", 8000)) + "0000"
	for name, c := range map[string]struct{ body, why string }{
		"shallow commits":       {strings.Repeat(packet("shallow "+id), 2000) + commands(report, create(1, 1)...) + pack, "limits.requestBodyBytes"},
		"options":               {commands(report+" push-options", create(1, 1)...) + strings.Repeat(packet(strings.Repeat("o", 60000)), 2) + "0000" + pack, "limits.requestBodyBytes"},
		"options for many refs": {commands(report+" push-options", create(5, 3)...) + options + pack, "too long"},
		"a long name":           {commands(report, create(1, 1100)...) + pack, "more than 1024 bytes"},
	} {
		if a := w.push(c.body); !strings.Contains(a.body, c.why) {
			t.Errorf("%s: %d %.300q", name, a.code, a.body)
		}
	}
	w.git(w.repo, "config", "receive.advertisePushOptions", "true")
	if a := w.push(commands(report+" push-options", create(3, 3)...) + options + pack); !strings.Contains(a.body, "ok refs/heads/002") {
		t.Errorf("within the limits: %d %.300q", a.code, a.body)
	}
	p := &push{packAt: -1, hashBytes: 20, updates: []*update{}}
	x := w.h.newExchange(httptest.NewRequest("POST", "/team/app.git/git-receive-pack", nil), protocoltest.Caller)
	x.push = p
	for i := range 1000 {
		op := x.operation()
		op.Git = &access.Git{}
		p.updates = append(p.updates, &update{new: id, ref: fmt.Sprintf("refs/heads/%0900d", i), op: op, exact: &access.Git{Repository: "team/app"}})
	}
	card, err := x.pushCard(t.Context(), p, p.updates[0])
	if err != nil || len(card.Object) > maxCardBytes+2000 || !strings.Contains(fmt.Sprint(card.Uninspectable), "are not listed here") {
		t.Errorf("%v; the card has %d bytes, and says %v", err, len(card.Object), card.Uninspectable)
	}
}
