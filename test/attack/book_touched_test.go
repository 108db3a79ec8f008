package attack

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/ledger"
	"gatebook/internal/recording"
	"gatebook/test/lab"
)

// kept is a book at rest: a copy of what a gateway left behind, to be touched, and the checkpoint that was kept
// elsewhere before its last session.
type kept struct {
	g         *lab.Gateway
	data, key string
	old, head string // files with checkpoints
	sessions  []access.SessionID
}

// keptBook makes a book of two agents' sessions in several sealed segments.
func keptBook(t *testing.T) *kept {
	t.Helper()
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	k := &kept{g: g, data: g.Data(), key: g.Data("auditor.key"), old: filepath.Join(g.Dir, "old"), head: filepath.Join(g.Dir, "head")}
	work := func(account string) {
		token := g.Agent(ns, account, "")
		for i := range 5 {
			r := over(t, g, h1).do(request{method: "POST", path: "/t/lab/api/v1/namespaces/" + ns + "/configmaps", token: token, header: []string{"Content-Type: application/json"},
				body: fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s-%d"},"data":{"a":"%s"}}`, account, i, strings.Repeat("x", 500))})
			if r.code != 201 {
				t.Fatalf("%d %s", r.code, r.body)
			}
		}
	}
	checkpoint := func(path string) {
		b, err := os.ReadFile(filepath.Join(k.data, "ledger", "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	work("first")
	g.Stop()
	checkpoint(k.old)
	g.Start()
	work("second")
	g.Stop()
	checkpoint(k.head)
	for _, f := range k.files(t, k.data, "archive/sessions/*") {
		k.sessions = append(k.sessions, access.SessionID(filepath.Base(f)))
	}
	return k
}

func (k *kept) files(t *testing.T, data, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing is at %s: %v", pattern, err)
	}
	return files
}

// verify verifies a copy, against the checkpoints given.
func (k *kept) verify(t *testing.T, data string, checkpoints ...string) (recording.Verification, lab.Result) {
	t.Helper()
	args := []string{"verify", "--data", data, "--key", k.key, "--json"}
	for _, c := range checkpoints {
		args = append(args, "--checkpoint", c)
	}
	r := k.g.CLI("", args...)
	var v recording.Verification
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		t.Fatalf("%v: %d %s", err, r.Code, r.Out())
	}
	return v, r
}

// change rewrites a file.
func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	for _, p := range [][2]string{{a, a + ".tmp"}, {b, a}, {a + ".tmp", b}} {
		if err := os.Rename(p[0], p[1]); err != nil {
			t.Fatal(err)
		}
	}
}

// B88: whoever edits, reorders, deletes or adds a record, a recording or an entry of the ledger is found out, and what
// was touched is named. B89: so is whoever cuts off the end, deletes everything, or writes it all anew, by anybody who
// kept a checkpoint elsewhere.
func TestB88B89TouchedBooks(t *testing.T) {
	k := keptBook(t)
	if v, r := k.verify(t, k.data, k.old, k.head); r.Code != 0 || v.Operations < 10 || v.Segments < 2 {
		t.Fatalf("untouched: %d %s", r.Code, r.Out())
	}
	flip := func(b []byte) []byte { b = slices.Clone(b); b[len(b)/2] ^= 1; return b }
	segments := func(data string) []string { return k.files(t, data, "archive/sessions/*/*.gbr.age") }
	keys := func(data string) []string { return k.files(t, data, "archive/sessions/*/*.key.age") }
	last := func(data, folder string) string { // of the partial tiles, the one that the checkpoint is of
		files := k.files(t, data, "ledger/tile/"+folder+"/000.p/*")
		return slices.MaxFunc(files, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
		})
	}
	remove := func(t *testing.T, path string) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		touch func(t *testing.T, data string)
		kind  string
		names func(data string) string // what must be named
	}{
		"a byte of a recording": {func(t *testing.T, d string) { change(t, segments(d)[0], flip) }, recording.FoundAltered, func(d string) string { return filepath.Base(segments(k.data)[0]) }},
		"a recording is cut":    {func(t *testing.T, d string) { change(t, segments(d)[0], func(b []byte) []byte { return b[:len(b)-1] }) }, recording.FoundAltered, func(d string) string { return filepath.Base(segments(k.data)[0]) }},
		"a recording is gone":   {func(t *testing.T, d string) { remove(t, segments(d)[1]) }, recording.FoundMissing, func(string) string { return filepath.Base(segments(k.data)[1]) }},
		"two are exchanged":     {func(t *testing.T, d string) { swap(t, segments(d)[0], segments(d)[1]) }, recording.FoundAltered, func(string) string { return filepath.Base(segments(k.data)[1]) }},
		"a key is gone":         {func(t *testing.T, d string) { remove(t, keys(d)[0]) }, recording.FoundMissing, func(string) string { return filepath.Base(keys(k.data)[0]) }},
		"a session is gone":     {func(t *testing.T, d string) { remove(t, filepath.Dir(segments(d)[0])) }, recording.FoundMissing, func(string) string { return filepath.Base(filepath.Dir(segments(k.data)[0])) }},
		"one is added": {func(t *testing.T, d string) {
			b, err := os.ReadFile(segments(d)[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(filepath.Dir(segments(d)[0]), "zz.gbr.age"), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, recording.FoundAdded, func(string) string { return "zz.gbr.age" }},
		"an entry is edited": {func(t *testing.T, d string) {
			change(t, last(d, "entries"), func(b []byte) []byte {
				i := bytes.Index(b, []byte(`"verb":"create"`))
				if i < 0 {
					t.Fatal("no operation in the ledger")
				}
				copy(b[i:], `"verb":"get"   `)
				return b
			})
		}, recording.FoundLedger, func(string) string { return "operation " }},
		"a hash is edited":         {func(t *testing.T, d string) { change(t, last(d, "0"), flip) }, recording.FoundLedger, func(string) string { return "tile" }},
		"the entries are gone":     {func(t *testing.T, d string) { remove(t, filepath.Join(d, "ledger/tile/entries")) }, recording.FoundLedger, func(string) string { return "entries" }},
		"the checkpoint is edited": {func(t *testing.T, d string) { change(t, filepath.Join(d, "ledger/checkpoint"), flip) }, recording.FoundLedger, func(string) string { return "checkpoint" }},
		"the checkpoint is an old one (tail deletion)": {func(t *testing.T, d string) {
			b, err := os.ReadFile(k.old)
			if err != nil {
				t.Fatal(err)
			}
			change(t, filepath.Join(d, "ledger/checkpoint"), func([]byte) []byte { return b })
		}, recording.FoundLedger, func(string) string { return "checkpoint" }},
		"the public key is another's": {func(t *testing.T, d string) {
			_, public, err := ledger.NewKey("elsewhere")
			if err != nil {
				t.Fatal(err)
			}
			change(t, filepath.Join(d, "ledger.pub"), func([]byte) []byte { return []byte(public + "\n") })
		}, recording.FoundLedger, func(string) string { return "the key was exchanged" }},
		"the public key is touched":  {func(t *testing.T, d string) { change(t, filepath.Join(d, "ledger.pub"), flip) }, recording.FoundKey, func(string) string { return "ledger.pub" }},
		"the public key in capitals": {func(t *testing.T, d string) { change(t, filepath.Join(d, "ledger.pub"), capitals) }, recording.FoundKey, func(string) string { return "ledger.pub" }},
		"the public key's line end": {func(t *testing.T, d string) {
			change(t, filepath.Join(d, "ledger.pub"), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		}, recording.FoundKey, func(string) string { return "ledger.pub" }},
		"the public key is gone": {func(t *testing.T, d string) { remove(t, filepath.Join(d, "ledger.pub")) }, recording.FoundKey, func(string) string { return "ledger.pub" }},
		"the journal is gone": {func(t *testing.T, d string) {
			for _, f := range k.files(t, d, "journal/*.journal") {
				remove(t, f)
			}
		}, recording.FoundMissing, func(string) string { return "journal" }},
		"everything is gone": {func(t *testing.T, d string) {
			remove(t, filepath.Join(d, "ledger"))
			remove(t, filepath.Join(d, "archive"))
			makeFolders(t, d)
		}, recording.FoundLedger, func(string) string { return "checkpoint" }},
		"the ledger is gone": {func(t *testing.T, d string) { remove(t, filepath.Join(d, "ledger")); makeFolders(t, d) }, recording.FoundLedger, func(string) string { return "checkpoint" }},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(data, os.DirFS(k.data)); err != nil {
				t.Fatal(err)
			}
			c.touch(t, data)
			r := k.g.CLI("", "verify", "--data", data, "--key", k.key, "--checkpoint", k.head)
			if r.Code != 3 || strings.Contains(r.Stdout, "whole") || !strings.Contains(r.Stdout, "TOUCHED  "+c.kind) || !strings.Contains(r.Stdout, c.names(data)) {
				t.Errorf("exit %d, want 3 and %q, %q:\n%s", r.Code, c.kind, c.names(data), r.Out())
			}
		})
	}
}

// capitals changes one letter of the key's hash, which is in hexadecimal, into a capital; or, where there is none, a digit.
func capitals(b []byte) []byte {
	_, hash, _ := bytes.Cut(b, []byte("+"))
	for i, c := range hash[:8] {
		if c >= 'a' {
			hash[i] -= 'a' - 'A'
			return b
		}
	}
	hash[0] ^= 1
	return b
}

// B88: one byte of any file that proves anything, anywhere in it, and the file or its record is named.
func TestB88AnyByteOfAnyFile(t *testing.T) {
	k := keptBook(t)
	data := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(data, os.DirFS(k.data)); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ledger/tile/entries/*.p/*", "ledger/tile/0/*.p/*", "ledger/checkpoint", "archive/sessions/*/*.gbr.age", "archive/sessions/*/*.key.age", "ledger.pub", "journal/*.journal"} {
		for range 6 {
			files := k.files(t, data, kind)
			path := files[rand.IntN(len(files))]
			name := strings.TrimPrefix(path, data+"/")
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at, bit := rand.IntN(len(before)), byte(1)<<rand.IntN(8)
			change(t, path, func(b []byte) []byte { b[at] ^= bit; return b })
			r := k.g.CLI("", "verify", "--data", data, "--key", k.key, "--checkpoint", k.head)
			v, _ := k.verify(t, data)
			named := strings.Contains(r.Stdout, filepath.Base(name)) || strings.Contains(r.Stdout, "operation ") || strings.Contains(r.Stdout, "the key was exchanged")
			if r.Code != 3 || strings.Contains(r.Stdout, "whole") || !named || v.Whole {
				t.Errorf("%s, byte %d of %d, XOR %d: exit %d\n%s", name, at, len(before), bit, r.Code, r.Out())
			}
			change(t, path, func([]byte) []byte { return before })
		}
	}
	// The index is no part of the book, and verify says so rather than vouch for it.
	change(t, filepath.Join(data, "index.db"), func(b []byte) []byte { b[rand.IntN(len(b))] ^= 1; return b })
	if r := k.g.CLI("", "verify", "--data", data, "--key", k.key); r.Code != 0 || !strings.Contains(r.Stdout, "NOT COVERED  The index") {
		t.Errorf("%d %s", r.Code, r.Out())
	}
}

// What is not sealed yet is not proven, and verify counts it instead of calling the book whole.
func TestVerifyCountsWhatIsNotSealed(t *testing.T) {
	ns := namespace(t)
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	token := g.Agent(ns, "claude", "")
	for range 5 {
		over(t, g, h1).do(request{path: "/t/lab/api/v1/namespaces/" + ns + "/pods", token: token})
	}
	verify := []string{"verify", "--data", g.Data(), "--key", g.Data("auditor.key")}
	r := g.CLI("", verify...)
	if r.Code != 0 || strings.Contains(r.Stdout, "book is whole") || !strings.Contains(r.Stdout, "NOT COVERED  5 operations") {
		t.Errorf("exit %d:\n%s", r.Code, r.Out())
	}
	g.Stop()
	if r := g.CLI("", verify...); r.Code != 0 || !strings.Contains(r.Stdout, "The book is whole") {
		t.Errorf("sealed: exit %d:\n%s", r.Code, r.Out())
	}
}

func makeFolders(t *testing.T, data string) {
	t.Helper()
	for _, d := range []string{"ledger", "archive"} {
		if err := os.MkdirAll(filepath.Join(data, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// B89: the gateway's own machine is the attacker's: with its key he begins the whole book, or its end, anew. Every
// signature is good; only a checkpoint that was kept elsewhere tells.
func TestB89RewrittenWithTheGatewaysKey(t *testing.T) {
	k := keptBook(t)
	fresh := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}})
	fresh.Stop()
	for _, d := range []string{"ledger", "archive", "journal", "sealing"} {
		if err := os.RemoveAll(fresh.Data(d)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"ledger.key", "ledger.pub", "auditor.key"} {
		b, err := os.ReadFile(filepath.Join(k.data, f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fresh.Data(f), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(fresh.Data("index.db")); err != nil {
		t.Fatal(err)
	}
	fresh.Start()
	ns := namespace(t)
	token := fresh.Agent(ns, "claude", "")
	for i := range 20 {
		over(t, fresh, h1).do(request{path: fmt.Sprint("/t/lab/api/v1/namespaces/", ns, "/pods?n=", i), token: token})
	}
	fresh.Stop()
	verify := func(extra ...string) lab.Result {
		return k.g.CLI("", append([]string{"verify", "--data", fresh.Data(), "--key", k.key}, extra...)...)
	}
	if r := verify(); r.Code != 0 || !strings.Contains(r.Stdout, "No checkpoint from elsewhere was given") {
		t.Errorf("without a checkpoint it can only say so: %d %s", r.Code, r.Out())
	}
	for _, c := range []string{k.old, k.head} {
		if r := verify("--checkpoint", c); r.Code != 3 || !strings.Contains(r.Stdout, "TOUCHED  ledger") {
			t.Errorf("rewritten: exit %d\n%s", r.Code, r.Out())
		}
	}
}
