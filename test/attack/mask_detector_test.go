package attack

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What is secret by its form alone: the gateway never saw it, and nothing stands where structure would say so. Each case is
// played twice, with the mask credentials and without it: then the secret must be seen, or the case would show nothing.

// token is one of GitHub's, by its form.
func token(of string) string {
	return "gh" + "p_" + strings.Map(func(r rune) rune {
		if r == '-' || r == '_' {
			return 'x'
		}
		return r
	}, string(newCanary(of, "").value)+strings.Repeat("Aa9", 12))[:36]
}

var detectorPolicies = map[bool]string{true: "masking: [secrets, known, credentials]\n", false: "masking: [secrets, known]\n"}

// M43: in the body of an answer, as JSON, text and server-sent events, cut at every offset; in headers; below its name.
func TestM43DetectedInWebAnswers(t *testing.T) {
	for on, masking := range detectorPolicies {
		t.Run(map[bool]string{true: "on", false: "off"}[on], func(t *testing.T) {
			secret := token(t.Name())
			bodies := map[string]string{"application/json": `{"note": "it is ` + secret + `", "n": 1}`, "text/plain": "it is " + secret + "\nand more\n",
				"text/event-stream": "event: x\ndata: {\"delta\": \"" + secret + "\"}\n\ndata: it is " + secret + "\n\n"}
			s := newWebScene(t, webPolicy(masking+"rules:\n  - {id: everything, protocol: web, effect: allow, reason: a test}\n"), "", func(w http.ResponseWriter, r *http.Request) {
				body := bodies[r.Header.Get("Want")]
				var cut int
				fmt.Sscan(r.Header.Get("Cut"), &cut)
				w.Header().Set("Content-Type", r.Header.Get("Want"))
				w.Header().Set("X-Note", "it is "+secret)
				io.WriteString(w, body[:cut])
				w.(http.Flusher).Flush()
				io.WriteString(w, body[cut:])
			})
			c, r := s.conn("localhost")
			seen := 0
			for media, body := range bodies {
				for cut := range body {
					answers, _ := s.exchange(c, r, 1, "GET /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nWant: "+media+"\r\nCut: "+fmt.Sprint(cut)+"\r\n\r\n")
					if len(answers) != 1 {
						t.Fatalf("%s cut at %d: no answer", media, cut)
					}
					b, _ := io.ReadAll(answers[0].Body)
					if answers[0].StatusCode != 200 || !on && !bytes.Contains(b, []byte(secret)) || on && !bytes.Contains(b, []byte("gbm-")) {
						t.Fatalf("%s cut at %d: %d %s", media, cut, answers[0].StatusCode, b)
					}
					if bytes.Contains(b, []byte(secret)) || strings.Contains(answers[0].Header.Get("X-Note"), secret) {
						seen++
					}
					if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if on && seen > 0 {
				t.Errorf("seen in %d answers", seen)
			}
		})
	}
}

// M43: in rows of both formats, COPY, notices and errors.
func TestM43DetectedInRows(t *testing.T) {
	for on, masking := range detectorPolicies {
		t.Run(map[bool]string{true: "on", false: "off"}[on], func(t *testing.T) {
			secret := token(t.Name())
			s := newSQLScene(t, sqlPolicy(masking+allowAllSQL), "create table t (id int, note text, doc jsonb, raw bytea, name varchar)",
				"insert into t values (1, 'it is "+secret+"', '{\"p\": \""+secret+"\"}', '"+secret+"', '"+secret+"')",
				"create function complain() returns void language plpgsql as $$ begin raise notice 'it is %', (select note from t); raise exception using message = (select note from t), detail = (select name from t); end $$")
			for _, sql := range []string{"select note from t", "select name from t", "select * from t", "select raw from t", "select complain()", "copy t (id, note, name) to stdout", "copy t (note) to stdout csv",
				"select note, id from t, generate_series(1, 500)", "listen x; select pg_notify('x', note) from t; select 1"} {
				r := s.psql(sql)
				hex := fmt.Sprintf("%x", secret)
				if (strings.Contains(r.Out(), secret) || strings.Contains(r.Out(), hex)) == on {
					t.Errorf("%s: %.300s", sql, r.Out())
				}
				if strings.Contains(sql, ";") || strings.HasPrefix(sql, "copy") {
					continue
				}
				for _, format := range []int{0, 1} {
					x := s.speak(s.agent)
					x.parse("", sql)
					x.out.Begin('B').Text("").Text("").Int16(0).Int16(0).Int16(1).Int16(format).End()
					x.out.Begin('D').Byte('P').Text("").End()
					x.execute("", 0).sync()
					x.flush()
					var all []byte
					for {
						m, err := x.in.Next()
						if err != nil {
							t.Fatalf("%s, format %d: %v", sql, format, err)
						}
						if all = append(all, m.Raw...); m.Type == 'Z' {
							break
						}
					}
					if (bytes.Contains(all, []byte(secret)) || bytes.Contains(all, []byte(hex))) == on {
						t.Errorf("%s, format %d: %.300q", sql, format, all)
					}
					x.conn.Close()
				}
			}
		})
	}
}
