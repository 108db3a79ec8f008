package attribution

import (
	"encoding/json"
	"maps"
	"path"
	"strings"
)

const (
	maxFiles     = 64
	maxFileBytes = 64 << 10
)

// files are the texts of files as tool calls wrote them, by path. What is known of a file is how it was written, not how it
// is: nothing is ever excluded by it.
type files map[string]file

type file struct{ text, call string }

// with gives the files with those that a call writes.
func (f files) with(call string, written map[string]word) files {
	if len(written) == 0 {
		return f
	}
	out := maps.Clone(f)
	if out == nil {
		out = files{}
	}
	for name, w := range written {
		delete(out, name)
		if w.text == "" || len(w.text) > maxFileBytes {
			continue
		}
		for old := range out {
			if len(out) < maxFiles {
				break
			}
			delete(out, old)
		}
		out[name] = file{w.text, call}
	}
	return out
}

// find gives a file by its path, or by the end of it where there is just one such.
func (f files) find(name string) (file, bool) {
	if x, ok := f[name]; ok {
		return x, true
	}
	var found file
	n := 0
	for p, x := range f {
		if sameFile(p, name) {
			found = x
			n++
		}
	}
	return found, n == 1
}

// sameFile reports whether two paths may be of one file: where a relative one begins is not known.
func sameFile(a, b string) bool {
	return a == b || !path.IsAbs(b) && strings.HasSuffix(a, "/"+b) || !path.IsAbs(a) && strings.HasSuffix(b, "/"+a)
}

// file is the text of a file, and by what it is known; by nothing where it is not.
func (st *shell) file(name word) (text, by string) {
	if !name.known || name.text == "" {
		return "", ""
	}
	p, found := path.Clean(name.text), ""
	for other, w := range st.s.written {
		switch {
		case !sameFile(other, p):
		case w.text == "" || found != "": // it may be anything now, or either of two
			return "", ""
		default:
			found = w.text
		}
	}
	if found != "" {
		return found, "in " + p + ", as it wrote that itself"
	}
	if x, ok := st.files.find(p); ok {
		return x.text, "in " + p + ", as call " + x.call + " wrote it"
	}
	return "", ""
}

// read is what a program reads from a file: never whole, for the file may have been changed since.
func (st *shell) read(name word) word {
	text, _ := st.file(name)
	return word{text, false}
}

// write keeps what a file has now.
func (st *shell) write(name, text word, add bool) {
	if !name.known || strings.HasPrefix(name.text, "/dev/") {
		return
	}
	p := path.Clean(name.text)
	if add {
		old, by := st.file(name)
		if by == "" {
			text = word{}
		}
		text.text = old + text.text
	}
	if len(text.text) > maxFileBytes || !text.known && !add {
		text.text = ""
	}
	if len(st.s.written) < maxFiles {
		st.s.written[p] = text
	}
}

// changed is for programs that change files by their arguments.
func (st *shell) changed(c command) {
	var plain []word
	for _, w := range c.words[1:] {
		if !w.known || !strings.HasPrefix(w.text, "-") {
			plain = append(plain, w)
		}
	}
	switch base(c.words[0].text) {
	case "tee":
		for _, w := range plain {
			st.write(w, c.stdin, len(c.words) > 1 && (c.words[1].text == "-a" || c.words[1].text == "--append"))
		}
	case "cp", "mv", "install":
		if len(plain) == 2 {
			text := st.read(plain[0])
			text.known = text.text != ""
			st.write(plain[1], text, false)
		}
	case "rm", "truncate", "patch":
		for _, w := range plain {
			st.write(w, word{}, false)
		}
	case "sed", "perl":
		if len(c.words) > 1 && strings.HasPrefix(c.words[1].text, "-") && strings.Contains(c.words[1].text, "i") {
			for _, w := range plain {
				st.write(w, word{}, false)
			}
		}
	}
}

// prints is what a command prints, where that is known by its words alone.
func (st *shell) prints(ws []word, in word) word {
	args := ws[1:]
	switch ws[0].text {
	case "echo":
		end := "\n"
		for len(args) > 0 && (args[0].text == "-n" || args[0].text == "-e") {
			if args[0].text == "-n" {
				end = ""
			} else if text, _ := joined(args); strings.Contains(text, `\`) {
				return word{}
			}
			args = args[1:]
		}
		text, known := joined(args)
		return word{text + end, known}
	case "printf":
		return printed(args)
	case "tee":
		return in
	case "cat":
		if len(args) == 0 || len(args) == 1 && args[0].text == "-" {
			return in
		}
		var b strings.Builder
		for _, a := range args {
			text, by := st.file(a)
			if by == "" {
				return word{}
			}
			b.WriteString(text)
		}
		return word{b.String(), false}
	}
	return word{}
}

func printed(args []word) word {
	if len(args) == 0 || !args[0].known {
		return word{}
	}
	format := strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(args[0].text)
	switch {
	case strings.Contains(format, `\`):
	case !strings.Contains(format, "%"):
		return word{format, true}
	case format == "%s" || format == "%s\n":
		out := word{known: true}
		for _, a := range args[1:] {
			out.text += a.text + format[2:]
			out.known = out.known && a.known
		}
		return out
	}
	return word{}
}

// toolFiles are the files that a tool of the agent's own writes.
func toolFiles(tool, input string, known files) map[string]word {
	var in struct {
		Path    string `json:"file_path"`
		Content string `json:"content"`
		edit
		Edits []edit `json:"edits"`
	}
	if json.Unmarshal([]byte(input), &in) != nil || in.Path == "" {
		return nil
	}
	p := path.Clean(in.Path)
	switch tool {
	case "Write":
		return map[string]word{p: {in.Content, true}}
	case "Edit", "MultiEdit":
		f, ok := known.find(p)
		if !ok {
			return nil
		}
		text := f.text
		for _, e := range append(in.Edits, in.edit) {
			text = e.apply(text)
		}
		return map[string]word{p: {text, true}}
	}
	return nil
}

type edit struct {
	Old string `json:"old_string"`
	New string `json:"new_string"`
	All bool   `json:"replace_all"`
}

func (e edit) apply(text string) string {
	n := 1
	if e.All {
		n = -1
	}
	if e.Old == "" {
		return text
	}
	return strings.Replace(text, e.Old, e.New, n)
}
