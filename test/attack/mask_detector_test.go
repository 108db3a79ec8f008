package attack

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"gatebook/test/lab"
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
					answers := s.exchange(c, r, 1, "GET /t/shop/x HTTP/1.1\r\nHost: localhost\r\nTOKEN\r\nWant: "+media+"\r\nCut: "+fmt.Sprint(cut)+"\r\n\r\n")
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
			if !on {
				return
			}
			sent := token(t.Name() + "sent") // by the agent, which nobody has seen before
			if r := s.psql("insert into t (note) values ('" + sent + "') returning id"); r.Code != 0 {
				t.Fatal(r.Out())
			}
			if r := s.psql("select '" + sent + "'::int"); !strings.Contains(r.Out(), "integer: \"gbm-") { // what psql shows beside it is its own
				t.Error(r.Out())
			}
			for _, v := range []string{secret, sent} {
				if b := everything(t, s.g.Dir); bytes.Contains(b, []byte(v)) {
					t.Errorf("%s is in what the gateway keeps", v)
				}
			}
		})
	}
}

// M42, M43: in logs, written in two pieces at every offset; in the output of exec; in objects of any kind, which come back as
// they were when they are written back.
func TestM43DetectedInCluster(t *testing.T) {
	for on, masking := range detectorPolicies {
		t.Run(map[bool]string{true: "on", false: "off"}[on], func(t *testing.T) {
			secret := token(t.Name())
			s := newSceneWith(t, lab.Options{Policy: map[string]string{"all.yaml": masking + allowAll}})
			script := fmt.Sprintf(`i=0; while [ $i -le %d ]; do printf %%s "x ${V:0:$i}"; sleep 0.02; echo "${V:$i} y"; i=$((i+1)); done; echo done`, len(secret))
			must(t, admin(t, toJSON(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "log"}, "spec": map[string]any{"restartPolicy": "Never", "containers": []any{
				map[string]any{"name": "c", "image": "lab.local/busybox:1", "imagePullPolicy": "Never", "command": []string{"sh", "-c", script}, "env": []any{map[string]any{"name": "V", "value": secret}}}}}}), "-n", s.ns, "apply", "-f", "-"))
			must(t, admin(t, "", "-n", s.ns, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/log", "--timeout=180s"))
			must(t, admin(t, "", "-n", s.ns, "create", "configmap", "c", "--from-literal=note=it is "+secret+" here", "--from-literal=other=1"))
			for _, args := range [][]string{{"logs", "log"}, {"logs", "-f", "log"}, {"logs", "--timestamps", "log"}, {"get", "pod", "log", "-o", "yaml"}, {"get", "configmap", "c", "-o", "json"}, {"describe", "configmap", "c"}, {"get", "configmaps", "-o", "yaml"}} {
				r := must(t, s.kubectl("", args...))
				if strings.Contains(r.Stdout, secret) == on || on && !strings.Contains(r.Stdout, "gbm-") {
					t.Errorf("kubectl %v: %s", args, r.Stdout)
				}
			}
			shown := must(t, s.kubectl("", "get", "configmap", "c", "-o", "json")).Stdout
			must(t, s.kubectl(strings.Replace(shown, `"other": "1"`, `"other": "2"`, 1), "replace", "-f", "-"))
			if got := must(t, admin(t, "", "-n", s.ns, "get", "configmap", "c", "-o", "jsonpath={.data.note} {.data.other}")).Stdout; got != "it is "+secret+" here 2" {
				t.Errorf("stored is %q", got)
			}
			pod(t, s.ns, "box", "")
			r := s.kubectl("", "exec", "-i", "box", "--", "sh", "-c", "printf "+secret[:20]+"; sleep 0.2; echo "+secret[20:]+"; echo done")
			if strings.Contains(r.Stdout, secret) == on || !strings.Contains(r.Stdout, "done") {
				t.Errorf("exec: %s", r.Out())
			}
			if !on {
				return
			}
			sent := token(t.Name() + "sent") // by the agent, which nobody has seen before
			must(t, s.kubectl("", "create", "configmap", "sent", "--from-literal=note=it is "+sent))
			must(t, s.kubectl("", "annotate", "configmap", "sent", "n="+sent))
			if got := must(t, admin(t, "", "-n", s.ns, "get", "configmap", "sent", "-o", "jsonpath={.data.note}")).Stdout; got != "it is "+sent {
				t.Errorf("stored is %q", got)
			}
			for _, v := range []string{secret, sent} {
				if b := everything(t, s.g.Dir); bytes.Contains(b, []byte(v)) {
					t.Errorf("%s is in what the gateway keeps", v)
				}
			}
		})
	}
}

// everything is all that is in a folder, as it is there.
func everything(t *testing.T, dir string) (all []byte) {
	t.Helper()
	var walk func(string)
	walk = func(at string) {
		entries, err := os.ReadDir(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				walk(at + "/" + e.Name())
			} else if b, err := os.ReadFile(at + "/" + e.Name()); err == nil && e.Type().IsRegular() {
				all = append(all, b...)
			}
		}
	}
	walk(dir)
	return all
}
