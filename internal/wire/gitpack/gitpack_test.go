package gitpack

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var wide = Limits{Objects: 1 << 20, Inflated: 1 << 30, Kept: 64 << 20}

// git runs git in dir.
func git(t testing.TB, dir, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=ada", "GIT_AUTHOR_EMAIL=ada@x", "GIT_COMMITTER_NAME=bob", "GIT_COMMITTER_EMAIL=bob@x")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, errs.String())
	}
	return out
}

// history makes a repository whose folders grow and change, so that its trees become deltas.
func history(t testing.TB, format string) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "", "init", "-q", "-b", "main", "--object-format="+format)
	for i := range 20 {
		for j := range 30 {
			sub := filepath.Join(dir, fmt.Sprintf("folder%d", j%3))
			if err := os.MkdirAll(sub, 0o755); err != nil {
				t.Fatal(err)
			}
			if j%5 == i%5 || i == 0 {
				if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("a-long-file-name-%d", j)), []byte(strings.Repeat(fmt.Sprintln("line", j), 50)+fmt.Sprint(i)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		git(t, dir, "", "add", ".")
		git(t, dir, "", "commit", "-q", "-m", fmt.Sprintf("commit %d\n\nwith a body", i))
	}
	git(t, dir, "", "tag", "-a", "v1", "-m", "the tag")
	return dir
}

// Whatever git packs is read to the same commits, tags and trees that git has.
func TestWhatGitHas(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		dir := history(t, format)
		for _, args := range [][]string{{}, {"--delta-base-offset"}, {"--delta-base-offset", "--depth=1"}, {"--window=0"}} {
			data := git(t, dir, "v1\nmain\n", append([]string{"pack-objects", "--stdout", "--revs", "-q"}, args...)...)
			hashBytes := map[string]int{"sha1": 20, "sha256": 32}[format]
			p, err := Read(bytes.NewReader(data), hashBytes, wide)
			if err != nil {
				t.Fatal(format, args, err)
			}
			got := map[string]int{"commit": len(p.Commits), "tag": len(p.Tags), "tree": len(p.Trees)}
			want := map[string]int{}
			for line := range strings.Lines(string(git(t, dir, "", "cat-file", "--batch-all-objects", "--batch-check"))) {
				f := strings.Fields(line)
				want[f[1]]++
				_, isCommit := p.Commits[ID(f[0])]
				_, isTag := p.Tags[ID(f[0])]
				raw, isTree := p.Trees[ID(f[0])]
				if !isCommit && !isTag && !isTree && f[1] != "blob" {
					t.Errorf("%s %v: %s is missing", format, args, line)
				}
				if isTree {
					checkTree(t, dir, f[0], raw, hashBytes)
				}
			}
			delete(want, "blob")
			// Where bases are named, a delta of a file may have one that is not looked at.
			if fmt.Sprint(got) != fmt.Sprint(want) || len(args) > 0 && p.Unresolved != 0 && args[0] == "--delta-base-offset" || p.Dropped {
				t.Errorf("%s %v: %v, want %v; %d unresolved", format, args, got, want, p.Unresolved)
			}
			for id, c := range p.Commits {
				if len(args) > 0 {
					break // the same ones again
				}
				want := strings.TrimSpace(string(git(t, dir, "", "log", "-1", "--format=%T|%P|%an <%ae>|%cn <%ce>|%ct|%B", string(id))))
				var parents []string
				for _, p := range c.Parents {
					parents = append(parents, string(p))
				}
				if got := fmt.Sprintf("%s|%s|%s|%s|%d|%s", c.Tree, strings.Join(parents, " "), c.Author, c.Committer, c.Time.Unix(), strings.TrimSpace(c.Message)); got != want {
					t.Errorf("%s\n got %q\nwant %q", id, got, want)
				}
			}
		}
	}
}

func checkTree(t *testing.T, dir, id string, raw []byte, hashBytes int) {
	t.Helper()
	entries, err := ParseTree(raw, hashBytes)
	if err != nil {
		t.Error(err)
	}
	var lines []string
	for _, e := range entries {
		kind := "blob"
		if e.IsTree() {
			kind = "tree"
		}
		lines = append(lines, fmt.Sprintf("%06s %s %s\t%s", e.Mode, kind, e.ID, e.Name))
	}
	if want := strings.TrimSpace(string(git(t, dir, "", "ls-tree", id))); strings.Join(lines, "\n") != want {
		t.Errorf("tree %s\n%s\nwant\n%s", id, strings.Join(lines, "\n"), want)
	}
}

// A thin pack's deltas are counted, and nothing is made up for them.
func TestThin(t *testing.T) {
	dir := history(t, "sha1")
	data := git(t, dir, "main\n^main~1\n", "pack-objects", "--stdout", "--revs", "--thin", "--delta-base-offset", "-q")
	p, err := Read(bytes.NewReader(data), 20, wide)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Commits) != 1 || p.Unresolved == 0 || p.Unresolved+len(p.Trees) > p.Objects {
		t.Errorf("%d commits, %d trees, %d unresolved of %d objects", len(p.Commits), len(p.Trees), p.Unresolved, p.Objects)
	}
}

func TestLimits(t *testing.T) {
	dir := history(t, "sha1")
	data := git(t, dir, "main\n", "pack-objects", "--stdout", "--revs", "--delta-base-offset", "-q")
	for name, l := range map[string]Limits{"objects": {Objects: 3, Inflated: 1 << 30, Kept: 1 << 20}, "inflated": {Objects: 1e6, Inflated: 1000, Kept: 1 << 20}} {
		if _, err := Read(bytes.NewReader(data), 20, l); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := Read(bytes.NewReader(data), 20, Limits{Objects: 1e6, Inflated: 1 << 30, Kept: 2000})
	if err != nil || !p.Dropped || len(p.Commits) == 0 || len(p.Commits) == 20 {
		t.Errorf("%+v %v", p, err)
	}
}

// A pack that was cut, has a byte more, or one changed where it matters is an error; none makes it panic or hang.
func TestBroken(t *testing.T) {
	dir := history(t, "sha1")
	data := git(t, dir, "main\n", "pack-objects", "--stdout", "--revs", "--delta-base-offset", "-q")
	for n := 0; n < len(data); n += 7 {
		if _, err := Read(bytes.NewReader(data[:n]), 20, wide); err == nil {
			t.Fatalf("cut after %d bytes it is read", n)
		}
	}
	if _, err := Read(bytes.NewReader(append(slices.Clone(data), 0)), 20, wide); err == nil {
		t.Error("a byte after the end is passed over")
	}
}

func FuzzRead(f *testing.F) {
	dir := history(f, "sha1")
	f.Add(git(f, dir, "main\n^main~2\n", "pack-objects", "--stdout", "--revs", "--delta-base-offset", "-q"))
	f.Add(git(f, dir, "main\n^main~1\n", "pack-objects", "--stdout", "--revs", "--thin", "-q"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Read(bytes.NewReader(b), 20, Limits{Objects: 1000, Inflated: 1 << 20, Kept: 1 << 18})
		if err != nil {
			return
		}
		for id, c := range p.Commits {
			if c == nil || c.ID != id {
				t.Fatalf("commit %s is %+v", id, c)
			}
		}
	})
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte("base"), []byte{4, 6, 0x90, 4, 2, 'a', 'b'})
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		if out, err := patch(base, delta, 1<<20); err == nil && len(out) > 1<<20 {
			t.Fatal(len(out))
		}
	})
}

// Whatever mode marks a folder, git takes it for one; and so does this.
func TestModes(t *testing.T) {
	for mode, want := range map[string]string{"40000": "40000", "040000": "40000", "40755": "40000", "100644": "100644", "100664": "100644", "100755": "100755", "100700": "100755", "120000": "120000", "120777": "120000", "160000": "160000",
		"1040000": "", "0": "", "10644": "", "4000x": "", "": "", "20000": ""} {
		entries, err := ParseTree(append([]byte(mode+" x\x00"), make([]byte, 20)...), 20)
		if (err == nil) != (want != "") || err == nil && entries[0].Mode != want {
			t.Errorf("%q: %+v %v", mode, entries, err)
		}
	}
}

// object writes one of a pack.
func object(kind byte, name []byte, data []byte) []byte {
	n := len(data)
	head := []byte{kind<<4 | byte(n&15)}
	for n >>= 4; n > 0; n >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(n&0x7f))
	}
	// A stream of one stored block (RFC 1950, RFC 1951): compressing costs more than reading.
	b := append(append(head, name...), 0x78, 0x01, 0x01)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	b = binary.LittleEndian.AppendUint16(b, ^uint16(len(data)))
	return binary.BigEndian.AppendUint32(append(b, data...), adler32.Checksum(data))
}

func packOf(objects ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(objects)))
	for _, o := range objects {
		b = append(b, o...)
	}
	sum := sha1.Sum(b)
	return append(b, sum[:]...)
}

// Deltas by name that come before what they are made of, each before its own base, are all resolved, in a time that grows with
// their number: a pack of many costs no more than each.
func TestDeltasBackwards(t *testing.T) {
	const n = 50_000 // one by one it would take minutes
	text := func(i int) []byte { return fmt.Appendf(nil, "%06d", i) }
	tag := func(i int) []byte {
		return append([]byte("object 1234567890123456789012345678901234567890\ntype commit\ntag x\n\n"), text(i)...)
	}
	id := func(i int) []byte {
		b := tag(i)
		sum := sha1.Sum(append(fmt.Appendf(nil, "tag %d\x00", len(b)), b...))
		return sum[:]
	}
	var objects [][]byte
	size := len(tag(0))
	for i := n; i > 0; i-- {
		delta := append([]byte{byte(size), byte(size), 0x90, byte(size - 6), 6}, text(i)...)
		objects = append(objects, object(nameType, id(i-1), delta))
	}
	objects = append(objects, object(tagType, nil, tag(0)))
	p, err := Read(bytes.NewReader(packOf(objects...)), 20, wide)
	if err != nil || p.Unresolved != 0 || len(p.Tags) != n+1 {
		t.Fatalf("%v, %d tags, %d unresolved", err, len(p.Tags), p.Unresolved)
	}
}

// What is kept is charged with all that it costs: many small objects are no way round the bound.
func TestKeptIsCharged(t *testing.T) {
	const n = 20_000
	var objects [][]byte
	for i := range n {
		objects = append(objects, object(nameType, binary.BigEndian.AppendUint64(make([]byte, 12), uint64(i)), []byte{0, 0}))
	}
	p, err := Read(bytes.NewReader(packOf(objects...)), 20, Limits{Objects: n, Inflated: 1 << 30, Kept: 4 << 20})
	if err != nil || !p.Dropped || p.Unresolved == 0 || p.Unresolved > 4<<20/overhead || p.Kept > 4<<20 {
		t.Fatalf("%v %+v", err, p)
	}
}
