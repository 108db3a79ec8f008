package attack

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/test/lab"
)

// K4: a page of another site that a person's browser shows gets no stream: what the browser sends by itself is no
// credential, and Origin is none either way. With a token the same Origin is as good as none.
func TestK04UpgradeByBrowser(t *testing.T) {
	fake := lab.StartUpstream(t, false, answering(404))
	g := cluster.StartGateway(t, binary, lab.Options{Policy: map[string]string{"all.yaml": allowAll}, Targets: fake.Target("fake", "")})
	token := g.Person("actor-browser")
	for _, origin := range []string{"https://evil.example", g.URL, "null"} {
		for _, ambient := range [][]string{
			{"Cookie: token=" + token + "; gatebook=" + token + "; session=" + token},
			{"Cookie: Authorization=" + token, "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("actor-browser:"+token))},
			{"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(token))},
		} {
			for _, path := range []string{execPath, attachPath, forwardPath, execPath + "&access_token=" + token} {
				c := over(t, g, h1)
				c.send(request{path: "/t/fake" + path, header: append(append(webSocket("v5.channel.k8s.io"), "Origin: "+origin), ambient...)})
				a := c.read("GET")
				if a.code != http.StatusUnauthorized || cause(a.status(t), "GatebookCode") != string(access.CodeUnauthenticated) {
					t.Errorf("%s from %s with %.60q: answered %d %s", path, origin, ambient, a.code, a.body)
				}
				if !c.isClosed() {
					t.Errorf("%s from %s with %.60q: the connection goes on", path, origin, ambient)
				}
			}
		}
	}
	if s := fake.Seen(); len(s) > 0 {
		t.Errorf("reached the upstream: %+v", s)
	}
	a := over(t, g, h1).do(request{path: "/t/fake" + execPath, token: token, header: append(webSocket("v5.channel.k8s.io"), "Origin: https://evil.example")})
	if s := fake.Seen(); a.code != http.StatusNotFound || len(s) == 0 {
		t.Errorf("with a token: answered %d %s", a.code, a.body)
	} else if strings.Contains(s[0].Dump, "evil.example") {
		t.Errorf("Origin reached the upstream: %s", s[0].Dump)
	}
}
