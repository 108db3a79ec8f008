package attribution

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatebook/internal/access"
)

// web is a program, or a tool, that asks HTTP services, read.
type web struct {
	method string // empty: not known
	urls   []*url.URL
	// follow says that it goes where it is redirected, query that it may add parameters, and open that there may be other URLs.
	follow, query, open bool
}

// fetch is a tool that is given one URL.
func fetch(raw string) *web {
	w := &web{method: "GET", follow: true}
	w.url(word{raw, true})
	return w
}

func (w *web) url(raw word) {
	text := raw.text
	if !raw.known && strings.HasPrefix(text, "/t/") { // $GATEBOOK_URL/t/TARGET/…
		w.open = true
		if u, err := url.Parse(text); err == nil {
			w.urls = append(w.urls, u)
		}
		return
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if !raw.known || err != nil || strings.ContainsAny(raw.text, "{[") {
		w.open = true
		return
	}
	w.urls = append(w.urls, u)
}

const curlValued = "XHdouAexTFbcKmwryYzCDEQPUt"

// curlLong are curl's long options that take the next word, beside those with data.
var curlLong = strings.Fields(`--request --header --output --user --user-agent --referer --proxy --upload-file --form --cookie --cookie-jar --config --max-time --write-out --range
	--cacert --cert --key --connect-timeout --retry --retry-delay --resolve --connect-to --proxy-header --proxy-user --proxy-cacert --unix-socket --interface --limit-rate --max-redirs
	--dump-header --output-dir --aws-sigv4 --oauth2-bearer --ciphers --tls-max --noproxy --dns-servers --form-string --capath --variable --expand-url --trace --trace-ascii --stderr`)

func newWeb(c *command) matcher {
	switch base(c.words[0].text) {
	case "wget":
		return newWget(c.words[1:])
	case "http", "https", "xh", "xhs":
		return newHTTPie(c.words[1:])
	}
	return newCurl(c.words[1:])
}

func newCurl(args []word) *web {
	w := &web{}
	method := "GET"
	explicit, get := false, false
	for ; len(args) > 0; args = args[1:] {
		option := args[0].text
		next := func() word {
			if len(args) < 2 {
				return word{}
			}
			args = args[1:]
			return args[0]
		}
		if !strings.HasPrefix(option, "-") || option == "-" {
			w.url(args[0])
			continue
		}
		w.open = w.open || !args[0].known
		var letter string
		var v word
		if strings.HasPrefix(option, "--") {
			letter = option
			if slices.Contains(curlLong, option) || strings.HasPrefix(option, "--data") || option == "--json" || option == "--url" {
				v = next()
			}
		} else if i := strings.IndexAny(option[1:], curlValued); i >= 0 { // -sXPOST, -sX POST
			w.flags(option[1:1+i], &get)
			letter = "-" + option[1+i:2+i]
			if v = (word{option[2+i:], args[0].known}); v.text == "" {
				v = next()
			}
		} else {
			w.flags(option[1:], &get)
			if strings.Contains(option, "I") {
				method = "HEAD"
			}
			continue
		}
		switch letter {
		case "-X", "--request":
			explicit, method = true, v.text
			if !v.known {
				method = ""
			}
		case "--url":
			w.url(v)
		case "-K", "--config", "--next", "--expand-url", "-x", "--proxy", "--connect-to", "--unix-socket":
			w.open = w.open || letter != "-x" && letter != "--proxy"
		case "-L", "--location", "--location-trusted":
			w.follow = true
		case "-G", "--get":
			get = true
		case "-I", "--head":
			method = "HEAD"
		case "-T", "--upload-file":
			if !explicit {
				method = "PUT"
			}
		default:
			if (letter == "-d" || letter == "-F" || letter == "--form" || letter == "--json" || strings.HasPrefix(letter, "--data")) && !explicit {
				method = "POST"
			}
		}
	}
	if get {
		w.query = true
		if !explicit {
			method = "GET"
		}
	}
	w.method = method
	return w
}

// flags are letters of curl's that take nothing.
func (w *web) flags(letters string, get *bool) {
	w.follow = w.follow || strings.Contains(letters, "L")
	*get = *get || strings.Contains(letters, "G")
}

const wgetValued = "OoPUeiTtQwABDIX"

func newWget(args []word) *web {
	w := &web{method: "GET", follow: true}
	for ; len(args) > 0; args = args[1:] {
		option := args[0].text
		key, value, given := strings.Cut(option, "=")
		switch {
		case !strings.HasPrefix(option, "-"):
			w.url(args[0])
		case key == "--method" && given:
			w.method = value
		case strings.HasPrefix(option, "--post-"):
			w.method = "POST"
		case option == "--spider":
			w.method = ""
		case option == "-i" || key == "--input-file" || option == "-r" || option == "--recursive" || option == "-m" || option == "-p" || !args[0].known:
			w.open = true
		case strings.HasPrefix(option, "--"):
			if !given && slices.Contains([]string{"--output-document", "--header", "--user", "--password", "--user-agent", "--tries", "--timeout", "--directory-prefix", "--ca-certificate", "--body-data", "--body-file"}, option) && len(args) > 1 {
				args = args[1:]
			}
		case strings.IndexByte(wgetValued, option[len(option)-1]) >= 0 && len(args) > 1:
			args = args[1:]
		}
	}
	return w
}

func newHTTPie(args []word) *web {
	w := &web{method: "GET"}
	plain := 0
	for ; len(args) > 0; args = args[1:] {
		t := args[0]
		switch {
		case strings.HasPrefix(t.text, "-"):
			if slices.Contains([]string{"-a", "--auth", "-A", "--auth-type", "-o", "--output", "--timeout", "--verify", "--cert", "-p", "--print", "-s", "--style", "--session", "--proxy"}, t.text) && len(args) > 1 {
				args = args[1:]
			}
			w.follow = w.follow || t.text == "-F" || t.text == "--follow"
		case plain == 0 && t.known && t.text != "" && strings.Trim(t.text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "":
			w.method = t.text
			plain = 1
		case len(w.urls) == 0 && !w.open:
			if strings.HasPrefix(t.text, ":") {
				t.text = "localhost" + t.text
			}
			w.url(t)
			plain = 2
		case strings.Contains(t.text, "=="):
			w.query = true
		case strings.Contains(t.text, "=") || strings.Contains(t.text, "@"):
			if plain == 2 && w.method == "GET" {
				w.method = "POST"
			}
		}
	}
	return w
}

// fit compares the URLs that are written with a request.
func (w *web) fit(s *subject) fit {
	op := s.op
	best := cannot
	for _, u := range w.urls {
		best = max(best, w.on(u, op))
	}
	if best == cannot && (w.open && (op.Web != nil || op.Kubernetes != nil || op.Git != nil) || w.follow && op.Web != nil) {
		return may
	}
	return best
}

// on compares one URL with the operation: a request to a service is known by host and path, one to another kind of
// target may be anything below the gateway's own address.
func (w *web) on(u *url.URL, op *access.Operation) fit {
	rest, below := strings.CutPrefix(u.Path, "/t/"+op.Target.Name)
	below = below && (rest == "" || rest[0] == '/')
	switch r := op.Web; {
	case r == nil:
		return when((op.Kubernetes != nil || op.Git != nil) && below, may)
	case !below && (!strings.EqualFold(u.Hostname(), r.Host) || u.Port() != "" && r.Port != 0 && u.Port() != strconv.FormatInt(r.Port, 10)):
		return cannot
	case r.Method == "CONNECT":
		return fits
	case w.method != "" && r.Method != w.method:
		return when(w.follow, may)
	}
	path := u.Path
	if below {
		path = rest
	}
	if path == "" {
		path = "/"
	}
	if path != op.Web.Path && (op.Web.Path != "" || path != "/") {
		return when(w.follow, may)
	}
	if !w.query && !sameQuery(u.Query(), op.Web.Query) {
		return when(w.follow, may)
	}
	return fits
}

func sameQuery(a url.Values, b map[string][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if !slices.Equal(v, b[k]) {
			return false
		}
	}
	return true
}

// program is text in a language that is not read: what it names word for word it may well cause.
type program struct {
	urls []*web
	text string // as a normal form of SQL
}

var urlIn = regexp.MustCompile(`https?://[^\s'"<>\\)\]},;` + "`" + `]+`)

// newLiteral looks for what a program's text names.
func newLiteral(text string) matcher {
	p := &program{text: strings.Join(statements(text), "; ")}
	for _, raw := range urlIn.FindAllString(text, maxUnrolled) {
		w := &web{query: true}
		if w.url(word{raw, true}); !w.open {
			p.urls = append(p.urls, w)
		}
	}
	return p
}

// newProgram is an interpreter with the text that it is given, where that is known.
func (st *shell) newProgram(c *command) matcher {
	text := c.stdin.text
	for i, w := range c.words[1:] {
		switch t := w.text; {
		case (t == "-c" || t == "-e" || t == "-r" || t == "-p" || t == "eval") && i+2 < len(c.words):
			return newLiteral(c.words[i+2].text)
		case t == "-m":
			return anything
		case !strings.HasPrefix(t, "-"):
			text, _ = st.file(w)
			return newLiteral(text)
		}
	}
	return newLiteral(text)
}

// minStatement is how long a statement must be for its text in a program to mean anything.
const minStatement = 12

func (p *program) fit(s *subject) fit {
	for _, w := range p.urls {
		if w.fit(s) == fits {
			return fits
		}
	}
	if s.op.SQL != nil && p.text != "" {
		if all := s.sql(); len(all) == 1 && len(all[0]) >= minStatement && strings.Contains(p.text, all[0]) {
			return fits
		}
	}
	return may
}
