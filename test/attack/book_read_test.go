package attack

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/archive"
	"gatebook/internal/recording"
	"gatebook/test/lab"
)

// B94: the gateway is killed -9 while a command runs. After the next start its recording is sealed and shipped as
// truncated, with all that the client was given.
func TestB94KilledInMidSession(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box", "")
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	agent := g.Agent(ns, "claude", "box")
	s := run(t, g, g.Kubeconfig(agent), "tick 7 ", "-n", ns, "exec", "box", "--", "sh", "-c", "i=0; while true; do i=$((i+1)); echo tick $i .; sleep 0.05; done")
	g.Kill()
	<-s.ended
	g.Start()
	auditor := g.API(g.Person("grace", "auditors"))
	var rec access.Record
	for deadline := time.Now().Add(lab.Patience); ; time.Sleep(50 * time.Millisecond) {
		page, err := auditor.Operations(t.Context(), client.Query{Resource: "pods/exec"})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) == 1 && page.Items[0].Outcome != nil {
			rec = page.Items[0]
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it has no end: %+v", page.Items)
		}
	}
	if rec.Outcome.Truncated == "" {
		t.Errorf("the record says that it ended by itself: %+v", rec.Outcome)
	}
	g.Stop()
	id := string(rec.Operation.Session) + "/" + string(rec.Operation.ID)
	out := must(t, g.CLI("", "show", id, "--archive", g.Data("archive"), "--key", g.Data("auditor.key"))).Stdout
	if !strings.Contains(out, "TRUNCATED") || !strings.Contains(out, "tick 7 .") {
		t.Errorf("show:\n%s", out)
	}
	if out := must(t, g.CLI("", "verify", "--data", g.Data(), "--key", g.Data("auditor.key"))).Stdout; !strings.Contains(out, "The book is whole") {
		t.Errorf("verify:\n%s", out)
	}
}

// B96: the keys of one session, stolen from a reader, open that session alone; the gateway's own data folder, without
// the auditor's key, opens nothing; nor do the API's answers.
func TestB96StolenReadersKey(t *testing.T) {
	k := keptBook(t)
	auditor := readIdentities(t, k.key)
	folder, err := archive.OpenFolder(filepath.Join(k.data, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	events := func(s access.SessionID, ids ...age.Identity) (int, error) {
		n := 0
		err := recording.ReadSession(folder, s, func(recording.Event) error { n++; return nil }, ids...)
		return n, err
	}
	for _, mine := range k.sessions {
		stolen, err := recording.SessionKeys(folder, mine, auditor...)
		if err != nil {
			t.Fatal(err)
		}
		stolen = stolen[:len(stolen)-len(auditor)] // behind the session's own are the auditor's
		for _, s := range k.sessions {
			n, err := events(s, stolen...)
			if s == mine && (err != nil || n == 0) {
				t.Errorf("session %s by its own key: %d %v", s, n, err)
			}
			if s != mine && (err == nil || n > 0) {
				t.Errorf("session %s is open to the key of %s: %d events", s, mine, n)
			}
		}
	}
	stranger := must2(age.GenerateX25519Identity())(t)
	if n, err := events(k.sessions[0], stranger); err == nil || n > 0 {
		t.Errorf("open to a stranger: %d", n)
	}
	id := string(k.sessions[0])
	if r := k.g.CLI("", "show", id, "--bodies", "--archive", filepath.Join(k.data, "archive")); r.Code == 0 || strings.Contains(r.Out(), "xxxx") {
		t.Errorf("open without a key: %d %.300s", r.Code, r.Out())
	}
	// What is at rest does not hold it in clear either, once it is sealed.
	err = filepath.WalkDir(filepath.Join(k.data, "archive"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "xxxxxxxx") || strings.Contains(string(b), "ConfigMap") {
			t.Errorf("%s holds what was recorded in clear", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func readIdentities(t *testing.T, path string) []age.Identity {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ids, err := age.ParseIdentities(f)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// B97: recorded bytes that would act on a reader's terminal do not, in replay and in show; a colour may stay. In the
// recording they are as they were.
func TestB97RecordedEscapeSequences(t *testing.T) {
	ns := namespace(t)
	pod(t, ns, "box", "")
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	agent := g.Agent(ns, "claude", "box")
	evil := "begin\x1b]52;c;ZXZpbA==\x07" + "\x1b]8;;file:///etc/passwd\x1b\\click\x1b]8;;\x1b\\" + "\x1bP+q544e\x1b\\" + "\x1b[21t\x1b]0;owned\x07\x1b[6n\x1b[c\x1b[?1049h\x1b[2J" +
		"\x1b_Gf=100;AAAA\x1b\\" + "\x1b^pm\x1b\\" + "\x1bXsos\x1b\\" + "\x1bc" + "\x1b]1337;File=:AAAA\x07" + "\u009b21t" + "\u009d52;c;ZXZpbA==\u009c" + "\x9d52;c;ZXZpbA==\x9c" + "\x1b[31mred\x1b[0m\x05\x0e\nforged: allowed by nobody\r\n" + "\x1b]52;c;unfinished"
	command := "printf %s " + base64.StdEncoding.EncodeToString([]byte(evil)) + " | base64 -d; printf %s " + base64.StdEncoding.EncodeToString([]byte(evil)) + " | base64 -d >&2"
	r := must(t, g.Kubectl(agent, "", "-n", ns, "exec", "box", "--", "sh", "-c", command))
	if r.Stdout != evil || r.Stderr != evil {
		t.Fatalf("the client was to get the bytes as they are: %q %q", r.Stdout, r.Stderr)
	}
	page, err := g.API(g.Person("grace", "auditors")).Operations(t.Context(), client.Query{Resource: "pods/exec"})
	for i := 0; i < 100 && err == nil && len(page.Items) == 0; i++ {
		page, err = g.API(g.Person("grace", "auditors")).Operations(t.Context(), client.Query{Resource: "pods/exec"})
	}
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%+v %v", page.Items, err)
	}
	op, key := page.Items[0].Operation, g.Data("auditor.key")
	auditor := g.Person("grace", "auditors")
	harmless := func(what, out string, more ...string) {
		t.Helper()
		for _, bad := range append(more, "\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1bc", "\x1b[21t", "\x1b[6n", "\x1b[c", "\u009b", "\u009d", "\x9d", "\x07", "\x05", "\x0e") {
			if strings.Contains(out, bad) {
				t.Errorf("%s: %q reaches the terminal:\n%q", what, bad, out)
			}
		}
		if !strings.Contains(out, "begin") || !strings.Contains(out, "red") || !strings.Contains(out, "click") {
			t.Errorf("%s: the text itself is not shown:\n%q", what, out)
		}
	}
	harmless("show, not sealed", must(t, g.CLI(auditor, "show", string(op.ID), "--key", key)).Stdout, "\x1b", "\r")
	g.Stop()
	id, at := string(op.Session)+"/"+string(op.ID), []string{"--archive", g.Data("archive"), "--key", key}
	harmless("replay", must(t, g.CLI(auditor, append([]string{"replay", id, "--speed", "0"}, at...)...)).Stdout)
	show := must(t, g.CLI(auditor, append([]string{"show", id}, at...)...)).Stdout
	harmless("show", show, "\x1b", "\r") // nothing that draws: it could paint over Gatebook's own words
	for _, want := range []string{`\u{1b}]52;c;ZXZpbA==\u{7}`, `\u{1b}[2J`, `\x{9d}52;c;ZXZpbA==\x{9c}`, `\u{1b}]52;c;unfinished`, "\n  | forged: allowed by nobody"} {
		if !strings.Contains(show, want) {
			t.Errorf("show hides %q:\n%s", want, show)
		}
	}
	sealed := ""
	folder, err := archive.OpenFolder(g.Data("archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	err = recording.ReadSession(folder, op.Session, func(e recording.Event) error {
		if e.Kind == recording.KindStream && e.Stream == recording.Stdout && e.Operation == op.ID {
			sealed += string(e.Data)
		}
		return nil
	}, readIdentities(t, key)...)
	if err != nil || sealed != evil {
		t.Errorf("recorded as %q: %v", sealed, err)
	}
}
