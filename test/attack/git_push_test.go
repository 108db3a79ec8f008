package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// branchesOnly lets branches of the agent's go forward, and has main asked about.
const branchesOnly = `  - {id: read, protocol: git, effect: allow, verbs: [list, fetch, probe], reason: reading}
  - {id: mine, protocol: git, effect: allow, verbs: [push], when: 'git.ref.startsWith("refs/heads/agent/") && git.change in ["create", "update"]', reason: its own branches}
  - {id: main, protocol: git, effect: approve, verbs: [push], when: 'git.ref == "refs/heads/main" && git.change in ["create", "update"]', reason: main is everybody's, advice: ask}
`

// One ref that is not let through refuses the whole push, and nobody is asked about the others; each has its own status.
func TestH76bOneForbiddenRefRefusesAll(t *testing.T) {
	s := newGitScene(t, branchesOnly)
	s.c.Commit("b.txt", "1", "second")
	before := s.heads()
	r := s.c.Git("push", "origin", "main:agent/x", "main:main", "main:refs/heads/other")
	if r.Code == 0 || s.heads() != before || s.pushed() != 0 {
		t.Fatalf("exit %d, %d pushes reached the host\n%s", r.Code, s.pushed(), r.Out())
	}
	for _, text := range []string{"remote: gatebook: refs/heads/other is not updated", "no rule allows this", "! [remote rejected] main -> agent/x (the push was refused as a whole because of refs/heads/other)",
		"! [remote rejected] main -> main (the push was refused as a whole because of refs/heads/other)", "! [remote rejected] main -> other (no rule allows this"} {
		if !strings.Contains(r.Out(), text) {
			t.Errorf("git does not print %q:\n%s", text, r.Out())
		}
	}
	for ref, rec := range s.updates(3) {
		if rec.Refused == nil {
			t.Errorf("%s is not recorded as refused: %+v", ref, rec.Outcome)
		}
	}
	page, err := s.desk.Approvals(t.Context())
	if err != nil || len(page.Items) > 0 {
		t.Errorf("somebody was asked: %+v %v", page.Items, err)
	}
	if r := s.c.Git("push", "origin", "main:agent/x", "main:agent/y"); r.Code != 0 || s.pushed() != 1 {
		t.Errorf("exit %d, %d pushes\n%s", r.Code, s.pushed(), r.Out())
	}
}

// Whatever way a client drops commits, deletes a ref or moves a tag: it is decided as that, and a rule that lets branches go
// forward lets none of it through.
func TestH76bEachChangeIsWhatItIs(t *testing.T) {
	s := newGitScene(t, branchesOnly+`  - {id: tags, protocol: git, effect: allow, verbs: [push], when: 'git.ref.startsWith("refs/tags/") && git.change in ["create", "update"]', reason: new tags}
`)
	s.c.Commit("b.txt", "1", "second")
	s.c.Must("tag", "light")
	s.c.Must("tag", "-a", "heavy", "-m", "heavy")
	s.c.Must("push", "origin", "main:agent/x", "main:agent/lock", "light", "heavy")
	s.c.Must("fetch", "-q", "origin", "+refs/heads/*:refs/remotes/origin/*")
	tip := s.c.Must("rev-parse", "HEAD")
	s.c.Must("reset", "-q", "--hard", "HEAD~1")
	s.c.Commit("c.txt", "1", "instead")
	before, pushed := s.heads(), s.pushed()
	for change, pushes := range map[string][][]string{
		"force": {{"--force", "origin", "main:agent/x"}, {"origin", "+main:agent/x"}, {"--force-with-lease=agent/x:" + tip, "origin", "main:agent/x"}, {"-f", "origin", "main~1:agent/x"},
			{"-f", "origin", "main:refs/tags/light"}, {"-f", "origin", "main:refs/tags/heavy"}, {"-f", "--atomic", "origin", "main:agent/x"}, {"-f", "-o", "ci.skip", "origin", "main:agent/x"}},
		"delete": {{"origin", ":agent/x"}, {"--delete", "origin", "agent/lock"}, {"origin", ":refs/tags/heavy"}, {"--prune", "origin", "+refs/none/*:refs/heads/agent/*"}},
	} {
		for _, args := range pushes {
			if r := s.c.Git(append([]string{"push"}, args...)...); r.Code == 0 {
				if strings.Contains(r.Out(), "Everything up-to-date") {
					t.Fatalf("git push %q does nothing", args)
				}
				t.Errorf("%s: git push %q goes through\n%s", change, args, r.Out())
			}
		}
	}
	// A tag that goes forward is moved all the same.
	s.c.Must("checkout", "-q", "-b", "on", tip)
	s.c.Commit("d.txt", "1", "on from the tag")
	if r := s.c.Git("push", "-f", "origin", "on:refs/tags/light"); r.Code == 0 {
		t.Errorf("a tag is moved\n%s", r.Out())
	}
	if s.heads() != before || s.pushed() != pushed {
		t.Errorf("%d pushes reached the host\n%s\nbefore\n%s", s.pushed()-pushed, s.heads(), before)
	}
}

// A client that names another old object than there is does not escape: the host compares it.
func TestH76bTheOldObjectIsTrue(t *testing.T) {
	s := newGitScene(t, branchesOnly)
	second := s.c.Commit("b.txt", "1", "second")
	s.c.Must("push", "origin", "main:agent/x")
	before := s.heads()
	s.c.Must("reset", "-q", "--hard", "HEAD~1")
	other := s.c.Commit("c.txt", "1", "instead")
	for name, old := range map[string]string{"create": zeros, "update": s.first} {
		a := s.push(s.body(old, other, "refs/heads/agent/x", " report-status", "main"))
		if s.heads() != before {
			t.Fatalf("%s: %s became\n%s", name, second, s.heads())
		}
		if a.code != http.StatusOK || !strings.Contains(string(a.body), "ng refs/heads/agent/x") {
			t.Errorf("%s: %d %q", name, a.code, a.body)
		}
	}
	if s.pushed() != 3 { // so that it was the host
		t.Errorf("%d pushes", s.pushed())
	}
}

const zeros = "0000000000000000000000000000000000000000"

// packet is a pkt-line.
func packet(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// body is a push as git writes it, with the pack of what of names holds.
func (s *gitScene) body(old, new, ref, capabilities string, revs ...string) []byte {
	s.t.Helper()
	b := []byte(packet(old+" "+new+" "+ref+"\x00"+capabilities) + "0000")
	return append(b, s.packOf(revs...)...)
}

func (s *gitScene) packOf(revs ...string) []byte {
	s.t.Helper()
	if len(revs) == 0 {
		return nil
	}
	cmd := exec.CommandContext(s.t.Context(), "git", "pack-objects", "--stdout", "--revs", "-q", "--delta-base-offset")
	cmd.Dir, cmd.Stdin = s.c.Dir, strings.NewReader(strings.Join(revs, "\n")+"\n")
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// A compressed, chunked or awaited push is the same push; what cannot be read with certainty is refused, and none of it
// reaches the host.
func TestH75EncodedPushes(t *testing.T) {
	s := newGitScene(t, branchesOnly)
	s.c.Commit("b.txt", "1", "second")
	tip := s.c.Must("rev-parse", "HEAD")
	zip := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	forbidden := s.body(zeros, tip, "refs/heads/other", " report-status", "main")
	for name, a := range map[string]answer{
		"plain": s.push(forbidden), "gzip": s.push(zip(forbidden), "Content-Encoding: gzip"), "x-gzip": s.push(zip(forbidden), "Content-Encoding: x-gzip"),
		"expect": s.push(forbidden, "Expect: 100-continue"),
	} {
		if a.code != http.StatusOK || !strings.Contains(string(a.body), "ng refs/heads/other no rule allows this") {
			t.Errorf("%s: %d %q", name, a.code, a.body)
		}
	}
	pack := s.packOf("main")
	command := zeros + " " + tip + " refs/heads/agent/z\x00 report-status"
	for name, b := range map[string][]byte{
		"twice the same ref":       append([]byte(packet(command)+packet(zeros+" "+tip+" refs/heads/agent/z")+"0000"), pack...),
		"capabilities again":       append([]byte(packet(command)+packet(zeros+" "+tip+" refs/heads/y\x00 report-status")+"0000"), pack...),
		"no ref":                   append([]byte(packet(zeros+" "+tip+" HEAD\x00 report-status")+"0000"), pack...),
		"a step up":                append([]byte(packet(zeros+" "+tip+" refs/heads/agent/../other\x00 report-status")+"0000"), pack...),
		"a line in a ref":          append([]byte(packet(zeros+" "+tip+" refs/heads/agent/a\nb\x00 report-status")+"0000"), pack...),
		"a NUL in a ref":           append([]byte(packet(zeros+" "+tip+" refs/heads/agent/a")+packet("\x00")+"0000"), pack...),
		"a signed push":            append([]byte(packet("push-cert\x00 report-status")+packet("certificate version 0.1")+packet("push-cert-end")+"0000"), pack...),
		"another length of name":   append([]byte(packet(zeros+" "+tip[:38]+" refs/heads/agent/z\x00 report-status")+"0000"), pack...),
		"names in capitals":        append([]byte(packet(zeros+" "+strings.ToUpper(tip)+" refs/heads/agent/z\x00 report-status")+"0000"), pack...),
		"a delimiter":              append([]byte(packet(command)+"0001"+packet(zeros+" "+tip+" refs/heads/other")+"0000"), pack...),
		"no pack":                  []byte(packet(command) + "0000"),
		"no flush":                 []byte(packet(command)),
		"a pack with a deletion":   append([]byte(packet(tip+" "+zeros+" refs/heads/agent/z\x00 report-status delete-refs")+"0000"), pack...),
		"a pack that is cut":       append([]byte(packet(command)+"0000"), pack[:len(pack)-30]...),
		"something behind":         append(append([]byte(packet(command)+"0000"), pack...), packet(zeros+" "+tip+" refs/heads/other")+"0000"...),
		"another pack behind":      append(append([]byte(packet(command)+"0000"), pack...), pack...),
		"nothing":                  {},
		"commands behind a flush":  append([]byte("0000"+packet(command)+"0000"), pack...),
		"no push at all":           []byte("PACK"),
		"another hash than it has": append([]byte(packet(zeros+" "+tip+" refs/heads/agent/z\x00 report-status object-format=sha256")+"0000"), pack...),
	} {
		if a := s.push(b); a.code != http.StatusBadRequest {
			t.Errorf("%s: %d %q", name, a.code, a.body)
		}
	}
	good := s.body(zeros, tip, "refs/heads/agent/z", " report-status", "main")
	for name, header := range map[string][]string{"twice encoded": {"Content-Encoding: gzip, gzip"}, "two headers": {"Content-Encoding: gzip", "Content-Encoding: identity"}, "deflate": {"Content-Encoding: deflate"},
		"not what it says": {"Content-Encoding: gzip"}, "another type": {"Content-Type: application/x-git-upload-pack-request"}} {
		if a := s.push(good, header...); a.code != http.StatusBadRequest {
			t.Errorf("%s: %d %q", name, a.code, a.body)
		}
	}
	if s.pushed() != 0 {
		t.Fatalf("%d pushes reached the host", s.pushed())
	}
	if a := s.push(zip(good), "Content-Encoding: gzip"); a.code != http.StatusOK || !strings.Contains(string(a.body), "ok refs/heads/agent/z") {
		t.Errorf("a good one: %d %q", a.code, a.body)
	}
	if h := s.host.Seen(); h[len(h)-1].Header.Get("Content-Encoding") != "" {
		t.Error("what was judged is not what was sent")
	}
}

// What git sends first, to see whether it may push, shows the token, too; and a bomb stays small.
func TestH75ProbeAndBomb(t *testing.T) {
	s := newGitScene(t, "")
	for _, path := range []string{"/team/app.git/git-receive-pack", "/team/app.git/git-upload-pack", "/team/app.git/info/refs?service=git-receive-pack", "/team/app.git/HEAD", "/team/app.git/info/lfs/objects/batch"} {
		method := http.MethodPost
		if strings.Contains(path, "info/refs") || strings.HasSuffix(path, "HEAD") {
			method = http.MethodGet
		}
		for _, header := range []string{"Authorization: ", "Authorization: Bearer x", "Authorization: Basic eDp5", "Authorization: Basic !", "Authorization: Negotiate x"} {
			a := s.do(method, path, []byte("0000"), header)
			if a.code != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("Www-Authenticate"), "Basic ") {
				t.Errorf("%s with %q: %d", path, header, a.code)
			}
		}
	}
	if n := len(s.host.Seen()); n != 0 {
		t.Errorf("%d requests reached the host", n)
	}
	if a := s.push([]byte("0000")); a.code != http.StatusOK {
		t.Errorf("the probe: %d %q", a.code, a.body)
	}
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	for range 4 { // times 16 MiB: six times limits.requestBodyBytes
		if _, err := w.Write(make([]byte, 16<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	a := s.do(http.MethodPost, "/team/app.git/git-upload-pack", bomb.Bytes(), "Content-Type: application/x-git-upload-pack-request", "Content-Encoding: gzip")
	if !strings.Contains(string(a.body), "limits.requestBodyBytes") {
		t.Errorf("a bomb: %d %q", a.code, a.body)
	}
	for _, q := range s.host.Seen() {
		for name, v := range q.Header {
			if strings.Contains(strings.Join(v, " "), s.agent) {
				t.Errorf("the agent's token went upstream in %s", name)
			}
		}
	}
}

// A yes is for one ref's update by one commit in one repository with its options, and for no other; for that it is, however it
// is packed, and once.
func TestI105AnotherPushAsksAgain(t *testing.T) {
	s := newGitSceneWith(t, lab.Options{Config: "approvals: {hold: 1s}\n"}, "")
	s.host.Repository(t, "team/other.git")
	s.host.Git(t, "team/other.git", "fetch", "-q", s.c.Dir, "main:main")
	s.host.Git(t, "team/app.git", "config", "receive.advertisePushOptions", "true")
	s.c.Commit("b.txt", "1", "second")
	r := s.c.Git("push", "origin", "main")
	a := s.asked("refs/heads/main")
	if r.Code == 0 || !strings.Contains(r.Out(), string(a.ID)) || !strings.Contains(r.Out(), "run exactly the same command again") {
		t.Fatalf("exit %d, approval %s:\n%s", r.Code, a.ID, r.Out())
	}
	s.answer(a, true)
	tip := s.c.Must("rev-parse", "HEAD")
	for name, args := range map[string][]string{"another ref": {"origin", "main:other"}, "an option": {"-o", "merge", "origin", "main"}, "another repository": {s.g.URL + "/t/code/team/other.git", "main"},
		"another commit": {"origin", s.first + ":refs/heads/x"}} {
		if r := s.c.Git(append([]string{"push"}, args...)...); r.Code == 0 {
			t.Errorf("%s goes through\n%s", name, r.Out())
		}
	}
	s.c.Must("commit", "-q", "--amend", "-m", "second, otherwise")
	if r := s.c.Git("push", "origin", "main"); r.Code == 0 {
		t.Errorf("another message goes through\n%s", r.Out())
	}
	if s.pushed() != 0 {
		t.Fatalf("%d pushes reached the host", s.pushed())
	}
	s.c.Must("reset", "-q", "--hard", tip)
	s.c.Must("repack", "-q", "-a", "-d")
	s.c.Must("-c", "pack.compression=0", "push", "-q", "origin", "main")
	if s.pushed() != 1 {
		t.Errorf("%d pushes reached the host", s.pushed())
	}
}

// Two refs that are asked about: a yes to the one is not used up while the other waits, and both run when both are let through.
func TestI83AYesIsNotSpentOnAPushThatDoesNotRun(t *testing.T) {
	s := newGitSceneWith(t, lab.Options{Config: "approvals: {hold: 2s}\n"}, "")
	s.c.Commit("b.txt", "1", "second")
	done := make(chan lab.Result, 1)
	go func() { done <- s.c.Git("push", "origin", "main:x", "main:y") }()
	x, y := s.asked("refs/heads/x"), s.asked("refs/heads/y")
	s.answer(x, true)
	if r := <-done; r.Code == 0 || s.pushed() != 0 {
		t.Fatalf("exit %d\n%s", r.Code, r.Out())
	}
	s.answer(y, true)
	if r := s.c.Git("push", "origin", "main:x", "main:y"); r.Code != 0 || s.pushed() != 1 {
		t.Errorf("exit %d, %d pushes\n%s", r.Code, s.pushed(), r.Out())
	}
}

// Somebody whose token is taken back while a push is held gets it refused, and one who reads is cut off.
func TestI80RevocationReachesGit(t *testing.T) {
	s := newGitSceneWith(t, lab.Options{Config: "approvals: {holdOthers: 1h}\n"}, "")
	s.c.Commit("b.txt", "1", "second")
	done := make(chan lab.Result, 1)
	go func() { done <- s.c.Git("push", "origin", "main") }()
	a := s.asked("refs/heads/main")
	if _, err := s.desk.Revoke(t.Context(), access.Revocation{Session: a.Operation.Session, Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-done:
		if r.Code == 0 || !strings.Contains(r.Out(), "remote: gatebook: ") || s.pushed() != 0 {
			t.Errorf("exit %d, %d pushes\n%s", r.Code, s.pushed(), r.Out())
		}
	case <-time.After(lab.Patience):
		t.Fatal("it is held on")
	}
	s.answer(a, true)
	if s.pushed() != 0 {
		t.Error("it runs all the same")
	}
}

func TestI80ACloneIsCut(t *testing.T) {
	s := newGitScene(t, "  - {id: all, protocol: git, effect: allow, reason: all}\n")
	begun := make(chan bool, 1)
	s.host.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			return false
		}
		b, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Contains(b, []byte("command=fetch")) {
			r.Body = io.NopCloser(bytes.NewReader(b))
			return false
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		c := http.NewResponseController(w)
		begun <- true
		for i := 0; r.Context().Err() == nil; i++ {
			if i == 0 {
				_, _ = io.WriteString(w, packet("packfile\n"))
			}
			_, _ = io.WriteString(w, packet("\x02still counting\n"))
			_ = c.Flush()
			time.Sleep(50 * time.Millisecond)
		}
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	done := make(chan lab.Result, 1)
	go func() {
		r, _ := s.g.Clone(t, s.agent, "team/app.git").GitContext(ctx, "fetch", "origin")
		done <- r
	}()
	select {
	case <-begun:
	case r := <-done:
		t.Fatalf("exit %d\n%s", r.Code, r.Out())
	}
	time.Sleep(200 * time.Millisecond)
	page, err := s.desk.Operations(t.Context(), client.Query{Limit: 1, Verb: "list"})
	if err != nil || len(page.Items) == 0 {
		t.Fatal(page, err)
	}
	if _, err := s.desk.Revoke(t.Context(), access.Revocation{Session: page.Items[0].Operation.Session, Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.Code == 0 || ctx.Err() != nil {
		t.Errorf("exit %d, %v\n%s", r.Code, ctx.Err(), r.Out())
	}
}
